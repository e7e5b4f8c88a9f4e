"""Header names and methods to ids: by length, then by the few candidates of that length."""

from sipcore.slices cimport byte_lower, bytes_eq

cdef const char** METHOD_NAMES = [
    b"OTHER", b"INVITE", b"ACK", b"BYE", b"CANCEL", b"OPTIONS", b"REGISTER", b"PRACK", b"UPDATE", b"INFO",
    b"SUBSCRIBE", b"NOTIFY", b"REFER", b"MESSAGE", b"PUBLISH",
]


cdef inline bint name_is(const uint8_t* name, uint32_t length, const char* wanted) noexcept nogil:
    """Equal but for case; `wanted` is in lower case, and no token but a letter becomes another one under 0x20."""
    cdef uint32_t i
    cdef uint8_t differ = 0
    for i in range(length):  # to its end: `length` is a constant at every call, so this becomes a few wide compares
        differ |= (name[i] | 0x20) ^ <uint8_t>wanted[i]
    return differ == 0


cdef uint16_t header_id(const uint8_t* name, uint32_t length) noexcept nogil:
    cdef uint8_t c
    if length == 0:
        return HDR_OTHER
    c = byte_lower(name[0])
    if length == 1:
        return compact_id(c)
    if length <= 5:
        return short_id(name, length, c)
    if length == 7:
        if c == c'c':
            if name_is(name, 7, b"call-id"):
                return HDR_CALL_ID
            return HDR_CONTACT if name_is(name, 7, b"contact") else HDR_OTHER
        if c == c'e':
            return HDR_EXPIRES if name_is(name, 7, b"expires") else HDR_OTHER
        return HDR_REQUIRE if name_is(name, 7, b"require") else HDR_OTHER
    if length == 12:
        if c == c'm':
            return HDR_MAX_FORWARDS if name_is(name, 12, b"max-forwards") else HDR_OTHER
        if c == c'r':
            return HDR_RECORD_ROUTE if name_is(name, 12, b"record-route") else HDR_OTHER
        return HDR_CONTENT_TYPE if name_is(name, 12, b"content-type") else HDR_OTHER
    if length == 14:
        return HDR_CONTENT_LENGTH if name_is(name, 14, b"content-length") else HDR_OTHER
    return long_id(name, length)


cdef uint16_t compact_id(uint8_t c) noexcept nogil:
    """RFC 3261 7.3.3; k is RFC 3261 20.37, o is RFC 6665 8.2.1."""
    if c == c'v':
        return HDR_VIA
    if c == c'f':
        return HDR_FROM
    if c == c't':
        return HDR_TO
    if c == c'i':
        return HDR_CALL_ID
    if c == c'm':
        return HDR_CONTACT
    if c == c'l':
        return HDR_CONTENT_LENGTH
    if c == c'c':
        return HDR_CONTENT_TYPE
    if c == c'k':
        return HDR_SUPPORTED
    return HDR_EVENT if c == c'o' else HDR_OTHER


cdef uint16_t short_id(const uint8_t* name, uint32_t length, uint8_t c) noexcept nogil:
    if length == 2:
        return HDR_TO if name_is(name, 2, b"to") else HDR_OTHER
    if length == 3:
        return HDR_VIA if name_is(name, 3, b"via") else HDR_OTHER
    if length == 4:
        if c == c'f':
            return HDR_FROM if name_is(name, 4, b"from") else HDR_OTHER
        if c == c'c':
            return HDR_CSEQ if name_is(name, 4, b"cseq") else HDR_OTHER
        if c == c'p':
            return HDR_PATH if name_is(name, 4, b"path") else HDR_OTHER
        return HDR_RACK if name_is(name, 4, b"rack") else HDR_OTHER
    if c == c'r':
        return HDR_ROUTE if name_is(name, 5, b"route") else HDR_OTHER
    return HDR_EVENT if name_is(name, 5, b"event") else HDR_OTHER


cdef uint16_t long_id(const uint8_t* name, uint32_t length) noexcept nogil:
    if length == 9:
        return HDR_SUPPORTED if name_is(name, 9, b"supported") else HDR_OTHER
    if length == 10:
        return HDR_USER_AGENT if name_is(name, 10, b"user-agent") else HDR_OTHER
    if length == 11:
        if name_is(name, 11, b"retry-after"):
            return HDR_RETRY_AFTER
        return HDR_MIN_EXPIRES if name_is(name, 11, b"min-expires") else HDR_OTHER
    if length == 13:
        if name_is(name, 13, b"authorization"):
            return HDR_AUTHORIZATION
        return HDR_PROXY_REQUIRE if name_is(name, 13, b"proxy-require") else HDR_OTHER
    if length == 19 and name_is(name, 19, b"proxy-authorization"):
        return HDR_PROXY_AUTHORIZATION
    return HDR_OTHER


cdef inline bint method_is(const uint8_t* text, uint32_t length, uint16_t method) noexcept nogil:
    return bytes_eq(text, length, <const uint8_t*>METHOD_NAMES[method], length)


cdef uint16_t method_id(const uint8_t* text, uint32_t length) noexcept nogil:
    cdef uint16_t first = 1, last = 0, method
    if length == 3:
        first, last = METHOD_ACK, METHOD_BYE
    elif length == 4:
        first, last = METHOD_INFO, METHOD_INFO
    elif length == 5:
        if method_is(text, 5, METHOD_PRACK):
            return METHOD_PRACK
        first, last = METHOD_REFER, METHOD_REFER
    elif length == 6:
        if method_is(text, 6, METHOD_INVITE):
            return METHOD_INVITE
        if method_is(text, 6, METHOD_CANCEL):
            return METHOD_CANCEL
        if method_is(text, 6, METHOD_UPDATE):
            return METHOD_UPDATE
        first, last = METHOD_NOTIFY, METHOD_NOTIFY
    elif length == 7:
        if method_is(text, 7, METHOD_OPTIONS):
            return METHOD_OPTIONS
        first, last = METHOD_MESSAGE, METHOD_PUBLISH
    elif length == 8:
        first, last = METHOD_REGISTER, METHOD_REGISTER
    elif length == 9:
        first, last = METHOD_SUBSCRIBE, METHOD_SUBSCRIBE
    for method in range(first, last + 1):
        if method_is(text, length, method):
            return method
    return METHOD_OTHER


cdef const char* method_name(uint16_t method) noexcept nogil:
    return METHOD_NAMES[method if method <= METHOD_PUBLISH else 0]


def header_number(bytes name):
    """The id of a header name, 0 where we have none for it."""
    return header_id(name, len(name))


def method_number(bytes text):
    """The id of a method, 0 where we have none for it."""
    return method_id(text, len(text))


def method_text(int number):
    return method_name(number).decode()
