"""Keyed hashing: SipHash-2-4 (Aumasson and Bernstein), whole or fed in pieces, and its text form."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef struct HashKey:
    uint64_t k0
    uint64_t k1

cdef struct Hasher:
    uint64_t v0
    uint64_t v1
    uint64_t v2
    uint64_t v3
    uint64_t tail       # octets not yet mixed in, little endian
    uint32_t tail_length
    uint64_t length

# a key from its 16 octets, as the log carries it
cdef void hashkey_set(HashKey* key, const uint8_t* octets) noexcept nogil
cdef void hasher_start(Hasher* hasher, const HashKey* key) noexcept nogil
cdef void hasher_add(Hasher* hasher, const uint8_t* data, uint32_t length) noexcept nogil
# adds the length (4 octets, little endian) and then the octets, so that ("ab","c") and ("a","bc") differ
cdef void hasher_add_field(Hasher* hasher, const uint8_t* data, uint32_t length) noexcept nogil
cdef uint64_t hasher_end(Hasher* hasher) noexcept nogil
cdef uint64_t siphash(const HashKey* key, const uint8_t* data, uint32_t length) noexcept nogil
# 16 lower-case hex digits; back, of either case: False where text is not 16 hex digits
cdef void hex_of(uint64_t value, uint8_t* out) noexcept nogil
cdef bint hex_value(const uint8_t* text, uint64_t* value) noexcept nogil
