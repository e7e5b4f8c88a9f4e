"""The default profile: where an initial request goes, and how a request inside a dialog finds its way by the cookie."""

from libc.stdint cimport uint8_t, uint64_t

from sipcore.endpoint cimport Endpoint
from sipcore.uri cimport Uri
from workers.edge cimport Edge

# The URI names the edge itself, or a domain that it serves.
cdef bint profile_is_us(const Edge* edge, const uint8_t* data, const Uri* uri) noexcept nogil
# edge.message is a request inside a dialog (or an ACK that no transaction absorbed); `uri`: its request URI, NULL where nobody has
# parsed it yet.
cdef void profile_in_dialog(Edge* edge, const Endpoint* source, uint64_t key, const Uri* uri) noexcept nogil
# edge.message is a new request outside a dialog, `uri` its request URI.
cdef void profile_initial(Edge* edge, const Endpoint* source, uint64_t key, const Uri* uri) noexcept nogil
