"""What the machine allows: a relay of datagrams without SIP, and the least that a stateless SIP forwarder can do (no parser).

Both wait in recvmmsg and answer with sendmmsg, 64 datagrams at most, no copy. Neither is a proxy: they trust what they see.
"""

from libc.errno cimport EINTR, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcmp, memcpy, strlen

from benchmarks.generator_messages cimport ROOM
from sipcore.endpoint cimport Endpoint, endpoint_to_sockaddr
from workers.sockets cimport MSG_NOSIGNAL, iovec, mmsghdr, recvmmsg, sendmmsg, sockaddr_storage

cdef extern from "<string.h>" nogil:
    void* memmem(const void* haystack, size_t length, const void* needle, size_t needle_length)

cdef extern from "<sys/socket.h>" nogil:
    int MSG_WAITFORONE

cdef extern from "<arpa/inet.h>" nogil:
    uint16_t htons(uint16_t value)
    uint16_t ntohs(uint16_t value)

cdef enum:
    BATCH = 64
    CALLEES_MAX = 256
    PIECES = 4            # a datagram leaves as at most so many pieces
    OWN_MAX = 512
    BRANCH_MAX = 26       # of the caller's branch, carried into ours

cdef const char* VIA = "Via: SIP/2.0/UDP "
cdef const char* BRANCH = "branch=z9hG4bK"

cdef struct Relay:
    int fd
    bint sip                            # forward as SIP, else as they are
    uint32_t callees
    sockaddr_storage callee[CALLEES_MAX]
    uint32_t name_length
    uint32_t via_length                 # our Via up to the branch
    uint8_t via[OWN_MAX]
    uint32_t route_length               # our Record-Route
    uint8_t route[OWN_MAX]
    mmsghdr into[BATCH]
    mmsghdr out[BATCH]
    iovec into_vector[BATCH]
    iovec out_vector[BATCH * PIECES]
    sockaddr_storage name[BATCH]
    uint8_t own[BATCH][OWN_MAX]         # our Via (and Record-Route) of each datagram
    uint8_t memory[BATCH * ROOM]


def relay(int fd, bytes own, callees, *, bint sip):
    """Relays at a blocking UDP socket until the process is killed, or a socket error.

    own: b"host:port" of the socket; callees: 24 octets of an Endpoint each, chosen by the caller's port; sip: forward with a Via and
    a Record-Route, so that responses come back whoever gets them.
    """
    cdef Relay* state = <Relay*>calloc(1, sizeof(Relay))
    cdef int failure
    if state == NULL:
        raise MemoryError("no memory for the relay")
    try:
        if not 1 <= len(callees) <= CALLEES_MAX:
            raise ValueError(f"found {len(callees)} callees, expected 1 to {CALLEES_MAX}")
        state.fd, state.sip, state.callees = fd, sip, len(callees)
        for i, packed in enumerate(callees):
            _set_callee(state, i, packed)
        via = b"Via: SIP/2.0/UDP " + own + b";branch=z9hG4bKrelay"
        route = b"\r\nRecord-Route: <sip:" + own + b";lr>"
        state.via_length, state.route_length = len(via), len(route)
        memcpy(state.via, <const uint8_t*>via, len(via))
        memcpy(state.route, <const uint8_t*>route, len(route))
        while True:
            with nogil:
                failure = relay_until_error(state)
            if failure != EINTR:
                raise OSError(failure, "the relay's socket")
    finally:
        free(state)


cdef int _set_callee(Relay* state, uint32_t i, bytes packed) except -1:
    if len(packed) != sizeof(Endpoint):
        raise ValueError(f"callee {i}: found {len(packed)} octets, expected {sizeof(Endpoint)}")
    state.name_length = endpoint_to_sockaddr(<const Endpoint*><const uint8_t*>packed, &state.callee[i])
    return 0


cdef int relay_until_error(Relay* state) noexcept nogil:
    cdef int i, got, at, sent, count
    for i in range(BATCH):
        state.into_vector[i].iov_base = state.memory + i * ROOM
        state.into_vector[i].iov_len = ROOM
        state.into[i].msg_hdr.msg_iov = &state.into_vector[i]
        state.into[i].msg_hdr.msg_iovlen = 1
        state.into[i].msg_hdr.msg_name = &state.name[i]
    while True:
        for i in range(BATCH):
            state.into[i].msg_hdr.msg_namelen = sizeof(sockaddr_storage)
        got = recvmmsg(state.fd, state.into, BATCH, MSG_WAITFORONE, NULL)
        if got <= 0:
            return errno
        count = 0
        for i in range(got):
            count += direct(state, i, count)
        at = 0
        while at < count:
            sent = sendmmsg(state.fd, state.out + at, count - at, MSG_NOSIGNAL)
            at += max(sent, 1)


