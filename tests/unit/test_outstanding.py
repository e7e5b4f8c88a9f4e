"""The operations of one worker: numbered, sent in frames that decode, sent again, given up, bounded."""

import pytest
from log_values import from_worker

from sipcore import wire
from workers.outstanding import GIVE_UP_MS, RETRY_MS, Outstanding

PID = 4711
OPERATION = [b"a@x", b"call", 1, False, [[b"sip:a@h", 600, 1000, b"", 0]], bytes(24), b"", b""]
OUTSTANDING_MAX = 20_000


@pytest.fixture
def outstanding():
    return Outstanding(PID)


def sent(outstanding, now_ms):
    """The numbers of what each frame carries."""
    return [[op[0] for op in from_worker(frame)[1]] for frame in outstanding.frames(now_ms)]


def test_a_frame_carries_what_was_added_under_its_number(outstanding):
    op_id = outstanding.add(OPERATION, 5)
    assert op_id >> 32 == PID
    (frame,) = outstanding.frames(5)
    assert frame == wire.encode([wire.OPS, [[op_id, *OPERATION]]])
    assert outstanding.frames(6) == []


def test_silence_sends_again_what_has_waited_long_enough(outstanding):
    old, young = outstanding.add(OPERATION, 0), 0
    assert sent(outstanding, 0) == [[old]]
    young = outstanding.add(OPERATION, 1000)
    assert sent(outstanding, 1000) == [[young]]
    assert sent(outstanding, RETRY_MS - 1) == []
    assert sent(outstanding, RETRY_MS) == [[old]]
    assert sent(outstanding, RETRY_MS + 1000) == [[young]]
    outstanding.forget(old)
    assert sent(outstanding, 2 * RETRY_MS + 1000) == [[young]]
    outstanding.forget(young)
    outstanding.forget(young)
    assert len(outstanding) == 0
    assert sent(outstanding, 9 * RETRY_MS) == []


def test_whoever_says_hello_sends_all_at_once(outstanding):
    op_ids = [outstanding.add(OPERATION, 0) for _ in range(3)]
    assert sent(outstanding, 0) == [op_ids]
    outstanding.forget(op_ids[1])
    outstanding.send_all()
    assert sent(outstanding, 1) == [[op_ids[0], op_ids[2]]]


def test_what_nobody_waits_for_any_longer_is_given_up(outstanding):
    outstanding.add(OPERATION, 0)
    outstanding.frames(0)
    assert len(sent(outstanding, GIVE_UP_MS - 1)) == 1
    assert sent(outstanding, GIVE_UP_MS + RETRY_MS) == []
    assert len(outstanding) == 0


def test_a_storm_is_bounded_and_sent_in_frames_that_decode(outstanding):
    op_ids = [outstanding.add(OPERATION, 0) for _ in range(OUTSTANDING_MAX)]
    assert all(op_ids)
    assert outstanding.add(OPERATION, 0) == 0
    frames = sent(outstanding, 0)
    assert [len(frame) for frame in frames] == [wire.OPS_MAX] * (OUTSTANDING_MAX // wire.OPS_MAX)
    assert sum(frames, []) == op_ids
    for op_id in op_ids:
        outstanding.forget(op_id)
    assert outstanding.add(OPERATION, 0)


def test_one_that_is_never_answered_holds_up_nobody_for_long(outstanding):
    stuck, others = outstanding.add(OPERATION, 0), 0
    while op_id := outstanding.add(OPERATION, 0):
        outstanding.forget(op_id)
        others += 1
    assert others == 32768 - 1  # the ring
    outstanding.frames(0)
    outstanding.frames(GIVE_UP_MS + RETRY_MS)
    assert len(outstanding) == 0
    assert outstanding.add(OPERATION, 0) > stuck


def test_numbers_of_others_are_nobodys(outstanding):
    op_id = outstanding.add(OPERATION, 0)
    for other in (0, op_id + 1, op_id - 1, op_id + 32768, (1 << 64) - 1):
        outstanding.forget(other)
    assert len(outstanding) == 1
