"""Timers of the load generator: a queue for each delay, so that what is set last is due last; and its latency histogram."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

cdef enum:
    QUEUE_START = 4096   # entries; a queue doubles when it is full
    BUCKETS = 1088       # of 1 us up to 64 us, then 32 an octave (3 %), up to 2^37 us

cdef struct Due:
    int64_t due_ns
    uint32_t slot
    uint32_t number
    uint8_t kind

cdef struct Queue:
    int64_t delay_ns
    Due* entry
    uint32_t size        # a power of two
    uint32_t head        # counts on, and is masked
    uint32_t tail

cdef struct Histogram:
    uint64_t bucket[BUCKETS]
    int64_t most_us


cdef inline bint queue_push(Queue* queue, int64_t now_ns, uint32_t slot, uint32_t number, uint8_t kind) noexcept nogil:
    """False: no memory."""
    cdef Due* wider
    cdef Due* due
    cdef uint32_t i, count = queue.tail - queue.head
    if count == queue.size:
        wider = <Due*>malloc(sizeof(Due) * max(QUEUE_START, 2 * queue.size))
        if wider == NULL:
            return False
        for i in range(count):
            wider[i] = queue.entry[(queue.head + i) & (queue.size - 1)]
        free(queue.entry)
        queue.entry = wider
        queue.size = max(QUEUE_START, 2 * queue.size)
        queue.head = 0
        queue.tail = count
    due = &queue.entry[queue.tail & (queue.size - 1)]
    due.due_ns = now_ns + queue.delay_ns
    due.slot = slot
    due.number = number
    due.kind = kind
    queue.tail += 1
    return True


cdef inline int64_t queue_due(const Queue* queue) noexcept nogil:
    """When the next one is due; -1 where the queue is empty."""
    return -1 if queue.head == queue.tail else queue.entry[queue.head & (queue.size - 1)].due_ns


cdef inline Due queue_pop(Queue* queue) noexcept nogil:
    queue.head += 1
    return queue.entry[(queue.head - 1) & (queue.size - 1)]


cdef inline void histogram_add(Histogram* histogram, int64_t us) noexcept nogil:
    cdef uint32_t shift = 0
    if us < 0:
        us = 0
    if us > histogram.most_us:
        histogram.most_us = us
    if us < 64:
        histogram.bucket[us] += 1
        return
    while us >> shift >= 64:
        shift += 1
    histogram.bucket[min(32 * (shift + 1) + (us >> shift) - 32, BUCKETS - 1)] += 1
