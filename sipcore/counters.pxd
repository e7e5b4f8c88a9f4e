"""The shared page: one mapping, a row per worker of fixed-width counters, written only by its owner, and the destinations' loads.

Layout (octets): PAGE_HEADER (the supervisor's heartbeat), then WORKERS_MAX rows of counters, then WORKERS_MAX rows of DESTINATIONS_MAX loads. The supervisor reads
it as NumPy arrays (supervisor/metrics.py) through the names and shapes that counters.pyx exports.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    PAGE_WORKERS = 64         # == steering's WORKERS_MAX
    PAGE_DESTINATIONS = 1024  # == dispatcher's DESTINATIONS_MAX
    PAGE_COUNTERS = 128
    PAGE_HEADER = 4096
    QUARANTINE_MAX = 64       # messages that crashed a worker twice; nobody meets more before somebody mends it
    IN_HAND_MAX = 65536       # the largest datagram

cdef enum Counter:            # one column each; the names in counters.pyx stand in this order
    COUNT_HEARTBEAT_MS = 0    # a gauge: the worker's monotonic clock when it last passed its batch boundary
    COUNT_PID = 1             # a gauge
    COUNT_LIVE = 2            # a gauge: 1 once its replica is live
    COUNT_SEQUENCE = 3        # a gauge: the log sequence number it has applied
    COUNT_DATAGRAMS_IN = 4
    COUNT_DATAGRAMS_OUT = 5
    COUNT_REQUESTS = 6
    COUNT_RESPONSES = 7
    COUNT_RETRANSMISSIONS_IN = 8   # absorbed
    COUNT_RETRANSMISSIONS_OUT = 9
    COUNT_REFUSED = 10        # messages that did not parse
    COUNT_LOCAL_REPLIES = 11
    COUNT_STRAY_RESPONSES = 12
    COUNT_DROPPED = 13        # no room, no route for an answer, bad broadcast target
    COUNT_SEND_ERRORS = 14
    COUNT_UNREACHABLE = 15    # what the error queues told
    COUNT_INBOX_IN = 16
    COUNT_INBOX_OUT = 17
    COUNT_INBOX_DROPPED = 18
    COUNT_REGISTERS = 19
    COUNT_CALLS = 20          # initial INVITEs routed
    COUNT_CALLS_ANSWERED = 21
    COUNT_CALLS_FAILED = 22
    COUNT_FAILOVERS = 23
    COUNT_TRANSACTIONS = 24   # a gauge: live
    COUNT_TRANSACTIONS_TOTAL = 25
    COUNT_TIMEOUTS = 26
    COUNT_BATCHES = 27
    COUNT_KEEPALIVES = 28
    COUNT_HEIR_RESPONSES = 29
    COUNT_PARKED = 30         # datagrams that wait for the replica
    COUNT_LOG_DROPPED = 31    # call lines the log's reader was too slow for
    COUNT_QUARANTINED = 32    # messages refused because they crashed a worker twice
    COUNT_OVERLOAD = 33       # new requests refused because there were more than the worker can serve

cdef struct Load:             # one destination as one worker sees it; every field only grows
    uint64_t started          # calls answered: in progress = sum of started - sum of ended, over all workers
    uint64_t ended
    uint64_t attempts         # requests sent that begin a transaction there
    uint64_t responses        # transactions that got a final answer, whatever it was
    uint64_t failures         # silence and refused transport: what says that it is not there
    uint64_t busy_until_ms    # a gauge: Retry-After honoured until (monotonic)

cdef struct LoadPage:
    Load load[PAGE_WORKERS][PAGE_DESTINATIONS]

cdef struct InHand:           # the datagram that a worker is working on: what is left of it when the worker dies
    uint64_t length           # 0: none
    uint8_t data[IN_HAND_MAX]

cdef struct Quarantine:       # written by the arbiter, read by every worker before it looks at a datagram
    uint64_t count
    uint64_t hash[QUARANTINE_MAX]

cdef struct CountersPage:
    uint64_t supervisor_heartbeat_ms   # its monotonic clock when its event loop last came round; the supervisor writes it
    uint8_t header[PAGE_HEADER - 8]    # free
    uint64_t counter[PAGE_WORKERS][PAGE_COUNTERS]
    LoadPage loads
    Quarantine quarantine
    InHand in_hand[PAGE_WORKERS]


cdef inline void count(uint64_t* row, Counter column) noexcept nogil:
    row[<int>column] += 1


# The hash by which a message is quarantined: the same in the arbiter and in every worker.
cdef uint64_t quarantine_hash(const uint8_t* data, uint32_t length) noexcept nogil


cdef class Page:
    """A mapping of the shared page: Page(fd) maps the arbiter's memfd, Page.anonymous() a private one."""
    cdef CountersPage* page
    cdef object mapping
