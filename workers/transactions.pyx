"""The live transactions of one worker: slots, keys, buffers and timers."""

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from sipcore.timers cimport TIMER_NONE, timer_clear, timer_set, timers_start

cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* address, size_t length, int protection, int flags, int fd, long offset)
    int munmap(void* address, size_t length)
    int PROT_READ
    int PROT_WRITE
    int MAP_PRIVATE
    int MAP_ANONYMOUS
    int MAP_NORESERVE
    void* MAP_FAILED

cdef uint32_t[BUFFER_CLASSES] BUFFER_ROOM = [512, 1024, 2048, 4096, 16384, 65536]


cdef void* _map(size_t octets) except NULL:
    """Zeroed memory that costs nothing until it is touched: the tables' sizes are limits, not allocations."""
    cdef void* memory = mmap(NULL, octets, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    if memory == MAP_FAILED:
        raise MemoryError(f"no address space for {octets} octets of transactions: lower edge.max_transactions")
    return memory


cdef int transactions_start(Transactions* table, uint32_t capacity, int64_t now_ms) except -1:
    memset(table, 0, sizeof(Transactions))
    table.capacity = capacity
    table.buckets = 1024
    while table.buckets < capacity:
        table.buckets *= 2
    table.transaction = <Transaction*>_map(capacity * sizeof(Transaction))
    table.branch = <Branch*>_map(capacity * sizeof(Branch))
    table.transaction_bucket = <uint32_t*>_map(table.buckets * sizeof(uint32_t))
    table.branch_bucket = <uint32_t*>_map(table.buckets * sizeof(uint32_t))
    table.timer = <Timer*>_map(2 * <size_t>capacity * sizeof(Timer))
    table.transaction_free = NONE
    table.branch_free = NONE
    timers_start(&table.wheel, table.timer, 0, now_ms)
    table.wheel.capacity = 2 * capacity  # not by timers_rebase, which would touch them all: each is made when its slot is first used
    return 0


cdef void transactions_stop(Transactions* table) noexcept:
    cdef uint32_t i
    cdef Buffer* buffer
    if table.transaction == NULL:
        return
    for i in range(table.transaction_used):
        if table.transaction[i].machine:  # in use: server machines are not 0
            transaction_free(table, i)
    for i in range(BUFFER_CLASSES):
        while table.buffer_free[i] != NULL:
            buffer = table.buffer_free[i]
            table.buffer_free[i] = buffer.next
            free(buffer)
    munmap(table.transaction, table.capacity * sizeof(Transaction))
    munmap(table.branch, table.capacity * sizeof(Branch))
    munmap(table.transaction_bucket, table.buckets * sizeof(uint32_t))
    munmap(table.branch_bucket, table.buckets * sizeof(uint32_t))
    munmap(table.timer, 2 * <size_t>table.capacity * sizeof(Timer))
    table.transaction = NULL


cdef int _class_of(uint32_t room) noexcept nogil:
    cdef int i
    for i in range(BUFFER_CLASSES):
        if room <= BUFFER_ROOM[i]:
            return i
    return -1


cdef Buffer* buffer_new(Transactions* table, uint32_t room) noexcept nogil:
    """A buffer of at least `room` octets; NULL where there is no memory, or room is over 65,536."""
    cdef int size = _class_of(room)
    cdef Buffer* buffer
    if size < 0:
        return NULL
    buffer = table.buffer_free[size]
    if buffer != NULL:
        table.buffer_free[size] = buffer.next
    else:
        buffer = <Buffer*>malloc(sizeof(Buffer) + BUFFER_ROOM[size])
        if buffer == NULL:
            return NULL
        buffer.room = BUFFER_ROOM[size]
        table.buffer_octets += sizeof(Buffer) + BUFFER_ROOM[size]
    buffer.next = NULL
    buffer.length = 0
    return buffer


cdef void buffer_free(Transactions* table, Buffer* buffer) noexcept nogil:
    cdef int size
    if buffer == NULL:
        return
    size = _class_of(buffer.room)
    buffer.next = table.buffer_free[size]
    table.buffer_free[size] = buffer


cdef Buffer* buffer_copy(Transactions* table, Buffer* old, const uint8_t* data, uint32_t length) noexcept nogil:
    if old == NULL or old.room < length:
        buffer_free(table, old)
        old = buffer_new(table, length)
        if old == NULL:
            return NULL
    memcpy(old.data, data, length)
    old.length = length
    return old


cdef inline uint32_t _bucket(const Transactions* table, uint64_t key) noexcept nogil:
    return <uint32_t>(key ^ (key >> 32)) & (table.buckets - 1)


# In the bucket arrays 0 is empty and n is slot n - 1, so that fresh zero pages are empty buckets.
cdef uint32_t transaction_find(Transactions* table, uint64_t key) noexcept nogil:
    """The transaction with this key, or NONE. Keys are keyed 64-bit hashes: equal keys are taken for the same transaction."""
    cdef uint32_t number = table.transaction_bucket[_bucket(table, key)]
    while number != 0:
        if table.transaction[number - 1].key == key:
            return number - 1
        number = table.transaction[number - 1].chain
    return NONE


cdef uint32_t transaction_new(Transactions* table, uint64_t key) noexcept nogil:
    cdef uint32_t number = table.transaction_free
    cdef uint32_t bucket = _bucket(table, key)
    cdef uint32_t generation
    cdef Transaction* transaction
    if number != NONE:
        table.transaction_free = table.transaction[number].chain
    elif table.transaction_used < table.capacity:
        number = table.transaction_used
        table.transaction_used += 1
    else:
        return NONE
    transaction = &table.transaction[number]
    generation = transaction.generation + 1
    memset(transaction, 0, sizeof(Transaction))
    transaction.generation = generation
    transaction.key = key
    transaction.branches = NONE
    transaction.chain = table.transaction_bucket[bucket]
    table.transaction_bucket[bucket] = number + 1
    table.timer[table.capacity + number].slot = TIMER_NONE
    table.live += 1
    return number


cdef void _unlink_branch(Transactions* table, uint32_t number) noexcept nogil:
    cdef uint32_t* link = &table.branch_bucket[_bucket(table, table.branch[number].key)]
    while link[0] != number + 1:
        link = &table.branch[link[0] - 1].chain
    link[0] = table.branch[number].chain


cdef void transaction_free(Transactions* table, uint32_t number) noexcept nogil:
    cdef Transaction* transaction = &table.transaction[number]
    cdef uint32_t* link = &table.transaction_bucket[_bucket(table, transaction.key)]
    cdef uint32_t branch = transaction.branches
    cdef uint32_t following
    while link[0] != number + 1:
        link = &table.transaction[link[0] - 1].chain
    link[0] = transaction.chain
    while branch != NONE:
        following = table.branch[branch].next
        _unlink_branch(table, branch)
        timer_clear(&table.wheel, branch)
        table.branch[branch].chain = table.branch_free
        table.branch_free = branch
        table.branches_live -= 1
        branch = following
    buffer_free(table, transaction.request)
    buffer_free(table, transaction.response)
    buffer_free(table, transaction.best)
    buffer_free(table, transaction.targets)
    timer_clear(&table.wheel, table.capacity + number)
    transaction.machine = 0
    transaction.chain = table.transaction_free
    table.transaction_free = number
    table.live -= 1


cdef uint32_t branch_find(Transactions* table, uint64_t key) noexcept nogil:
    cdef uint32_t number = table.branch_bucket[_bucket(table, key)]
    while number != 0:
        if table.branch[number - 1].key == key:
            return number - 1
        number = table.branch[number - 1].chain
    return NONE


cdef uint32_t branch_new(Transactions* table, uint32_t transaction, uint64_t key) noexcept nogil:
    """A branch of the transaction, the newest first in its list; NONE: the table is full."""
    cdef uint32_t number = table.branch_free
    cdef uint32_t bucket = _bucket(table, key)
    cdef Branch* branch
    if number != NONE:
        table.branch_free = table.branch[number].chain
    elif table.branch_used < table.capacity:
        number = table.branch_used
        table.branch_used += 1
    else:
        return NONE
    branch = &table.branch[number]
    memset(branch, 0, sizeof(Branch))
    branch.key = key
    branch.transaction = transaction
    branch.next = table.transaction[transaction].branches
    table.transaction[transaction].branches = number
    branch.chain = table.branch_bucket[bucket]
    table.branch_bucket[bucket] = number + 1
    table.timer[number].slot = TIMER_NONE
    table.branches_live += 1
    return number


cdef inline void _arm(Transactions* table, uint32_t timer, int64_t a_ms, int64_t b_ms) noexcept nogil:
    cdef int64_t due = a_ms if b_ms == 0 or (a_ms != 0 and a_ms < b_ms) else b_ms
    if due == 0:
        timer_clear(&table.wheel, timer)
    else:
        timer_set(&table.wheel, timer, due)


cdef void transaction_arm(Transactions* table, uint32_t number) noexcept nogil:
    _arm(table, table.capacity + number, table.transaction[number].retransmit_ms, table.transaction[number].expire_ms)


cdef void branch_arm(Transactions* table, uint32_t number) noexcept nogil:
    _arm(table, number, table.branch[number].retransmit_ms, table.branch[number].expire_ms)
