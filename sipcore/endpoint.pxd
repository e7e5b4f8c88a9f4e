"""An endpoint: one transport address of a peer, and the listener of ours that reaches it."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memset

cdef enum Transport:
    TRANSPORT_UDP = 0
    TRANSPORT_TCP = 1
    TRANSPORT_TLS = 2
    TRANSPORT_WS = 3
    TRANSPORT_WSS = 4
    TRANSPORT_UNKNOWN = 0xFFFF  # in a Via or a URI: one that we do not speak

cdef enum:
    ENDPOINT_TEXT_MAX = 64  # "[" + 45 + "]:65535" fits

cdef struct Endpoint:
    uint8_t family     # 4, 6, or 0: none
    uint8_t transport  # Transport
    uint16_t listener  # index into the edge's listeners, the same in every worker
    uint16_t port      # host order
    uint16_t unused    # always 0, so that endpoints compare by memcmp
    uint8_t ip[16]     # network order; IPv4 in the first four bytes, the rest 0


cdef inline bint endpoint_same(const Endpoint* a, const Endpoint* b) noexcept nogil:
    """The same address, port and transport, whatever listener of ours reaches it."""
    return (a.family == b.family and a.transport == b.transport and a.port == b.port
            and memcmp(a.ip, b.ip, 16) == 0)


cdef inline bint endpoint_same_address(const Endpoint* a, const Endpoint* b) noexcept nogil:
    return a.family == b.family and memcmp(a.ip, b.ip, 16) == 0


# A numeric host ("192.0.2.1", "2001:db8::1", "[2001:db8::1]") into family and ip; False: it is a name or malformed.
cdef bint endpoint_set_host(Endpoint* endpoint, const uint8_t* host, uint32_t length) noexcept nogil
# "ip" alone (IPv6 without brackets) / "ip:port" (IPv6 in brackets) into out[ENDPOINT_TEXT_MAX]; the length.
cdef uint32_t endpoint_host_text(const Endpoint* endpoint, uint8_t* out) noexcept nogil
cdef uint32_t endpoint_text(const Endpoint* endpoint, uint8_t* out) noexcept nogil
# From and to a struct sockaddr_in or sockaddr_in6; to returns the length of the sockaddr. listener and transport are left alone.
cdef void endpoint_from_sockaddr(Endpoint* endpoint, const void* sockaddr) noexcept nogil
cdef uint32_t endpoint_to_sockaddr(const Endpoint* endpoint, void* sockaddr) noexcept nogil
# Transport by its name in any case, or TRANSPORT_UNKNOWN.
cdef uint16_t transport_by_name(const uint8_t* name, uint32_t length) noexcept nogil
