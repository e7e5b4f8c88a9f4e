"""Who gets what: windows, gaps, snapshots, losses, with a journal that is real and a network that is a list."""

import pytest
from log_values import from_supervisor

from sipcore import wire
from sipcore.location import LocationTable
from supervisor import fanout, journal
from supervisor.fanout import Fanout
from supervisor.journal import Journal
from supervisor.stores.memory import MemoryStore

FLOW = bytes(24)


class World:
    def __init__(self):
        self.sent = []
        self.refuse = set()
        self.journal = Journal(MemoryStore(), LocationTable())
        self.fanout = Fanout(self.journal, self.send)

    def send(self, worker, frame):
        if worker in self.refuse:
            return False
        self.sent.append((worker, from_supervisor(frame)))
        return True

    def take(self, worker=0):
        """The frames of one worker since last time: kind, then for a DELTA its first and last sequence."""
        taken = [frame for to, frame in self.sent if to == worker]
        self.sent = [one for one in self.sent if one[0] != worker]
        return [(frame[0], frame[2], frame[2] + len(frame[3]) - 1) if frame[0] == wire.DELTA else (frame[0],)
                for frame in taken]

    def ready(self):
        self.journal.propose([wire.ENTRY_SETTINGS, 0, {}, bytes(16)])
        self.journal.propose([wire.ENTRY_DESTINATIONS, 0, 1, []])
        self.commit()

    def commit(self, count=0):
        for n in range(count):
            put = [b"sip:a@h", b"call", 1, 1000, 10**9, FLOW, b"", b"", b"", 5]
            aor = b"u%d-%d@x" % (self.journal.sequence, n)
            self.journal.propose([wire.ENTRY_BINDINGS, 0, 0, 1, aor, [put], [], 1])
        self.journal.commit()
        self.fanout.pump()

    def hello(self, worker, sequence=None):
        self.fanout.hello(worker, 1, self.journal.epoch if sequence is not None else 0, sequence or 0)

    def report(self, worker, sequence, parts=0):
        self.fanout.applied(worker, self.journal.epoch, sequence, parts)


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setattr(fanout, "WINDOW_ENTRIES", 10)
    monkeypatch.setattr(fanout, "WINDOW_PARTS", 3)
    monkeypatch.setattr(fanout, "PART_ENTRIES", 2)
    monkeypatch.setattr(journal, "RING_ENTRIES", 20)
    monkeypatch.setattr(journal, "RING_MARGIN", 0)
    return World()


def test_a_new_worker_waits_for_settings_and_then_gets_a_snapshot(world):
    world.hello(0)
    assert world.take() == []
    world.ready()
    assert world.take() == [(wire.SNAPSHOT_BEGIN,), (wire.SNAPSHOT_PART,), (wire.SNAPSHOT_END,)]


def test_a_worker_that_knows_the_log_goes_on_from_there(world):
    world.ready()
    world.commit(5)
    world.hello(0, 4)
    assert world.take() == [(wire.DELTA, 5, 4), (wire.DELTA, 5, 7)]


@pytest.mark.parametrize("sequence", [1, 999])
def test_a_place_that_the_ring_does_not_have_means_a_snapshot(world, sequence):
    world.ready()
    for _ in range(3):
        world.commit(10)
    world.hello(0, sequence)
    assert world.take()[0] == (wire.SNAPSHOT_BEGIN,)


def test_a_slow_worker_is_sent_its_window_and_catches_up_from_the_ring(world):
    world.ready()
    for worker in (0, 1):
        world.hello(worker, 2)
        world.take(worker)
    world.commit(8)
    world.report(1, 10)
    world.commit(8)
    assert world.take(0) == [(wire.DELTA, 3, 10), (wire.DELTA, 11, 12)]
    assert world.take(1) == [(wire.DELTA, 3, 10), (wire.DELTA, 11, 18)]
    world.report(0, 12)
    assert world.take(0) == [(wire.DELTA, 13, 18)]


def test_one_that_falls_out_of_the_ring_gets_a_snapshot_once_it_reports(world):
    world.ready()
    world.hello(0, 2)
    world.take()
    for _ in range(5):
        world.commit(10)
    assert world.take() == [(wire.DELTA, 3, 12)]
    world.report(0, 12)
    assert world.take()[0] == (wire.SNAPSHOT_BEGIN,)


def test_parts_keep_to_their_window_and_entries_pass_between_them(world):
    world.ready()
    world.commit(10)
    world.hello(0)
    assert world.take() == [(wire.SNAPSHOT_BEGIN,)] + [(wire.SNAPSHOT_PART,)] * 3
    world.commit(1)
    assert world.take() == [(wire.DELTA, 13, 13)]
    world.report(0, 12, parts=2)
    assert world.take() == [(wire.SNAPSHOT_PART,)] * 2
    world.report(0, 13, parts=5)
    assert world.take()[-1] == (wire.SNAPSHOT_END,)


def test_a_refused_frame_forgets_the_worker_until_it_says_hello(world):
    world.ready()
    world.hello(0, 2)
    world.take()
    world.refuse = {0}
    world.commit(1)
    assert 0 not in world.fanout.peers
    world.refuse = set()
    world.commit(1)
    assert world.take() == []
    world.hello(0, 2)
    assert world.take() == [(wire.DELTA, 3, 2), (wire.DELTA, 3, 4)]


def test_what_got_lost_is_sent_again_after_reports_without_progress(world):
    world.ready()
    world.hello(0, 2)
    world.commit(3)
    world.take()
    for _ in range(fanout.STALLED_REPORTS):
        world.report(0, 3)
        assert world.take() == []
    world.report(0, 3)
    assert world.take() == [(wire.DELTA, 4, 5)]


def test_lost_parts_begin_the_snapshot_anew(world):
    world.ready()
    world.commit(20)
    world.hello(0)
    world.take()
    for _ in range(fanout.STALLED_REPORTS + 1):
        world.report(0, 22, parts=1)
    assert (wire.SNAPSHOT_BEGIN,) in world.take()


def test_a_worker_that_is_up_to_date_may_report_for_ever(world):
    world.ready()
    world.hello(0, 2)
    world.take()
    for _ in range(10):
        world.report(0, 2, parts=37)
    assert world.take() == []


def test_workers_at_one_place_share_the_octets(world, monkeypatch):
    world.ready()
    for worker in range(4):
        world.hello(worker, 2)
    encodings = []
    encode_delta = wire.encode_delta
    monkeypatch.setattr(wire, "encode_delta", lambda *args: encodings.append(args) or encode_delta(*args))
    world.commit(5)
    assert len(encodings) == 1
    assert sum(len(world.take(worker)) for worker in range(4)) == 8
