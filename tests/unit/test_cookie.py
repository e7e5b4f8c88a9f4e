"""The Record-Route cookie: there and back, and every way in which it must not verify."""

import ipaddress
import string
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipcore import cookie

KEY = bytes(range(16))
CALL_ID = b"a84b4c76e66710@pc33.example.com"
TAG = b"1928301774"
TEXT_MAX = 96
LEGAL = string.ascii_letters + string.digits + "-_"
NONE = bytes(24)


def endpoint(ip, port=5060, transport=0, listener=0):
    """24 octets of struct Endpoint."""
    address = ipaddress.ip_address(ip)
    return struct.pack("=BBHHH16s", address.version, transport, listener, port, 0, address.packed)


V4, OTHER_V4, V6 = endpoint("192.0.2.1"), endpoint("198.51.100.7", 65535, 3, 2), endpoint("2001:db8::7", 1, 4, 65535)


def encoded(caller=V4, callee=OTHER_V4, destination=0xDEADBEEF, flags=5):
    return cookie.encode(KEY, CALL_ID, TAG, caller=caller, callee=callee, destination=destination, flags=flags)


def verifies(text, key=KEY, call_id=CALL_ID, tag=TAG):
    return cookie.decode(key, text, call_id, tag) is not None


PORTS = st.integers(0, 65535)
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
ENDPOINTS = st.one_of(st.just(NONE), st.builds(endpoint, ADDRESSES, PORTS, st.integers(0, 4), PORTS))
COOKIES = st.fixed_dictionaries({"caller": ENDPOINTS, "callee": ENDPOINTS, "destination": st.integers(0, 2**32 - 1),
                                 "flags": st.integers(0, 255)})


@settings(max_examples=200)
@given(COOKIES, st.binary(max_size=80), st.binary(max_size=40))
def test_there_and_back(fields, call_id, tag):
    text = cookie.encode(KEY, call_id, tag, **fields)
    assert len(text) <= TEXT_MAX
    assert set(text.decode()) <= set(LEGAL)
    assert cookie.decode(KEY, text, call_id, tag) == fields


@pytest.mark.parametrize(("caller", "callee", "length"), [(NONE, NONE, 22), (V4, V4, 43), (V4, V6, 59), (V6, V6, 75)])
def test_its_length(caller, callee, length):
    assert len(encoded(caller, callee)) == length


@pytest.mark.parametrize("callee", [NONE, OTHER_V4, V6])
def test_no_changed_character_verifies(callee):
    text = encoded(callee=callee)
    for at in range(len(text)):
        for other in LEGAL.encode():
            assert verifies(text[:at] + bytes([other]) + text[at + 1:]) == (other == text[at])
        for foreign in b"=+/ \0\xff~":
            assert not verifies(text[:at] + bytes([foreign]) + text[at + 1:])


@pytest.mark.parametrize("callee", [NONE, OTHER_V4, V6])
def test_neither_cut_nor_grown_verifies(callee):
    text = encoded(callee=callee)
    for length in range(len(text)):
        assert not verifies(text[:length])
    for more in (b"A", b"AA", b"AAA", b"AAAA", b"=", b"A" * (TEXT_MAX - len(text)), b"A" * 200):
        assert not verifies(text + more)
        assert not verifies(more + text)


def test_another_call_key_or_side_does_not_verify():
    text = encoded()
    assert verifies(text)
    assert not verifies(text, call_id=CALL_ID + b"x")
    assert not verifies(text, tag=TAG[:-1])
    assert not verifies(text, call_id=CALL_ID + TAG[:1], tag=TAG[1:])
    assert not verifies(text, key=bytes(16))


def test_the_two_sides_are_not_interchangeable():
    assert encoded(caller=V4, callee=V6) != encoded(caller=V6, callee=V4)


def test_what_the_wrappers_refuse():
    with pytest.raises(ValueError, match="16 octets, not 3"):
        cookie.decode(b"key", b"", b"", b"")
    with pytest.raises(ValueError, match="24 octets, not 4"):
        cookie.encode(KEY, b"", b"", caller=b"1234", callee=NONE)
