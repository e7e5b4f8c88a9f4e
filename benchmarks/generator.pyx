"""A light SIP load generator: callers and callees in one thread, open loop, without Python while it runs.

One call is INVITE 100 180 200 ACK BYE 200. Requests and the callees' 200 are sent again as RFC 3261 17 and 13.3.1.4 say, so
that a lost datagram shows as a retransmission and not as a failed call. Times count from the moment a request was meant to go.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from benchmarks.generator_calls cimport (
    BATCH, CALLS_MAX, COUNTS, FREE, HOLD_QUEUE, KIND_CALL, KIND_OPTIONS, KIND_REGISTER, MS, OFFERED, DONE, FAILED, OVER, PATTERN_MAX,
    QUEUES, RECEIVED, SOCKETS_MAX, STATUSES, STRAY, UNFINISHED, Call, Field, begin, fire_timers, flush, request, response,
)
from benchmarks.generator_messages cimport ROOM, Host, scan_message
from benchmarks.generator_timers cimport BUCKETS, Histogram, queue_due
from sipcore.endpoint cimport Endpoint, endpoint_to_sockaddr
from workers.sockets cimport (
    CLOCK_MONOTONIC, EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLLIN, MSG_DONTWAIT, clock_gettime, epoll_create1, epoll_ctl, epoll_event,
    recvmmsg, sockaddr_storage, timespec,
)

import os

cdef extern from "<sys/epoll.h>" nogil:
    int epoll_pwait2(int epfd, epoll_event* events, int most, const timespec* timeout, const void* mask)

cdef enum:
    BURST = 32             # requests begun before what came is looked at again, when the generator is late
    EVENTS = 64

COUNT_NAMES = ("offered", "done", "failed", "unfinished", "no_room", "requests_again", "answers_again", "acks_again", "swapped",
               "overtaken", "repeated", "stray", "misrouted", "sent", "received", "send_errors")
assert len(COUNT_NAMES) == COUNTS
KINDS = {"calls": KIND_CALL, "register": KIND_REGISTER, "options": KIND_OPTIONS}


cdef class Generator:
    """One run over sockets that are open and bound already.

    callers, callees: lists of (fd, b"host:port"); peer: 24 octets of the proxy's Endpoint, and its b"host:port".
    pattern: what is offered, in turn (KINDS' numbers). seconds at rate a second; then drain_s to end what is under way.
    routed: a dialog without a Record-Route of the peer is misrouted and fails.
    """

    cdef Field* field
    cdef int epoll
    cdef object keep  # the sockets, open as long as this

    def __cinit__(self, callers, callees, bytes peer, bytes peer_text, *, pattern=(KIND_CALL,), double rate, double seconds,
                  double drain_s=5.0, double hold_s=0.0, double t1_s=0.5, uint32_t aors=1000, bint routed=True, cseq=1):
        cdef Field* field
        cdef int i
        self.epoll = -1
        if not 1 <= len(pattern) <= PATTERN_MAX or not set(pattern) <= set(KINDS.values()):
            raise ValueError(f"pattern: found {pattern!r}, expected 1 to {PATTERN_MAX} of {KINDS}")
        if not callers or len(callers) + len(callees) > SOCKETS_MAX or rate <= 0 or aors == 0 or len(peer) != sizeof(Endpoint):
            raise ValueError(f"expected a rate, an AOR, a peer and 1 to {SOCKETS_MAX} sockets, found {len(callers)} callers")
        self.field = field = <Field*>calloc(1, sizeof(Field))
        if field == NULL:
            raise MemoryError("no memory for the generator")
        field.call = <Call*>calloc(CALLS_MAX, sizeof(Call))
        field.free_slot = <uint32_t*>malloc(CALLS_MAX * sizeof(uint32_t))
        field.cseq = <uint32_t*>malloc(aors * sizeof(uint32_t))
        field.out_memory = <uint8_t*>malloc(BATCH * ROOM)
        field.into_memory = <uint8_t*>malloc(BATCH * ROOM)
        if not (field.call and field.free_slot and field.cseq and field.out_memory and field.into_memory):
            raise MemoryError("no memory for the generator's calls")
        self.keep = (callers, callees)
        field.callers = len(callers)
        for fd, host in (*callers, *callees):
            field.socket[field.sockets].fd = fd
            _set_host(&field.socket[field.sockets].host, host)
            field.sockets += 1
        _set_host(&field.peer, peer_text)
        field.peer_name_length = endpoint_to_sockaddr(<const Endpoint*><const uint8_t*>peer, &field.peer_name)
        field.routed = routed
        field.nonce = int.from_bytes(os.urandom(4), "little")
        field.interval_ns = 1e9 / rate
        field.total = <uint64_t>(rate * seconds)
        field.drain_ns = <int64_t>(drain_s * 1e9)
        field.aors = aors
        for i in range(<int>aors):
            field.cseq[i] = cseq
        field.pattern_length = len(pattern)
        for i in range(len(pattern)):
            field.pattern[i] = pattern[i]
        for i in range(HOLD_QUEUE):
            field.queue[i].delay_ns = <int64_t>(t1_s * 1e9) << i
        field.queue[HOLD_QUEUE].delay_ns = <int64_t>(hold_s * 1e9)
        _set_slots(field)

    def __dealloc__(self):
        cdef int i
        if self.epoll >= 0:
            os.close(self.epoll)
        if self.field == NULL:
            return
        for i in range(QUEUES):
            free(self.field.queue[i].entry)
        free(self.field.call)
        free(self.field.free_slot)
        free(self.field.cseq)
        free(self.field.out_memory)
        free(self.field.into_memory)
        free(self.field)

    def run(self):
        """Offers and ends everything; counts by name, `status` of what failed, and histograms as lists of BUCKETS counts."""
        cdef Field* field = self.field
        cdef epoll_event event
        cdef uint32_t i
        cdef int epoll
        cdef bint over = False
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        epoll = self.epoll
        if epoll < 0:
            raise OSError(errno, "epoll_create1")
        for i in range(field.sockets):
            event.events = EPOLLIN
            event.data.u32 = i
            if epoll_ctl(self.epoll, EPOLL_CTL_ADD, field.socket[i].fd, &event) < 0:
                raise OSError(errno, f"epoll_ctl of socket {i}")
        field.begin_ns = clock_ns() + MS
        while not over:
            with nogil:
                over = run_until_signal(field, epoll)
            PyErr_CheckSignals()
        return _found(field)


cdef dict _found(Field* field):
    cdef uint32_t i
    field.count[UNFINISHED] = 0
    for i in range(field.used):
        field.count[UNFINISHED] += field.call[i].state != FREE and field.call[i].state != OVER
    field.count[FAILED] = field.count[OFFERED] - field.count[DONE]
    counts = [field.count[i] for i in range(<uint32_t>COUNTS)]
    found = dict(zip(COUNT_NAMES, counts, strict=True))
    found["status"] = {i: field.status[i] for i in range(<uint32_t>STATUSES) if field.status[i]}
    found["setup"] = _buckets(&field.setup), field.setup.most_us
    found["ending"] = _buckets(&field.ending), field.ending.most_us
    found["other"] = _buckets(&field.other), field.other.most_us
    return found


cdef list _buckets(const Histogram* histogram):
    cdef uint32_t i
    return [histogram.bucket[i] for i in range(<uint32_t>BUCKETS)]


cdef int _set_host(Host* host, bytes text) except -1:
    if len(text) > sizeof(host.text):
        raise ValueError(f"{text!r}: expected at most {sizeof(host.text)} octets")
    host.length = len(text)
    memcpy(host.text, <const uint8_t*>text, len(text))
    return 0


cdef void _set_slots(Field* field) noexcept nogil:
    cdef uint32_t i
    field.out_fd = -1
    for i in range(BATCH):
        field.out_vector[i].iov_base = field.out_memory + i * ROOM
        field.out[i].msg_hdr.msg_iov = &field.out_vector[i]
        field.out[i].msg_hdr.msg_iovlen = 1
        field.out[i].msg_hdr.msg_name = &field.out_name[i]
        field.into_vector[i].iov_base = field.into_memory + i * ROOM
        field.into_vector[i].iov_len = ROOM
        field.into[i].msg_hdr.msg_iov = &field.into_vector[i]
        field.into[i].msg_hdr.msg_iovlen = 1
        field.into[i].msg_hdr.msg_name = &field.into_name[i]


cdef int64_t clock_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec


# The loop.

cdef bint run_until_signal(Field* field, int epoll) noexcept nogil:
    """Returns True when the run is over, False on a signal."""
    cdef epoll_event events[EVENTS]
    cdef timespec wait
    cdef int64_t now, due
    cdef int i, got, burst
    while True:
        now = clock_ns()
        burst = 0
        while field.next < field.total and intended_ns(field) <= now and burst < BURST:
            begin(field, intended_ns(field), now)
            field.next += 1
            burst += 1
        fire_timers(field, now)
        flush(field)
        if field.next == field.total and (field.live == 0 or now > intended_ns(field) + field.drain_ns):
            return True
        now = clock_ns()
        due = max(next_due(field) - now, 0)
        wait.tv_sec = due // 1_000_000_000
        wait.tv_nsec = due % 1_000_000_000
        got = epoll_pwait2(epoll, events, EVENTS, &wait, NULL)
        if got < 0:
            if errno == EINTR:
                return False
            continue
        now = clock_ns()
        for i in range(got):
            receive(field, events[i].data.u32, now)
        flush(field)


cdef int64_t intended_ns(const Field* field) noexcept nogil:
    return field.begin_ns + <int64_t>(<double>field.next * field.interval_ns)


cdef int64_t next_due(Field* field) noexcept nogil:
    """When something must be done, whatever comes."""
    cdef int64_t due, next = intended_ns(field)
    cdef int i
    if field.next == field.total:
        next += field.drain_ns + MS
    for i in range(QUEUES):
        due = queue_due(&field.queue[i])
        if due >= 0 and due < next:
            next = due
    return next


cdef void receive(Field* field, uint32_t socket, int64_t now) noexcept nogil:
    cdef int i, got
    for i in range(BATCH):
        field.into[i].msg_hdr.msg_namelen = sizeof(sockaddr_storage)
    got = recvmmsg(field.socket[socket].fd, field.into, BATCH, MSG_DONTWAIT, NULL)
    for i in range(got):
        field.count[RECEIVED] += 1
        if not scan_message(&field.scan, field.into_memory + i * ROOM, field.into[i].msg_len):
            field.count[STRAY] += 1
        elif field.scan.status:
            response(field, now)
        else:
            request(field, socket, &field.into_name[i], field.into[i].msg_hdr.msg_namelen, now)
