"""Sets of destinations: choose one, and the next one; whose packet is this. The contract is in dispatcher.pxd."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from sipcore.counters cimport PAGE_WORKERS, Load, LoadPage, Page
from sipcore.endpoint cimport Endpoint, endpoint_same, endpoint_same_address

from sipcore.algorithms import ALGORITHM_NAMES, ALGORITHMS, STATE_NAMES, STATES, algorithm_of  # noqa: F401


cdef extern from *:
    int __builtin_clzll(unsigned long long value) noexcept nogil


MAX_DESTINATIONS = DESTINATIONS_MAX
MAX_WEIGHT = WEIGHT_MAX
MAX_URI = DESTINATION_URI_MAX


# -- candidates: the destinations of one set that may be chosen now ----------------------------------------------------------------

cdef struct Candidates:
    uint32_t count
    uint16_t place[DESTINATIONS_MAX]  # relative to the set's first, in list order


cdef inline bint algorithm_weighs(uint16_t algorithm) noexcept nogil:
    return algorithm != ALGORITHM_ROUND_ROBIN and algorithm != ALGORITHM_PRIORITY


cdef void candidates_gather(Candidates* candidates, const Dispatcher* dispatcher, const DestinationSet* destinations,
                            int64_t now_ms, const int32_t* tried, uint32_t tried_count) noexcept nogil:
    cdef const Destination* first = dispatcher.destination + destinations.first
    cdef const Destination* d
    cdef bint weighs = algorithm_weighs(destinations.algorithm)
    cdef uint32_t i, j
    candidates.count = 0
    for i in range(destinations.count):
        d = first + i
        if d.state > STATE_TRYING or d.retry_at_ms > now_ms or (weighs and d.weight == 0):
            continue
        for j in range(tried_count):
            if tried[j] == <int32_t>(destinations.first + i):
                break
        else:
            candidates.place[candidates.count] = <uint16_t>i
            candidates.count += 1


cdef void candidates_drop(Candidates* candidates, uint32_t at) noexcept nogil:
    candidates.count -= 1
    for at in range(at, candidates.count):
        candidates.place[at] = candidates.place[at + 1]


# -- the algorithms: each returns a place in candidates (never empty) and changes nothing ------------------------------------------

cdef uint32_t pick_smooth(const Candidates* candidates, const Destination* first) noexcept nogil:
    cdef const Destination* d
    cdef int64_t value, best_value = 0
    cdef uint32_t i, best = 0
    for i in range(candidates.count):
        d = first + candidates.place[i]
        value = d.current + d.weight
        if i == 0 or value > best_value:
            best, best_value = i, value
    return best


cdef uint32_t pick_round(const Candidates* candidates, uint32_t cursor) noexcept nogil:
    cdef uint32_t i
    for i in range(candidates.count):
        if candidates.place[i] >= cursor:
            return i
    return 0


cdef uint32_t pick_random(const Candidates* candidates, const Destination* first, uint64_t random) noexcept nogil:
    cdef uint64_t total = 0, mark
    cdef uint32_t i, weight
    for i in range(candidates.count):
        total += first[candidates.place[i]].weight
    mark = ((random >> 32) * total) >> 32
    for i in range(candidates.count):
        weight = first[candidates.place[i]].weight
        if mark < weight:
            return i
        mark -= weight
    return candidates.count - 1  # not reached: mark is below the total


cdef uint32_t pick_priority(const Candidates* candidates, const Destination* first) noexcept nogil:
    cdef uint32_t i, best = 0
    for i in range(1, candidates.count):
        if first[candidates.place[i]].priority > first[candidates.place[best]].priority:
            best = i
    return best


cdef int64_t dispatcher_calls(const Dispatcher* dispatcher, uint32_t slot) noexcept nogil:
    """Calls in progress over all workers. The rows are read without a lock: a sum that is a moment old may dip below 0."""
    cdef int64_t calls = 0
    cdef uint32_t worker
    if dispatcher.loads == NULL:
        return 0
    for worker in range(dispatcher.workers):
        calls += <int64_t>(dispatcher.loads.load[worker][slot].started - dispatcher.loads.load[worker][slot].ended)
    return calls if calls > 0 else 0


cdef uint32_t pick_least_calls(const Candidates* candidates, const Dispatcher* dispatcher, const Destination* first) noexcept nogil:
    """The least (calls + 1) / weight, the load it would have with this call; among equals the one not chosen for longest."""
    cdef const Destination* d
    cdef uint64_t calls, best_calls = 0, left, right
    cdef uint32_t i, best_weight = 1, best = 0
    cdef int64_t best_current = 0
    for i in range(candidates.count):
        d = first + candidates.place[i]
        calls = <uint64_t>dispatcher_calls(dispatcher, d.slot) + 1
        left = calls * best_weight
        right = best_calls * d.weight
        if i == 0 or left < right or (left == right and d.current < best_current):
            best, best_calls, best_weight, best_current = i, calls, d.weight, d.current
    return best


# log2(1 + i/256) in 1/2^32: whole numbers, so that every worker on every machine computes the same scores.
cdef uint64_t LOG2[257]


cdef inline uint64_t hash_cost(uint64_t key, uint32_t id) noexcept nogil:
    """-log2(u) in 1/2^32, u uniform in (0, 1) and fixed by key and id; at most 64 * 2^32."""
    cdef uint64_t h = key ^ (<uint64_t>id * <uint64_t>0x9E3779B97F4A7C15)
    cdef uint64_t log, part
    cdef int zeros
    h ^= h >> 33  # the finaliser of MurmurHash3: every bit of key and id reaches every bit of h
    h *= <uint64_t>0xFF51AFD7ED558CCD
    h ^= h >> 33
    h *= <uint64_t>0xC4CEB9FE1A85EC53
    h ^= h >> 33
    h |= 1
    zeros = __builtin_clzll(h)
    h <<= zeros
    part = (h >> 55) & 0xFF
    log = LOG2[part] + (((LOG2[part + 1] - LOG2[part]) * ((h >> 31) & 0xFFFFFF)) >> 24)
    return (<uint64_t>(zeros + 1) << 32) - log


cdef uint32_t pick_hash(const Candidates* candidates, const Destination* first, uint64_t key) noexcept nogil:
    """Weighted rendezvous: the greatest -weight / log(u). A destination's score depends on nothing but itself and the key."""
    cdef const Destination* d
    cdef uint64_t cost, best_cost = 0, left, right
    cdef uint32_t i, best_weight = 1, best_id = 0, best = 0
    for i in range(candidates.count):
        d = first + candidates.place[i]
        cost = hash_cost(key, d.id)
        left = cost * best_weight  # 2^38 * 2^16
        right = best_cost * d.weight
        if i == 0 or left < right or (left == right and d.id < best_id):
            best, best_cost, best_weight, best_id = i, cost, d.weight, d.id
    return best


