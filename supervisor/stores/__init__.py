"""Where the log is committed: one module a kind of store."""
