"""Endpoints to and from text and socket addresses."""

from libc.string cimport memchr, memcpy

from sipcore.hostport cimport IPV6_TEXT_MAX
from sipcore.slices cimport bytes_ieq, decimal_put

cdef enum:
    SOCKADDR_MAX = 128  # struct sockaddr_storage

cdef extern from "arpa/inet.h" nogil:
    ctypedef uint32_t socklen_t
    int AF_INET, AF_INET6
    int inet_pton(int family, const char* text, void* address)
    const char* inet_ntop(int family, const void* address, char* text, socklen_t size)
    uint16_t htons(uint16_t port)
    uint16_t ntohs(uint16_t port)

cdef extern from "netinet/in.h" nogil:
    cdef struct sockaddr_in:
        uint16_t sin_family
        uint16_t sin_port
        uint32_t sin_addr      # a struct of four octets in C; only its address is taken
    cdef struct sockaddr_in6:
        uint16_t sin6_family
        uint16_t sin6_port
        uint32_t sin6_addr
        uint32_t sin6_scope_id


cdef bint endpoint_set_host(Endpoint* endpoint, const uint8_t* host, uint32_t length) noexcept nogil:
    cdef char text[IPV6_TEXT_MAX + 1]
    if length >= 2 and host[0] == c'[' and host[length - 1] == c']':
        host += 1
        length -= 2
    elif set_ipv4(endpoint, host, length):
        return True
    if length == 0 or length > IPV6_TEXT_MAX or memchr(host, 0, length) != NULL:
        return False
    memcpy(text, host, length)
    text[length] = 0
    memset(endpoint.ip, 0, 16)
    endpoint.family = 0
    if inet_pton(AF_INET6, text, endpoint.ip) != 1:
        return False
    endpoint.family = 6
    return True


cdef bint set_ipv4(Endpoint* endpoint, const uint8_t* host, uint32_t length) noexcept nogil:
    """Four decimal numbers of one to three digits; anything else is a name."""
    cdef uint8_t ip[4]
    cdef uint32_t i, digits = 0, number = 0, part = 0
    if length < 7 or length > 15:
        return False
    for i in range(length):
        if 48 <= host[i] <= 57:
            number = number * 10 + (host[i] - 48)
            digits += 1
            if number > 255 or digits > 3:
                return False
        elif host[i] == c'.' and digits and part < 3:
            ip[part] = <uint8_t>number
            part += 1
            number = digits = 0
        else:
            return False
    if part != 3 or not digits:
        return False
    ip[3] = <uint8_t>number
    memset(endpoint.ip, 0, 16)
    memcpy(endpoint.ip, ip, 4)
    endpoint.family = 4
    return True


cdef inline uint32_t octet_put(uint8_t* out, uint8_t number) noexcept nogil:
    """0 to 255 in decimal; its length."""
    cdef uint32_t length = 0
    if number >= 100:
        out[0] = 48 + number // 100
        length = 1
    if number >= 10:
        out[length] = 48 + number // 10 % 10
        length += 1
    out[length] = 48 + number % 10
    return length + 1


cdef uint32_t endpoint_host_text(const Endpoint* endpoint, uint8_t* out) noexcept nogil:
    cdef uint32_t at = 0, i
    if endpoint.family == 4:
        for i in range(4):
            at += octet_put(out + at, endpoint.ip[i])
            out[at] = c'.'
            at += 1
        return at - 1
    if endpoint.family != 6 or inet_ntop(AF_INET6, endpoint.ip, <char*>out, ENDPOINT_TEXT_MAX) == NULL:
        return 0
    while out[at]:
        at += 1
    return at


cdef uint32_t endpoint_text(const Endpoint* endpoint, uint8_t* out) noexcept nogil:
    cdef uint8_t host[ENDPOINT_TEXT_MAX]
    cdef uint32_t length = endpoint_host_text(endpoint, host)
    cdef uint32_t at = 0
    if length == 0:
        return 0
    if endpoint.family == 6:
        out[0] = c'['
        at = 1
    memcpy(out + at, host, length)
    at += length
    if endpoint.family == 6:
        out[at] = c']'
        at += 1
    out[at] = c':'
    return at + 1 + decimal_put(out + at + 1, endpoint.port)


cdef void endpoint_from_sockaddr(Endpoint* endpoint, const void* sockaddr) noexcept nogil:
    cdef const sockaddr_in* v4 = <const sockaddr_in*>sockaddr
    cdef const sockaddr_in6* v6 = <const sockaddr_in6*>sockaddr
    memset(endpoint.ip, 0, 16)
    endpoint.unused = 0
    endpoint.family = 0
    endpoint.port = 0
    if v4.sin_family == AF_INET:
        endpoint.family = 4
        endpoint.port = ntohs(v4.sin_port)
        memcpy(endpoint.ip, &v4.sin_addr, 4)
    elif v4.sin_family == AF_INET6:
        endpoint.family = 6
        endpoint.port = ntohs(v6.sin6_port)
        memcpy(endpoint.ip, &v6.sin6_addr, 16)


