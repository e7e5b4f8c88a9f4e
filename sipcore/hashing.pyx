"""SipHash-2-4 of one piece, keys, hexadecimal text, and what Python sees of them."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

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
    #define VIADUCT_EACH(octet) ((octet) * 0x0101010101010101ULL)

    /* Eight hex digits of 32 bits, the highest first in the order of memory: all at once, an octet each. */
    static inline uint64_t viaduct_hex_digits(uint32_t value) {
        uint64_t v = value, letters;
        v = (v | v << 16) & 0x0000ffff0000ffffULL;
        v = (v | v << 8) & 0x00ff00ff00ff00ffULL;
        v = (v | v << 4) & VIADUCT_EACH(0x0f);
        letters = (v + VIADUCT_EACH(6)) >> 4 & VIADUCT_EACH(1);
        return htobe64(v + VIADUCT_EACH('0') + letters * ('a' - '0' - 10));
    }

    /* Back, of either case; *wrong gets bits where an octet is no digit. */
    static inline uint32_t viaduct_hex_number(uint64_t digits, uint64_t* wrong) {
        uint64_t letters = digits >> 6 & VIADUCT_EACH(1);
        uint64_t v = (digits & VIADUCT_EACH(0x0f)) + letters * 9;
        uint32_t value;
        v = be64toh(v);
        v = (v | v >> 4) & 0x00ff00ff00ff00ffULL;
        v = (v | v >> 8) & 0x0000ffff0000ffffULL;
        value = (uint32_t)(v | v >> 16);
        *wrong |= viaduct_hex_digits(value) ^ (digits | letters << 5);  /* what it is written as, its letters in lower case */
        return value;
    }
    """
    uint64_t viaduct_hex_digits(uint32_t value) nogil
    uint32_t viaduct_hex_number(uint64_t digits, uint64_t* wrong) nogil


cdef void hex_of(uint64_t value, uint8_t* out) noexcept nogil:
    cdef uint64_t high = viaduct_hex_digits(<uint32_t>(value >> 32))
    cdef uint64_t low = viaduct_hex_digits(<uint32_t>value)
    memcpy(out, &high, 8)
    memcpy(out + 8, &low, 8)


cdef bint hex_value(const uint8_t* text, uint64_t* value) noexcept nogil:
    cdef uint64_t digits, found, wrong = 0
    memcpy(&digits, text, 8)
    found = <uint64_t>viaduct_hex_number(digits, &wrong) << 32
    memcpy(&digits, text + 8, 8)
    found |= viaduct_hex_number(digits, &wrong)
    if wrong:
        return False
    value[0] = found
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
