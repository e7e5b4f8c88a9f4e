"""The command `viaduct`."""
