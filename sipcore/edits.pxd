"""An edit list over the original bytes: what is not edited leaves byte for byte as it came."""

from libc.stdint cimport uint8_t, uint32_t

from sipcore.endpoint cimport Endpoint
from sipcore.message cimport Message

cdef enum:
    EDITS_MAX = 32          # a request needs at most 12
    EDITS_TEXT_MAX = 8192   # text that edits insert, over all of them

cdef struct Edit:
    uint32_t at      # offset in the original
    uint32_t remove  # octets of the original that go
    uint32_t text    # offset into Edits.text
    uint32_t length

cdef struct Edits:
    uint32_t count
    uint32_t text_used
    int failed             # REASON_NO_ROOM once a limit was passed; edits_apply then returns it
    Edit edit[EDITS_MAX]   # sorted by `at`; edits at one place keep the order in which they were made
    uint8_t text[EDITS_TEXT_MAX]

cdef void edits_reset(Edits* edits) noexcept nogil
# Replaces `remove` octets at `at` by a copy of text[0:length].
cdef void edits_replace(Edits* edits, uint32_t at, uint32_t remove, const uint8_t* text, uint32_t length) noexcept nogil
# The message's octets [0, size) with the edits, into out; the length, or a negative Reason. CRLFs in front of the start line
# are dropped.
cdef int edits_apply(const Edits* edits, const Message* message, uint8_t* out, uint32_t room) noexcept nogil
# The same for the octets [start, end) alone; edits that lie outside must not be in the list.
cdef int edits_apply_range(const Edits* edits, const Message* message, uint32_t start, uint32_t end,
                           uint8_t* out, uint32_t room) noexcept nogil

# What a proxy does to a message (RFC 3261 16.6, 16.7):
# sets received (always) and rport's value (where rport stands) in the top Via to the packet's source (18.2.1, RFC 3581 4)
cdef void edits_mark_source(Edits* edits, const Message* message, const Endpoint* source) noexcept nogil
# "Via: " value CRLF in front of the first Via
cdef void edits_push_via(Edits* edits, const Message* message, const uint8_t* value, uint32_t length) noexcept nogil
# takes the topmost Via value away: its header line, or up to its comma
cdef void edits_pop_via(Edits* edits, const Message* message) noexcept nogil
# Max-Forwards less one; "Max-Forwards: 70" where it is absent
cdef void edits_lower_max_forwards(Edits* edits, const Message* message) noexcept nogil
# "Record-Route: " value CRLF in front of the first Record-Route, or else behind the Vias
cdef void edits_record_route(Edits* edits, const Message* message, const uint8_t* value, uint32_t length) noexcept nogil
# takes the first `count` Route values away, whether they stand on one line or on several; a malformed one fails the list
# with REASON_ROUTE
cdef void edits_pop_routes(Edits* edits, const Message* message, uint32_t count) noexcept nogil
# "Route: " value CRLF in front of the first Route, or else behind the Vias
cdef void edits_push_route(Edits* edits, const Message* message, const uint8_t* value, uint32_t length) noexcept nogil
cdef void edits_request_uri(Edits* edits, const Message* message, const uint8_t* value, uint32_t length) noexcept nogil
