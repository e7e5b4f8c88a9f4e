"""The replica's own side: snapshots, gaps, acknowledgements, and what it asks for when."""

import pytest
from log_values import from_worker

from sipcore import wire
from sipcore.location import LocationTable
from workers import replica as replicas
from workers.outstanding import RETRY_MS, Outstanding
from workers.replica import Replica

FLOW = bytes(24)
EPOCH = 77
PID = 4711
OPERATION = [b"a@x", b"call", 1, False, [[b"sip:a@h", 600, 1000, b"", 0]], FLOW, b"", b""]


class Destinations:
    def __init__(self):
        self.calls = []

    def replace(self, generation, sets):
        if sets is None:
            raise ValueError("no sets")
        self.calls.append((generation, sets))

    def set_state(self, destination, state):
        self.calls.append((destination, state))


def bindings(sequence, aor=b"a@x", origin=255, op_id=0):
    put = [b"sip:a@h", b"call", sequence, 1000, 10**9, FLOW, b"", b"", b"", 5]
    return [wire.ENTRY_BINDINGS, sequence, origin, op_id, aor, [put], [], 10**9]


def feed(replica, *frames):
    return [event for frame in frames for event in replica.feed(wire.encode(frame))]


def sent(replica, now_ms):
    """The frames to send but for APPLIED."""
    frames = [from_worker(frame) for frame in replica.outgoing(now_ms)]
    return [frame for frame in frames if frame[0] != wire.APPLIED]


@pytest.fixture
def replica():
    return Replica(0, PID, LocationTable(), Destinations(), Outstanding(PID))


@pytest.fixture
def live(replica):
    feed(replica, [wire.SNAPSHOT_BEGIN, EPOCH, 10], [wire.SNAPSHOT_PART, 0, [bindings(0)]],
         [wire.SNAPSHOT_END, EPOCH, 10, 1])
    replica.outgoing(0)
    return replica


def test_a_snapshot_makes_it_live_and_settings_come_first(replica):
    settings = {"edge": {"listen": ["udp:127.0.0.1:5060"]}}
    events = feed(replica, [wire.SNAPSHOT_BEGIN, EPOCH, 10],
                  [wire.SNAPSHOT_PART, 0, [[wire.ENTRY_SETTINGS, 10, settings, b"k" * 16],
                                           [wire.ENTRY_DESTINATIONS, 10, 3, []]]])
    assert events == [(replicas.EVENT_SETTINGS, settings, b"k" * 16), (replicas.EVENT_DESTINATIONS, 3)]
    assert not replica.live
    events = feed(replica, [wire.SNAPSHOT_PART, 1, [bindings(0)]], [wire.SNAPSHOT_END, EPOCH, 10, 2])
    assert events == [(replicas.EVENT_LIVE, 10)]
    assert (replica.live, replica.sequence, replica.table.counts()["bindings"]) == (True, 10, 1)


def test_the_greeting_and_who_are_answered_by_hello(live):
    for nudge in (b"", wire.encode([wire.WHO])):
        assert live.feed(nudge) == []
        assert sent(live, 5) == [[wire.HELLO, 0, PID, EPOCH, 10]]
        assert sent(live, 6) == []


def test_hello_in_the_middle_of_a_snapshot_claims_nothing(replica):
    feed(replica, [wire.SNAPSHOT_BEGIN, EPOCH, 10], [wire.WHO])
    assert sent(replica, 5) == [[wire.HELLO, 0, PID, 0, 0]]


def test_own_entries_acknowledge_and_others_do_not(live):
    first, second = live.outstanding.add(OPERATION), live.outstanding.add(OPERATION)
    (ops,) = sent(live, 5)
    assert ops == [wire.OPS, [[first, *OPERATION], [second, *OPERATION]]]
    own = bindings(11, origin=0, op_id=first)
    events = feed(live, [wire.DELTA, EPOCH, 11, [own, bindings(12, origin=1, op_id=second)]],
                  [wire.REFUSED, [[second, 500, b"Request Out Of Order"]]])
    assert events == [(replicas.EVENT_ACKNOWLEDGED, [first]),
                      (replicas.EVENT_REFUSED, second, 500, b"Request Out Of Order")]


def test_an_heir_does_not_take_its_forerunners_acknowledgements(live):
    assert live.outstanding.add(OPERATION) >> 32 == PID


def test_acknowledgements_wait_until_the_table_is_whole(replica):
    feed(replica, [wire.SNAPSHOT_BEGIN, EPOCH, 10])
    op_id = replica.outstanding.add(OPERATION)
    assert feed(replica, [wire.DELTA, EPOCH, 11, [bindings(11, origin=0, op_id=op_id)]]) == []
    events = feed(replica, [wire.SNAPSHOT_END, EPOCH, 11, 0])
    assert [event[0] for event in events] == [replicas.EVENT_LIVE, replicas.EVENT_ACKNOWLEDGED]


def test_a_gap_asks_once_and_what_fills_it_is_enough(live):
    assert feed(live, [wire.DELTA, EPOCH, 13, [bindings(13)]]) == []
    assert sent(live, 5) == [[wire.SNAPSHOT_REQUEST, EPOCH, 10]]
    assert feed(live, [wire.DELTA, EPOCH, 14, [bindings(14)]]) == []
    assert sent(live, 6) == []
    feed(live, [wire.DELTA, EPOCH, 11, [bindings(n) for n in range(11, 15)]])
    assert (live.state, live.sequence, live.live) == (replicas.FOLLOWING, 14, True)