cdef uint32_t candidates_pick(const Candidates* candidates, const Dispatcher* dispatcher, const DestinationSet* destinations,
                              uint64_t key, uint64_t random) noexcept nogil:
    cdef const Destination* first = dispatcher.destination + destinations.first
    if destinations.algorithm == ALGORITHM_WEIGHTED_ROUND_ROBIN:
        return pick_smooth(candidates, first)
    if destinations.algorithm == ALGORITHM_ROUND_ROBIN:
        return pick_round(candidates, destinations.cursor)
    if destinations.algorithm == ALGORITHM_RANDOM:
        return pick_random(candidates, first, random)
    if destinations.algorithm == ALGORITHM_PRIORITY:
        return pick_priority(candidates, first)
    if destinations.algorithm == ALGORITHM_LEAST_CALLS:
        return pick_least_calls(candidates, dispatcher, first)
    return pick_hash(candidates, first, key)


cdef void set_advance(DestinationSet* destinations, Destination* first, const Candidates* candidates, uint32_t at) noexcept nogil:
    """Take note of the choice, so that the next one differs."""
    cdef int64_t total = 0
    cdef Destination* d
    cdef uint32_t i
    if destinations.algorithm == ALGORITHM_WEIGHTED_ROUND_ROBIN:
        for i in range(candidates.count):
            d = first + candidates.place[i]
            d.current += d.weight
            total += d.weight
        first[candidates.place[at]].current -= total
    elif destinations.algorithm == ALGORITHM_ROUND_ROBIN:
        destinations.cursor = candidates.place[at] + <uint32_t>1
    elif destinations.algorithm == ALGORITHM_LEAST_CALLS:
        destinations.cursor += 1
        first[candidates.place[at]].current = destinations.cursor


