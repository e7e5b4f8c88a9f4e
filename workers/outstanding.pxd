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

cdef struct Operations:
    Waiting* ring
    uint32_t count
    uint64_t first             # no older one waits
    uint64_t next              # number of the next one
    uint64_t released          # from here on they are not to be sent yet: they wait for each other
    uint64_t unsent            # from here on they are to be sent, again or for the first time
    int64_t due_ms             # no operation is to be sent again before
    Packer packer              # the frame in hand

# Takes an operation (packer_operation); its number, 0 where too many wait.
cdef uint64_t operations_add(Operations* operations, const uint8_t* octets, uint32_t length, uint32_t transaction,
                             uint32_t generation, int64_t now_ms) noexcept nogil
# What waits under a number; NULL: nothing.
cdef Waiting* operations_find(const Operations* operations, uint64_t op_id) noexcept nogil
cdef void operations_drop(Operations* operations, Waiting* waiting) noexcept nogil


cdef class Outstanding:
    """Owns one Operations; the worker's edge holds `&outstanding.operations`."""
    cdef Operations operations
