"""Sets of destinations: choose one, and the next one. Tables come whole from the log; loads live in the shared page."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from sipcore.counters cimport LoadPage
from sipcore.endpoint cimport Endpoint

cdef enum:
    DESTINATIONS_MAX = 1024       # rows of the load page
    DESTINATION_URI_MAX = 255
    DESTINATION_NONE = -1
    WEIGHT_MAX = 65535            # a sum over all destinations and a 32-bit random number still multiply within 64 bits

cdef enum DestinationState:
    STATE_ACTIVE = 0     # chosen
    STATE_TRYING = 1     # failing, below the threshold: still chosen
    STATE_INACTIVE = 2   # not chosen, probed, comes back by itself
    STATE_DRAINING = 3   # no new calls; dialogs go on (admin)
    STATE_DISABLED = 4   # not chosen, not probed (admin)

cdef enum Algorithm:
    ALGORITHM_WEIGHTED_ROUND_ROBIN = 0  # smooth, interleaved
    ALGORITHM_ROUND_ROBIN = 1
    ALGORITHM_RANDOM = 2                # by weight
    ALGORITHM_PRIORITY = 3              # serial: the highest priority that is up, in list order among equals
    ALGORITHM_LEAST_CALLS = 4           # fewest calls in progress by weight, over all workers
    ALGORITHM_HASH_CALL_ID = 5          # weighted rendezvous hashing of a key, from here on
    ALGORITHM_HASH_FROM = 6
    ALGORITHM_HASH_TO = 7
    ALGORITHM_HASH_REQUEST_URI = 8
    ALGORITHM_HASH_USER = 9             # the user part of the request URI

cdef struct Destination:
    uint32_t id                   # identity: hash of (set, URI), never 0; what cookies carry
    uint32_t slot                 # row in the load page, stable while the destination lives
    uint32_t set_id
    uint8_t state                 # DestinationState
    uint16_t priority             # higher first
    uint32_t weight               # 0: never chosen by a weighted algorithm
    int64_t current               # this worker's: smooth round robin's running value; least calls: when it was chosen last
    uint32_t first_response_ms    # how long silence is accepted before failing over
    int64_t retry_at_ms           # a 503's Retry-After: not chosen before, on the caller's monotonic clock; this worker's knowledge
    Endpoint endpoint
    uint16_t uri_length
    uint8_t uri[DESTINATION_URI_MAX + 1]

cdef struct DestinationSet:
    uint32_t id
    uint32_t first                # into Dispatcher.destination
    uint32_t count
    uint16_t algorithm
    uint32_t cursor               # this worker's: round robin's place; least calls: choices made

cdef struct Dispatcher:
    uint32_t generation
    uint32_t set_count
    uint32_t count
    uint32_t workers              # rows of the load page that are in use
    DestinationSet* sets
    Destination* destination      # grouped by set, sets in order of id
    LoadPage* loads               # may be NULL: no loads known, all 0
    uint32_t mask                 # of the three indexes below; mask + 1 places each, at least half of them empty
    int32_t* by_id                # places hold indexes into destination, or DESTINATION_NONE; NULL before the first table
    int32_t* by_endpoint
    int32_t* by_address

# An index of a destination is good until the table is replaced: whoever waits across that keeps ids (dispatcher_by_id is O(1)).

# Index of the chosen destination in dispatcher.destination, or DESTINATION_NONE. `key` is the hash of what the set's algorithm hashes;
# `random` 64 random bits; tried[0:tried_count] are indexes already tried for this request, never chosen again. Only the chosen state
# moves forward: asking twice gives the next one.
cdef int32_t dispatcher_choose(Dispatcher* dispatcher, DestinationSet* destinations, uint64_t key, uint64_t random, int64_t now_ms,
                               const int32_t* tried, uint32_t tried_count) noexcept nogil
cdef DestinationSet* dispatcher_set(Dispatcher* dispatcher, uint32_t set_id) noexcept nogil
# Index of the destination this packet came from (address, port and transport, or the address alone), or DESTINATION_NONE. A
# destination in several sets answers for the lowest set id; its state does not matter: a draining one is still one of ours.
cdef int32_t dispatcher_source(const Dispatcher* dispatcher, const Endpoint* source, bint any_port) noexcept nogil
cdef int32_t dispatcher_by_id(const Dispatcher* dispatcher, uint32_t id) noexcept nogil

cdef class DispatcherTable:
    """Owns one Dispatcher; the worker holds `&table.dispatcher`."""
    cdef Dispatcher dispatcher
    cdef object page              # keeps the mapping alive
    cdef uint32_t worker
    cdef int build(self, uint32_t generation, list rows) except -1
    cdef int inherit(self, Dispatcher* old) except -1
