"""The store that stores nothing: bindings live as long as the supervisor and the phones' next refresh."""

import os
import secrets

from supervisor.stores import KEY_OCTETS, Loaded


class MemoryStore:
    def load(self):
        return Loaded(secrets.randbits(62) + 1, 0, os.urandom(KEY_OCTETS), iter(()))

    def append(self, entries, first_sequence, last_sequence):
        """Nothing to write."""

    def keep(self, table, sequence):
        """Nothing that could grow."""

    def close(self):
        """Nothing to give back."""