cdef bint direct(Relay* state, uint32_t i, uint32_t to) noexcept nogil:
    """Where the datagram goes and as what; False: nowhere."""
    cdef uint8_t* data = state.memory + i * ROOM
    cdef uint32_t length = state.into[i].msg_len
    cdef iovec* vector = &state.out_vector[to * PIECES]
    cdef mmsghdr* out = &state.out[to]
    cdef uint8_t* rest = data
    cdef uint8_t* name = <uint8_t*>&state.name[i]
    cdef uint8_t* found
    cdef uint16_t port
    out.msg_hdr.msg_iov = vector
    out.msg_hdr.msg_iovlen = 1
    out.msg_hdr.msg_namelen = state.name_length
    vector[0].iov_base = data
    vector[0].iov_len = length
    if length > 16 and memcmp(data, <const char*>"SIP/2.0 ", 8) == 0:
        if state.sip:
            if data[8] == 49 and data[10] == 48:  # 100 goes one hop
                return False
            rest = without_via(vector, data, length)
            out.msg_hdr.msg_iovlen = 2
            if rest == NULL:
                return False
        port = port_of_via(rest, data + length)
        memcpy(name, &state.callee[0], state.name_length)
        memcpy(name + 2, &port, 2)  # sin_port and sin6_port stand at the same place
        out.msg_hdr.msg_name = name
        return port != 0
    memcpy(&port, name + 2, 2)
    out.msg_hdr.msg_name = &state.callee[ntohs(port) % state.callees]
    if not state.sip:
        return True
    found = <uint8_t*>memchr(data, 10, length)
    if found == NULL:
        return False
    found += 1
    vector[0].iov_len = found - data
    vector[1].iov_base = state.own[i]
    vector[1].iov_len = own_lines(state, state.own[i], data, length)
    vector[2].iov_base = found
    vector[2].iov_len = data + length - found
    out.msg_hdr.msg_iovlen = 3
    return True


cdef uint32_t own_lines(Relay* state, uint8_t* out, const uint8_t* data, uint32_t length) noexcept nogil:
    """Our Via, its branch ending as the caller's does, and for an INVITE our Record-Route; the length."""
    cdef uint32_t at = state.via_length
    cdef const uint8_t* branch = <const uint8_t*>memmem(data, length, BRANCH, strlen(BRANCH))
    memcpy(out, state.via, at)
    if branch != NULL and data + length - branch > BRANCH_MAX + 16:
        memcpy(out + at, branch + strlen(BRANCH), BRANCH_MAX - 1)
        at += BRANCH_MAX - 1
    if data[0] == 73:  # INVITE
        memcpy(out + at, state.route, state.route_length)
        at += state.route_length
    memcpy(out + at, <const char*>"\r\n", 2)
    return at + 2


cdef uint8_t* without_via(iovec* vector, uint8_t* data, uint32_t length) noexcept nogil:
    """Leaves our Via, the second line, out; what comes behind it, or NULL."""
    cdef uint8_t* via = <uint8_t*>memchr(data, 10, length)
    cdef uint8_t* rest
    if via == NULL:
        return NULL
    via += 1
    rest = <uint8_t*>memchr(via, 10, data + length - via)
    if rest == NULL:
        return NULL
    rest += 1
    vector[0].iov_len = via - data
    vector[1].iov_base = rest
    vector[1].iov_len = data + length - rest
    return rest


cdef uint16_t port_of_via(const uint8_t* data, const uint8_t* end) noexcept nogil:
    """The port in the first Via from here on, in network order; 0: none."""
    cdef const uint8_t* at = <const uint8_t*>memmem(data, end - data, VIA, strlen(VIA))
    cdef uint32_t port = 0
    if at == NULL:
        return 0
    at += strlen(VIA)
    while at < end and at[0] != 59:
        if at[0] == 58 or at[0] == 93:  # the last colon counts; an IPv6 address ends with a bracket
            port = 0
        elif 48 <= at[0] <= 57:
            port = (port * 10 + at[0] - 48) & 0xFFFFFF
        at += 1
    return htons(<uint16_t>port)