def test_entries_that_it_has_are_skipped(live):
    feed(live, [wire.DELTA, EPOCH, 9, [bindings(9), bindings(10), bindings(11)]])
    assert live.sequence == 11
    assert live.table.find(b"a@x")[0]["cseq"] == 11


def test_another_epoch_is_a_gap_and_old_bindings_serve_until_its_snapshot_ends(live):
    feed(live, [wire.DELTA, EPOCH + 1, 11, [bindings(11, b"b@x")]])
    assert sent(live, 5) == [[wire.SNAPSHOT_REQUEST, EPOCH, 10]]
    feed(live, [wire.SNAPSHOT_BEGIN, EPOCH + 1, 3], [wire.SNAPSHOT_PART, 0, [bindings(0, b"b@x")]])
    assert live.live
    assert live.table.find(b"a@x")
    assert feed(live, [wire.SNAPSHOT_END, EPOCH + 1, 3, 1]) == []
    assert live.table.find(b"a@x") is None
    assert live.table.find(b"b@x")


@pytest.mark.parametrize("parts", [[1], [0, 2]])
def test_a_missing_part_asks_anew(replica, parts):
    feed(replica, [wire.SNAPSHOT_BEGIN, EPOCH, 10], *([wire.SNAPSHOT_PART, number, []] for number in parts))
    assert sent(replica, 5) == [[wire.SNAPSHOT_REQUEST, 0, 0]]
    assert feed(replica, [wire.SNAPSHOT_END, EPOCH, 10, 3]) == []
    assert not replica.live


@pytest.mark.parametrize("end", [[EPOCH, 11, 1], [EPOCH + 1, 10, 1], [EPOCH, 10, 2]])
def test_an_end_that_does_not_fit_asks_anew(replica, end):
    feed(replica, [wire.SNAPSHOT_BEGIN, EPOCH, 10], [wire.SNAPSHOT_PART, 0, []], [wire.SNAPSHOT_END, *end])
    assert not replica.live
    assert sent(replica, 5) == [[wire.SNAPSHOT_REQUEST, 0, 0]]


def test_a_part_that_comes_twice_counts_once(replica):
    part = [wire.SNAPSHOT_PART, 0, [bindings(0)]]
    feed(replica, [wire.SNAPSHOT_BEGIN, EPOCH, 10], part, part, [wire.SNAPSHOT_END, EPOCH, 10, 1])
    assert replica.live


@pytest.mark.parametrize("frame", [b"\xc1", wire.encode([wire.DELTA, EPOCH, 11, [bindings(11, b"")]])])
def test_what_it_does_not_understand_is_a_fault_and_a_later_question(live, frame):
    ((event, sentence),) = live.feed(frame)
    assert event == replicas.EVENT_FAULT
    assert "behind 10" in sentence
    assert live.live
    assert sent(live, 100) == []
    assert sent(live, 100 + replicas.RETRY_MS) == [[wire.SNAPSHOT_REQUEST, 0, 0]]


def test_destinations_that_are_refused_leave_the_log_going(live):
    events = feed(live, [wire.DELTA, EPOCH, 11, [[wire.ENTRY_DESTINATIONS, 11, 4, None], [wire.ENTRY_STATE, 12, 7, 2]]])
    assert [event[0] for event in events] == [replicas.EVENT_FAULT]
    assert (live.sequence, live.state, live.dispatcher.calls) == (12, replicas.FOLLOWING, [(7, 2)])


def test_operations_are_sent_again_after_hello_and_after_silence(live):
    op_id = live.outstanding.add(OPERATION)
    assert [frame[0] for frame in sent(live, 5)] == [wire.OPS]
    assert sent(live, 6) == []
    live.feed(b"")
    assert [frame[0] for frame in sent(live, 7)] == [wire.HELLO, wire.OPS]
    assert [frame[0] for frame in sent(live, 7 + RETRY_MS)] == [wire.OPS]
    live.outstanding.forget(op_id)
    assert sent(live, 100_000) == []


def test_what_was_applied_is_reported_by_time_entries_and_parts(live):
    def reports(now_ms):
        frames = [from_worker(frame) for frame in live.outgoing(now_ms)]
        return [frame[1:] for frame in frames if frame[0] == wire.APPLIED]

    assert reports(replicas.REPORT_MS * 5) == [[EPOCH, 10, 1]]
    assert reports(replicas.REPORT_MS * 5 + 1) == []
    feed(live, [wire.DELTA, EPOCH, 11, [bindings(11)]])
    assert reports(replicas.REPORT_MS * 5 + 2) == []
    feed(live, [wire.DELTA, EPOCH, 12, [bindings(n) for n in range(12, 12 + wire.ENTRIES_MAX)]])
    assert reports(replicas.REPORT_MS * 5 + 3) == [[EPOCH, 11 + wire.ENTRIES_MAX, 1]]
    assert reports(replicas.REPORT_MS * 6 + 4) == [[EPOCH, 11 + wire.ENTRIES_MAX, 1]]


def test_without_an_answer_it_asks_again(replica):
    assert sent(replica, 1000) == []
    assert sent(replica, 1000 + replicas.RETRY_MS) == [[wire.SNAPSHOT_REQUEST, 0, 0]]
    assert sent(replica, 1001 + replicas.RETRY_MS) == []
    assert sent(replica, 1000 + 2 * replicas.RETRY_MS) == [[wire.SNAPSHOT_REQUEST, 0, 0]]
