"""The keys of transactions: what a retransmission, its CANCEL and its ACK carry again, hashed under the deployment's key."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from sipcore.endpoint cimport Endpoint
from sipcore.message cimport Message
from sipcore.via cimport Via
from workers.edge cimport Edge

# Of the server transaction (RFC 3261 17.2.3) of a request whose topmost Via was `top`; method: INVITE for ACK and CANCEL.
cdef uint64_t server_key(const Edge* edge, const Message* message, const Via* top, uint16_t method) noexcept nogil
# Of its branch number `index`: what our own branch says, so that any worker would write the same.
cdef uint64_t branch_key(const Edge* edge, uint64_t server, uint32_t index) noexcept nogil
# The second part of our branch, 28 bits: it changes when anything changes that decides where a request goes (RFC 5393 4.2), so
# that finding it in a request that comes back means a loop.
cdef uint32_t loop_key(const Edge* edge, const Message* request, const Endpoint* source) noexcept nogil
