"""SipHash-2-4 of one piece, keys, hexadecimal text, and what Python sees of them."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    KEY_LENGTH = 16   # octets of a key
    HEX_LENGTH = 16   # digits of a 64-bit value


cdef void hashkey_set(HashKey* key, const uint8_t* octets) noexcept nogil:
    key.k0 = hash_load(octets)
    key.k1 = hash_load(octets + 8)


cdef uint64_t siphash(const HashKey* key, const uint8_t* data, uint32_t length) noexcept nogil:
    cdef Hasher hasher   # local and inlined throughout: the compiler keeps it in registers
    cdef uint32_t i
    hasher_start(&hasher, key)
    for i in range(length >> 3):
        hash_mix(&hasher, hash_load(data))
        data += 8
    return hash_finish(&hasher, hash_load_tail(data, length & 7) | <uint64_t>length << 56)


cdef extern from *:
    """
    static const char VIADUCT_HEX[16] = "0123456789abcdef";
    """
    const uint8_t VIADUCT_HEX[16]


cdef void hex_of(uint64_t value, uint8_t* out) noexcept nogil:
    cdef int i
    for i in range(HEX_LENGTH):
        out[i] = VIADUCT_HEX[value >> (60 - 4 * i) & 15]


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


def keyed_hash_fields(bytes key, fields) -> int:
    """The same of fields (bytes) and words (int)."""
    cdef HashKey k = key_of(key)
    cdef Hasher hasher
    cdef bytes octets
    hasher_start(&hasher, &k)
    for field in fields:
        if isinstance(field, int):
            hasher_add_word(&hasher, field)
        else:
            octets = field
            hasher_add_field(&hasher, octets, len(octets))
    return hasher_end(&hasher)


def quick_hash(uint64_t start, fields) -> int:
    """The quick hash of fields (bytes) and words (int), from a start of 64 bits."""
    cdef uint64_t value = start
    cdef bytes octets
    for field in fields:
        if isinstance(field, int):
            value = quick_word(value, field)
        else:
            octets = field
            value = quick_field(value, octets, len(octets))
    return value


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
