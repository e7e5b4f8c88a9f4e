"""Operations on their way: a ring by number, whose oldest end moves as they are answered. What has no answer is sent again."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from sipcore.entries cimport OP_FIELDS
from sipcore.packed cimport packer_array, packer_number, packer_raw

from sipcore import wire

RETRY_MS = 2_000      # without an answer: an operation is sent again
GIVE_UP_MS = 64_000   # and no longer waited for: nor does its sender, who has retransmitted for 32 s (RFC 3261 17.1.2.2)

cdef enum:
    OPS_MAX = 500     # wire.OPS_MAX

cdef int64_t NEVER = -(1 << 62)
cdef int64_t RETRY = RETRY_MS
cdef int64_t GIVE_UP = GIVE_UP_MS


cdef class Outstanding:
    """pid: of this worker. An operation of the one that died at our place, whose entry may still be under way, is never taken for ours."""

    def __cinit__(self, uint64_t pid):
        self.ring = <Waiting*>calloc(RING, sizeof(Waiting))
        if self.ring == NULL:
            raise MemoryError("the operations' ring")
        self.first = self.next = self.unsent = (pid << 32) + 1

    def __dealloc__(self):
        cdef uint32_t i
        for i in range(RING if self.ring != NULL else 0):
            free(self.ring[i].octets)
        free(self.ring)
        free(self.packer.out)

    def __len__(self):
        return self.count

    def add(self, operation, int64_t now_ms=0):
        """Takes the fields of wire.OPS behind its op_id, as a list; that, or 0 where too many wait."""
        cdef bytes octets = wire.encode(operation)[1:]  # without the array's octet
        return self.add_octets(<const uint8_t*>octets, <uint32_t>len(octets), NOBODY, 0, now_ms)

    def forget(self, uint64_t op_id):
        """Nobody waits for it any more."""
        cdef Waiting* waiting = self.find(op_id)
        if waiting != NULL:
            self.drop(waiting)

    def send_all(self):
        """All are to be sent, at once: whoever got them is gone."""
        cdef uint64_t op_id
        for op_id in range(self.first, self.next):
            self.ring[op_id & (RING - 1)].sent_ms = NEVER
        self.unsent = self.first

    def frames(self, int64_t now_ms):
        """The OPS frames that are due."""
        cdef uint32_t count
        frames = []
        if self.count and now_ms >= self.due_ms:
            self._retry(now_ms)
        while self.unsent < self.next:
            count = self.pack_unsent(now_ms)
            if self.packer.failed:
                raise MemoryError("a frame of operations")
            if count:
                body = PyBytes_FromStringAndSize(<char*>self.packer.out, self.packer.length)
                frames.append(wire.encode_ops(count, body))
        return frames

    cdef void _retry(self, int64_t now_ms) noexcept nogil:
        """Goes back to the oldest operation without an answer, and drops those that nobody waits for any longer."""
        cdef Waiting* waiting
        cdef uint64_t op_id
        self.unsent = self.first
        self.due_ms = now_ms + RETRY
        for op_id in range(self.first, self.next):
            waiting = self.find(op_id)
            if waiting == NULL:
                continue
            if now_ms - waiting.added_ms >= GIVE_UP:
                self.drop(waiting)
            elif now_ms - waiting.sent_ms < RETRY:
                self.due_ms = min(self.due_ms, waiting.sent_ms + RETRY)

    cdef uint64_t add_octets(self, const uint8_t* octets, uint32_t length, uint32_t transaction, uint32_t generation,
                             int64_t now_ms) noexcept nogil:
        cdef Waiting* waiting = &self.ring[self.next & (RING - 1)]
        cdef uint8_t* copy
        if self.count >= OUTSTANDING_MAX or self.next - self.first >= RING:
            return 0
        copy = <uint8_t*>malloc(length)
        if copy == NULL:
            return 0
        memcpy(copy, octets, length)
        waiting[0] = Waiting(self.next, copy, length, transaction, generation, NEVER, now_ms)
        self.count += 1
        self.next += 1
        return waiting.op_id

    cdef Waiting* find(self, uint64_t op_id) noexcept nogil:
        cdef Waiting* waiting = &self.ring[op_id & (RING - 1)]
        return waiting if waiting.octets != NULL and waiting.op_id == op_id else NULL

    cdef void drop(self, Waiting* waiting) noexcept nogil:
        free(waiting.octets)
        waiting.octets = NULL
        self.count -= 1
        while self.first < self.next and self.find(self.first) == NULL:
            self.first += 1
        self.unsent = max(self.unsent, self.first)

    cdef uint32_t pack_unsent(self, int64_t now_ms) noexcept nogil:
        """One frame's operations from self.unsent on; how many."""
        cdef Waiting* waiting
        cdef uint32_t count = 0
        self.packer.length = 0
        while self.unsent < self.next and count < OPS_MAX:
            waiting = self.find(self.unsent)
            self.unsent += 1
            if waiting == NULL or now_ms - waiting.sent_ms < RETRY:
                continue
            waiting.sent_ms = now_ms
            packer_array(&self.packer, OP_FIELDS)
            packer_number(&self.packer, waiting.op_id)
            packer_raw(&self.packer, waiting.octets, waiting.length)
            count += 1
        return count
