"""Host and port as they stand in a URI and in a Via's sent-by. All bodies inline."""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memchr

from sipcore.charclass cimport CHAR_ALPHA, CHAR_DIGIT, CHAR_HEX, CHAR_HOST, char_is
from sipcore.scan cimport class_end

cdef enum:
    IPV6_TEXT_MAX = 45  # INET6_ADDRSTRLEN without its NUL


cdef inline uint32_t host_end(const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    """The offset after the host name, IPv4 address or bracketed IPv6 address at `at`; 0 where none stands there."""
    cdef uint32_t i = at
    if i >= end:
        return 0
    if data[i] == 91:
        i += 1
        while i < end and (char_is(data[i], CHAR_HEX) or data[i] == 58 or data[i] == 46):
            i += 1
        if i >= end or data[i] != 93 or i - at - 1 > IPV6_TEXT_MAX or memchr(data + at, 58, i - at) == NULL:
            return 0
        return i + 1
    if not char_is(data[i], CHAR_ALPHA | CHAR_DIGIT) and data[i] != 95:
        return 0
    return class_end(data, i, end, CHAR_HOST)


cdef inline uint32_t port_read(const uint8_t* data, uint32_t* at, uint32_t end) noexcept nogil:
    """The port whose digits start at *at, moving *at behind them; 0 where there is none or it is out of range."""
    cdef uint32_t port = 0
    while at[0] < end and char_is(data[at[0]], CHAR_DIGIT):
        port = port * 10 + (data[at[0]] - 48)
        if port > 65535:
            return 0
        at[0] += 1
    return port
