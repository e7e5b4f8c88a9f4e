"""The operations of one worker that wait for the log: kept as they are sent, by number, until they come back."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from sipcore.packed cimport Packer

cdef enum:
    RING = 32768               # numbers between the oldest operation and the next one; a power of two
    OUTSTANDING_MAX = 20000    # a second of a storm; more are refused at once
    NOBODY = 0xFFFFFFFF        # no transaction waits

cdef struct Waiting:
    uint64_t op_id
    uint8_t* octets            # all of the operation but its number; NULL: nothing waits here
    uint32_t length
    uint32_t transaction       # whom the answer is for
    uint32_t generation
    int64_t sent_ms            # when it was last sent
    int64_t added_ms


cdef class Outstanding:
    cdef Waiting* ring
    cdef readonly uint32_t count
    cdef uint64_t first        # no older one waits
    cdef uint64_t next         # number of the next one
    cdef uint64_t unsent       # from here on they are to be sent, again or for the first time
    cdef int64_t due_ms        # no operation is to be sent again before
    cdef Packer packer         # the frame in hand

    # Takes an operation (packer_operation); its number, 0 where too many wait.
    cdef uint64_t add_octets(self, const uint8_t* octets, uint32_t length, uint32_t transaction, uint32_t generation,
                             int64_t now_ms) noexcept nogil
    # What waits under a number; NULL: nothing.
    cdef Waiting* find(self, uint64_t op_id) noexcept nogil
    cdef void drop(self, Waiting* waiting) noexcept nogil
    cdef void _retry(self, int64_t now_ms) noexcept nogil
    cdef uint32_t pack_unsent(self, int64_t now_ms) noexcept nogil
