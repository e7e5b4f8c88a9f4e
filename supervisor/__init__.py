"""Truth and its keepers: the arbiter that holds the sockets, and the supervisor that owns the tables and the log."""
