"""Loops over the pieces of the hot path that have no timing loop of their own, for benchmarks.micro; the caller takes the time."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from sipcore.edits cimport (
    Edits, edits_apply, edits_lower_max_forwards, edits_mark_source, edits_pop_via, edits_push_via, edits_record_route, edits_reset,
)
from sipcore.endpoint cimport Endpoint
from sipcore.location cimport LocationTable, location_find
from sipcore.message cimport Message, message_parse
from sipcore.timers cimport Timer, TimerWheel, timer_clear, timer_set, timers_start
from workers.transactions cimport (
    Branch, Transaction, Transactions, branch_arm, branch_find, branch_new, transaction_arm, transaction_find, transaction_free,
    transaction_new, transactions_start, transactions_stop,
)

cdef enum:
    OUT_ROOM = 65536

# What a transaction with one branch keeps while it waits out its timers; the buckets of both tables are counted in.
WAITING_OCTETS = sizeof(Transaction) + sizeof(Branch) + 2 * sizeof(Timer) + 2 * sizeof(uint32_t)


def forward_request(bytes data not None, bytes source not None, bytes via not None, bytes route not None, uint32_t rounds):
    """What leaves of an INVITE: source marked, Via and Record-Route pushed, Max-Forwards lowered; parsed once. The last length."""
    cdef Message message
    cdef Edits edits
    cdef uint8_t* out = <uint8_t*>calloc(1, OUT_ROOM)
    cdef const Endpoint* endpoint = <const Endpoint*><const uint8_t*>source
    cdef const uint8_t* octets = data
    cdef const uint8_t* via_octets = via
    cdef const uint8_t* route_octets = route
    cdef uint32_t i, length = len(data), via_length = len(via), route_length = len(route)
    cdef int written = 0
    if out == NULL:
        raise MemoryError
    with nogil:
        message_parse(&message, octets, length)
        for i in range(rounds):
            edits_reset(&edits)
            edits_mark_source(&edits, &message, endpoint)
            edits_push_via(&edits, &message, via_octets, via_length)
            edits_record_route(&edits, &message, route_octets, route_length)
            edits_lower_max_forwards(&edits, &message)
            written = edits_apply(&edits, &message, out, OUT_ROOM)
    free(out)
    return written


def forward_response(bytes data not None, uint32_t rounds):
    """What leaves of a response: the topmost Via taken off; parsed once. The last length."""
    cdef Message message
    cdef Edits edits
    cdef uint8_t* out = <uint8_t*>calloc(1, OUT_ROOM)
    cdef const uint8_t* octets = data
    cdef uint32_t i, length = len(data)
    cdef int written = 0
    if out == NULL:
        raise MemoryError
    with nogil:
        message_parse(&message, octets, length)
        for i in range(rounds):
            edits_reset(&edits)
            edits_pop_via(&edits, &message)
            written = edits_apply(&edits, &message, out, OUT_ROOM)
    free(out)
    return written


def find_aors(LocationTable table not None, list aors not None, uint32_t rounds):
    """Looks each AOR up in turn, `rounds` times in all, in an order that caches do not guess; how many were found."""
    cdef uint32_t i, count = len(aors), at = 0, found = 0
    cdef const uint8_t** octets = <const uint8_t**>calloc(count, sizeof(uint8_t*))
    cdef uint32_t* lengths = <uint32_t*>calloc(count, sizeof(uint32_t))
    if octets == NULL or lengths == NULL or count == 0:
        free(octets)
        free(lengths)
        raise MemoryError
    for i in range(count):
        octets[i] = <const uint8_t*><bytes>aors[i]
        lengths[i] = len(aors[i])
    with nogil:
        for i in range(rounds):
            at = <uint32_t>((at + <uint64_t>2654435761) % count)
            found += location_find(&table.location, octets[at], lengths[at]) != NULL
    free(octets)
    free(lengths)
    return found


def set_timers(uint32_t capacity, uint32_t rounds):
    """Sets and clears timers of a wheel in turn; how many are set at the end (all but none)."""
    cdef TimerWheel* wheel = <TimerWheel*>calloc(1, sizeof(TimerWheel))
    cdef Timer* timer = <Timer*>calloc(capacity, sizeof(Timer))
    cdef uint32_t i, pending
    if wheel == NULL or timer == NULL:
        free(wheel)
        free(timer)
        raise MemoryError
    with nogil:
        timers_start(wheel, timer, capacity, 0)
        for i in range(rounds):
            timer_set(wheel, i % capacity, 500 + <int64_t>i % 32000)
            timer_clear(wheel, (i + capacity // 2) % capacity)
        pending = wheel.pending
    free(wheel)
    free(timer)
    return pending


def keep_transactions(uint32_t live, uint32_t rounds):
    """A table in which `live` transactions, each with a branch and both timers running, wait: in each round the oldest ends, a new one
    begins, and both are looked up as a response and a retransmission would. How many were found."""
    cdef Transactions* table = <Transactions*>calloc(1, sizeof(Transactions))
    cdef uint32_t* ring = <uint32_t*>calloc(live, sizeof(uint32_t))
    cdef uint32_t i, number, branch, found = 0
    cdef uint64_t key
    if table == NULL or ring == NULL or live == 0:
        free(table)
        free(ring)
        raise MemoryError
    transactions_start(table, live, 0)
    with nogil:
        for i in range(live + rounds):
            if i >= live:
                transaction_free(table, ring[i % live])
            key = (<uint64_t>i + 1) * <uint64_t>0x9E3779B97F4A7C15
            number = ring[i % live] = transaction_new(table, key)
            branch = branch_new(table, number, ~key)
            table.transaction[number].machine = 1  # in use
            table.transaction[number].expire_ms = 32000
            table.branch[branch].retransmit_ms = 500
            transaction_arm(table, number)
            branch_arm(table, branch)
            found += (branch_find(table, ~key) == branch) + (transaction_find(table, key) == number)
    transactions_stop(table)
    free(table)
    free(ring)
    return found
