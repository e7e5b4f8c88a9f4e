"""The journal numbers, commits, then applies; the log around it refuses what the store would not take."""

import logging

import pytest
from log_values import entries, from_supervisor, lists

from sipcore import wire
from sipcore.location import LocationTable
from supervisor import journal
from supervisor.journal import Journal
from supervisor.location import Registrations
from supervisor.log import Log
from supervisor.stores import Blob, Loaded, StoreError
from supervisor.stores.memory import MemoryStore

FLOW = bytes(24)
SETTINGS = {"registrar": {"max_contacts": 5, "remember_offline_s": 60}}
SETS = [[1, 0, [[7, 0, b"sip:d@127.0.0.1", FLOW, 0, 1, 2000, 0]]]]


class FailingStore(MemoryStore):
    failing = False

    def append(self, entries, first_sequence, last_sequence):
        if self.failing:
            raise StoreError("the disk is full")


def bindings(aor, sequence=0):
    put = [b"sip:a@h", b"call", 1, 1000, 10**9, FLOW, b"", b"", b"", 5]
    return [wire.ENTRY_BINDINGS, sequence, 0, 1, aor, [put], [], 10**9]


def op(op_id, aor=b"a@x", cseq=1):
    return [op_id, aor, b"call", cseq, False, [[b"sip:a@h", 60, 1000, b"", 0]], FLOW, b"", b""]


def test_a_commit_numbers_stores_applies_and_remembers():
    truth = Journal(MemoryStore(), LocationTable())
    truth.propose(bindings(b"a@x"))
    truth.propose(bindings(b"b@x"))
    assert truth.table.find(b"a@x") is None
    first, encoded = truth.commit()
    assert (first, truth.sequence, len(encoded)) == (1, 2, 2)
    assert [one[1] for one in lists(encoded)] == [1, 2]
    assert truth.table.counts()["bindings"] == 2
    assert truth.since(0, 10) == encoded
    assert truth.since(1, 10) == encoded[1:]
    assert truth.since(2, 10) == []
    assert truth.since(3, 10) is None


def test_a_failed_commit_changes_nothing_and_frees_its_numbers():
    store = FailingStore()
    truth = Journal(store, LocationTable())
    store.failing = True
    truth.propose(bindings(b"a@x"))
    with pytest.raises(StoreError):
        truth.commit()
    assert (truth.sequence, truth.table.find(b"a@x"), truth.since(0, 10)) == (0, None, [])
    store.failing = False
    truth.propose(bindings(b"b@x"))
    assert truth.commit()[0] == 1


def test_the_ring_forgets_its_old_end(monkeypatch):
    monkeypatch.setattr(journal, "RING_ENTRIES", 10)
    monkeypatch.setattr(journal, "RING_MARGIN", 2)
    truth = Journal(MemoryStore(), LocationTable())
    for n in range(30):
        truth.propose([wire.ENTRY_STATE, 0, 7, n])
        truth.commit()
        assert len(truth.ring) <= 12
    assert truth.since(5, 10) is None
    assert lists(truth.since(28, 10)) == [[3, 29, 7, 28], [3, 30, 7, 29]]


def test_the_tail_of_the_store_fills_ring_and_table():
    class Store(MemoryStore):
        def load(self):
            blobs = [([bindings(b"a@x")], False), ([bindings(b"b@x", 11), [wire.ENTRY_STATE, 12, 7, 1]], True)]
            return Loaded(5, 12, bytes(16), (
                Blob(entries(*values), 0, numbered) for values, numbered in blobs))

    truth = Journal(Store(), LocationTable())
    assert (truth.epoch, truth.sequence, truth.table.counts()["bindings"]) == (5, 12, 2)
    assert len(truth.since(10, 10)) == 2
    assert truth.since(9, 10) is None
    assert not truth.ready()