cdef bint dispatcher_busy(const Dispatcher* dispatcher, uint32_t slot, int64_t now_ms) noexcept nogil:
    """Whether any worker honours a Retry-After of this destination."""
    cdef uint32_t worker
    if dispatcher.loads == NULL:
        return False
    for worker in range(dispatcher.workers):
        if <int64_t>dispatcher.loads.load[worker][slot].busy_until_ms > now_ms:
            return True
    return False


# -- public ------------------------------------------------------------------------------------------------------------------------

cdef int32_t dispatcher_choose(Dispatcher* dispatcher, DestinationSet* destinations, uint64_t key, uint64_t random, int64_t now_ms,
                               const int32_t* tried, uint32_t tried_count) noexcept nogil:
    cdef Candidates candidates
    cdef Destination* first = dispatcher.destination + destinations.first
    cdef uint32_t at
    candidates_gather(&candidates, dispatcher, destinations, now_ms, tried, tried_count)
    while candidates.count:
        at = candidates_pick(&candidates, dispatcher, destinations, key, random)
        # the other workers' rows are read for the chosen one alone: they are cold, and a destination is rarely busy
        if not dispatcher_busy(dispatcher, first[candidates.place[at]].slot, now_ms):
            set_advance(destinations, first, &candidates, at)
            return <int32_t>(destinations.first + candidates.place[at])
        candidates_drop(&candidates, at)
    return DESTINATION_NONE


cdef DestinationSet* dispatcher_set(Dispatcher* dispatcher, uint32_t set_id) noexcept nogil:
    cdef uint32_t low = 0, high = dispatcher.set_count, middle
    while low < high:
        middle = (low + high) >> 1
        if dispatcher.sets[middle].id < set_id:
            low = middle + 1
        else:
            high = middle
    if low < dispatcher.set_count and dispatcher.sets[low].id == set_id:
        return dispatcher.sets + low
    return NULL


cdef inline uint32_t endpoint_hash(const Endpoint* endpoint, bint any_port) noexcept nogil:
    # not keyed: only the operator's list fills the index, so no stranger can make its chains long
    cdef uint64_t high, low
    memcpy(&high, endpoint.ip, 8)
    memcpy(&low, endpoint.ip + 8, 8)
    high ^= low * <uint64_t>0x9E3779B97F4A7C15
    if not any_port:
        high ^= <uint64_t>endpoint.port << 32
    high *= <uint64_t>0xFF51AFD7ED558CCD
    return <uint32_t>(high >> 40)


cdef int32_t dispatcher_source(const Dispatcher* dispatcher, const Endpoint* source, bint any_port) noexcept nogil:
    cdef const int32_t* places = dispatcher.by_address if any_port else dispatcher.by_endpoint
    cdef const Endpoint* endpoint
    cdef uint32_t at
    if places == NULL:
        return DESTINATION_NONE
    at = endpoint_hash(source, any_port) & dispatcher.mask
    while places[at] != DESTINATION_NONE:
        endpoint = &dispatcher.destination[places[at]].endpoint
        if endpoint_same_address(endpoint, source) if any_port else endpoint_same(endpoint, source):
            return places[at]
        at = (at + 1) & dispatcher.mask
    return DESTINATION_NONE


cdef int32_t dispatcher_by_id(const Dispatcher* dispatcher, uint32_t id) noexcept nogil:
    cdef uint32_t at
    if dispatcher.by_id == NULL:
        return DESTINATION_NONE
    at = id & dispatcher.mask  # an id is a hash already
    while dispatcher.by_id[at] != DESTINATION_NONE:
        if dispatcher.destination[dispatcher.by_id[at]].id == id:
            return dispatcher.by_id[at]
        at = (at + 1) & dispatcher.mask
    return DESTINATION_NONE


# -- building a table --------------------------------------------------------------------------------------------------------------

cdef void dispatcher_free(Dispatcher* dispatcher) noexcept nogil:
    free(dispatcher.sets)
    free(dispatcher.destination)
    free(dispatcher.by_id)
    free(dispatcher.by_endpoint)
    free(dispatcher.by_address)


