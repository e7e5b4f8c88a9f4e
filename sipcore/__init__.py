"""SIP itself: bytes and tables in, bytes and verdicts out. No sockets, clocks or logging: "now" is an argument."""
