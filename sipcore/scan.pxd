"""How far a run of octets reaches: sixteen at a step with SSE2, which every x86-64 has; elsewhere by words or one by one.

`at` is at most `end`, and no octet outside [data, data + end) is read: where less than a block is left, the block that ends at
`end` is taken, and what lies before the run in it is shifted out. Defining VIADUCT_PORTABLE takes SSE2 away, for tests.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from sipcore.charclass cimport char_is

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    /* Runs of: octets from 0x20 upwards; visible ones, 0x21 to 0x7e; all but one. */
    enum viaduct_run {VIADUCT_TEXT, VIADUCT_VISIBLE, VIADUCT_OTHER};

    #if defined(__SSE2__) && !defined(VIADUCT_PORTABLE)
    #include <emmintrin.h>

    /* 0 where an octet is in [low, high]. */
    static inline __m128i viaduct_outside(__m128i block, uint8_t low, uint8_t high) {
        return _mm_subs_epu8(_mm_sub_epi8(block, _mm_set1_epi8((char)low)), _mm_set1_epi8((char)(high - low)));
    }

    static inline uint32_t viaduct_zeros(__m128i block) {
        return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(block, _mm_setzero_si128()));
    }

    /* The octets of a block that end the run, as bits: the first octet's is the lowest. */
    static inline __attribute__((always_inline))
    uint32_t viaduct_stops(const uint8_t* p, enum viaduct_run run, uint8_t other) {
        __m128i block = _mm_loadu_si128((const __m128i*)p);
        if (run == VIADUCT_TEXT) return viaduct_zeros(viaduct_outside(block, 0, 0x1f));
        if (run == VIADUCT_VISIBLE) return viaduct_zeros(viaduct_outside(block, 0x21, 0x7e)) ^ 0xffff;
        return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(block, _mm_set1_epi8((char)other)));
    }

    /* True with *p at the end of the run; false with *p in the run, where there is less than a block of octets in all. */
    static inline __attribute__((always_inline))
    int viaduct_blocks(const uint8_t* data, const uint8_t** p, const uint8_t* end, enum viaduct_run run, uint8_t other) {
        const uint8_t* last;
        uint32_t stops;
        if (end - data < 16) return 0;
        last = end - 16;
        for (; *p <= last; *p += 16) {
            stops = viaduct_stops(*p, run, other);
            if (stops) { *p += __builtin_ctz(stops); return 1; }
        }
        stops = viaduct_stops(last, run, other) | 0x10000;
        *p += __builtin_ctz(stops >> (*p - last));
        return 1;
    }

    /* Past the letters, digits, - and . among the next octets, at most sixteen. */
    static inline __attribute__((always_inline)) uint32_t viaduct_name_skip(const uint8_t* data, uint32_t at, uint32_t end) {
        uint32_t from = at + 16 <= end ? at : end - 16;
        __m128i block, out;
        if (end < 16) return at;
        block = _mm_loadu_si128((const __m128i*)(data + from));
        out = _mm_min_epu8(viaduct_outside(_mm_or_si128(block, _mm_set1_epi8(0x20)), 'a', 'z'), viaduct_outside(block, '-', '9'));
        out = _mm_or_si128(out, _mm_cmpeq_epi8(block, _mm_set1_epi8('/')));
        return at + (uint32_t)__builtin_ctz(~viaduct_zeros(out) >> (at - from));
    }
    #else
    static inline __attribute__((always_inline))
    int viaduct_blocks(const uint8_t* data, const uint8_t** p, const uint8_t* end, enum viaduct_run run, uint8_t other) {
        (void)data, (void)other;
        for (; run == VIADUCT_TEXT && end - *p >= 8; *p += 8) {  /* most is to skip in the lines */
            uint64_t word, stops;
            memcpy(&word, *p, 8);
    #if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
            word = __builtin_bswap64(word);
    #endif
            stops = (word - 0x2020202020202020ULL) & ~word & 0x8080808080808080ULL;  /* exact up to the first */
            if (stops) { *p += __builtin_ctzll(stops) >> 3; return 1; }
        }
        return 0;
    }

    static inline uint32_t viaduct_name_skip(const uint8_t* data, uint32_t at, uint32_t end) {
        (void)data, (void)end;
        return at;
    }
    #endif

    static inline __attribute__((always_inline))
    uint32_t viaduct_run_end(const uint8_t* data, uint32_t at, uint32_t end, enum viaduct_run run, uint8_t other) {
        const uint8_t *p = data + at, *stop = data + end;
        if (!viaduct_blocks(data, &p, stop, run, other)) {
            while (p < stop && (run == VIADUCT_TEXT ? *p >= 0x20 : run == VIADUCT_OTHER ? *p != other
                                : *p > 0x20 && *p < 0x7f)) p++;
        }
        return (uint32_t)(p - data);
    }
    """
    enum Run "enum viaduct_run":
        RUN_TEXT "VIADUCT_TEXT"
        RUN_VISIBLE "VIADUCT_VISIBLE"
        RUN_OTHER "VIADUCT_OTHER"
    uint32_t run_end_of "viaduct_run_end"(const uint8_t* data, uint32_t at, uint32_t end, Run run, uint8_t other) nogil
    # Past some octets of the next sixteen that are in every class which holds letters, digits, - and . ; perhaps past none.
    uint32_t name_skip "viaduct_name_skip"(const uint8_t* data, uint32_t at, uint32_t end) nogil


cdef inline uint32_t text_end(const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    """The offset of the next octet below 0x20, as CR, LF, NUL and HTAB are, or end."""
    return run_end_of(data, at, end, RUN_TEXT, 0)


cdef inline uint32_t visible_end(const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    """The end of a run of CHAR_WORD."""
    return run_end_of(data, at, end, RUN_VISIBLE, 0)


cdef inline uint32_t octet_find(const uint8_t* data, uint32_t at, uint32_t end, uint8_t octet) noexcept nogil:
    """The offset of the next such octet, or end."""
    return run_end_of(data, at, end, RUN_OTHER, octet)


cdef inline uint32_t class_end_after(const uint8_t* data, uint32_t at, uint32_t end, uint16_t whole) noexcept nogil:
    """class_end where an octet of the class stands at `at`."""
    cdef uint32_t start
    while True:
        start = at
        at = name_skip(data, at, end)
        while at < end and at - start < 16 and char_is(data[at], whole):
            at += 1
        if at - start < 16:
            return at


cdef inline uint32_t class_end(const uint8_t* data, uint32_t at, uint32_t end, uint16_t whole) noexcept nogil:
    """The end of a run of one class that holds letters, digits, - and . as those of tokens, users and values do."""
    at = name_skip(data, at, end)
    if at < end and char_is(data[at], whole):
        return class_end_after(data, at, end, whole)
    return at