cdef int dispatcher_allocate(Dispatcher* dispatcher, uint32_t set_count, uint32_t count) except -1:
    cdef uint32_t places = 8, i
    while places < 2 * count + 2:
        places *= 2
    dispatcher.sets = <DestinationSet*>calloc(set_count + 1, sizeof(DestinationSet))
    dispatcher.destination = <Destination*>calloc(count + 1, sizeof(Destination))
    dispatcher.by_id = <int32_t*>malloc(places * sizeof(int32_t))
    dispatcher.by_endpoint = <int32_t*>malloc(places * sizeof(int32_t))
    dispatcher.by_address = <int32_t*>malloc(places * sizeof(int32_t))
    if (dispatcher.sets == NULL or dispatcher.destination == NULL or dispatcher.by_id == NULL
            or dispatcher.by_endpoint == NULL or dispatcher.by_address == NULL):
        dispatcher_free(dispatcher)
        raise MemoryError(f"no memory for {count} destinations")
    for i in range(places):
        dispatcher.by_id[i] = dispatcher.by_endpoint[i] = dispatcher.by_address[i] = DESTINATION_NONE
    dispatcher.mask = places - 1
    dispatcher.set_count = set_count
    dispatcher.count = count
    return 0


cdef void places_add(int32_t* places, uint32_t mask, uint32_t hashed, int32_t index) noexcept nogil:
    cdef uint32_t at = hashed & mask
    while places[at] != DESTINATION_NONE:
        at = (at + 1) & mask
    places[at] = index


cdef void dispatcher_index(Dispatcher* dispatcher) noexcept nogil:
    """Fills the three indexes. Where destinations share an address the first is found: sets stand in order of id."""
    cdef Endpoint* endpoint
    cdef uint32_t i
    for i in range(dispatcher.count):
        endpoint = &dispatcher.destination[i].endpoint
        places_add(dispatcher.by_id, dispatcher.mask, dispatcher.destination[i].id, <int32_t>i)
        if dispatcher_source(dispatcher, endpoint, False) == DESTINATION_NONE:
            places_add(dispatcher.by_endpoint, dispatcher.mask, endpoint_hash(endpoint, False), <int32_t>i)
        if dispatcher_source(dispatcher, endpoint, True) == DESTINATION_NONE:
            places_add(dispatcher.by_address, dispatcher.mask, endpoint_hash(endpoint, True), <int32_t>i)


def checked_sets(sets):
    """The wire's sets, in order of id; ValueError names what a worker could not hold."""
    rows = sorted(sets, key=lambda row: row[0])
    ids = set()
    for place, (set_id, algorithm, destinations) in enumerate(rows):
        if place and rows[place - 1][0] == set_id:
            raise ValueError(f"set {set_id} stands twice")
        if algorithm not in ALGORITHM_NAMES:
            raise ValueError(f"set {set_id}: no algorithm has the number {algorithm}")
        for row in destinations:
            check_destination(set_id, row)
            ids.add(row[0])
    count = sum(len(destinations) for _, _, destinations in rows)
    if count > DESTINATIONS_MAX:
        raise ValueError(f"{count} destinations, at most {DESTINATIONS_MAX}")
    if len(ids) != count:
        raise ValueError("two destinations have one id")
    return rows


def check_destination(set_id, row):
    id, slot, uri, endpoint, priority, weight, first_response_ms, state = row
    where = f"set {set_id}, destination {id}"
    if not 0 < id < 2**32:
        raise ValueError(f"{where}: an id is a 32-bit number and not 0")
    if not 0 <= slot < DESTINATIONS_MAX:
        raise ValueError(f"{where}: slot {slot}, expected 0 to {DESTINATIONS_MAX - 1}")
    if len(uri) > DESTINATION_URI_MAX:
        raise ValueError(f"{where}: a URI of {len(uri)} octets, at most {DESTINATION_URI_MAX}")
    if len(endpoint) != sizeof(Endpoint):
        raise ValueError(f"{where}: an endpoint of {len(endpoint)} octets, expected {sizeof(Endpoint)}")
    if not 0 <= priority <= 65535 or not 0 <= weight <= WEIGHT_MAX or not 0 <= first_response_ms < 2**32:
        raise ValueError(f"{where}: priority {priority}, weight {weight} or first response {first_response_ms} ms out of range")
    if state not in STATE_NAMES:
        raise ValueError(f"{where}: no state has the number {state}")


