"""Addresses: an optional display name, the URI, and header parameters."""

from libc.string cimport memset

from sipcore.charclass cimport CHAR_DIGIT, CHAR_LWS, CHAR_TOKEN, CHAR_VALUE, char_is
from sipcore.params cimport PARAM_MALFORMED, PARAM_ONE, Param, lws_skip, lws_trim, param_next, param_read, quoted_end
from sipcore.reasons cimport REASON_CONTACT
from sipcore.scan cimport class_end
from sipcore.slices cimport slice_ieq, slice_of
from sipcore.uri cimport uri_dict, uri_parse, uri_read
from sipcore.words cimport name_is, text_is

from sipcore.reasons import Refused

cdef enum:
    SECONDS_MAX = 0x7FFFFFFF
    ABSENT = -1
    MALFORMED = -2


cdef int address_parse(Address* address, const uint8_t* data, uint32_t start, uint32_t end) noexcept nogil:
    cdef uint32_t at
    address.display = address.params = address.tag = slice_of(0, 0)
    address.brackets = address.star = False
    address.expires = address.q = ABSENT
    address.end = end
    at = lws_skip(data, start, end)
    if at < end and data[at] == c'*' and lws_skip(data, at + 1, end) == end:
        address.star = True
        memset(&address.uri, 0, sizeof(Uri))
        return 0
    if not display_name(address, data, &at, end):
        return REASON_CONTACT
    at = bracketed(address, data, at, end) if address.brackets else bare(address, data, at, end)
    if at:
        at = address_params(address, data, at, end)
    if not at:
        return REASON_CONTACT
    address.end = at
    return 0


cdef inline bint is_display(uint8_t c) noexcept nogil:
    """What an unquoted display name is made of: tokens and LWS, and what real phones write: UTF-8, ( ) / & = $ # |."""
    return (char_is(c, CHAR_TOKEN | CHAR_LWS) or c >= 128 or c == c'(' or c == c')' or c == c'/' or c == c'&'
            or c == c'=' or c == c'$' or c == c'#' or c == c'|')


cdef bint display_name(Address* address, const uint8_t* data, uint32_t* at, uint32_t end) noexcept nogil:
    """Moves *at to the URI, sets brackets where it stands in angle brackets; False where the name is malformed."""
    cdef uint32_t start = at[0], i = at[0]
    if i < end and data[i] == c'"':
        i = quoted_end(data, i, end)
        if i == 0:
            return False
        address.display = slice_of(start, i)
        i = lws_skip(data, i, end)
        if i >= end or data[i] != c'<':
            return False
    else:
        while i < end and is_display(data[i]):
            i += 1
        if i >= end or data[i] != c'<':
            return True  # no bracket behind it: this was the URI's scheme
        address.display = slice_of(start, lws_trim(data, start, i))
    address.brackets = True
    at[0] = i + 1
    return True


