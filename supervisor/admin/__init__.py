"""The admin API: JSON-RPC over HTTP on a Unix socket and on loopback."""
