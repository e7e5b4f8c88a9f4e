"""The shared page as Python sees it: its layout for NumPy, and a mapping with a few careful methods."""

import mmap

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from sipcore.hashing cimport HashKey, siphash

PAGE_SIZE = sizeof(CountersPage)
COUNTERS_OFFSET = PAGE_HEADER
COUNTERS_SHAPE = (PAGE_WORKERS, PAGE_COUNTERS)                # of uint64, native order
LOADS_OFFSET = PAGE_HEADER + PAGE_WORKERS * PAGE_COUNTERS * sizeof(uint64_t)
LOAD_FIELDS = ("started", "ended", "attempts", "responses", "failures", "busy_until_ms")
IN_HAND_SIZE = sizeof(InHand)
IN_HAND_OFFSET = PAGE_SIZE - PAGE_WORKERS * sizeof(InHand)
LOADS_SHAPE = (PAGE_WORKERS, PAGE_DESTINATIONS, len(LOAD_FIELDS))

# In the order of enum Counter; the rest of a row is free.
COUNTER_NAMES = (
    "heartbeat_ms", "pid", "live", "sequence", "datagrams_in", "datagrams_out", "requests", "responses", "retransmissions_in",
    "retransmissions_out", "refused", "local_replies", "stray_responses", "dropped", "send_errors", "unreachable", "inbox_in",
    "inbox_out", "inbox_dropped", "registers", "calls", "calls_answered", "calls_failed", "failovers", "transactions",
    "transactions_total", "timeouts", "batches", "keepalives", "heir_responses", "parked", "log_dropped", "quarantined", "overload",
)
# What is set, not counted: sums over workers or time mean nothing but for transactions.
GAUGES = frozenset({"heartbeat_ms", "pid", "live", "sequence", "transactions"})

_COLUMN = {name: column for column, name in enumerate(COUNTER_NAMES)}
_FIELD = {name: field for field, name in enumerate(LOAD_FIELDS)}

assert len(COUNTER_NAMES) == COUNT_OVERLOAD + 1, "COUNTER_NAMES and enum Counter differ"
assert len(LOAD_FIELDS) * sizeof(uint64_t) == sizeof(Load), "LOAD_FIELDS and struct Load differ"


cdef class Page:
    """A mapping of the shared page: Page(fd) maps the arbiter's memfd, Page.anonymous() a private one.

    Python's methods are for the supervisor, tests and tools; a worker's hot path writes `page.counter[worker]` itself.
    """

    def __init__(self, int fd):
        cdef uint8_t[::1] octets
        try:
            self.mapping = memoryview(mmap.mmap(fd, PAGE_SIZE))
        except (OSError, ValueError) as error:
            raise ValueError(f"descriptor {fd}: cannot map a counters page of {PAGE_SIZE} octets: {error}") from error
        octets = self.mapping   # the memoryview keeps the mapping open for as long as this object lives
        self.page = <CountersPage*>&octets[0]

    @classmethod
    def anonymous(cls):
        """A page of zeros that nobody shares."""
        return cls(-1)

    @property
    def buffer(self) -> memoryview:
        """The whole page, writable; np.ndarray(COUNTERS_SHAPE, np.uint64, page.buffer, COUNTERS_OFFSET) sees it live."""
        return self.mapping

    def counter(self, worker, name) -> int:
        """The value of a counter or gauge of one worker."""
        return self.page.counter[<int>_index(worker, PAGE_WORKERS, "worker")][<int>_named(_COLUMN, name, "counter")]

    def add(self, worker, name, uint64_t n=1):
        """Counts n on."""
        self.page.counter[<int>_index(worker, PAGE_WORKERS, "worker")][<int>_named(_COLUMN, name, "counter")] += n

    def set_gauge(self, worker, name, uint64_t value):
        """Sets a gauge; ValueError where name is a counter."""
        if name not in GAUGES:
            raise ValueError(f"{name} is no gauge: expected one of {', '.join(sorted(GAUGES))}")
        self.page.counter[<int>_index(worker, PAGE_WORKERS, "worker")][<int>_COLUMN[name]] = value

    @property
    def supervisor_heartbeat_ms(self) -> int:
        """The supervisor's monotonic clock when its event loop last came round; 0 before it ever did."""
        return self.page.supervisor_heartbeat_ms

    @supervisor_heartbeat_ms.setter
    def supervisor_heartbeat_ms(self, uint64_t value):
        self.page.supervisor_heartbeat_ms = value

    def load(self, worker, slot) -> dict:
        """One destination as one worker sees it: LOAD_FIELDS to values."""
        return load_at(self.page, worker, slot)[0]

    def set_load(self, worker, slot, field, uint64_t value):
        """Sets one of LOAD_FIELDS."""
        cdef int at = _named(_FIELD, field, "load field")
        (<uint64_t*>load_at(self.page, worker, slot))[at] = value


    def in_hand(self, worker) -> bytes:
        """The datagram that a worker is working on, or was when it died; empty where there is none."""
        cdef InHand* hand = &self.page.in_hand[<int>_index(worker, PAGE_WORKERS, "worker")]
        return hand.data[:min(hand.length, IN_HAND_MAX)]

    def put_down(self, worker):
        """Forgets what a worker had in hand."""
        self.page.in_hand[<int>_index(worker, PAGE_WORKERS, "worker")].length = 0

    def quarantine(self, bytes octets) -> int:
        """Has every worker refuse this message from now on; its hash. Beyond QUARANTINE_MAX messages the oldest gives way."""
        cdef uint64_t found = quarantine_hash(octets, <uint32_t>len(octets))
        cdef Quarantine* table = &self.page.quarantine
        table.hash[table.count % QUARANTINE_MAX] = found
        table.count += 1
        return found


cdef uint64_t quarantine_hash(const uint8_t* data, uint32_t length) noexcept nogil:
    cdef HashKey key
    key.k0 = key.k1 = 0
    return siphash(&key, data, length)


cdef Load* load_at(CountersPage* page, worker, slot) except NULL:
    cdef int row = _index(worker, PAGE_WORKERS, "worker")
    cdef int column = _index(slot, PAGE_DESTINATIONS, "destination slot")
    return &page.loads.load[row][column]


def _index(number, limit, what):
    if not 0 <= number < limit:
        raise IndexError(f"{what} {number}: expected 0 to {limit - 1}")
    return number


def _named(known, name, what):
    if name not in known:
        raise KeyError(f"no {what} named {name}: expected one of {', '.join(known)}")
    return known[name]
