"""The Record-Route cookie: what a dialog needs, signed, so that a call needs no memory."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from sipcore.endpoint cimport Endpoint
from sipcore.hashing cimport HashKey
from sipcore.slices cimport Slice

cdef enum:
    COOKIE_VERSION = 1
    COOKIE_TEXT_MAX = 96

cdef enum CookieFlag:
    COOKIE_CALLER_FLOW = 1  # requests towards the caller go to `caller`, whatever their request URI says (a client, maybe behind NAT)
    COOKIE_CALLEE_FLOW = 2  # the same for the callee; without a flag the request URI is followed where it is numeric
    COOKIE_COUNTED = 4      # an INVITE dialog that counts against `destination`

cdef struct Cookie:
    uint8_t flags          # CookieFlag
    Endpoint caller        # family, transport, listener, address and port of each side's flow
    Endpoint callee
    uint32_t destination   # dispatcher destination id; 0: none

# base64url of version, flags, destination, both endpoints and a 64-bit MAC over these, the Call-ID and the caller's tag. The length.
cdef uint32_t cookie_encode(const Cookie* cookie, const HashKey* key, const uint8_t* call_id, uint32_t call_id_length,
                            const uint8_t* caller_tag, uint32_t caller_tag_length, uint8_t* out) noexcept nogil
# 0: it verifies with this tag as the caller's; REASON_COOKIE otherwise (malformed, another version, another key, another call).
cdef int cookie_decode(Cookie* cookie, const HashKey* key, const uint8_t* text, uint32_t length,
                       const uint8_t* call_id, uint32_t call_id_length,
                       const uint8_t* caller_tag, uint32_t caller_tag_length) noexcept nogil
