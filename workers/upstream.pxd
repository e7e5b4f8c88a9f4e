"""Towards the request's sender: server transactions, where answers go (RFC 3261 18.2.2, RFC 3581), and answers of our own."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from sipcore.endpoint cimport Endpoint
from sipcore.message cimport Message
from workers.edge cimport Edge

# Answers edge.message without a transaction (RFC 3261 8.2.7); our tag is a hash, the same for a retransmission.
cdef void answer_stateless(Edge* edge, const Endpoint* source, int status, const char* phrase,
                           const uint8_t* extra, uint32_t extra_length) noexcept nogil
# A server transaction for edge.message; NONE where the table is full.
cdef uint32_t upstream_begin(Edge* edge, uint64_t key, const Endpoint* source, uint16_t flags) noexcept nogil
# An answer of our own; `request` is the transaction's request, parsed.
cdef void upstream_reply(Edge* edge, uint32_t number, const Message* request, int status, const char* phrase,
                         const uint8_t* extra, uint32_t extra_length) noexcept nogil
# Sends the response of `length` octets that stands in edge_room: the machine moves, and what may be asked for again is kept.
cdef void upstream_send(Edge* edge, uint32_t number, uint32_t length, int status) noexcept nogil
# The response with this status cannot be built (no room): a final one ends the transaction all the same.
cdef void upstream_drop(Edge* edge, uint32_t number, int status) noexcept nogil
# The request came again.
cdef void upstream_again(Edge* edge, uint32_t number) noexcept nogil
# An ACK with the key of this INVITE; True: it ended here, False: it goes on to the callee.
cdef bint upstream_ack(Edge* edge, uint32_t number) noexcept nogil
cdef void upstream_timer(Edge* edge, uint32_t number) noexcept nogil
# The transaction's request into edge.other; NULL where it is no longer held.
cdef const Message* upstream_request(Edge* edge, uint32_t number) noexcept nogil
