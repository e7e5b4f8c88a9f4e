"""SIP itself: bytes and tables in, bytes and verdicts out. No sockets, no clocks, no logging: "now" is always an argument."""
