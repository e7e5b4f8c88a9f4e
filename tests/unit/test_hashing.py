"""SipHash-2-4 against the paper and a plain Python oracle; fields, words and text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipcore import hashing

KEY = bytes(range(16))
MASK = 2**64 - 1


def oracle(key, data):
    """SipHash-2-4, written from the paper's section 2."""
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rotate(x, by):
        return (x << by | x >> 64 - by) & MASK

    def half(a, b, c, d, turns):
        v[a] = v[a] + v[b] & MASK
        v[c] = v[c] + v[d] & MASK
        v[b] = rotate(v[b], turns[0]) ^ v[a]
        v[d] = rotate(v[d], turns[1]) ^ v[c]
        v[a] = rotate(v[a], 32)

    def rounds(number):
        for _ in range(number):
            half(0, 1, 2, 3, (13, 16))
            half(2, 1, 0, 3, (17, 21))

    padded = data + bytes(-(len(data) + 1) % 8) + bytes([len(data) & 255])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at:at + 8], "little")
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


PUBLISHED = [(0, 0x726FDB47DD0E0E31), (1, 0x74F839C593DC67FD), (8, 0x93F5F5799A932462), (15, 0xA129CA6149BE45E5)]


@pytest.mark.parametrize(("length", "value"), PUBLISHED)
def test_the_published_values(length, value):
    assert hashing.keyed_hash(KEY, bytes(range(length))) == value
    assert oracle(KEY, bytes(range(length))) == value


@pytest.mark.parametrize("length", range(64))
def test_every_length_of_the_reference_input(length):
    assert hashing.keyed_hash(KEY, bytes(range(length))) == oracle(KEY, bytes(range(length)))


@settings(max_examples=200)
@given(st.binary(min_size=16, max_size=16), st.binary(max_size=200))
def test_any_octets_under_any_key(key, data):
    assert hashing.keyed_hash(key, data) == oracle(key, data)


def encoded(field):
    """A field as it goes in: its length, its octets, zeros up to a whole word; a word as it is."""
    if isinstance(field, int):
        return field.to_bytes(8, "little")
    text = len(field).to_bytes(4, "little") + field
    return text + bytes(-len(text) % 8)


@settings(max_examples=200)
@given(st.lists(st.one_of(st.binary(max_size=40), st.integers(0, MASK)), max_size=8))
def test_fields_and_words_are_hashed_as_their_encoding(fields):
    assert hashing.keyed_hash_fields(KEY, fields) == oracle(KEY, b"".join(map(encoded, fields)))


@pytest.mark.parametrize("length", range(32))
def test_a_field_of_every_length(length):
    field = bytes(range(255, 255 - length, -1))
    assert hashing.keyed_hash_fields(KEY, [field]) == oracle(KEY, encoded(field))


def test_where_a_field_ends_matters():
    one, other = (hashing.keyed_hash_fields(KEY, fields) for fields in ([b"ab", b"c"], [b"a", b"bc"]))
    assert one != other


def quick_oracle(value, fields):
    for field in fields:
        words = [field]
        if not isinstance(field, int):
            octets = field + bytes(-len(field) % 8)
            words = [len(field), *(int.from_bytes(octets[at:at + 8], "little") for at in range(0, len(octets), 8))]
        for word in words:
            value = (value ^ word) * 0x9E3779B97F4A7C15 & MASK
            value ^= value >> 32
    return value


@settings(max_examples=200)
@given(st.integers(0, 2**31 - 1), st.lists(st.one_of(st.binary(max_size=40), st.integers(0, MASK)), max_size=8))
def test_the_quick_hash_is_what_it_says(start, fields):
    assert hashing.quick_hash(start, fields) == quick_oracle(start, fields)


def test_the_quick_hash_tells_every_flipped_bit():
    plain = bytes(range(40))
    flipped = {hashing.quick_hash(7, [plain[:at] + bytes([plain[at] ^ 1 << bit]) + plain[at + 1:]]) >> 36
               for at in range(40) for bit in range(8)}
    assert len(flipped | {hashing.quick_hash(7, [plain]) >> 36}) == 321


def test_a_key_of_the_wrong_length():
    with pytest.raises(ValueError, match="16 octets, not 15"):
        hashing.keyed_hash(KEY[:15], b"")


@given(st.integers(0, MASK))
def test_hexadecimal_there_and_back(value):
    text = hashing.hex_text(value)
    assert text == b"%016x" % value
    assert hashing.hex_number(text) == hashing.hex_number(text.upper()) == value


NOT_DIGITS = [bytes([octet]) + b"0" * 15 for octet in b"/:@G`g \xff\0"]   # neighbours of digits in ASCII, and others


@pytest.mark.parametrize("octet", range(256))
@pytest.mark.parametrize("place", [0, 3, 7, 8, 15])
def test_every_octet_is_a_digit_or_none(octet, place):
    text = b"0" * place + bytes([octet]) + b"0" * (15 - place)
    if octet in b"0123456789abcdefABCDEF":
        assert hashing.hex_number(text) == int(text, 16)
    else:
        with pytest.raises(ValueError, match="16 hexadecimal digits"):
            hashing.hex_number(text)


@pytest.mark.parametrize("text", [b"", b"0" * 15, b"0" * 17, b"0x" + b"0" * 14, *NOT_DIGITS])
def test_not_hexadecimal(text):
    with pytest.raises(ValueError, match="16 hexadecimal digits"):
        hashing.hex_number(text)
