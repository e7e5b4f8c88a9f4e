"""Pieces that header values share: white space, quoted strings, parameters, comma lists. All bodies inline."""

from libc.stdint cimport uint8_t, uint32_t

from sipcore.charclass cimport CHAR_LWS, CHAR_TOKEN, CHAR_VALUE, char_is
from sipcore.scan cimport class_end
from sipcore.slices cimport Slice, slice_of

cdef enum:
    PARAM_NONE = 0        # the value ends here, or a comma follows
    PARAM_ONE = 1
    PARAM_MALFORMED = -1

cdef struct Param:
    Slice name
    Slice value       # with its quotes
    bint has_value
    uint32_t end      # after the name, or after the value


cdef inline bint is_lws(uint8_t c) noexcept nogil:
    return c <= 32 and char_is(c, CHAR_LWS)  # the comparison alone settles most


cdef inline uint32_t lws_skip(const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    """The first offset from `at` that is no linear white space; folds count as such (RFC 3261 25.1 LWS)."""
    while at < end and is_lws(data[at]):
        at += 1
    return at


cdef inline uint32_t lws_trim(const uint8_t* data, uint32_t start, uint32_t end) noexcept nogil:
    """The end of [start, end) without the white space at its end."""
    while end > start and is_lws(data[end - 1]):
        end -= 1
    return end


cdef inline uint32_t quoted_end(const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    """The offset after the quoted string that opens at `at`; 0 where it never closes."""
    at += 1
    while at < end:
        if data[at] == 34:
            return at + 1
        at += 2 if data[at] == 92 else 1
    return 0


cdef inline uint32_t list_comma(const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    """The next comma outside quotes and angle brackets, or end."""
    cdef bint inside = False
    cdef uint32_t after
    while at < end:
        if data[at] == 34 and not inside:
            after = quoted_end(data, at, end)
            at = after if after else end
            continue
        if data[at] == 44 and not inside:
            return at
        if data[at] == 60:
            inside = True
        elif data[at] == 62:
            inside = False
        at += 1
    return end


cdef inline int param_read(Param* param, const uint8_t* data, uint32_t* at, uint32_t end) noexcept nogil:
    """Reads "name" or "name=value" at *at and moves *at behind it."""
    cdef uint32_t start = lws_skip(data, at[0], end)
    cdef uint32_t i = start
    while i < end and char_is(data[i], CHAR_TOKEN):  # names are short: no block is worth it
        i += 1
    if i == start:
        return PARAM_MALFORMED
    param.name = slice_of(start, i)
    param.value = slice_of(i, i)
    param.has_value = False
    param.end = at[0] = i
    i = lws_skip(data, i, end)
    if i >= end or data[i] != 61:
        return PARAM_ONE
    start = lws_skip(data, i + 1, end)
    i = start
    if i < end and data[i] == 34:
        i = quoted_end(data, i, end)
    else:
        i = class_end(data, i, end, CHAR_VALUE)
    if i <= start:
        return PARAM_MALFORMED
    param.value = slice_of(start, i)
    param.has_value = True
    param.end = at[0] = i
    return PARAM_ONE


cdef inline int param_next(Param* param, const uint8_t* data, uint32_t* at, uint32_t end) noexcept nogil:
    """The same behind a ';' at *at; PARAM_NONE leaves *at at the comma or at the end."""
    at[0] = lws_skip(data, at[0], end)
    if at[0] >= end or data[at[0]] == 44:
        return PARAM_NONE
    if data[at[0]] != 59:
        return PARAM_MALFORMED
    at[0] += 1
    return param_read(param, data, at, end)
