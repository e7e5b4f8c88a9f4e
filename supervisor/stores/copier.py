"""Copies SQLite's write-ahead log back into the database, beside the loop, which would have to wait for the disk."""

import contextlib
import sqlite3
import threading


class Copier:
    """path: of a database in WAL mode whose writer copies nothing back by itself."""

    def __init__(self, path):
        self.path = path
        self.thread = None
        self.failure = None  # of the last copy: why it was none

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
        self.failure = None
        try:
            with contextlib.closing(sqlite3.connect(self.path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:  # the log stays as it is, and nothing is lost
            self.failure = error
