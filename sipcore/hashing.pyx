"""SipHash-2-4 (Aumasson and Bernstein, 2012): whole, in pieces, in fields, and as text."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from "<endian.h>" nogil:
    uint64_t le64toh(uint64_t value)

cdef enum:
    KEY_LENGTH = 16   # octets of a key
    HEX_LENGTH = 16   # digits of a 64-bit value


cdef inline uint64_t load64(const uint8_t* data) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, data, 8)
    return le64toh(word)


cdef inline uint64_t rotate(uint64_t value, int by) noexcept nogil:
    return (value << by) | (value >> (64 - by))


cdef inline void sip_round(Hasher* hasher) noexcept nogil:
    hasher.v0 += hasher.v1
    hasher.v2 += hasher.v3
    hasher.v1 = rotate(hasher.v1, 13) ^ hasher.v0
    hasher.v3 = rotate(hasher.v3, 16) ^ hasher.v2
    hasher.v0 = rotate(hasher.v0, 32)
    hasher.v2 += hasher.v1
    hasher.v0 += hasher.v3
    hasher.v1 = rotate(hasher.v1, 17) ^ hasher.v2
    hasher.v3 = rotate(hasher.v3, 21) ^ hasher.v0
    hasher.v2 = rotate(hasher.v2, 32)


cdef inline void sip_mix(Hasher* hasher, uint64_t word) noexcept nogil:
    hasher.v3 ^= word
    sip_round(hasher)
    sip_round(hasher)
    hasher.v0 ^= word


cdef inline void start(Hasher* hasher, const HashKey* key) noexcept nogil:
    # the four constants spell "somepseudorandomlygeneratedbytes"
    hasher.v0 = key.k0 ^ <uint64_t>0x736F6D6570736575
    hasher.v1 = key.k1 ^ <uint64_t>0x646F72616E646F6D
    hasher.v2 = key.k0 ^ <uint64_t>0x6C7967656E657261
    hasher.v3 = key.k1 ^ <uint64_t>0x7465646279746573
    hasher.tail = 0
    hasher.tail_length = 0
    hasher.length = 0


cdef inline uint64_t load_tail(const uint8_t* data, uint32_t length) noexcept nogil:
    """The last `length` (0..7) octets as a word, little endian."""
    cdef uint64_t word = 0
    cdef uint32_t i
    for i in range(length):
        word |= <uint64_t>data[i] << (8 * i)
    return word


cdef inline uint64_t finish(Hasher* hasher) noexcept nogil:
    cdef int i
    sip_mix(hasher, hasher.tail | hasher.length << 56)
    hasher.v2 ^= 0xFF
    for i in range(4):
        sip_round(hasher)
    return hasher.v0 ^ hasher.v1 ^ hasher.v2 ^ hasher.v3


cdef void hashkey_set(HashKey* key, const uint8_t* octets) noexcept nogil:
    key.k0 = load64(octets)
    key.k1 = load64(octets + 8)


cdef void hasher_start(Hasher* hasher, const HashKey* key) noexcept nogil:
    start(hasher, key)


cdef void hasher_add(Hasher* hasher, const uint8_t* data, uint32_t length) noexcept nogil:
    cdef uint32_t missing, i
    hasher.length += length
    if hasher.tail_length:
        missing = 8 - hasher.tail_length
        if length < missing:
            hasher.tail |= load_tail(data, length) << (8 * hasher.tail_length)
            hasher.tail_length += length
            return
        # missing is 1..7 here: a tail of 8 octets is never kept
        sip_mix(hasher, hasher.tail | load_tail(data, missing) << (8 * hasher.tail_length))
        data += missing
        length -= missing
    for i in range(length >> 3):
        sip_mix(hasher, load64(data))
        data += 8
    hasher.tail_length = length & 7
    hasher.tail = load_tail(data, hasher.tail_length)


cdef void hasher_add_field(Hasher* hasher, const uint8_t* data, uint32_t length) noexcept nogil:
    cdef uint8_t prefix[4]
    prefix[0] = length & 0xFF
    prefix[1] = length >> 8 & 0xFF
    prefix[2] = length >> 16 & 0xFF
    prefix[3] = length >> 24
    hasher_add(hasher, prefix, 4)
    hasher_add(hasher, data, length)


cdef uint64_t hasher_end(Hasher* hasher) noexcept nogil:
    return finish(hasher)


cdef uint64_t siphash(const HashKey* key, const uint8_t* data, uint32_t length) noexcept nogil:
    cdef Hasher hasher   # local and inlined throughout: the compiler keeps it in registers
    cdef uint32_t i
    start(&hasher, key)
    for i in range(length >> 3):
        sip_mix(&hasher, load64(data))
        data += 8
    hasher.tail = load_tail(data, length & 7)
    hasher.length = length
    return finish(&hasher)


cdef void hex_of(uint64_t value, uint8_t* out) noexcept nogil:
    cdef int i
    cdef uint8_t digit
    for i in range(HEX_LENGTH):
        digit = value >> (60 - 4 * i) & 15
        out[i] = digit + (48 if digit < 10 else 87)


cdef bint hex_value(const uint8_t* text, uint64_t* value) noexcept nogil:
    cdef uint64_t result = 0
    cdef int i
    cdef uint8_t c
    for i in range(HEX_LENGTH):
        c = text[i]
        if 48 <= c <= 57:
            c -= 48
        elif 97 <= c | 0x20 <= 102:
            c = (c | 0x20) - 87
        else:
            return False
        result = result << 4 | c
    value[0] = result
    return True


# Wrappers for tests and tools.

cdef HashKey key_of(bytes key) except *:
    cdef HashKey result
    if len(key) != KEY_LENGTH:
        raise ValueError(f"a hash key is {KEY_LENGTH} octets, not {len(key)}")
    hashkey_set(&result, key)
    return result


def keyed_hash(bytes key, bytes data) -> int:
    """SipHash-2-4 of data under a key of 16 octets."""
    cdef HashKey k = key_of(key)
    return siphash(&k, data, len(data))


def keyed_hash_pieces(bytes key, pieces, *, bint fields=False) -> int:
    """The same fed piece by piece; with fields, each piece goes in behind its length."""
    cdef HashKey k = key_of(key)
    cdef Hasher hasher
    cdef bytes piece
    hasher_start(&hasher, &k)
    for piece in pieces:
        if fields:
            hasher_add_field(&hasher, piece, len(piece))
        else:
            hasher_add(&hasher, piece, len(piece))
    return hasher_end(&hasher)


def hex_text(uint64_t value) -> bytes:
    """16 lower-case hexadecimal digits."""
    cdef uint8_t out[HEX_LENGTH]
    hex_of(value, out)
    return (<char*>out)[:HEX_LENGTH]


def hex_number(bytes text) -> int:
    """The value of 16 hexadecimal digits of either case; ValueError where text is anything else."""
    cdef uint64_t value = 0
    if len(text) != HEX_LENGTH or not hex_value(text, &value):
        raise ValueError(f"expected {HEX_LENGTH} hexadecimal digits, found {text!r}")
    return value


def time_siphash(bytes data, uint32_t rounds) -> int:
    """Hashes data `rounds` times for benchmarks; the sum of the hashes, so that no round is optimised away."""
    cdef HashKey key
    cdef uint64_t total = 0
    cdef const uint8_t* octets = data
    cdef uint32_t i, length = len(data)
    key.k0 = key.k1 = 1
    with nogil:
        for i in range(rounds):
            key.k0 = total
            total += siphash(&key, octets, length)
    return total
