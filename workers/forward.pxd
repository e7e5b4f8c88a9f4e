"""How a request leaves: our branch, our Via, Record-Route with the signed cookie, and the routes that were ours taken off."""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from sipcore.endpoint cimport Endpoint
from sipcore.message cimport Message
from workers.edge cimport Edge

cdef enum:
    BRANCH_KEY_AT = 10       # offset in our branch of the 16 hex digits of its key: behind "z9hG4bKV" and the worker
    BRANCH_LISTENER_AT = 26  # one hex digit: the listener that the request came to, for an heir (LISTENERS_MAX is 16)
    BRANCH_LOOP_AT = 27
    BRANCH_LENGTH = 34       # 7 hex digits for loop detection (RFC 5393 4.2)

cdef struct Forward:         # how a request leaves
    uint64_t key             # of its branch
    Endpoint source
    Endpoint to
    bint record_route
    uint8_t flags            # CookieFlag
    uint32_t destination     # dispatcher id for the cookie
    uint32_t pop_routes
    const uint8_t* uri       # the new request URI; NULL: it stays
    uint32_t uri_length

# The request as it leaves, into out[SLOT]; the length, or a negative Reason.
cdef int forward_write(Edge* edge, const Message* request, const Forward* forward, uint8_t* out) noexcept nogil
# A free slot of the outbox; sends what is queued where it was full.
cdef uint8_t* edge_room(Edge* edge) noexcept nogil
cdef void edge_flush(Edge* edge) noexcept nogil
