"""Entries and operations read in place: what msgpack reads of them, every limit, every truncation, any octets."""

import random

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from log_values import entries, lists, operations

from sipcore import wire
from sipcore.entries import Entries, Operations, head
from sipcore.location import LocationTable
from sipcore.registration import Evaluator

FLOW = bytes(range(24))
PUT = [b"sip:a@h", b"call", 7, 1000, 1 << 40, FLOW, b"<urn:1>", b"<sip:p;lr>", b"phone", -5]
ENTRY = [1, 5, 2, 1 << 33, b"a@x", [PUT, [b"sip:b@h", *PUT[1:]]], [b"sip:c@h"], 1 << 41]
STATE = [wire.ENTRY_STATE, 6, 7, 2]
SETTINGS = [wire.ENTRY_SETTINGS, 7, {"a": [1.5, None, True, -1, "x" * 300], 3: b"y" * 70_000}, b"k" * 16]
OP = [1, b"a@x", b"call", 7, False, [[b"sip:a@h", 600, 1000, b"", 0], [b"sip:b@h", 0, 0, b"<urn:1>", 9]], FLOW, b"",
      b"phone"]


def replaced(value, path, new):
    """A copy with the field at path, a list of places, replaced; None: left out."""
    copy = list(value)
    if len(path) > 1:
        copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    elif new is None:
        del copy[path[0]]
    else:
        copy[path[0]] = new
    return copy


def applied(*values):
    """(the table that these entries make, as entries again)"""
    table = LocationTable()
    table.apply(entries(*values))
    return [entry for part in table.snapshot(10) for entry in lists(part)]


def test_what_is_read_is_what_msgpack_reads():
    (made,) = applied(ENTRY, STATE, SETTINGS)
    assert made == [1, 0, wire.ORIGIN_SUPERVISOR, 0, b"a@x", sorted(ENTRY[5]), [], 1 << 41]
    found = entries(ENTRY, STATE, SETTINGS)
    assert (len(found), lists(found.split())) == (3, [ENTRY, STATE, SETTINGS])
    assert lists(found.other_octets()) == [STATE, SETTINGS]


@pytest.mark.parametrize("number", [0, 1, 0x7F, 0x80, 0xFF, 0x100, 0xFFFF, 0x10000, 0xFFFFFFFF, 1 << 32, (1 << 63) - 2])
def test_numbers_of_every_length(number):
    (made,) = applied(replaced(ENTRY, [7], max(number, 1)))
    assert made[7] == max(number, 1)
    for time_ms in (number, -number):
        (made,) = applied(replaced(replaced(ENTRY, [5, 0, 4], time_ms), [5, 0, 9], time_ms - 1))
        assert made[5][0 if made[5][0][0] == PUT[0] else 1][4::5] == [time_ms, time_ms - 1]


@pytest.mark.parametrize(("head_octet", "size"), [
    (0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8), (0xD0, 1), (0xD1, 2), (0xD2, 4), (0xD3, 8)])
def test_times_are_read_however_they_are_written(head_octet, size):
    short = msgpack.packb([*ENTRY[:5], [replaced(PUT, [4], 0)], [], 1])
    at = short.index(b"\xc4\x18") - 1  # the time before the flow
    octets = short[:at] + bytes([head_octet]) + (100).to_bytes(size, "big") + short[at + 1:]
    assert msgpack.unpackb(octets)[5][0][4] == 100
    table = LocationTable()
    table.apply(Entries(b"\x91" + octets))
    assert table.bindings(b"a@x")[0][4] == 100


@pytest.mark.parametrize(("path", "most", "past"), [
    ([4], b"a" * 256, b"a" * 257), ([4], b"a", b""), ([4], b"a", "a@x"), ([4], b"a", 7),
    ([1], (1 << 63) - 2, 1 << 63), ([1], 0, -1), ([2], 0, b""), ([3], 0, 1.5), ([7], 0, -1), ([7], 0, True),
    ([5, 0, 0], b"c" * 512, b"c" * 513), ([5, 0, 0], b"c", b""), ([5, 0, 1], b"c" * 256, b"c" * 257),
    ([5, 0, 2], (1 << 32) - 1, 1 << 32), ([5, 0, 3], 65535, 65536), ([5, 0, 4], -(1 << 63), 1 << 63),
    ([5, 0, 5], FLOW, FLOW[:23]), ([5, 0, 5], FLOW, FLOW + b"x"), ([5, 0, 7], b"p" * 4073, b"p" * 4074),
    ([5, 0, 9], 0, None), ([5, 0], PUT, b"put"), ([5], [], None), ([5], [], {}), ([6, 0], b"c" * 512, b"c" * 513),
    ([6], [], b""), ([7], 0, None), ([0], 1, 0), ([0], 1, 5), ([0], 1, 2),
])
def test_each_limit_of_an_entry_and_one_past_it(path, most, past):
    entries(replaced(ENTRY, path, most))
    with pytest.raises(wire.WireError):
        entries(replaced(ENTRY, path, past))


