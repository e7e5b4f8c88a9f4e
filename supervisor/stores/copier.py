"""Copies SQLite's write-ahead log back into the database, beside the loop: it waits for the disk, and nobody for it."""

import contextlib
import sqlite3
import threading


class Copier:
    """path: of a database in WAL mode whose writer copies nothing back by itself."""

    def __init__(self, path):
        self.path = path
        self.thread = None

    def start(self):
        """Copies what is written up to now."""
        self.thread = threading.Thread(target=self._copy, name="store", daemon=True)
        self.thread.start()

    def copying(self):
        return self.thread is not None and self.thread.is_alive()

    def stop(self):
        if self.thread is not None:
            self.thread.join()
            self.thread = None

    def _copy(self):
        # a copy that fails leaves the log as it is: whoever writes next learns of the disk
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
