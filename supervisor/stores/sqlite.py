"""The log in SQLite: a commit appends one blob of entries; now and then a checkpoint of all bindings replaces the old.

A checkpoint is a walk over the table of the truth while it goes on changing, in steps of a few milliseconds: what it
wrote and the log from its beginning on make the truth, whatever their order (the same as a worker's snapshot). Times
in a blob are monotonic; monotonic + base_ms, kept beside it, is wall clock. base_ms stays the same for one boot of the
machine, so that a restarted supervisor reads back exactly the times that its workers have. After a boot it is set anew
from the wall clock as it was last seen, and the log gets a new epoch.
"""

import contextlib
import fcntl
import logging
import os
import secrets
import sqlite3
import time

from sipcore import wire
from supervisor.stores import KEY_OCTETS, Blob, Loaded, StoreError
from supervisor.stores.copier import Copier

logger = logging.getLogger("viaduct.store")
SCHEMA = 2
BUSY_TIMEOUT_S = 2.0       # how long the last supervisor may take to let go of the file
CACHE_KIB = 4 << 10        # of the database: it is written from end to end and read once
LOCK_EVERY_S = 0.02        # between two looks whether it has
WAL_OCTETS = 4 << 20       # of SQLite's own log, before it is copied back
PAGES_OCTETS = 8 << 10     # that a statement adds to it at the least: whole pages, a leaf and often what points to it
# A checkpoint begins when the log has so many (20 MB), and as many as the table has AORs: a start reads no AOR more
# than about two times, and an entry pays for no more than one of a checkpoint.
LOG_ENTRIES = 100_000
STEP_S = 0.003             # of a checkpoint that REGISTERs wait: 1,000,000 bindings in two minutes at 5 a second
PART_ENTRIES = 100         # of a checkpoint's blob: 0.2 ms
STEP_ROWS = 10             # deleted at once: less than a millisecond
CLOCK_STEP_MS = 1_000      # a wall clock that moved by more is noted

TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE log (last_sequence INTEGER PRIMARY KEY, first_sequence INTEGER NOT NULL, base_ms INTEGER NOT NULL,
    entries BLOB NOT NULL);
CREATE TABLE checkpoint (part INTEGER PRIMARY KEY, base_ms INTEGER NOT NULL, entries BLOB NOT NULL)
"""
# of meta: what the newest whole checkpoint stands for (the log up to there), and its parts
COVERED, FIRST_PART, LAST_PART = "covered", "first_part", "last_part"


def boot_id():
    """The kernel's name for this boot; empty where it has none (then every start counts as a boot)."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def clock_offset_ms():
    """Wall clock less monotonic clock."""
    return time.time_ns() // 1_000_000 - time.monotonic_ns() // 1_000_000