@pytest.mark.parametrize(("path", "most", "past"), [
    ([0], (1 << 63) - 2, 1 << 63), ([1], b"a" * 65535, b"a" * 65536), ([3], (1 << 32) - 1, 1 << 32), ([4], True, 1),
    ([5], [OP[5][0]] * 64, [OP[5][0]] * 65), ([5, 0, 1], (1 << 31) - 1, 1 << 31), ([5, 0, 2], 1000, 1001),
    ([5, 0, 4], (1 << 32) - 1, 1 << 32), ([5, 0, 0], b"", "uri"), ([5, 0], OP[5][0], []), ([6], FLOW, b""),
    ([8], b"", None), ([7], b"p" * 65535, b"p" * 65536),
])
def test_each_limit_of_an_operation_and_one_past_it(path, most, past):
    operations(replaced(OP, path, most))
    with pytest.raises(wire.WireError):
        operations(replaced(OP, path, past))


@pytest.mark.parametrize(("read", "octets"), [
    (Entries, wire.encode_entries([wire.encode(one) for one in (ENTRY, STATE, SETTINGS)])),
    (Operations, wire.encode([OP, OP])),
])
def test_what_is_cut_off_at_any_octet_or_goes_on_is_refused(read, octets):
    cuts = range(len(octets)) if len(octets) < 5000 else [*range(1000), *range(1000, len(octets), 97)]
    for length in cuts:
        with pytest.raises(ValueError, match="is not what sipcore/wire.py says"):
            read(octets[:length])
    with pytest.raises(ValueError, match=f"octet {len(octets)} of {len(octets) + 1}"):
        read(octets + b"\x00")
    assert len(read(octets)) >= 2


@pytest.mark.parametrize("octets", [
    b"", b"\x01", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\x91" * 5000,
    *(b"\x91\x94\x03\x01" + value for value in (b"\xdd\xff\xff\xff\xff\x00", b"\xdf\xff\xff\xff\xff\x00\x00",
                                                b"\xc7\x01\x05x\x00", b"\xc6\xff\xff\xff\xff\x00"))])
def test_sizes_that_are_not_there_are_refused(octets):
    for read in (Entries, Operations):
        with pytest.raises(ValueError, match="is not what"):
            read(octets)


@pytest.mark.parametrize("at", [0, 5, 9])
def test_reading_begins_where_it_is_told_to(at):
    assert len(Entries(b"x" * at + wire.encode([ENTRY]), at)) == 1
    with pytest.raises(ValueError, match="is not what"):
        Entries(wire.encode([ENTRY]), 10_000)


def test_a_frames_head_is_its_numbers():
    assert head(wire.encode([4, 1 << 62, 70_000, []])) == ([4, 1 << 62, 70_000], 16)
    for octets in (b"", b"\x90", b"\x96\x01\x01\x01\x01\x01\x90", b"\x93\x01", b"\x92\xa1x\x90"):
        with pytest.raises(ValueError, match="a frame's head"):
            head(octets)


LEAVES = (st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.binary(max_size=300)
          | st.text(max_size=40))
KEYS = st.integers(0, 99) | st.text(max_size=4)


@given(st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(KEYS, inner, max_size=20)))
@settings(max_examples=200, deadline=None)
def test_any_value_of_an_entry_that_only_python_reads_is_passed_over(value):
    octets = wire.encode_entries([wire.encode([4, 1, value, b"k"]), wire.encode(ENTRY)])
    assert [piece == wire.encode(ENTRY) for piece in Entries(octets).split()] == [False, True]


@pytest.mark.parametrize("seed", range(4))
def test_damaged_octets_are_refused_or_read_as_msgpack_reads_them(seed):
    chance = random.Random(seed)
    good = {Entries: wire.encode_entries([wire.encode(ENTRY), wire.encode(STATE)]), Operations: wire.encode([OP, OP])}
    for _ in range(4000):
        read, octets = chance.choice(list(good.items()))
        damaged = bytearray(octets)
        for _ in range(chance.choice([1, 1, 2, 5])):
            at = chance.randrange(len(damaged))
            damaged[at:at + chance.randrange(2)] = bytes(chance.randrange(256) for _ in range(chance.randrange(3)))
        try:
            found = read(bytes(damaged))
        except ValueError:
            continue
        values = msgpack.unpackb(bytes(damaged), raw=True, strict_map_key=False)
        assert len(values) == len(found)
        table = LocationTable()
        if read is Entries:
            table.apply(found)
            bound = [value[4] for value in values if value[0] == wire.ENTRY_BINDINGS and (value[5] or value[7])]
            assert all(table.bindings(aor) is not None for aor in bound)
        else:
            encoded, refused = Evaluator(table).evaluate(found, 1, 1000, 1)
            assert len(encoded) + len(refused) == len(values)
