"""One branch towards its target: the request as it leaves, its ACK and CANCEL, and what it says of the destination (RFC 3261 17.1)."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

from sipcore.counters cimport Load
from sipcore.endpoint cimport Endpoint
from sipcore.message cimport Message
from workers.edge cimport Edge
from workers.transactions cimport Branch

cdef struct Target:          # a contact to try, packed one behind the other in a transaction's targets, highest q first
    Endpoint to
    uint16_t q
    uint16_t uri_length      # the contact follows, padded to 4 octets

# A new branch of a transaction whose request is `request`, sent; False: it could not be.
cdef bint branch_start(Edge* edge, uint32_t transaction, const Message* request, const Endpoint* to, uint32_t destination,
                       uint16_t target) noexcept nogil
# The branch's request once more.
cdef bint branch_send(Edge* edge, uint32_t branch, const Message* request) noexcept nogil
# ACK to the failure in edge.message.
cdef void branch_acknowledge(Edge* edge, uint32_t branch) noexcept nogil
# CANCEL, now and until it is answered; its INVITE is given 64*T1 to end.
cdef void branch_cancel(Edge* edge, uint32_t branch) noexcept nogil
# The row of our loads for a destination's id; NULL where it is 0 or gone.
cdef Load* destination_load(const Edge* edge, uint32_t destination) noexcept nogil
cdef void branch_outcome(Edge* edge, Branch* branch, bint failed) noexcept nogil
# edge.message is a 503 from it.
cdef void branch_retry_after(Edge* edge, const Branch* branch) noexcept nogil
