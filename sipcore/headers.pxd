"""Header names to ids (long and compact forms, any case), and methods.

Adding a header: its id and its name here, whether it may stand once only, and a vector.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from sipcore.words cimport name_is, text_is

cdef enum HeaderId:
    HDR_OTHER = 0
    HDR_VIA = 1
    HDR_FROM = 2
    HDR_TO = 3
    HDR_CALL_ID = 4
    HDR_CSEQ = 5
    HDR_MAX_FORWARDS = 6
    HDR_CONTACT = 7
    HDR_ROUTE = 8
    HDR_RECORD_ROUTE = 9
    HDR_CONTENT_LENGTH = 10
    HDR_CONTENT_TYPE = 11
    HDR_EXPIRES = 12
    HDR_REQUIRE = 13
    HDR_PROXY_REQUIRE = 14
    HDR_SUPPORTED = 15
    HDR_AUTHORIZATION = 16
    HDR_PROXY_AUTHORIZATION = 17
    HDR_PATH = 18
    HDR_RETRY_AFTER = 19
    HDR_USER_AGENT = 20
    HDR_EVENT = 21
    HDR_RACK = 22
    HDR_MIN_EXPIRES = 23
    HDR_COUNT = 24

cdef enum Method:
    METHOD_OTHER = 0
    METHOD_INVITE = 1
    METHOD_ACK = 2
    METHOD_BYE = 3
    METHOD_CANCEL = 4
    METHOD_OPTIONS = 5
    METHOD_REGISTER = 6
    METHOD_PRACK = 7
    METHOD_UPDATE = 8
    METHOD_INFO = 9
    METHOD_SUBSCRIBE = 10
    METHOD_NOTIFY = 11
    METHOD_REFER = 12
    METHOD_MESSAGE = 13
    METHOD_PUBLISH = 14

cdef const char* method_name(uint16_t method) noexcept nogil  # "OTHER" for METHOD_OTHER


cdef inline uint16_t header_id(const uint8_t* name, uint32_t length) noexcept nogil:
    """The id of a header name, HDR_OTHER where we have none for it. What is no token may be taken for a name only where it has
    octets below 0x20 in it: a CR for a hyphen.
    """
    if length == 1:
        return header_compact_id(name[0] | 0x20)
    elif length == 2:
        if name_is(name, b"to", 2):
            return HDR_TO
    elif length == 3:
        if name_is(name, b"via", 3):
            return HDR_VIA
    elif length == 4:
        if name_is(name, b"from", 4):
            return HDR_FROM
        if name_is(name, b"cseq", 4):
            return HDR_CSEQ
        if name_is(name, b"path", 4):
            return HDR_PATH
        if name_is(name, b"rack", 4):
            return HDR_RACK
    elif length == 5:
        if name_is(name, b"route", 5):
            return HDR_ROUTE
        if name_is(name, b"event", 5):
            return HDR_EVENT
    elif length == 7:
        if name_is(name, b"call-id", 7):
            return HDR_CALL_ID
        if name_is(name, b"contact", 7):
            return HDR_CONTACT
        if name_is(name, b"expires", 7):
            return HDR_EXPIRES
        if name_is(name, b"require", 7):
            return HDR_REQUIRE
    elif length == 9:
        if name_is(name, b"supported", 9):
            return HDR_SUPPORTED
    elif length == 10:
        if name_is(name, b"user-agent", 10):
            return HDR_USER_AGENT
    elif length == 11:
        if name_is(name, b"retry-after", 11):
            return HDR_RETRY_AFTER
        if name_is(name, b"min-expires", 11):
            return HDR_MIN_EXPIRES
    elif length == 12:
        if name_is(name, b"max-forwards", 12):
            return HDR_MAX_FORWARDS
        if name_is(name, b"content-type", 12):
            return HDR_CONTENT_TYPE
        if name_is(name, b"record-route", 12):
            return HDR_RECORD_ROUTE
    elif length == 13:
        if name_is(name, b"authorization", 13):
            return HDR_AUTHORIZATION
        if name_is(name, b"proxy-require", 13):
            return HDR_PROXY_REQUIRE
    elif length == 14:
        if name_is(name, b"content-length", 14):
            return HDR_CONTENT_LENGTH
    elif length == 19:
        if name_is(name, b"proxy-authorization", 19):
            return HDR_PROXY_AUTHORIZATION
    return HDR_OTHER


cdef inline uint16_t header_compact_id(uint8_t c) noexcept nogil:
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


cdef inline uint16_t method_id(const uint8_t* text, uint32_t length) noexcept nogil:
    """The id of a method, METHOD_OTHER where we have none for it; methods are case-sensitive (RFC 3261 7.1)."""
    if length == 3:
        if text_is(text, b"ACK", 3):
            return METHOD_ACK
        if text_is(text, b"BYE", 3):
            return METHOD_BYE
    elif length == 4:
        if text_is(text, b"INFO", 4):
            return METHOD_INFO
    elif length == 5:
        if text_is(text, b"PRACK", 5):
            return METHOD_PRACK
        if text_is(text, b"REFER", 5):
            return METHOD_REFER
    elif length == 6:
        if text_is(text, b"INVITE", 6):
            return METHOD_INVITE
        if text_is(text, b"CANCEL", 6):
            return METHOD_CANCEL
        if text_is(text, b"UPDATE", 6):
            return METHOD_UPDATE
        if text_is(text, b"NOTIFY", 6):
            return METHOD_NOTIFY
    elif length == 7:
        if text_is(text, b"OPTIONS", 7):
            return METHOD_OPTIONS
        if text_is(text, b"MESSAGE", 7):
            return METHOD_MESSAGE
        if text_is(text, b"PUBLISH", 7):
            return METHOD_PUBLISH
    elif length == 8:
        if text_is(text, b"REGISTER", 8):
            return METHOD_REGISTER
    elif length == 9:
        if text_is(text, b"SUBSCRIBE", 9):
            return METHOD_SUBSCRIBE
    return METHOD_OTHER