class SqliteStore:
    """path: of the database, made where there is none. boot, offset_ms: of the machine, but in tests."""

    def __init__(self, path, boot=boot_id, offset_ms=clock_offset_ms):
        self.path = path
        self.boot = boot
        self.offset_ms = offset_ms
        self.base_ms = self.seen_ms = 0
        self.covered = self.first_part = self.last_part = 0
        self.walk = None         # the checkpoint under way: iterator of parts,
        self.walk_sequence = 0   # where the log stood at its beginning,
        self.next_part = 0       # and the number of the next part
        self.stale = True        # there may be rows that no start would read
        self.wal_octets = 0      # in SQLite's own log since it was last copied back, at the least
        self.copier = Copier(path)
        self.connection = self.lock = None
        try:
            os.makedirs(os.path.dirname(path) or ".", mode=0o750, exist_ok=True)
            self.lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)  # it holds the key that signs the cookies
            self._lock()
            self.connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise self._error("opened", error) from error
        except StoreError:
            self.close()
            raise

    def load(self):
        try:
            meta = dict(self.connection.execute("SELECT name, value FROM meta"))
            self.base_ms, self.seen_ms, epoch = meta["base_ms"], meta["seen_ms"], meta["epoch"]
            self.covered, self.first_part, self.last_part = (meta[name] for name in (COVERED, FIRST_PART, LAST_PART))
            boot = self.boot()
            if not boot or boot != meta["boot"]:
                epoch = secrets.randbits(62) + 1
                offset_ms = self.offset_ms()
                self.base_ms += offset_ms - self.seen_ms
                self.seen_ms = offset_ms
                self._set_meta(epoch=epoch, boot=boot, base_ms=self.base_ms, seen_ms=self.seen_ms)
            last = self.connection.execute("SELECT max(last_sequence) FROM log").fetchone()[0]
            return Loaded(epoch, max(self.covered, last or 0), meta["key"], self._blobs())
        except (sqlite3.Error, KeyError, TypeError) as error:
            raise self._error("read", error) from error

    def append(self, entries, first_sequence, last_sequence):
        try:
            # one statement outside a transaction is a transaction: committed when it returns
            self.connection.execute("INSERT INTO log VALUES (?,?,?,?)",
                                    (last_sequence, first_sequence, self.base_ms, entries))
            self.wal_octets += PAGES_OCTETS + len(entries)
        except sqlite3.Error as error:
            raise self._error("written", error) from error

    def keep(self, table, sequence):
        """A step of what keeps the file small: goes on with a checkpoint, deletes what it replaced, or begins one."""
        try:
            if abs(self.offset_ms() - self.seen_ms) >= CLOCK_STEP_MS:
                self.seen_ms = self.offset_ms()
                self._set_meta(seen_ms=self.seen_ms)
            if self.wal_octets >= WAL_OCTETS and not self.copier.copying():
                self._copy_back()
            elif self.walk is not None:
                self._write_parts()
            elif self.stale:
                self._delete_stale()
            elif sequence - self.covered >= max(LOG_ENTRIES, table.counts()["aors"]):
                self.begin_checkpoint(table, sequence)
        except sqlite3.Error as error:
            self.walk, self.stale = None, True  # the parts that were written count for nothing
            raise self._error("written", error) from error

    def begin_checkpoint(self, table, sequence):
        """keep() goes on with it."""
        self.walk, self.walk_sequence, self.next_part = table.snapshot(PART_ENTRIES), sequence, self.last_part + 1

    def close(self):
        self.copier.stop()
        if self.connection is not None:
            self.connection.close()
            self.connection = None
        if self.lock is not None:  # last: closing it takes SQLite's own locks of this process off the file
            os.close(self.lock)
            self.lock = None

    def _lock(self):
        """No second supervisor on one file."""
        end = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if time.monotonic() > end:
                    raise StoreError(f"[store] {self.path}: held by another process, expected to be this supervisor's "
                                     "alone") from error
            time.sleep(LOCK_EVERY_S)

    def _prepare(self):
        execute = self.connection.execute
        mode = execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise StoreError(f"[store] {self.path}: found journal mode {mode}, expected wal, which needs a local disk")
        # a commit survives the death of the process; a power failure may cost the last moments but no consistency
        execute("PRAGMA synchronous = NORMAL")
        execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        execute("PRAGMA wal_autocheckpoint = 0")  # the copier's
        execute("BEGIN IMMEDIATE")
        tables = {name for (name,) in execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            self._create()
        elif "meta" not in tables:
            raise StoreError(f"[store] {self.path}: found another program's database, expected ours or none")
        else:
            schema = execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
            if schema is None or schema[0] != SCHEMA:
                raise StoreError(f"[store] {self.path}: found schema {schema and schema[0]}, expected {SCHEMA}; "
                                 "this release cannot read it")
        execute("COMMIT")

    def _create(self):
        for statement in TABLES.split(";"):
            self.connection.execute(statement)
        offset_ms = self.offset_ms()
        self._set_meta(schema=SCHEMA, key=os.urandom(KEY_OCTETS), epoch=secrets.randbits(62) + 1, boot=self.boot(),
                       base_ms=offset_ms, seen_ms=offset_ms, covered=0, first_part=1, last_part=0)

    def _set_meta(self, **values):
        self.connection.executemany("INSERT OR REPLACE INTO meta VALUES (?,?)", values.items())

    def _blobs(self):
        """The newest whole checkpoint, then the log behind its beginning."""
        execute = self.connection.execute
        try:
            for base_ms, entries in execute("SELECT base_ms, entries FROM checkpoint WHERE part BETWEEN ? AND ?",
                                            (self.first_part, self.last_part)):
                yield Blob(wire.decode_entries(entries), base_ms - self.base_ms, False)
            for base_ms, entries in execute("SELECT base_ms, entries FROM log WHERE last_sequence > ? "
                                            "ORDER BY last_sequence", (self.covered,)):
                yield Blob(wire.decode_entries(entries), base_ms - self.base_ms, base_ms == self.base_ms)
        except (sqlite3.Error, TypeError, wire.WireError) as error:
            raise self._error("read", error) from error

    def _copy_back(self):
        """Has the copier copy SQLite's own log, which waits for the disk; then, here, the little that was written
        meanwhile: only when all is copied and nobody writes, that log begins anew."""
        if self.copier.thread is None:
            self.copier.start()
            return
        self.copier.stop()
        self.wal_octets = 0
        if self.copier.failure is None:
            self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        else:  # tried again when as much was written once more; whoever appends learns of the disk
            logger.warning("[store] %s: its log could not be copied back: %s", self.path, self.copier.failure)

    def _write_parts(self):
        """Writes parts of the checkpoint for STEP_S; with the last one it takes the place of all before it."""
        end, whole = time.monotonic() + STEP_S, False
        with self._transaction():
            while True:
                encoded = next(self.walk, None)
                if encoded is None:
                    whole = True
                    self._set_meta(covered=self.walk_sequence, first_part=self.last_part + 1,
                                   last_part=self.next_part - 1)
                    break
                entries = wire.encode_entries(encoded)
                self.connection.execute("INSERT INTO checkpoint VALUES (?,?,?)",
                                        (self.next_part, self.base_ms, entries))
                self.wal_octets += PAGES_OCTETS + len(entries)
                self.next_part += 1
                if time.monotonic() > end:
                    break
        if whole:  # committed: only now may go what it replaced
            self.covered, self.first_part, self.last_part = self.walk_sequence, self.last_part + 1, self.next_part - 1
            self.walk, self.stale = None, True

    def _delete_stale(self):
        """Deletes rows that no start would read, for STEP_S."""
        end = time.monotonic() + STEP_S
        for table, key, condition, limit in (("log", "last_sequence", "<= ?", self.covered),
                                             ("checkpoint", "part", "< ?", self.first_part),
                                             ("checkpoint", "part", "> ?", self.last_part)):
            found = f"SELECT {key} FROM {table} WHERE {key} {condition} LIMIT {STEP_ROWS}"
            while self.connection.execute(f"DELETE FROM {table} WHERE {key} IN ({found})", (limit,)).rowcount:
                self.wal_octets += PAGES_OCTETS
                if time.monotonic() > end:
                    return
        self.stale = False

    @contextlib.contextmanager
    def _transaction(self):
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def _error(self, verb, error):
        if isinstance(error, sqlite3.DatabaseError) and "not a database" in str(error):
            return StoreError(f"[store] {self.path}: found no SQLite database, expected ours or no file")
        return StoreError(f"[store] {self.path} cannot be {verb}: {error}")