def test_the_head_of_a_snapshot_has_the_states_of_now():
    truth = Journal(MemoryStore(), LocationTable())
    for entry in ([wire.ENTRY_SETTINGS, 0, SETTINGS, truth.key], [wire.ENTRY_DESTINATIONS, 0, 3, SETS],
                  [wire.ENTRY_STATE, 0, 7, 2], [wire.ENTRY_STATE, 0, 999, 2]):
        truth.propose(entry)
    truth.commit()
    settings, destinations = lists(truth.head())
    assert settings == [wire.ENTRY_SETTINGS, 4, SETTINGS, truth.key]
    assert destinations[2:] == [3, [[1, 0, [[*SETS[0][2][0][:7], 2]]]]]
    assert SETS[0][2][0][7] == 0  # the caller's own rows are left alone


class Wire:
    """The log with one worker that said HELLO and is live."""

    def __init__(self, store):
        self.sent = []
        self.log = Log(store, Registrations(LocationTable(), SETTINGS), self.send, clock=lambda: 1000)
        self.log.publish_settings(SETTINGS)
        self.log.publish_destinations(1, SETS)
        self.give([wire.HELLO, 0, 4711, self.log.journal.epoch, 2])
        self.sent.clear()

    def send(self, worker, frame):
        self.sent.append((worker, from_supervisor(frame)))
        return True

    def give(self, *frames):
        for frame in frames:
            self.log.on_frame(0, wire.encode(frame))
        self.log.flush()


def test_all_frames_of_a_wake_are_one_commit_and_one_delta():
    commits = []

    class Store(MemoryStore):
        def append(self, entries, first_sequence, last_sequence):
            commits.append((first_sequence, last_sequence))

    world = Wire(Store())
    commits.clear()
    world.give(*([wire.OPS, [op(n, b"u%d@x" % n)]] for n in range(20)))
    assert commits == [(3, 22)]
    ((worker, delta),) = world.sent
    assert (worker, delta[0], delta[2], len(delta[3])) == (0, wire.DELTA, 3, 20)
    assert [entry[2:4] for entry in delta[3]] == [[0, n] for n in range(20)]


def test_refusals_go_out_in_one_frame():
    world = Wire(MemoryStore())
    world.give([wire.OPS, [op(1, cseq=5)]])
    world.sent.clear()
    world.give([wire.OPS, [op(2, cseq=4), op(3, cseq=3)]])
    refusal = [500, b"Request Out Of Order"]
    assert world.sent == [(0, [wire.REFUSED, [[2, *refusal], [3, *refusal]]])]


def test_a_store_that_fails_refuses_registrations_says_so_once_and_recovers(caplog):
    store = FailingStore()
    world = Wire(store)
    store.failing = True
    with caplog.at_level(logging.WARNING, "viaduct.log"):
        world.give([wire.OPS, [op(1)]])
        world.give([wire.OPS, [op(2)]])
        assert [one[1][1] for one in world.sent] == [[[n, 503, b"Store Unavailable"]] for n in (1, 2)]
        with pytest.raises(StoreError):
            world.log.publish_state(7, 1)
        store.failing = False
        world.give([wire.OPS, [op(3)]])
    assert [record.message for record in caplog.records] == [
        "the disk is full; registrations are refused until it works again", "the store works again"]
    assert world.sent[-1][1][0] == wire.DELTA
    assert len(world.log.registrations.table.bindings(b"a@x")) == 1


def test_a_frame_of_a_stranger_is_answered_by_who_once_a_second():
    world = Wire(MemoryStore())
    for _ in range(3):
        world.log.on_frame(1, wire.encode([wire.APPLIED, 1, 2, 0]))
    assert world.sent == [(1, [wire.WHO])]


def test_a_malformed_frame_is_logged_and_nothing_else(caplog):
    world = Wire(MemoryStore())
    with caplog.at_level(logging.WARNING, "viaduct.log"):
        world.log.on_frame(0, b"\xc1")
    assert "worker 0 sent what the log does not know" in caplog.text
    assert world.sent == []


def test_the_sweep_publishes_what_expired_and_the_operator_can_remove():
    world = Wire(MemoryStore())
    world.give([wire.OPS, [op(1), op(2, b"b@x")]])
    assert world.log.remove(b"b@x")
    assert not world.log.remove(b"b@x")
    world.sent.clear()
    world.log.sweep(1000 + 60_000)
    ((_, delta),) = world.sent
    assert [(entry[4], entry[6]) for entry in delta[3]] == [(b"a@x", [b"sip:a@h"])]
    assert world.log.stats()["bindings"] == 0
