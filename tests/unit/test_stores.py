"""What a store acknowledged is there again: after a restart, after SIGKILL, after a boot with other clocks."""

import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from sipcore import wire
from sipcore.location import LocationTable
from supervisor.stores import StoreError, open_store
from supervisor.stores.sqlite import SqliteStore, boot_id, clock_offset_ms

FLOW = bytes(24)
FAR = 10**15  # ms: never expires in a test


def entry(sequence, aor, contacts=(), *, removes=(), expires_ms=FAR):
    puts = [[contact, b"call", sequence, 1000, expires_ms, FLOW, b"", b"", b"", 5] for contact in contacts]
    return [wire.ENTRY_BINDINGS, sequence, 0, 1, aor, puts, list(removes), FAR]


def append(store, *entries):
    store.append([wire.encode(one) for one in entries], entries[0][1], entries[-1][1])


def reload(path, **machine):
    """(loaded, its entries, the table they make)"""
    store = SqliteStore(path, **machine)
    loaded = store.load()
    entries = list(loaded.entries)
    store.close()
    table = LocationTable()
    for one in entries:
        if one[0] == wire.ENTRY_BINDINGS:
            table.apply(one)
    return loaded, entries, table


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "new" / "viaduct.sqlite")


@pytest.mark.parametrize("folded", [0, 1, 3, 100])
def test_key_epoch_sequence_and_bindings_survive_folded_or_not(path, folded):
    store = open_store(f"sqlite://{path}")
    first = store.load()
    assert (first.sequence, len(first.key), list(first.entries)) == (0, 16, [])
    state = [wire.ENTRY_STATE, 2, 7, 1]
    append(store, entry(1, b"a@x", [b"sip:a@1", b"sip:a@2"]), state, entry(3, b"b@x", [b"sip:b@1"]))
    append(store, entry(4, b"a@x", [b"sip:a@1"], removes=[b"sip:A@1", b"sip:a@2"]))
    append(store, entry(5, b"c@x", [b"sip:c@1"]), entry(6, b"c@x", removes=[b"sip:c@1"]))
    store.fold(folded) if folded else None
    store.close()
    loaded, _, table = reload(path)
    assert (loaded.epoch, loaded.sequence, loaded.key) == (first.epoch, 6, first.key)
    assert [(put[0], put[2]) for put in table.bindings(b"a@x")] == [(b"sip:a@1", 4)]
    assert len(table.bindings(b"b@x")) == 1
    assert table.bindings(b"c@x") == []  # known, offline


def test_folding_takes_whole_blobs_from_the_old_end_and_coalesces(path):
    store = SqliteStore(path)
    store.load()
    for sequence in range(1, 101, 10):
        append(store, *(entry(n, b"a@x", [b"sip:a@1"]) for n in range(sequence, sequence + 10)))
    assert [store.fold(25), store.fold(5), store.fold(1000), store.fold(1000)] == [20, 10, 70, 0]
    assert store.connection.execute("SELECT count(*), max(cseq) FROM bindings").fetchone() == (1, 100)
    store.close()
    assert reload(path)[0].sequence == 100


def test_times_come_back_to_the_millisecond_within_one_boot(path):
    store = SqliteStore(path, offset_ms=lambda: 1_000_000)
    store.load()
    append(store, entry(1, b"a@x", [b"sip:a@1"], expires_ms=12_345), entry(2, b"b@x", [b"sip:b@1"], expires_ms=777))
    store.fold(100)
    append(store, entry(3, b"c@x", [b"sip:c@1"], expires_ms=888))
    store.close()
    loaded, _, table = reload(path, offset_ms=lambda: 1_000_037)  # the wall clock was slewed
    assert [table.find(aor)[0]["expires_ms"] for aor in (b"a@x", b"b@x", b"c@x")] == [12_345, 777, 888]
    assert table.find(b"a@x")[0]["updated_ms"] == 5


def test_after_a_boot_the_wall_clock_decides_and_the_log_is_another(path):
    wall = [1_000_000]
    store = SqliteStore(path, boot=lambda: "one", offset_ms=lambda: wall[0])
    epoch = store.load().epoch
    append(store, entry(1, b"a@x", [b"sip:a@1"], expires_ms=50_000))
    wall[0] = 9_000_000  # the clock was wrong when the store was made and was set since
    store.fold(100)
    append(store, entry(2, b"b@x", [b"sip:b@1"], expires_ms=60_000))
    store.close()
    for _ in range(2):  # and reading it twice does not shift it twice
        loaded, _, table = reload(path, boot=lambda: "two", offset_ms=lambda: 9_040_000)
        assert loaded.epoch != epoch
        assert loaded.sequence == 2
        assert table.find(b"a@x")[0]["expires_ms"] == 10_000
        assert table.find(b"b@x")[0]["expires_ms"] == 20_000


WRITER = """
import sys
sys.path.insert(0, {root!r})
from sipcore import wire
from supervisor.stores import open_store
store = open_store(sys.argv[1])
store.load()
sequence = 0
while True:
    sequence += 1
    aor = b"u%d@x" % sequence
    put = [b"sip:" + aor, b"call", 1, 1000, 10**15, bytes(24), b"", b"", b"", 0]
    store.append([wire.encode([1, sequence, 0, 1, aor, [put], [], 10**15])], sequence, sequence)
    if sequence % 300 == 0:
        store.fold(200)
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
    assert all(table.bindings(b"u%d@x" % n) for n in range(1, acknowledged + 1))


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
    with pytest.raises(StoreError, match="found schema 99, expected 1"):
        SqliteStore(path)


def test_a_corrupt_blob_is_one_sentence(path):
    store = SqliteStore(path)
    store.load()
    store.connection.execute("INSERT INTO log VALUES (1, 1, x'c1')")
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
    assert (first.sequence, list(first.entries)) == (0, [])


def test_the_machine_has_a_boot_and_an_offset():
    assert boot_id() == boot_id()
    assert clock_offset_ms() > 0
