"""What happens to each datagram: the default profile (docs/default-profile.md), in the order in which edge scripts do it."""

from libc.stdint cimport uint8_t, uint32_t

from sipcore.endpoint cimport Endpoint
from workers.edge cimport Edge

# One datagram from `source` (its listener set). `ours`: it came through the inbox, so its owner is not asked again.
cdef void router_datagram(Edge* edge, const uint8_t* data, uint32_t length, const Endpoint* source, bint ours) noexcept nogil
# The start of a datagram of ours that `target` refused (the error queue).
cdef void router_unreachable(Edge* edge, const uint8_t* data, uint32_t length, const Endpoint* target, bint ours) noexcept nogil
cdef void router_timers(Edge* edge) noexcept nogil
# Branches whose message the kernel refused at the last flush.
cdef void router_send_failures(Edge* edge) noexcept nogil
# The replica is complete: what waited for it goes its way.
cdef void router_unpark(Edge* edge) noexcept nogil