cdef uint32_t endpoint_to_sockaddr(const Endpoint* endpoint, void* sockaddr) noexcept nogil:
    cdef sockaddr_in* v4 = <sockaddr_in*>sockaddr
    cdef sockaddr_in6* v6 = <sockaddr_in6*>sockaddr
    if endpoint.family == 6:
        memset(v6, 0, sizeof(sockaddr_in6))
        v6.sin6_family = AF_INET6
        v6.sin6_port = htons(endpoint.port)
        memcpy(&v6.sin6_addr, endpoint.ip, 16)
        return sizeof(sockaddr_in6)
    memset(v4, 0, sizeof(sockaddr_in))
    v4.sin_family = AF_INET
    v4.sin_port = htons(endpoint.port)
    memcpy(&v4.sin_addr, endpoint.ip, 4)
    return sizeof(sockaddr_in)


cdef inline bint name_is(const uint8_t* name, uint32_t length, const char* wanted, uint32_t wanted_length) noexcept nogil:
    return bytes_ieq(name, length, <const uint8_t*>wanted, wanted_length)


cdef uint16_t transport_by_name(const uint8_t* name, uint32_t length) noexcept nogil:
    if length == 3 and name[0] | 32 == c'u' and name[1] | 32 == c'd' and name[2] | 32 == c'p':
        return TRANSPORT_UDP
    if name_is(name, length, b"tcp", 3):
        return TRANSPORT_TCP
    if name_is(name, length, b"tls", 3):
        return TRANSPORT_TLS
    if name_is(name, length, b"ws", 2):
        return TRANSPORT_WS
    return TRANSPORT_WSS if name_is(name, length, b"wss", 3) else TRANSPORT_UNKNOWN


TRANSPORTS = ("udp", "tcp", "tls", "ws", "wss")


def pack(str transport, str host, int port, int listener=0):
    """The 24 octets of an Endpoint, as they cross processes. ValueError where the host is no numeric address."""
    cdef Endpoint endpoint
    cdef bytes text = host.encode()
    memset(&endpoint, 0, sizeof(Endpoint))
    if transport not in TRANSPORTS:
        raise ValueError(f"transport {transport!r}: expected one of {', '.join(TRANSPORTS)}")
    if not 0 <= port <= 65535:
        raise ValueError(f"port {port}: expected 0 to 65535")
    if not 0 <= listener <= 65535:
        raise ValueError(f"listener {listener}: expected 0 to 65535")
    if not endpoint_set_host(&endpoint, text, len(text)):
        raise ValueError(f"host {host!r}: expected an IPv4 or IPv6 address")
    endpoint.transport = TRANSPORTS.index(transport)
    endpoint.port = port
    endpoint.listener = listener
    return (<const char*>&endpoint)[:sizeof(Endpoint)]


cdef int read(Endpoint* endpoint, const uint8_t[:] octets) except -1:
    if octets.shape[0] != sizeof(Endpoint):
        raise ValueError(f"an endpoint has {sizeof(Endpoint)} octets, not {octets.shape[0]}")
    memcpy(endpoint, &octets[0], sizeof(Endpoint))
    return 0


def unpack(octets):
    """(transport, host, port, listener) of 24 octets; host is empty for an endpoint that is none."""
    cdef Endpoint endpoint
    cdef uint8_t text[ENDPOINT_TEXT_MAX]
    read(&endpoint, octets)
    length = endpoint_host_text(&endpoint, text)
    transport = TRANSPORTS[endpoint.transport] if endpoint.transport < len(TRANSPORTS) else str(endpoint.transport)
    return transport, (<const char*>text)[:length].decode(), endpoint.port, endpoint.listener


def text(octets):
    """ "ip:port" of 24 octets, IPv6 in brackets."""
    cdef Endpoint endpoint
    cdef uint8_t out[ENDPOINT_TEXT_MAX]
    read(&endpoint, octets)
    return (<const char*>out)[:endpoint_text(&endpoint, out)].decode()


def through_sockaddr(octets):
    """The endpoint after a way through a struct sockaddr and back, which loses transport and listener."""
    cdef Endpoint endpoint
    cdef uint8_t sockaddr[SOCKADDR_MAX]
    read(&endpoint, octets)
    endpoint_to_sockaddr(&endpoint, sockaddr)
    endpoint.transport = endpoint.listener = 0
    endpoint_from_sockaddr(&endpoint, sockaddr)
    return (<const char*>&endpoint)[:sizeof(Endpoint)]
