"""One Via value: protocol, sent-by, and the parameters that a proxy reads or writes."""

from libc.string cimport memset

from sipcore.charclass cimport CHAR_TOKEN, CHAR_VALUE
from sipcore.endpoint cimport TRANSPORT_UDP, transport_by_name
from sipcore.hostport cimport host_end, port_read
from sipcore.params cimport PARAM_MALFORMED, PARAM_ONE, Param, lws_skip, lws_trim, param_next
from sipcore.reasons cimport REASON_BRANCH, REASON_VIA
from sipcore.scan cimport class_end
from sipcore.slices cimport slice_ieq, slice_of
from sipcore.words cimport name_is, text_is

from sipcore.endpoint import TRANSPORTS
from sipcore.reasons import Refused

cdef enum:
    COOKIE_LENGTH = 7  # z9hG4bK, RFC 3261 8.1.1.7

cdef int via_parse(Via* via, const uint8_t* data, uint32_t start, uint32_t end) noexcept nogil:
    cdef uint32_t at
    memset(via, 0, sizeof(Via))
    start = lws_skip(data, start, end)  # behind the comma of the value before it
    via.text = slice_of(start, end)
    via.end = end
    at = protocol(via, data, start, end)
    if at:
        at = sent_by(via, data, at, end)
    if at:
        at = via_params(via, data, at, end)
    if not at:
        via.host.length = 0
        return REASON_VIA
    via.end = at
    via.text = slice_of(start, lws_trim(data, start, at))
    if via.branch.length >= COOKIE_LENGTH and text_is(data + via.branch.start, b"z9hG4bK", COOKIE_LENGTH):
        if via.branch.length == COOKIE_LENGTH:
            return REASON_BRANCH
        via.has_cookie = True
    return 0


cdef inline uint32_t word(const uint8_t* data, uint32_t at, uint32_t end, Slice* token) noexcept nogil:
    """A token and the white space behind it; the offset after both, 0 where there is no token."""
    cdef uint32_t i = class_end(data, at, end, CHAR_TOKEN)
    token[0] = slice_of(at, i)
    return lws_skip(data, i, end) if i > at else 0


cdef inline uint32_t slash(const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    return lws_skip(data, at + 1, end) if at and at < end and data[at] == c'/' else 0


cdef uint32_t protocol(Via* via, const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    """ "SIP / 2.0 / transport" and the white space behind it; the offset of sent-by, 0 where malformed."""
    cdef Slice token
    cdef uint32_t gap
    if at + 12 <= end and text_is(data + at, b"SIP/2.0/UDP ", 12):  # as nearly all stand
        via.transport = TRANSPORT_UDP
        return lws_skip(data, at + 12, end)
    at = slash(data, word(data, at, end, &token), end)
    if not at or not slice_ieq(data, token, b"SIP", 3):
        return 0
    at = slash(data, word(data, at, end, &token), end)
    if not at or not slice_ieq(data, token, b"2.0", 3):
        return 0
    at = word(data, at, end, &token)
    gap = token.start + token.length
    if not at or at == gap:  # nothing between the transport and sent-by
        return 0
    via.transport = transport_by_name(data + token.start, token.length)
    return at


cdef uint32_t sent_by(Via* via, const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    """host [ : port ], white space allowed around the colon (RFC 3261 25.1 COLON); 0 where malformed."""
    cdef uint32_t i = host_end(data, at, end)
    cdef uint32_t colon
    if i == 0:
        return 0
    via.host = slice_of(at, i)
    via.sent_by = via.host
    colon = lws_skip(data, i, end)
    if colon < end and data[colon] == c':':
        i = lws_skip(data, colon + 1, end)
        via.port = port_read(data, &i, end)
        if via.port == 0:
            return 0
        via.sent_by = slice_of(at, i)
    return i


cdef uint32_t via_params(Via* via, const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    """Reads the parameters; the offset of the comma or the end, 0 where one is malformed, or stands twice and we act on it."""
    cdef Param param
    cdef int verdict
    cdef uint32_t value
    while True:
        if at + 8 <= end and via.branch.length == 0 and text_is(data + at, b";branch=", 8):  # as nearly all stand
            value = class_end(data, at + 8, end, CHAR_VALUE)
            if value > at + 8:
                via.branch = slice_of(at + 8, value)
                at = value
                continue
        if at + 6 == end and not via.has_rport and text_is(data + at, b";rport", 6):
            via.has_rport = True
            via.rport = slice_of(end, end)
            via.rport_end = end
            return end
        verdict = param_next(&param, data, &at, end)
        if verdict != PARAM_ONE:
            break
        if param.name.length == 6 and name_is(data + param.name.start, b"branch", 6):
            if via.branch.length or not param.has_value:
                return 0
            via.branch = param.value
        elif param.name.length == 8 and name_is(data + param.name.start, b"received", 8):
            if via.received.length or not param.has_value:
                return 0
            via.received = param.value
        elif param.name.length == 5 and name_is(data + param.name.start, b"rport", 5):
            if via.has_rport:
                return 0
            via.has_rport = True
            via.rport = param.value
            via.rport_end = param.end
    return 0 if verdict == PARAM_MALFORMED else at


cdef dict via_dict(const uint8_t* data, const Via* via):
    """A parsed Via as Python sees it; shared with message.pyx."""
    def piece(uint32_t start, uint32_t length):
        return data[start:start + length]
    return {
        "text": piece(via.text.start, via.text.length),
        "transport": TRANSPORTS[via.transport] if via.transport < len(TRANSPORTS) else "unknown",
        "host": piece(via.host.start, via.host.length),
        "port": via.port,
        "sent_by": piece(via.sent_by.start, via.sent_by.length),
        "branch": piece(via.branch.start, via.branch.length),
        "has_cookie": bool(via.has_cookie),
        "received": piece(via.received.start, via.received.length),
        "has_rport": bool(via.has_rport),
        "rport": piece(via.rport.start, via.rport.length),
        "end": via.end,
    }


def parse(bytes value):
    """The first Via value as a dict of its pieces (bytes). Refused where it is malformed."""
    cdef Via via
    cdef int reason = via_parse(&via, value, 0, len(value))
    if reason:
        raise Refused(reason, f"Via {value!r}")
    return via_dict(value, &via)