cdef int destination_fill(Destination* d, uint32_t set_id, row) except -1:
    cdef bytes uri = row[2]
    cdef bytes endpoint = row[3]
    d.id, d.slot, d.set_id = row[0], row[1], set_id
    d.priority, d.weight, d.first_response_ms, d.state = row[4], row[5], row[6], row[7]
    d.uri_length = <uint16_t>len(uri)
    memcpy(d.uri, <const uint8_t*>uri, d.uri_length)
    memcpy(&d.endpoint, <const uint8_t*>endpoint, sizeof(Endpoint))
    d.endpoint.unused = 0
    return 0


cdef class DispatcherTable:
    """Owns one Dispatcher; `page` (counters.Page) gives the loads of `workers` workers, of which this is number `worker`.

    Destinations are ids here and endpoints their 24 octets. The number only staggers: worker 1 starts a set at its second choice,
    so that a few calls spread although workers do not talk.
    """

    def __cinit__(self, workers=1, page=None, worker=0):
        memset(&self.dispatcher, 0, sizeof(Dispatcher))
        if not 1 <= workers <= PAGE_WORKERS or not 0 <= worker < workers:
            raise ValueError(f"worker {worker} of {workers}: expected 0 to {PAGE_WORKERS - 1} of at most {PAGE_WORKERS}")
        self.dispatcher.workers = workers
        self.worker = worker
        self.page = page
        if page is not None:
            self.dispatcher.loads = &(<Page?>page).page.loads

    def __dealloc__(self):
        dispatcher_free(&self.dispatcher)

    @property
    def workers(self):
        return self.dispatcher.workers

    @property
    def generation(self):
        return self.dispatcher.generation

    def __len__(self):
        return self.dispatcher.count

    def replace(self, generation, sets):
        """Take the wire's sets as the whole truth; whose turn it is and what waits for its Retry-After stay by id. ValueError."""
        self.build(generation, checked_sets(sets))

    cdef int build(self, uint32_t generation, list rows) except -1:
        cdef Dispatcher old = self.dispatcher
        cdef Dispatcher new = self.dispatcher
        cdef DestinationSet* destinations
        cdef uint32_t at = 0, place
        dispatcher_allocate(&new, len(rows), sum([len(row[2]) for row in rows]))
        for place in range(new.set_count):
            destinations = new.sets + place
            destinations.id, destinations.algorithm, destinations.first = rows[place][0], rows[place][1], at
            destinations.count = len(rows[place][2])
            for row in rows[place][2]:
                destination_fill(new.destination + at, destinations.id, row)
                at += 1
        new.generation = generation
        dispatcher_index(&new)
        self.dispatcher = new
        self.inherit(&old)
        dispatcher_free(&old)
        return 0

    cdef int inherit(self, Dispatcher* old) except -1:
        """What this worker learned, from the table before."""
        cdef DestinationSet* destinations
        cdef DestinationSet* before
        cdef Destination* d
        cdef int64_t total
        cdef int32_t known
        cdef uint32_t i, place
        for place in range(self.dispatcher.set_count):
            destinations = self.dispatcher.sets + place
            before = dispatcher_set(old, destinations.id)
            total = 0
            for i in range(destinations.first, destinations.first + destinations.count):
                total += self.dispatcher.destination[i].weight
            for i in range(destinations.first, destinations.first + destinations.count):
                d = self.dispatcher.destination + i
                known = dispatcher_by_id(old, d.id)
                if known == DESTINATION_NONE:
                    continue
                d.retry_at_ms = old.destination[known].retry_at_ms
                if before != NULL and before.algorithm == destinations.algorithm:
                    d.current = old.destination[known].current
                    if destinations.algorithm == ALGORITHM_WEIGHTED_ROUND_ROBIN:
                        # weights fell: a debt from the heavier times would starve it for as many rounds
                        d.current = max(-total, min(total, d.current))
            if before != NULL and before.algorithm == destinations.algorithm:
                destinations.cursor = before.cursor
            else:
                for i in range(self.worker):
                    dispatcher_choose(&self.dispatcher, destinations, 0, 0, 0, NULL, 0)
        return 0

    def set_state(self, id, state):
        """False where no destination has the id (a state that was overtaken by a reload)."""
        cdef int32_t at = dispatcher_by_id(&self.dispatcher, id)
        if state not in STATE_NAMES:
            raise ValueError(f"no state has the number {state}")
        if at == DESTINATION_NONE:
            return False
        self.dispatcher.destination[at].state = state
        return True

    def set_retry_at(self, id, retry_at_ms):
        """Not to be chosen before retry_at_ms by this worker; False where no destination has the id."""
        cdef int32_t at = dispatcher_by_id(&self.dispatcher, id)
        if at == DESTINATION_NONE:
            return False
        self.dispatcher.destination[at].retry_at_ms = retry_at_ms
        return True

    def choose(self, set_id, key=0, random=0, now_ms=0, tried=()):
        """The id of the next destination of a set, or None; tried are ids."""
        cdef int32_t places[DESTINATIONS_MAX]
        cdef uint32_t count = 0
        cdef DestinationSet* destinations = dispatcher_set(&self.dispatcher, set_id)
        cdef int32_t at
        if destinations == NULL:
            return None
        for id in tried[:DESTINATIONS_MAX]:
            places[count] = dispatcher_by_id(&self.dispatcher, id)
            count += 1
        at = dispatcher_choose(&self.dispatcher, destinations, key, random, now_ms, places, count)
        return None if at == DESTINATION_NONE else self.dispatcher.destination[at].id

    def calls(self, id):
        """Calls in progress over all workers; 0 where no destination has the id."""
        cdef int32_t at = dispatcher_by_id(&self.dispatcher, id)
        return 0 if at == DESTINATION_NONE else dispatcher_calls(&self.dispatcher, self.dispatcher.destination[at].slot)

    def source(self, bytes endpoint not None, any_port=False):
        """The id of the destination with this endpoint (24 octets; with any_port: at this address), or None."""
        cdef Endpoint source
        cdef int32_t at
        if len(endpoint) != sizeof(Endpoint):
            raise ValueError(f"an endpoint of {len(endpoint)} octets, expected {sizeof(Endpoint)}")
        memcpy(&source, <const uint8_t*>endpoint, sizeof(Endpoint))
        at = dispatcher_source(&self.dispatcher, &source, any_port)
        return None if at == DESTINATION_NONE else self.dispatcher.destination[at].id

    def snapshot(self):
        """The sets in the wire's shape, states as they are now."""
        return [
            [self.dispatcher.sets[i].id, self.dispatcher.sets[i].algorithm,
             [self.row(self.dispatcher.sets[i].first + j) for j in range(self.dispatcher.sets[i].count)]]
            for i in range(self.dispatcher.set_count)
        ]

    def row(self, uint32_t index):
        """One destination in the wire's shape; IndexError."""
        cdef Destination* d
        if index >= self.dispatcher.count:
            raise IndexError(f"destination {index} of {self.dispatcher.count}")
        d = self.dispatcher.destination + index
        return [d.id, d.slot, d.uri[:d.uri_length], (<uint8_t*>&d.endpoint)[:sizeof(Endpoint)], d.priority, d.weight,
                d.first_response_ms, d.state]

    def by_id(self, id):
        """One destination in the wire's shape, or None."""
        cdef int32_t at = dispatcher_by_id(&self.dispatcher, id)
        return None if at == DESTINATION_NONE else self.row(at)

    def time_choose(self, set_id, rounds):
        """Choose `rounds` times with changing keys, for the benchmarks; the sum of the indexes, so that nothing is optimised away."""
        cdef DestinationSet* destinations = dispatcher_set(&self.dispatcher, set_id)
        cdef uint64_t i, count = rounds, key = 0
        cdef int64_t total = 0
        if destinations == NULL:
            raise ValueError(f"no set {set_id}")
        with nogil:
            for i in range(count):
                key += <uint64_t>0x9E3779B97F4A7C15
                total += dispatcher_choose(&self.dispatcher, destinations, key, key, 0, NULL, 0)
        return total


def log2_fraction(numerator, denominator):
    """log2(numerator / denominator) in 1/2^32 by repeated squaring, for 1 <= numerator / denominator < 2."""
    x, log = (numerator << 60) // denominator, 0
    for _ in range(32):
        x = x * x >> 60
        log <<= 1
        if x >= 2 << 60:
            x >>= 1
            log |= 1
    return log


for _i in range(256):
    LOG2[_i] = log2_fraction(256 + _i, 256)
LOG2[256] = 1 << 32
