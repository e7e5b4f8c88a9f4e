"""Operations on their way: a ring by number, whose oldest end moves as they are answered. What has no answer is sent again."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from sipcore.entries cimport OP_FIELDS
from sipcore.packed cimport packer_array, packer_begin, packer_number, packer_raw

from sipcore import wire

RETRY_MS = 2_000      # without an answer: an operation is sent again
GIVE_UP_MS = 64_000   # and no longer waited for: nor does its sender, who has retransmitted for 32 s (RFC 3261 17.1.2.2)

cdef enum:
    OPS_MAX = 500     # wire.OPS_MAX

cdef int64_t NEVER = -(1 << 62)
cdef int64_t RETRY = RETRY_MS
cdef int64_t GIVE_UP = GIVE_UP_MS


cdef uint64_t operations_add(Operations* operations, const uint8_t* octets, uint32_t length, uint32_t transaction,
                             uint32_t generation, int64_t now_ms) noexcept nogil:
    cdef Waiting* waiting = &operations.ring[operations.next & (RING - 1)]
    cdef uint8_t* copy
    if operations.count >= OUTSTANDING_MAX or operations.next - operations.first >= RING:
        return 0
    copy = <uint8_t*>malloc(length)
    if copy == NULL:
        return 0
    memcpy(copy, octets, length)
    waiting[0] = Waiting(operations.next, copy, length, transaction, generation, NEVER, now_ms)
    operations.count += 1
    operations.next += 1
    return waiting.op_id


cdef Waiting* operations_find(const Operations* operations, uint64_t op_id) noexcept nogil:
    cdef Waiting* waiting = &operations.ring[op_id & (RING - 1)]
    return waiting if waiting.octets != NULL and waiting.op_id == op_id else NULL


cdef void operations_drop(Operations* operations, Waiting* waiting) noexcept nogil:
    free(waiting.octets)
    waiting.octets = NULL
    operations.count -= 1
    while operations.first < operations.next and operations_find(operations, operations.first) == NULL:
        operations.first += 1
    operations.unsent = max(operations.unsent, operations.first)


cdef void operations_retry(Operations* operations, int64_t now_ms) noexcept nogil:
    """Goes back to the oldest operation without an answer, and drops those that nobody waits for any longer."""
    cdef Waiting* waiting
    cdef uint64_t op_id
    operations.unsent = operations.first
    operations.due_ms = now_ms + RETRY
    for op_id in range(operations.first, operations.next):
        waiting = operations_find(operations, op_id)
        if waiting == NULL:
            continue
        if now_ms - waiting.added_ms >= GIVE_UP:
            operations_drop(operations, waiting)
        elif now_ms - waiting.sent_ms < RETRY:
            operations.due_ms = min(operations.due_ms, waiting.sent_ms + RETRY)


cdef uint32_t operations_pack(Operations* operations, int64_t now_ms) noexcept nogil:
    """One frame's operations, those that are to be sent; how many."""
    cdef Waiting* waiting
    cdef uint32_t count = 0
    packer_begin(&operations.packer)
    while operations.unsent < operations.released and count < OPS_MAX:
        waiting = operations_find(operations, operations.unsent)
        operations.unsent += 1
        if waiting == NULL or now_ms - waiting.sent_ms < RETRY:
            continue
        waiting.sent_ms = now_ms
        packer_array(&operations.packer, OP_FIELDS)
        packer_number(&operations.packer, waiting.op_id)
        packer_raw(&operations.packer, waiting.octets, waiting.length)
        count += 1
    return count


cdef class Outstanding:
    def __cinit__(self, uint64_t pid):
        """pid: of this worker. Its numbers carry it, so that an operation of the one that died at our place, whose entry may still be
        under way, is never taken for ours."""
        self.operations.ring = <Waiting*>calloc(RING, sizeof(Waiting))
        if self.operations.ring == NULL:
            raise MemoryError("the operations' ring")
        self.operations.first = (pid << 32) + 1
        self.operations.next = self.operations.released = self.operations.unsent = self.operations.first

    def __dealloc__(self):
        cdef uint32_t i
        for i in range(RING if self.operations.ring != NULL else 0):
            free(self.operations.ring[i].octets)
        free(self.operations.ring)
        free(self.operations.packer.out)

    def __len__(self):
        return self.operations.count

    def add(self, operation, int64_t now_ms=0):
        """Takes the fields of wire.OPS behind its op_id, as a list; that, or 0 where too many wait. It may be sent at once."""
        cdef bytes octets = wire.encode(operation)[1:]  # without the array's octet
        op_id = operations_add(&self.operations, <const uint8_t*>octets, <uint32_t>len(octets), NOBODY, 0, now_ms)
        self.release()
        return op_id

    def forget(self, uint64_t op_id):
        """Nobody waits for it any more."""
        cdef Waiting* waiting = operations_find(&self.operations, op_id)
        if waiting != NULL:
            operations_drop(&self.operations, waiting)

    def release(self):
        """Those that came up to now may go."""
        self.operations.released = self.operations.next

    def send_all(self):
        """All are to be sent, at once: whoever got them is gone."""
        cdef uint64_t op_id
        for op_id in range(self.operations.first, self.operations.next):
            self.operations.ring[op_id & (RING - 1)].sent_ms = NEVER
        self.operations.unsent = self.operations.first

    def frames(self, int64_t now_ms):
        """The OPS frames that are due."""
        cdef uint32_t count
        frames = []
        if self.operations.count and now_ms >= self.operations.due_ms:
            operations_retry(&self.operations, now_ms)
        while self.operations.unsent < self.operations.released:
            count = operations_pack(&self.operations, now_ms)
            if self.operations.packer.failed:
                raise MemoryError("a frame of operations")
            if count:
                body = PyBytes_FromStringAndSize(<char*>self.operations.packer.out, self.operations.packer.length)
                frames.append(wire.encode_ops(count, body))
        return frames
