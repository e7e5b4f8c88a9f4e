"""The log in SQLite: a commit appends one blob of entries; a table of bindings is folded from the blobs behind it.

Times in the blobs are monotonic, in the table they are wall clock: monotonic + base_ms, where base_ms stays the same
for one boot of the machine, so that a restarted supervisor reads back exactly the times that its workers have. After a
boot the base is set anew from the wall clock as it was last seen, and the log gets a new epoch.
"""

import os
import secrets
import sqlite3
import time

from sipcore import wire
from sipcore.location import contact_key
from supervisor.stores import KEY_OCTETS, Loaded, StoreError

SCHEMA = 1
BUSY_TIMEOUT_S = 2.0       # how long the last supervisor may take to let go of the file
FOLD_ALL = 1 << 60
CACHE_KIB = 16 << 10       # of the database: folding touches random pages
WAL_PAGES = 4096           # 16 MB of log before SQLite copies it back

TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE log (last_sequence INTEGER PRIMARY KEY, first_sequence INTEGER NOT NULL, entries BLOB NOT NULL);
CREATE TABLE bindings (
    aor BLOB NOT NULL, contact_key BLOB NOT NULL, contact BLOB NOT NULL, call_id BLOB NOT NULL, cseq INTEGER NOT NULL,
    q INTEGER NOT NULL, expires_wall_ms INTEGER NOT NULL, flow BLOB NOT NULL, instance BLOB NOT NULL,
    path BLOB NOT NULL, agent BLOB NOT NULL, updated_wall_ms INTEGER NOT NULL, known_until_wall_ms INTEGER NOT NULL,
    PRIMARY KEY (aor, contact_key)) WITHOUT ROWID;
