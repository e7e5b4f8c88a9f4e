"""Header names to ids (long and compact forms, any case), and methods.

Adding a header: its id here, its name in headers.pyx, whether it may stand once only, and a vector.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

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

# The id of a name that is a token (what is none may be taken for a name of ours); HDR_OTHER where we have no id for it.
cdef uint16_t header_id(const uint8_t* name, uint32_t length) noexcept nogil
cdef uint16_t method_id(const uint8_t* text, uint32_t length) noexcept nogil  # methods are case-sensitive (RFC 3261 7.1)
cdef const char* method_name(uint16_t method) noexcept nogil                  # "OTHER" for METHOD_OTHER
