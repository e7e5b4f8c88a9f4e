"""What a store acknowledged is there again: after a restart, after SIGKILL, after a boot with other clocks."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from sipcore import wire
from sipcore.location import LocationTable
from supervisor.stores import StoreError, open_store, sqlite
from supervisor.stores.sqlite import SqliteStore, boot_id, clock_offset_ms

FLOW = bytes(24)
FAR = 10**15  # ms: never expires in a test


def entry(sequence, aor, contacts=(), *, removes=(), expires_ms=FAR):
    puts = [[contact, b"call", sequence, 1000, expires_ms, FLOW, b"", b"", b"", 5] for contact in contacts]
    return [wire.ENTRY_BINDINGS, sequence, 0, 1, aor, puts, list(removes), FAR]


def blob(*entries):
    return wire.encode_entries([wire.encode(one) for one in entries])


def append(store, *entries, table=None):
    """Commits entries; the table, where there is one, is the truth that they are applied to."""
    store.append(blob(*entries), entries[0][1], entries[-1][1])
    if table is not None:
        table.apply(wire.decode_entries(blob(*entries)))


def checkpoint(store, table, sequence):
    """A whole checkpoint, and away with what it replaced; how many steps that took."""
    for steps in range(1000):
        if store.covered == sequence and not store.stale:
            return steps
        store.keep(table, sequence)
    raise AssertionError(f"covered up to {store.covered}, expected {sequence}")


def reload(path, **machine):
    """(loaded, its blobs, the table they make)"""
    store = SqliteStore(path, **machine)
    loaded = store.load()
    blobs = list(loaded.blobs)
    store.close()
    table = LocationTable()
    for one in blobs:
        table.apply(one.entries, one.shift_ms)
    return loaded, blobs, table


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """Checkpoints begin with the first entry behind the last one."""
    monkeypatch.setattr(sqlite, "LOG_ENTRIES", 0)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "new" / "viaduct.sqlite")


@pytest.mark.parametrize("kept", [0, 3, 6])
def test_key_epoch_sequence_and_bindings_survive_in_log_and_checkpoint(path, kept):
    store, table = open_store(f"sqlite://{path}"), LocationTable()
    first = store.load()
    assert (first.sequence, len(first.key), list(first.blobs)) == (0, 16, [])
    commits = [
        [entry(1, b"a@x", [b"sip:a@1", b"sip:a@2"]), [wire.ENTRY_STATE, 2, 7, 1], entry(3, b"b@x", [b"sip:b@1"])],
        [entry(4, b"a@x", [b"sip:a@1"], removes=[b"sip:A@1", b"sip:a@2"])],
        [entry(5, b"c@x", [b"sip:c@1"]), entry(6, b"c@x", removes=[b"sip:c@1"])],
    ]
    for commit in commits:
        append(store, *commit, table=table)
        if kept == commit[-1][1]:
            assert checkpoint(store, table, kept) >= 2
    store.close()
    loaded, blobs, table = reload(path)
    assert (loaded.epoch, loaded.sequence, loaded.key) == (first.epoch, 6, first.key)
    assert [one.numbered for one in blobs] == {0: [True] * 3, 3: [False, True, True], 6: [False]}[kept]
    assert [(put[0], put[2]) for put in table.bindings(b"a@x")] == [(b"sip:a@1", 4)]
    assert len(table.bindings(b"b@x")) == 1
    assert table.bindings(b"c@x") == []  # known, offline


def test_a_checkpoint_is_made_in_steps_while_the_table_changes(path, monkeypatch):
    monkeypatch.setattr(sqlite, "STEP_S", 0)
    monkeypatch.setattr(sqlite, "PART_ENTRIES", 7)
    store, table = SqliteStore(path), LocationTable()
    store.load()
    chance, sequence = random.Random(1), 0
    for _ in range(3000):
        sequence += 1
        aor = b"u%d@x" % chance.randrange(200)
        gone = [b"sip:u@1"] if chance.random() < 0.3 else []
        append(store, entry(sequence, aor, [] if gone else [b"sip:u@1"], removes=gone), table=table)
        store.keep(table, sequence)
    assert store.covered > 500
    assert store.connection.execute("SELECT count(*) FROM log").fetchone()[0] < 2500
    store.close()
    loaded, _, copy = reload(path)
    assert loaded.sequence == sequence
    assert copy.digest() == table.digest()
    assert all(copy.bindings(b"u%d@x" % n) == table.bindings(b"u%d@x" % n) for n in range(200))


def test_an_unfinished_checkpoint_counts_for_nothing(path, monkeypatch):
    store, table = SqliteStore(path), LocationTable()
    store.load()
    append(store, *(entry(n, b"u%d@x" % (n % 100), [b"sip:u@1"]) for n in range(1, 1001)), table=table)
    monkeypatch.setattr(sqlite, "PART_ENTRIES", 10)
    monkeypatch.setattr(sqlite, "STEP_S", 0)
    while store.next_part < 3:
        store.keep(table, 1000)
    assert store.covered == 0
    store.close()
    _, blobs, copy = reload(path)
    assert [one.numbered for one in blobs] == [True]
    assert copy.digest() == table.digest()
    store = SqliteStore(path)
    store.load()
    monkeypatch.setattr(sqlite, "STEP_S", 10)
    checkpoint(store, table, 1000)
    store.close()
    assert reload(path)[2].digest() == table.digest()


def test_a_step_that_fails_is_taken_back_and_the_next_checkpoint_is_whole(path):
    store, table = SqliteStore(path), LocationTable()
    store.load()
    append(store, *(entry(n, b"u%d@x" % (n % 100), [b"sip:u@1"]) for n in range(1, 401)), table=table)
    whole, store.walk = table.snapshot(25), (raise_once() for _ in range(1))
    store.walk_sequence, store.next_part = 400, 1
    with pytest.raises(StoreError, match="cannot be written"):
        store.keep(table, 400)
    assert (store.covered, store.walk, len(list(whole))) == (0, None, 4)
    checkpoint(store, table, 400)
    store.close()
    assert reload(path)[2].digest() == table.digest()


def raise_once():
    raise sqlite3.OperationalError("disk is full")


def test_sqlites_own_log_is_copied_back_beside_the_loop(path, monkeypatch):
    monkeypatch.setattr(sqlite, "WAL_OCTETS", 1 << 20)
    store, table = SqliteStore(path), LocationTable()
    store.load()
    sizes, sequence = [], 0
    for _ in range(400):
        entries = [entry(sequence + n, b"u%d@x" % (sequence + n), [b"sip:" + b"u" * 400]) for n in range(1, 51)]
        sequence += len(entries)
        append(store, *entries)
        store.keep(table, 0)
        sizes.append(os.path.getsize(path + "-wal"))
        time.sleep(0.002)
    assert max(sizes) < 6 << 20  # of 13 MB
    store.close()
    assert not os.path.exists(path + "-wal")
    assert reload(path)[0].sequence == sequence


def test_a_checkpoint_waits_for_a_log_that_is_worth_it(path, monkeypatch):
    monkeypatch.setattr(sqlite, "LOG_ENTRIES", 10)
    store, table = SqliteStore(path), LocationTable()
    store.load()
    store.keep(table, 9)  # the first step looks for stale rows
    for number, begun in ((9, False), (10, True)):
        store.keep(table, number)
        assert (store.walk is not None) is begun
    store.close()


def test_times_come_back_to_the_millisecond_within_one_boot(path):
    store, table = SqliteStore(path, offset_ms=lambda: 1_000_000), LocationTable()
    store.load()
    append(store, entry(1, b"a@x", [b"sip:a@1"], expires_ms=12_345), entry(2, b"b@x", [b"sip:b@1"], expires_ms=777),
           table=table)
    checkpoint(store, table, 2)
    append(store, entry(3, b"c@x", [b"sip:c@1"], expires_ms=888))
    store.close()
    loaded, _, table = reload(path, offset_ms=lambda: 1_000_037)  # the wall clock was slewed
    assert [table.find(aor)[0]["expires_ms"] for aor in (b"a@x", b"b@x", b"c@x")] == [12_345, 777, 888]
    assert table.find(b"a@x")[0]["updated_ms"] == 5


def test_after_a_boot_the_wall_clock_decides_and_the_log_is_another(path):
    wall = [1_000_000]
    store, table = SqliteStore(path, boot=lambda: "one", offset_ms=lambda: wall[0]), LocationTable()
    epoch = store.load().epoch
    append(store, entry(1, b"a@x", [b"sip:a@1"], expires_ms=50_000), table=table)
    wall[0] = 9_000_000  # the clock was wrong when the store was made and was set since
    checkpoint(store, table, 1)
    append(store, entry(2, b"b@x", [b"sip:b@1"], expires_ms=60_000))
    store.close()
    for _ in range(2):  # and reading it twice does not shift it twice
        loaded, _, table = reload(path, boot=lambda: "two", offset_ms=lambda: 9_040_000)
        assert loaded.epoch != epoch
        assert loaded.sequence == 2
        assert table.find(b"a@x")[0]["expires_ms"] == 10_000
        assert table.find(b"b@x")[0]["expires_ms"] == 20_000
        assert table.find(b"b@x")[0]["updated_ms"] == 5 - 40_000  # before the machine's start


WRITER = """
import sys
import time
sys.path.insert(0, {root!r})
from sipcore import wire
from sipcore.location import LocationTable
from supervisor.stores import open_store, sqlite
sqlite.LOG_ENTRIES, sqlite.STEP_S = 300, 0.001
store, table = open_store(sys.argv[1]), LocationTable()
store.load()
sequence = 0
while True:
    sequence += 1
    aor = b"u%d@x" % (sequence // 4)
    put = [b"sip:%d@x" % (sequence % 4), b"call", 1, 1000, 10**15, bytes(24), b"", b"", b"", 0]
    entries = wire.encode_entries([wire.encode([1, sequence, 0, 1, aor, [put], [], 10**15])])
    store.append(entries, sequence, sequence)
    table.apply(wire.decode_entries(entries))
    if sequence % 20 == 0:
        store.keep(table, sequence)
    sys.stdout.write("%d\\n" % sequence)
    sys.stdout.flush()
"""


def test_everything_acknowledged_survives_kill_9(path):
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    command = [sys.executable, "-c", WRITER.format(root=root), f"sqlite://{path}"]
    acknowledged = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        for line in writer.stdout:
            acknowledged = int(line) if line.endswith(b"\n") else acknowledged
            if acknowledged == 1000:
                writer.send_signal(signal.SIGKILL)
    loaded, _, table = reload(path)
    assert acknowledged >= 1000
    assert loaded.sequence >= acknowledged
    for n in range(1, acknowledged + 1):
        assert b"sip:%d@x" % (n % 4) in [put[0] for put in table.bindings(b"u%d@x" % (n // 4))]


def test_one_file_one_supervisor(path, monkeypatch):
    monkeypatch.setattr("supervisor.stores.sqlite.BUSY_TIMEOUT_S", 0.05)
    store = SqliteStore(path)
    with pytest.raises(StoreError, match="held by another process"):
        SqliteStore(path)
    store.close()
    SqliteStore(path).close()


def test_a_file_that_is_none_of_ours_is_left_alone(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("remember the milk\n" * 100)
    with pytest.raises(StoreError, match="found no SQLite database"):
        SqliteStore(str(text))
    assert text.read_text() == "remember the milk\n" * 100
    other = tmp_path / "other.sqlite"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE cookies (name)")
    connection.close()
    with pytest.raises(StoreError, match="another program's database"):
        SqliteStore(str(other))


def test_a_newer_schema_is_refused(path):
    store = SqliteStore(path)
    store.connection.execute("UPDATE meta SET value = 99 WHERE name = 'schema'")
    store.close()
    with pytest.raises(StoreError, match="found schema 99, expected 2"):
        SqliteStore(path)


@pytest.mark.parametrize("octets", [b"\xc1", b"", "text", 7])
def test_a_corrupt_blob_is_one_sentence(path, octets):
    store = SqliteStore(path)
    store.load()
    store.connection.execute("INSERT INTO log VALUES (1, 1, 0, ?)", (octets,))
    store.close()
    with pytest.raises(StoreError, match="cannot be read"):
        reload(path)


def test_a_place_that_cannot_be_written_is_one_sentence():
    with pytest.raises(StoreError, match=r"\[store\] /dev/null/viaduct.sqlite cannot be opened"):
        open_store("sqlite:///dev/null/viaduct.sqlite")


def test_an_unknown_url_names_the_known_ones():
    with pytest.raises(StoreError, match="found 'redis://x', expected one of memory:, sqlite:///PATH"):
        open_store("redis://x")


def test_memory_begins_anew_each_time():
    first, second = open_store("memory:").load(), open_store("memory:").load()
    assert first.epoch != second.epoch
    assert first.key != second.key
    assert (first.sequence, list(first.blobs)) == (0, [])


def test_the_machine_has_a_boot_and_an_offset():
    assert boot_id() == boot_id()
    assert clock_offset_ms() > 0
