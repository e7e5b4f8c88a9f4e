"""A slice: where a piece of a datagram starts and how long it is. Leaf bodies live here so that they inline elsewhere."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp

cdef struct Slice:
    uint32_t start   # offset into the datagram
    uint32_t length  # 0: absent or empty


cdef inline Slice slice_of(uint32_t start, uint32_t end) noexcept nogil:
    """The slice from start up to, not including, end."""
    cdef Slice s
    s.start = start
    s.length = end - start
    return s


cdef inline uint8_t byte_lower(uint8_t c) noexcept nogil:
    return c | 0x20 if 65 <= c <= 90 else c


cdef inline bint bytes_eq(const uint8_t* a, uint32_t a_length, const uint8_t* b, uint32_t b_length) noexcept nogil:
    return a_length == b_length and memcmp(a, b, a_length) == 0


cdef inline bint bytes_ieq(const uint8_t* a, uint32_t a_length, const uint8_t* b, uint32_t b_length) noexcept nogil:
    """Equal but for the case of ASCII letters."""
    cdef uint32_t i
    if a_length != b_length:
        return False
    for i in range(a_length):
        if byte_lower(a[i]) != byte_lower(b[i]):
            return False
    return True


cdef inline bint slice_eq(const uint8_t* data, Slice s, const char* text, uint32_t length) noexcept nogil:
    return s.length == length and memcmp(data + s.start, text, length) == 0


cdef inline bint slice_ieq(const uint8_t* data, Slice s, const char* text, uint32_t length) noexcept nogil:
    return bytes_ieq(data + s.start, s.length, <const uint8_t*>text, length)


cdef inline int64_t slice_number(const uint8_t* data, Slice s, uint64_t most) noexcept nogil:
    """The decimal number that fills s; -1 where it is empty, not all digits, or above most (at most 2^62)."""
    cdef uint64_t value = 0
    cdef uint32_t i
    cdef uint8_t c
    if s.length == 0:
        return -1
    for i in range(s.length):
        c = data[s.start + i]
        if c < 48 or c > 57:
            return -1
        value = value * 10 + (c - 48)
        if value > most:
            return -1
    return <int64_t>value


cdef enum:
    DECIMAL_MAX = 10  # digits of a 32-bit number


cdef inline uint32_t decimal_put(uint8_t* out, uint32_t number) noexcept nogil:
    """The number in decimal into out[DECIMAL_MAX]; its length."""
    cdef uint8_t digits[DECIMAL_MAX]
    cdef uint32_t count = 0, i
    while True:
        digits[count] = <uint8_t>(48 + number % 10)
        number //= 10
        count += 1
        if number == 0:
            break
    for i in range(count):
        out[i] = digits[count - 1 - i]
    return count
