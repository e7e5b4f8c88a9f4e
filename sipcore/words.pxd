"""Short texts compared with fixed ones by whole words. `wanted` is a literal and `length` a constant at every call, so that
nothing is left of the branches on it.
"""

from libc.stdint cimport uint8_t, uint32_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    static inline uint64_t viaduct_word64(const void* octets) { uint64_t w; memcpy(&w, octets, sizeof w); return w; }
    static inline uint32_t viaduct_word32(const void* octets) { uint32_t w; memcpy(&w, octets, sizeof w); return w; }
    static inline uint32_t viaduct_word16(const void* octets) { uint16_t w; memcpy(&w, octets, sizeof w); return w; }
    static inline uint32_t viaduct_word8(const void* octet) { return *(const uint8_t*)octet; }

    /* 0 where 1 to 24 octets are equal once the bits of `set` are set in all; the last word may overlap the one before it. */
    static inline __attribute__((always_inline))
    uint64_t viaduct_differ(const uint8_t* text, const char* wanted, uint32_t length, uint8_t set) {
        const uint64_t all = set * 0x0101010101010101ULL;
        uint64_t found;
    #define VIADUCT_PIECE(bits, at) \\
        ((viaduct_word##bits(text + (at)) | (uint##bits##_t)all) ^ (viaduct_word##bits(wanted + (at)) | (uint##bits##_t)all))
        if (length >= 8) {
            found = VIADUCT_PIECE(64, 0);
            if (length > 16) found |= VIADUCT_PIECE(64, 8);
            if (length > 8) found |= VIADUCT_PIECE(64, length - 8);
        } else if (length >= 4) {
            found = VIADUCT_PIECE(32, 0);
            if (length > 4) found |= VIADUCT_PIECE(32, length - 4);
        } else {
            found = length >= 2 ? VIADUCT_PIECE(16, 0) : 0;
            if (length != 2) found |= VIADUCT_PIECE(8, length - 1);
        }
    #undef VIADUCT_PIECE
        return found;
    }

    static inline __attribute__((always_inline)) int viaduct_text_is(const uint8_t* text, const char* wanted, uint32_t length) {
        return viaduct_differ(text, wanted, length, 0) == 0;
    }
    static inline __attribute__((always_inline)) int viaduct_name_is(const uint8_t* name, const char* wanted, uint32_t length) {
        return viaduct_differ(name, wanted, length, 0x20) == 0;
    }
    """
    # Equal to the octet.
    bint text_is "viaduct_text_is"(const uint8_t* text, const char* wanted, uint32_t length) nogil
    # Equal but for the case of letters, where both are tokens: of these only letters differ in 0x20 alone.
    bint name_is "viaduct_name_is"(const uint8_t* name, const char* wanted, uint32_t length) nogil
