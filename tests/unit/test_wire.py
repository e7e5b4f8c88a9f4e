"""What crosses a process decodes to what was encoded, or raises WireError."""

import msgpack
import pytest
from log_values import from_supervisor, from_worker, lists

from sipcore import location, wire

OP = [1, b"a@x", b"call", 7, False, [[b"sip:a@h", 600, 1000, b"", 0]], bytes(24), b"", b"phone"]
ENTRY = [wire.ENTRY_BINDINGS, 5, 0, 1, b"a@x", [], [b"sip:a@h"], 9]
STATE = [wire.ENTRY_STATE, 6, 1, 2]
SETTINGS = [wire.ENTRY_SETTINGS, 7, {"edge": {"listen": ["udp:a"]}, "sets": {1: {"algorithm": "o:4"}}}, b"k"]


def op_with(index, value):
    return [*OP[:index], value, *OP[index + 1:]]


@pytest.mark.parametrize("frame", [[wire.HELLO, 3, 4711, 1 << 62, 17], [wire.OPS, [OP, OP]], [wire.OPS, []],
                                   [wire.SNAPSHOT_REQUEST, 1, 0], [wire.APPLIED, 1, 2, 3]])
def test_a_worker_frame_comes_back(frame):
    assert from_worker(wire.encode(frame)) == frame


@pytest.mark.parametrize("frame", [
    [wire.WHO], [wire.SNAPSHOT_BEGIN, 1, 2], [wire.SNAPSHOT_PART, 3, [ENTRY]], [wire.SNAPSHOT_END, 1, 2, 3],
    [wire.DELTA, 1, 5, [ENTRY, STATE, SETTINGS]], [wire.REFUSED, [[1, 500, b"Request Out Of Order"]]]])
def test_a_supervisor_frame_comes_back_with_text_as_octets_and_settings_as_str(frame):
    assert from_supervisor(wire.encode(frame)) == frame


@pytest.mark.parametrize("count", [0, 1, 15, 16, 1000])
def test_frames_around_encoded_entries_are_the_frames_themselves(count):
    entries = [[wire.ENTRY_STATE, n, 1, 2] for n in range(count)]
    encoded = [wire.encode(entry) for entry in entries]
    assert wire.encode_delta(9, 70_000, encoded) == wire.encode([wire.DELTA, 9, 70_000, entries])
    assert wire.encode_part(300, encoded) == wire.encode([wire.SNAPSHOT_PART, 300, entries])
    assert lists(wire.decode_entries(wire.encode_entries(encoded)).split()) == entries


@pytest.mark.parametrize("octets", [
    b"", b"\xc1", b"\x95\x01", b"\x90", b"\x01", b"\x91\x00", b"\x91\x07", b"\x94\x01\x02\x03\x04",
    b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91" * 5000, wire.encode([wire.APPLIED, 1, 2, 3]) + b"\x00",
    wire.encode([wire.HELLO, 1, 2, 3, -1]), wire.encode([wire.HELLO, 1, 2, 3, b"x"]),
    wire.encode([wire.HELLO, 1, 2, 3, 1 << 63]), wire.encode([True, 1, 2, 3, 4]),
    wire.encode([wire.OPS, b"x"]), wire.encode([wire.OPS, [OP] * (wire.OPS_MAX + 1)]),
    *(wire.encode([wire.OPS, [op]]) for op in (
        OP[:-1], 7, op_with(0, -1), op_with(1, "a@x"), op_with(2, None), op_with(3, 1 << 32), op_with(4, 1),
        op_with(5, b"x"), op_with(5, [OP[5][0]] * (65)), op_with(5, [[b"a", 1 << 31, 0, b"", 0]]),
        op_with(5, [[b"a", 1, 1001, b"", 0]]), op_with(5, [["a", 1, 1, b"", 0]]), op_with(5, [[b"a", 1]]),
        op_with(6, bytes(23)), op_with(8, 1))),
])
def test_a_malformed_worker_frame_is_refused(octets):
    with pytest.raises(wire.WireError):
        wire.decode_from_worker(octets)


@pytest.mark.parametrize("octets", [
    b"", b"\xc1", b"\x91\x01", b"\x91" * 5000, b"\x92\x02\xa1\xff", wire.encode([wire.DELTA, 1, 2, 3]),
    wire.encode([wire.DELTA, 1, 2, [[1, 2]]]), wire.encode([wire.DELTA, 1, 2, [[9, 2, 3, 4]]]),
    wire.encode([wire.DELTA, 1, -2, []]), wire.encode([wire.SNAPSHOT_PART, 3, [ENTRY] * (wire.ENTRIES_MAX + 1)]),
    wire.encode([wire.REFUSED, [[1]]]), wire.encode({1: 2}),
])
def test_a_malformed_supervisor_frame_is_refused(octets):
    with pytest.raises(wire.WireError):
        wire.decode_from_supervisor(octets)


def test_a_frame_over_the_limit_is_refused_unread():
    with pytest.raises(wire.WireError, match="expected at most"):
        wire.decode_from_worker(b"\xc1" * (wire.FRAME_MAX + 1))


@pytest.mark.parametrize("octets", [
    b"\x91\x94\x03\x01\x01", b"\x92" + wire.encode(ENTRY), b"\x91" + wire.encode(ENTRY) * 2, b"\x01", b"\x91\x01", b""])
def test_stored_entries_that_are_cut_off_are_refused(octets):
    with pytest.raises(wire.WireError):
        wire.decode_entries(octets)


def test_full_frames_of_full_entries_fit_into_a_frame():
    put = [b"c" * location.LIMITS["contact"], b"i" * location.LIMITS["call_id"], 1 << 31, 1000, 1 << 60, bytes(24),
           b"", b"", b"a" * (location.LIMITS["texts"] - 768), 1 << 60]
    entry = [wire.ENTRY_BINDINGS, 1 << 60, 255, 1 << 60, b"a" * location.LIMITS["aor"], [put], [], 1 << 60]
    assert len(wire.encode([wire.SNAPSHOT_PART, 3, [entry] * wire.ENTRIES_MAX])) <= wire.FRAME_MAX


def test_the_module_packer_is_whole_after_a_failure():
    with pytest.raises((TypeError, ValueError, OverflowError)):
        wire.encode([1, object()])
    assert wire.encode([wire.WHO]) == msgpack.packb([0])