cdef uint32_t bracketed(Address* address, const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    """The URI up to '>'; the offset after it, 0 where malformed."""
    at = uri_read(&address.uri, data, at, end)
    return at + 1 if at and at < end and data[at] == c'>' else 0


cdef uint32_t bare(Address* address, const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    """A URI without brackets: ';' and ',' end it, and it may not hold '?' (RFC 3261 20)."""
    cdef uint32_t i = at
    while i < end and data[i] != c';' and data[i] != c',' and not char_is(data[i], CHAR_LWS):
        if data[i] == c'?':
            return 0
        i += 1
    return i if uri_parse(&address.uri, data, at, i) == 0 else 0


cdef uint32_t address_params(Address* address, const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    """The offset of the comma or the end, 0 where a parameter is malformed or a tag is empty or stands twice."""
    cdef Param param
    cdef uint32_t first = 0, last = at, value
    cdef int verdict
    while True:
        if at + 5 <= end and address.tag.length == 0 and text_is(data + at, b";tag=", 5):  # as nearly all stand
            value = class_end(data, at + 5, end, CHAR_VALUE)
            if value > at + 5:
                address.tag = slice_of(at + 5, value)
                first = first if first else at + 1
                last = at = value
                continue
        verdict = param_next(&param, data, &at, end)
        if verdict != PARAM_ONE:
            break
        if first == 0:
            first = param.name.start
        last = param.end
        if param.name.length == 3 and name_is(data + param.name.start, b"tag", 3):
            if address.tag.length or not param.has_value:
                return 0
            address.tag = param.value
        elif param.name.length == 7 and name_is(data + param.name.start, b"expires", 7):
            address.expires = seconds(data, param.value)
        elif param.name.length == 1 and (data[param.name.start] | 32) == c'q':
            address.q = thousandths(data, param.value)
    if first:
        address.params = slice_of(first, last)
    return 0 if verdict == PARAM_MALFORMED else at


cdef int32_t seconds(const uint8_t* data, Slice text) noexcept nogil:
    """delta-seconds, saturated; MALFORMED where it is not all digits."""
    cdef int64_t value = 0
    cdef uint32_t i
    if text.length == 0:
        return MALFORMED
    for i in range(text.start, text.start + text.length):
        if not char_is(data[i], CHAR_DIGIT):
            return MALFORMED
        value = value * 10 + (data[i] - 48)
        if value > SECONDS_MAX:
            value = SECONDS_MAX
    return <int32_t>value


cdef int32_t thousandths(const uint8_t* data, Slice text) noexcept nogil:
    """qvalue: 0 to 1 with up to three decimals (RFC 3261 25.1), as 0 to 1000."""
    cdef int32_t value, unit = 100
    cdef uint32_t i
    if text.length == 0 or text.length > 5 or (data[text.start] != c'0' and data[text.start] != c'1'):
        return MALFORMED
    value = 1000 * (data[text.start] - 48)
    for i in range(text.start + 1, text.start + text.length):
        if i == text.start + 1:
            if data[i] != c'.':
                return MALFORMED
        elif not char_is(data[i], CHAR_DIGIT):
            return MALFORMED
        else:
            value += unit * (data[i] - 48)
            unit //= 10
    return value if value <= 1000 else MALFORMED


cdef Slice address_param(const uint8_t* data, Slice params, const char* name, uint32_t length, bint* found) noexcept nogil:
    cdef uint32_t end = params.start + params.length
    cdef uint32_t at = params.start
    cdef Param param
    cdef int verdict = param_read(&param, data, &at, end)
    found[0] = False
    while verdict == PARAM_ONE:
        if param.name.length == length and slice_ieq(data, param.name, name, length):
            found[0] = True
            return param.value
        verdict = param_next(&param, data, &at, end)
    return slice_of(end, end)


def parse(bytes value):
    """The first address in a header value as a dict of its pieces (bytes). Refused where it is malformed."""
    cdef Address address
    cdef int reason = address_parse(&address, value, 0, len(value))
    if reason:
        raise Refused(reason, f"address {value!r}")
    return {
        "display": value[address.display.start:address.display.start + address.display.length],
        "uri": None if address.star else uri_dict(value, &address.uri),
        "brackets": bool(address.brackets),
        "params": value[address.params.start:address.params.start + address.params.length],
        "tag": value[address.tag.start:address.tag.start + address.tag.length],
        "expires": address.expires,
        "q": address.q,
        "star": bool(address.star),
        "end": address.end,
    }


def param(bytes value, bytes name):
    """A header parameter of the first address in a value: None where absent, empty for a flag. Refused as parse()."""
    cdef Address address
    cdef bint found = False
    cdef Slice text
    cdef int reason = address_parse(&address, value, 0, len(value))
    if reason:
        raise Refused(reason, f"address {value!r}")
    text = address_param(value, address.params, name, len(name), &found)
    return value[text.start:text.start + text.length] if found else None