CREATE TABLE offline (aor BLOB PRIMARY KEY, known_until_wall_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX offline_until ON offline (known_until_wall_ms)
"""
PUT = "INSERT OR REPLACE INTO bindings VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"


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
        self.base_ms = 0
        self.loaded = False  # until then the file's times are those of its last boot
        self.connection = None
        try:
            os.makedirs(os.path.dirname(path) or ".", mode=0o750, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # it holds the key that signs the cookies
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
            self.base_ms = meta["base_ms"]
            epoch = meta["epoch"]
            boot = self.boot()
            if not boot or boot != meta["boot"]:
                self.fold(FOLD_ALL)  # the blobs' times are the last boot's
                epoch = secrets.randbits(62) + 1
                self.base_ms += self.offset_ms() - meta["seen_ms"]
                self._set_meta(epoch=epoch, boot=boot, base_ms=self.base_ms, seen_ms=self.offset_ms())
            folded = self.connection.execute("SELECT value FROM meta WHERE name = 'folded'").fetchone()[0]
            last = self.connection.execute("SELECT max(last_sequence) FROM log").fetchone()[0]
            self.loaded = True
            return Loaded(epoch, max(folded, last or 0), meta["key"], self._entries())
        except (sqlite3.Error, KeyError, TypeError, wire.WireError) as error:
            raise self._error("read", error) from error

    def append(self, encoded, first_sequence, last_sequence):
        try:
            # one statement outside a transaction is a transaction: committed when it returns
            self.connection.execute("INSERT INTO log VALUES (?,?,?)",
                                    (last_sequence, first_sequence, wire.encode_entries(encoded)))
        except sqlite3.Error as error:
            raise self._error("written", error) from error

    def fold(self, max_entries):
        """Takes blobs from the log's old end while they hold at most max_entries together (at least one blob)."""
        try:
            taken, last = 0, None
            puts, removes, known = {}, {}, {}
            for first, last_of_row, blob in self.connection.execute(
                    "SELECT first_sequence, last_sequence, entries FROM log ORDER BY last_sequence"):
                if last is not None and taken + last_of_row - first + 1 > max_entries:
                    break
                taken += last_of_row - first + 1
                last = last_of_row
                for entry in wire.decode_entries(blob):
                    if entry[0] == wire.ENTRY_BINDINGS:
                        self._fold_entry(entry, puts, removes, known)
            if last is not None:
                self._write_folded(last, puts, removes, known)
            return taken
        except (sqlite3.Error, wire.WireError) as error:
            raise self._error("folded", error) from error

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def _prepare(self):
        execute = self.connection.execute
        # no second supervisor on one file; and the index of the write-ahead log needs no shared memory then
        execute("PRAGMA locking_mode = EXCLUSIVE")
        mode = execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise StoreError(f"[store] {self.path}: found journal mode {mode}, expected wal, which needs a local disk")
        # a commit survives the death of the process; a power failure may cost the last moments but no consistency
        execute("PRAGMA synchronous = NORMAL")
        execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
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
        self._set_meta(schema=SCHEMA, key=os.urandom(KEY_OCTETS), epoch=secrets.randbits(62) + 1, folded=0,
                       boot=self.boot(), base_ms=offset_ms, seen_ms=offset_ms)

    def _set_meta(self, **values):
        self.connection.executemany("INSERT OR REPLACE INTO meta VALUES (?,?)", values.items())

    def _entries(self):
        base_ms, bindings, origin = self.base_ms, wire.ENTRY_BINDINGS, wire.ORIGIN_SUPERVISOR
        try:
            for (aor, _, contact, call_id, cseq, q, expires, flow, instance, path, agent, updated,
                 known) in self.connection.execute("SELECT * FROM bindings"):
                put = [contact, call_id, cseq, q, expires - base_ms, flow, instance, path, agent, updated - base_ms]
                yield [bindings, 0, origin, 0, aor, [put], [], max(known - base_ms, 0)]
            for aor, known in self.connection.execute("SELECT * FROM offline"):
                if known > base_ms:
                    yield [bindings, 0, origin, 0, aor, [], [], known - base_ms]
            for (blob,) in self.connection.execute("SELECT entries FROM log ORDER BY last_sequence"):
                yield from wire.decode_entries(blob)
        except (sqlite3.Error, TypeError, wire.WireError) as error:
            raise self._error("read", error) from error

    def _fold_entry(self, entry, puts, removes, known):
        """Adds one entry to what a fold writes: per binding only the last of its changes."""
        _, _, _, _, aor, put_list, remove_list, known_until_ms = entry
        for contact in remove_list:
            at = (aor, contact_key(contact))
            puts.pop(at, None)
            removes[at] = True
        for put in put_list:
            at = (aor, contact_key(put[0]))
            removes.pop(at, None)
            puts[at] = (*put[:4], put[4] + self.base_ms, *put[5:9], put[9] + self.base_ms,
                        known_until_ms + self.base_ms)
        if known_until_ms:
            known[aor] = known_until_ms

    def _write_folded(self, last, puts, removes, known):
        execute, executemany = self.connection.execute, self.connection.executemany
        execute("BEGIN IMMEDIATE")
        try:
            executemany("DELETE FROM bindings WHERE aor = ? AND contact_key = ?", sorted(removes))
            # sorted: neighbours share a page, which is what makes folding cheaper than inserting one by one
            executemany(PUT, [at + puts[at] for at in sorted(puts)])
            self._fold_offline(puts, removes, known)
            execute("DELETE FROM log WHERE last_sequence <= ?", (last,))
            self._set_meta(folded=last)
            if self.loaded:
                self._set_meta(seen_ms=self.offset_ms())
            execute("COMMIT")
        except BaseException:
            execute("ROLLBACK")
            raise

    def _fold_offline(self, puts, removes, known):
        """AORs that lost their last binding stay known; those that have one again leave the list."""
        execute = self.connection.execute
        bound = {aor for aor, _ in puts}
        self.connection.executemany("DELETE FROM offline WHERE aor = ?", [(aor,) for aor in sorted(bound)])
        for aor in sorted({aor for aor, _ in removes} - bound):
            if known.get(aor) and execute("SELECT 1 FROM bindings WHERE aor = ? LIMIT 1", (aor,)).fetchone() is None:
                execute("INSERT OR REPLACE INTO offline VALUES (?,?)", (aor, known[aor] + self.base_ms))
        now_ms = time.monotonic_ns() // 1_000_000
        execute("DELETE FROM offline WHERE known_until_wall_ms <= ?", (now_ms + self.base_ms,))

    def _error(self, verb, error):
        if isinstance(error, sqlite3.DatabaseError) and "not a database" in str(error):
            return StoreError(f"[store] {self.path}: found no SQLite database, expected ours or no file")
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            return StoreError(f"[store] {self.path}: held by another process, expected to be this supervisor's alone")
        return StoreError(f"[store] {self.path} cannot be {verb}: {error}")
