"""Keyed hashing: SipHash-2-4 (Aumasson and Bernstein, 2012) of one piece or of fields, and its text form. Leaf bodies inline.

A field goes in as its length (4 octets, little endian) and its octets, padded with zeros to whole words of 8: where a field ends
matters ("ab","c" is not "a","bc"), and the hash never has to shift octets from one word into the next.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from "<endian.h>" nogil:
    uint32_t le32toh(uint32_t value)
    uint64_t le64toh(uint64_t value)

cdef struct HashKey:
    uint64_t k0
    uint64_t k1

cdef struct Hasher:
    uint64_t v0
    uint64_t v1
    uint64_t v2
    uint64_t v3
    uint64_t words      # mixed in so far

# a key from its 16 octets, as the log carries it
cdef void hashkey_set(HashKey* key, const uint8_t* octets) noexcept nogil
cdef uint64_t siphash(const HashKey* key, const uint8_t* data, uint32_t length) noexcept nogil
# 16 lower-case hex digits; back, of either case: False where text is not 16 hex digits
cdef void hex_of(uint64_t value, uint8_t* out) noexcept nogil
cdef bint hex_value(const uint8_t* text, uint64_t* value) noexcept nogil


cdef inline uint64_t hash_load(const uint8_t* data) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, data, 8)
    return le64toh(word)


cdef inline uint64_t hash_load_tail(const uint8_t* data, uint32_t length) noexcept nogil:
    """The last `length` (0..7) octets as a word, little endian, zeros above. Loads that overlap agree where they do."""
    cdef uint32_t low, high
    if length >= 4:
        memcpy(&low, data, 4)
        memcpy(&high, data + length - 4, 4)
        return le32toh(low) | <uint64_t>le32toh(high) << (8 * (length - 4))
    if length == 0:
        return 0
    return data[0] | <uint64_t>data[length >> 1] << (8 * (length >> 1)) | <uint64_t>data[length - 1] << (8 * (length - 1))


cdef inline uint64_t hash_rotate(uint64_t value, int by) noexcept nogil:
    return (value << by) | (value >> (64 - by))


cdef inline void hash_round(Hasher* hasher) noexcept nogil:
    hasher.v0 += hasher.v1
    hasher.v2 += hasher.v3
    hasher.v1 = hash_rotate(hasher.v1, 13) ^ hasher.v0
    hasher.v3 = hash_rotate(hasher.v3, 16) ^ hasher.v2
    hasher.v0 = hash_rotate(hasher.v0, 32)
    hasher.v2 += hasher.v1
    hasher.v0 += hasher.v3
    hasher.v1 = hash_rotate(hasher.v1, 17) ^ hasher.v2
    hasher.v3 = hash_rotate(hasher.v3, 21) ^ hasher.v0
    hasher.v2 = hash_rotate(hasher.v2, 32)


cdef inline void hash_mix(Hasher* hasher, uint64_t word) noexcept nogil:
    hasher.v3 ^= word
    hash_round(hasher)
    hash_round(hasher)
    hasher.v0 ^= word


cdef inline uint64_t hash_finish(Hasher* hasher, uint64_t last) noexcept nogil:
    cdef int i
    hash_mix(hasher, last)
    hasher.v2 ^= 0xFF
    for i in range(4):
        hash_round(hasher)
    return hasher.v0 ^ hasher.v1 ^ hasher.v2 ^ hasher.v3


cdef inline void hasher_start(Hasher* hasher, const HashKey* key) noexcept nogil:
    # the four constants spell "somepseudorandomlygeneratedbytes"
    hasher.v0 = key.k0 ^ <uint64_t>0x736F6D6570736575
    hasher.v1 = key.k1 ^ <uint64_t>0x646F72616E646F6D
    hasher.v2 = key.k0 ^ <uint64_t>0x6C7967656E657261
    hasher.v3 = key.k1 ^ <uint64_t>0x7465646279746573
    hasher.words = 0


cdef inline void hasher_add_word(Hasher* hasher, uint64_t word) noexcept nogil:
    hash_mix(hasher, word)
    hasher.words += 1


cdef inline void hasher_add_field(Hasher* hasher, const uint8_t* data, uint32_t length) noexcept nogil:
    cdef uint32_t head = min(length, <uint32_t>4)
    cdef const uint8_t* end = data + length
    hasher_add_word(hasher, <uint64_t>length | hash_load_tail(data, head) << 32)
    data += head
    while end - data >= 8:
        hasher_add_word(hasher, hash_load(data))
        data += 8
    if data < end:
        hasher_add_word(hasher, hash_load_tail(data, <uint32_t>(end - data)))


cdef inline uint64_t hasher_end(Hasher* hasher) noexcept nogil:
    """The hash of the words as octets: what is mixed in last is their number modulo 256, as SipHash asks."""
    return hash_finish(hasher, hasher.words << 59)


cdef inline uint64_t quick_word(uint64_t hash, uint64_t word) noexcept nogil:
    """One step of a hash for where nothing is gained by forging it: an eighth of the work of SipHash."""
    hash = (hash ^ word) * <uint64_t>0x9E3779B97F4A7C15
    return hash ^ hash >> 32


cdef inline uint64_t quick_field(uint64_t hash, const uint8_t* data, uint32_t length) noexcept nogil:
    """The same for a field: its length, then its octets, padded with zeros to whole words."""
    hash = quick_word(hash, length)
    while length >= 8:
        hash = quick_word(hash, hash_load(data))
        data += 8
        length -= 8
    return quick_word(hash, hash_load_tail(data, length)) if length else hash
