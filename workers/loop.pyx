"""The worker's loop: epoll, a batch in, timers, a batch out; Python is entered only where something waits for it."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from posix.unistd cimport close, write

from sipcore.counters cimport (
    COUNT_BATCHES, COUNT_HEARTBEAT_MS, COUNT_INBOX_IN, COUNT_LIVE, COUNT_LOG_DROPPED, COUNT_PID, COUNT_REGISTERS, COUNT_TRANSACTIONS,
    Page, count,
)
from sipcore.dispatcher cimport DispatcherTable
from sipcore.endpoint cimport Endpoint
from sipcore.hashing cimport siphash
from sipcore.location cimport LocationTable
from sipcore.steering cimport worker_text
from sipcore.timers cimport timers_wait
from workers.datagram cimport BATCH, INBOX_UNREACHABLE, SLOT, InboxHeader, Receiver, outbox_free, outbox_start
from workers.edge cimport (
    CALL_LINES_MAX, HOST_MAX, LISTENERS_MAX, NAMES_MAX, PREFIX_MAX, REGISTERS_PACE_MS, Edge, Listener, Name,
)
from workers.forward cimport edge_flush
from workers.pace cimport pace_stalled, pace_start, pace_turn, pace_until_ns
from workers.registrar cimport Registrar
from workers.router cimport router_datagram, router_send_failures, router_timers, router_unpark, router_unreachable
from workers.sockets cimport (
    CLOCK_MONOTONIC, EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLLERR, EPOLLIN, POLLOUT, TIMER_ABSTIME,
    clock_gettime, clock_nanosleep, epoll_create1, epoll_ctl, epoll_event,
    epoll_wait, poll, pollfd, timespec,
)
from workers.transactions cimport transactions_start, transactions_stop

import os

from sipcore import endpoint as endpoints

cdef enum:
    EVENTS_MAX = 64
    ROUNDS_MAX = 8           # batches of one socket before the others and the timers get their turn
    LATE_MS = 250            # a turn that begins so late was held up (WAIT_MAX_MS is no delay): what waits in the sockets is read first,
    LATE_ROUNDS_MAX = 512    # for a timer must not fire over an answer that is there; 32,768 datagrams are more than a socket holds
    WAIT_MAX_MS = 200        # the heartbeat's and the clock's resolution where nothing happens
    TAG_INBOX = 1000         # what epoll gives back: a listener's index, or one of these
    TAG_PYTHON = 1001
    PIPE_BUF = 4096          # what POLLOUT promises (pipe(7))

CALL_LEVELS = ("debug", "info")  # at which call lines, which are info, are written

WAKE_PYTHON = 1              # flags that poll() returns: a descriptor added by watch() is ready
WAKE_REGISTERS = 2           # operations wait for the log


cdef int64_t monotonic_ms() noexcept nogil:
    return monotonic_ns() // 1000000


cdef int64_t monotonic_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


cdef inline int64_t registers_due_ms(const Edge* edge) noexcept nogil:
    """When the operations that wait go on: at the same moments in all workers, so that one commit and one frame serve them all."""
    return (edge.registry.released_ms // REGISTERS_PACE_MS + 1) * REGISTERS_PACE_MS


cdef class Engine:
    """One worker's sockets, tables and transactions.

    launch: the launch document's fields (workers/launch.py); page, dispatcher and location are the tables it reads and writes.
    """
    cdef Edge* edge
    cdef Receiver receiver
    cdef Page page
    cdef DispatcherTable dispatcher_table
    cdef LocationTable location_table
    cdef Registrar registrar
    cdef int epoll
    cdef int log_fd
    cdef int64_t turn_ns     # when the last turn of the loop began
    cdef int64_t served_ms   # and when it ended
    cdef bint stalled        # the present one began late
    cdef uint32_t taken      # datagrams that the present turn has read
    cdef bint left           # it left some in a socket
    cdef int64_t started_ms  # an heir forwards for as long as a transaction of the dead worker may live: Timer C and 64*T1

    def __cinit__(self):
        self.edge = <Edge*>calloc(1, sizeof(Edge))
        if self.edge == NULL:
            raise MemoryError("no memory for the worker's state")
        self.epoll = -1
        self.edge.scratch = <uint8_t*>malloc(SLOT)
        outbox_start(&self.edge.outbox)

    def __init__(self, launch, Page page, DispatcherTable dispatcher, LocationTable location, int log_fd=2):
        cdef uint32_t i
        cdef uint32_t index = launch.index
        self.receiver = Receiver()
        self.page, self.dispatcher_table, self.location_table = page, dispatcher, location
        self.log_fd = log_fd
        self.edge.worker = index
        self.edge.workers = launch.workers
        self.edge.dispatcher = &dispatcher.dispatcher
        self.edge.location = &location.location
        self.edge.counter = &page.page.counter[index][0]
        self.edge.load = &page.page.loads.load[index][0]
        self.edge.in_hand = &page.page.in_hand[index]
        self.edge.in_hand.length = 0
        self.edge.quarantine = &page.page.quarantine
        crash = os.environ.get("VIADUCT_CRASH_ON", "").encode()[:sizeof(self.edge.crash_text)]
        self.edge.crash_length = len(crash)
        memcpy(self.edge.crash_text, <const uint8_t*>crash, len(crash))
        self.edge.inbox_fd = launch.inbox_fd
        for peer, fd in enumerate(launch.inbox_peers):
            self.edge.inbox_peer[<int>peer] = fd
        self.edge.random = int.from_bytes(os.urandom(8), "little") | 1
        self.edge.now_ms = monotonic_ms()
        self._become_heir()
        pace_start(&self.edge.pace, self.edge.now_ms)
        transactions_start(&self.edge.transactions, launch.settings["edge"]["max_transactions"], self.edge.now_ms)
        self._listen(launch.listeners)

    def __dealloc__(self):
        if self.edge != NULL:
            transactions_stop(&self.edge.transactions)
            outbox_free(&self.edge.outbox)
            free(self.edge.scratch)
            free(self.edge.registry.operation.out)
            free(self.edge.registry.headers.out)
            free(self.edge)
        if self.epoll >= 0:
            close(self.epoll)

    cdef _become_heir(self):
        """A row that was used before belongs to a worker that died: its responses are ours to forward."""
        self.edge.heir = self.edge.counter[<int>COUNT_PID] != 0
        self.started_ms = self.edge.now_ms
        self.served_ms = self.edge.now_ms
        self.turn_ns = self.edge.now_ms * 1000000
        self.edge.counter[<int>COUNT_PID] = os.getpid()
        self.edge.counter[<int>COUNT_LIVE] = 0
        self.edge.counter[<int>COUNT_TRANSACTIONS] = 0

    cdef _listen(self, listeners):
        """Fills the listeners' addresses and texts."""
        cdef uint32_t i
        cdef Listener* listener
        cdef bytes packed
        if len(listeners) > LISTENERS_MAX:
            raise ValueError(f"edge.listen: {len(listeners)} addresses, at most {LISTENERS_MAX} can be served")
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        for i, entry in enumerate(listeners):
            listener = &self.edge.listener[i]
            packed = endpoints.pack(entry.transport, entry.ip, entry.port, i)
            memcpy(&listener.local, <const uint8_t*>packed, sizeof(Endpoint))
            listener.fd = entry.fd
            self._texts(listener, entry)
        self.edge.listener_count = len(listeners)

    def open(self):
        """Begins to read: until then datagrams wait in their sockets, for without the key nothing can be relayed."""
        cdef uint32_t i
        for i in range(self.edge.listener_count):
            self._watch(self.edge.listener[i].fd, i)
        self._watch(self.edge.inbox_fd, TAG_INBOX)

    cdef _texts(self, Listener* listener, entry):
        cdef uint8_t worker[2]
        host = f"[{entry.ip}]" if ":" in entry.ip else entry.ip
        sent_by = entry.advertise or f"{host}:{entry.port}"
        worker_text(self.edge.worker, worker)
        via = f"SIP/2.0/{entry.transport.upper()} {sent_by};branch=z9hG4bKV".encode() + bytes(worker[:2])
        route = f"<sip:{sent_by};lr;v=".encode()
        if len(via) > PREFIX_MAX or len(route) > PREFIX_MAX:
            raise ValueError(f"edge.advertise: {sent_by!r} is too long for a Via")
        listener.via_length = len(via)
        memcpy(listener.via, <const uint8_t*>via, len(via))
        listener.route_length = len(route)
        memcpy(listener.route, <const uint8_t*>route, len(route))

    cdef _watch(self, int fd, uint32_t tag):
        cdef epoll_event event
        memset(&event, 0, sizeof(event))
        event.events = EPOLLIN
        event.data.u32 = tag
        if epoll_ctl(self.epoll, EPOLL_CTL_ADD, fd, &event) < 0:
            raise OSError(f"descriptor {fd} cannot be waited for")

    def watch(self, int fd):
        """poll() returns WAKE_PYTHON when this descriptor is readable."""
        self._watch(fd, TAG_PYTHON)

    def configure(self, settings, bytes key, listeners):
        """Takes the settings that change while running, and the deployment's 16-octet key. ValueError where one cannot be kept; then
        all is as it was."""
        cdef uint8_t* failover = self.edge.settings.failover
        edge, dispatcher, timers = settings["edge"], settings["dispatcher"], settings["timers"]
        text = dispatcher["refuse_text"].encode()
        server = f"Server: {edge['user_agent']}\r\n".encode() if edge["user_agent"] else b""
        names = our_names(edge["domains"], listeners)
        if len(key) != 16 or len(text) >= sizeof(self.edge.settings.refuse_text) or len(server) > sizeof(self.edge.settings.server):
            raise ValueError("the key must have 16 octets, dispatcher.refuse_text and edge.user_agent fewer than 128")
        self._take_names(names)
        memcpy(&self.edge.key, <const uint8_t*>key, 16)
        self.edge.loop_seed = siphash(&self.edge.key, <const uint8_t*>b"loop", 4)
        self.edge.settings.lookup_first = edge["initial"] == "lookup-first"
        self.edge.settings.source_any_port = dispatcher["match_source"] == "address"
        self.edge.settings.use_domain = settings["registrar"]["use_domain"]
        self.edge.pace.coalesce_us = edge["coalesce_us"]
        self.edge.settings.set_id = dispatcher["set"]
        self.edge.settings.max_attempts = dispatcher["max_attempts"]
        self.edge.settings.max_time_ms = dispatcher["max_time_ms"]
        self.edge.settings.retry_after_cap_ms = dispatcher["retry_after_cap_s"] * 1000
        self.edge.settings.refuse_code = dispatcher["refuse_code"]
        memset(self.edge.settings.refuse_text, 0, sizeof(self.edge.settings.refuse_text))
        memcpy(self.edge.settings.refuse_text, <const uint8_t*>text, len(text))
        self.edge.settings.server_length = len(server)
        memcpy(self.edge.settings.server, <const uint8_t*>server, len(server))
        memset(failover, 0, sizeof(self.edge.settings.failover))
        for status in dispatcher["failover_codes"]:
            failover[<int>status >> 3] |= 1 << (<int>status & 7)
        self.edge.settings.t1_ms = timers["t1_ms"]
        self.edge.settings.t2_ms = timers["t2_ms"]
        self.edge.settings.t4_ms = timers["t4_ms"]
        self.edge.settings.timer_c_ms = timers["timer_c_ms"]
        self.edge.heir_until_ms = self.started_ms + timers["timer_c_ms"] + 64 * timers["t1_ms"]
        self.edge.settings.log_calls = settings["log"]["calls"] and settings["log"]["level"] in CALL_LEVELS
        self.edge.settings.log_json = settings["log"]["format"] == "json"

    cdef _take_names(self, names):
        cdef uint32_t n = 0
        cdef Name* name
        for host, port, domain in names:
            name = &self.edge.name[n]
            name.length = len(host)
            memcpy(name.host, <const uint8_t*>(<bytes>host), len(host))
            name.port = port
            name.domain = domain
            n += 1
        self.edge.name_count = n

    def set_live(self):
        """The replica is complete: what was parked goes its way."""
        self.edge.live = True
        self.edge.counter[<int>COUNT_LIVE] = 1
        with nogil:
            router_unpark(self.edge)
            self._finish_batch()

    def drain(self):
        """No new calls from now on: 503 to them and to OPTIONS."""
        self.edge.draining = True

    @property
    def unanswered(self):
        """Transactions that still wait for a final response."""
        cdef uint32_t i, waiting = 0
        for i in range(self.edge.transactions.transaction_used):
            if self.edge.transactions.transaction[i].machine and self.edge.transactions.transaction[i].status < 200:
                waiting += 1
        return waiting

    def attach(self, Registrar registrar not None):
        """From now on REGISTERs become operations for the log, which the registrar keeps and answers."""
        self.edge.registry.operations = &registrar.outstanding.operations
        registrar.edge = self.edge
        registrar.engine = self
        self.registrar = registrar

    def flush(self):
        """Sends what the registrar queued."""
        with nogil:
            self._finish_batch()

    def poll(self):
        """Serves until something waits for Python: WAKE_PYTHON | WAKE_REGISTERS, or 0 after about WAIT_MAX_MS."""
        cdef int flags
        with nogil:
            flags = self._serve()
        self._write_lines()
        return flags

    cdef int _serve(self) noexcept nogil:
        cdef Edge* edge = self.edge
        cdef epoll_event events[EVENTS_MAX]
        cdef int i, got
        cdef int flags = 0
        cdef int64_t now_ns
        cdef uint64_t registers
        cdef int64_t until_ms = monotonic_ms() + WAIT_MAX_MS
        while flags == 0:
            got = self._wait(events, until_ms)
            now_ns = monotonic_ns()
            edge.now_ms = now_ns // 1000000
            self.stalled = edge.now_ms - self.served_ms > LATE_MS
            self.taken = 0
            self.left = False
            registers = edge.counter[<int>COUNT_REGISTERS]
            for i in range(got):
                if events[i].data.u32 == TAG_PYTHON:
                    flags |= 1
                elif events[i].data.u32 == TAG_INBOX:
                    self._read_inbox()
                else:
                    if events[i].events & EPOLLERR:
                        self._read_errors(events[i].data.u32)
                    if events[i].events & EPOLLIN:
                        self._read(events[i].data.u32)
            router_timers(edge)
            self._finish_batch()
            if self.stalled:
                pace_stalled(&edge.pace, edge.now_ms)
            pace_turn(&edge.pace, self.taken, <uint32_t>(edge.counter[<int>COUNT_REGISTERS] - registers), self.left, edge.now_ms)
            self.turn_ns = now_ns
            self.served_ms = monotonic_ms()
            if edge.registry.held and edge.now_ms >= registers_due_ms(edge):
                flags |= 2
                edge.registry.held = 0
                edge.registry.released_ms = edge.now_ms
            if edge.now_ms >= until_ms or edge.call_lines_length > CALL_LINES_MAX // 2:
                break
        edge.counter[<int>COUNT_HEARTBEAT_MS] = <uint64_t>edge.now_ms
        edge.counter[<int>COUNT_TRANSACTIONS] = edge.transactions.live
        return flags

    cdef int _wait(self, epoll_event* events, int64_t until_ms) noexcept nogil:
        """What is ready. With much to do, not before coalesce_us after the last turn began, so that more is ready by then."""
        cdef timespec until
        cdef int64_t until_ns = pace_until_ns(&self.edge.pace, self.turn_ns)
        cdef int got
        if until_ns:
            until.tv_sec = until_ns // 1000000000
            until.tv_nsec = until_ns % 1000000000
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL)
            got = epoll_wait(self.epoll, events, EVENTS_MAX, 0)
            if got:
                return got
        return epoll_wait(self.epoll, events, EVENTS_MAX, self._wait_ms(until_ms))

    cdef int _wait_ms(self, int64_t until_ms) noexcept nogil:
        """Until the next timer's tick, or until_ms; 0 where it is past."""
        cdef int64_t now_ms = monotonic_ms()
        if self.edge.registry.held:
            until_ms = min(until_ms, registers_due_ms(self.edge))
        if until_ms <= now_ms:
            return 0
        return <int>timers_wait(&self.edge.transactions.wheel, now_ms, until_ms - now_ms)

    cdef void _read(self, uint32_t listener) noexcept nogil:
        cdef int i, got
        cdef int rounds
        for rounds in range(LATE_ROUNDS_MAX if self.stalled else ROUNDS_MAX):
            got = self.receiver.receive(self.edge.listener[listener].fd, <uint16_t>listener)
            for i in range(got):
                router_datagram(self.edge, self.receiver.item[i].data, self.receiver.item[i].length, &self.receiver.item[i].source, False)
            if got:
                count(self.edge.counter, COUNT_BATCHES)
                self.taken += <uint32_t>got
            if got < BATCH:
                return
            self._finish_batch()
        self.left = True

    cdef void _read_errors(self, uint32_t listener) noexcept nogil:
        cdef int rounds
        for rounds in range(BATCH):
            if not self.receiver.receive_error(self.edge.listener[listener].fd, <uint16_t>listener):
                return
            router_unreachable(self.edge, self.receiver.item[0].data, self.receiver.item[0].length, &self.receiver.item[0].source, False)

    cdef void _read_inbox(self) noexcept nogil:
        cdef InboxHeader header
        cdef int rounds, got
        for rounds in range(BATCH):
            got = self.receiver.receive_inbox(self.edge.inbox_fd, &header)
            if got == 0:
                return
            if got < 0:
                continue
            count(self.edge.counter, COUNT_INBOX_IN)
            self.taken += 1
            if header.kind == INBOX_UNREACHABLE:
                router_unreachable(self.edge, self.receiver.item[0].data, self.receiver.item[0].length, &header.peer, True)
            else:
                router_datagram(self.edge, self.receiver.item[0].data, self.receiver.item[0].length, &header.peer, True)
        self.left = True

    cdef void _finish_batch(self) noexcept nogil:
        """Sends; what the kernel refused is tried elsewhere, which may give more to send."""
        cdef int rounds
        edge_flush(self.edge)
        for rounds in range(BATCH):
            if self.edge.outbox.failed_count == 0:
                return
            router_send_failures(self.edge)
            edge_flush(self.edge)

    cdef void _write_lines(self) noexcept nogil:
        """Hands the call lines to the log, in pieces that a ready pipe takes without waiting; a reader that is too slow loses the rest,
        counted, and holds nobody up."""
        cdef pollfd ready
        cdef uint32_t at = 0
        cdef ssize_t written
        ready.fd = self.log_fd
        ready.events = POLLOUT
        while at < self.edge.call_lines_length:
            if poll(&ready, 1, 0) < 1:
                count(self.edge.counter, COUNT_LOG_DROPPED)
                break
            written = write(self.log_fd, self.edge.call_lines + at, min(self.edge.call_lines_length - at, <uint32_t>PIPE_BUF))
            if written < 0:
                count(self.edge.counter, COUNT_LOG_DROPPED)
                break
            at += <uint32_t>written
        self.edge.call_lines_length = 0


def our_names(domains, listeners):
    """(host in lower case, port or 0 for any, whether it is a domain) of all that means us. ValueError where they are too many."""
    names = [(domain, 0, True) for domain in domains]
    for entry in listeners:
        names.append((f"[{entry.ip}]" if ":" in entry.ip else entry.ip, entry.port, False))
        if entry.advertise:
            names.append((*advertised_name(entry.advertise), False))
    names = list(dict.fromkeys((host.lower().encode(), port, domain) for host, port, domain in names))
    if len(names) > NAMES_MAX or any(len(host) > HOST_MAX for host, _, _ in names):
        raise ValueError(f"edge.domains: more than {NAMES_MAX} names of ours, or one over {HOST_MAX} octets")
    return names


def advertised_name(advertise):
    """("host", port) of "host", "host:port" or "[v6]:port"; port 5060 where absent."""
    host, separator, port = advertise.rpartition(":")
    if separator and port.isdigit() and not advertise.endswith("]"):
        return host, int(port)
    return advertise, 5060
