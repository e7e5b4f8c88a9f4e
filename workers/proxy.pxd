"""Towards the targets: what a stateful proxy does with its branches (RFC 3261 16.6 to 16.10): responses, failover, CANCEL, timers."""

from libc.stdint cimport uint32_t

from sipcore.message cimport Message
from workers.edge cimport Edge

# Launches what is to be tried next: the next destination, or all contacts of the next q. How many.
cdef int proxy_next(Edge* edge, uint32_t number, const Message* request) noexcept nogil
# Where every branch has its verdict: tries the next target, or sends the best response.
cdef void proxy_settle(Edge* edge, uint32_t number) noexcept nogil
# Ends a transaction that has no branch with a response of our own.
cdef void proxy_refuse(Edge* edge, uint32_t number, const Message* request, int status, const char* phrase) noexcept nogil
cdef void proxy_cancel(Edge* edge, uint32_t number) noexcept nogil
# edge.message is a response to this branch.
cdef void proxy_response(Edge* edge, uint32_t branch) noexcept nogil
# The transport to this branch's target failed.
cdef void proxy_unreachable(Edge* edge, uint32_t branch) noexcept nogil
cdef void proxy_timer(Edge* edge, uint32_t branch) noexcept nogil
