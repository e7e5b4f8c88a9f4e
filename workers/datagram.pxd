"""UDP in batches: recvmmsg, sendmmsg, the error queue, and the inboxes between workers. Knows nothing of SIP."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from sipcore.endpoint cimport Endpoint

cdef enum:
    BATCH = 64             # datagrams a system call; beyond it the gain a packet is under 2 %
    SLOT = 65536           # the largest UDP payload is 65,507
    SLOT_STEP = SLOT + 1088  # from one slot to the next: at steps of 64 KB all would share a few lines of every cache
    NO_BRANCH = 0          # no key of a branch is 0

cdef struct Incoming:
    Endpoint source
    uint32_t length
    uint8_t* data

cdef struct Outgoing:
    Endpoint to
    uint32_t length
    uint64_t branch        # key of whose failure to send this would be; NO_BRANCH: nobody's

cdef struct Outbox:
    uint32_t count
    Outgoing item[BATCH]
    uint8_t* memory        # BATCH slots, SLOT_STEP apart
    uint32_t failed_count
    uint64_t failed[BATCH] # keys of branches whose message the kernel refused, for the router

cdef enum InboxKind:
    INBOX_DATAGRAM = 1     # a datagram that the receiver of this owns
    INBOX_UNREACHABLE = 2  # the start of a datagram of the receiver's that its target refused

cdef struct InboxHeader:
    uint32_t kind
    Endpoint peer          # source of the datagram, or the target that refused

cdef class Receiver:
    """Slots for one batch; shared by all sockets, which are read in turn."""
    cdef Incoming item[BATCH]
    cdef uint8_t* memory
    cdef void* headers
    cdef int receive(self, int fd, uint16_t listener) noexcept nogil
    cdef int receive_error(self, int fd, uint16_t listener) noexcept nogil
    cdef int receive_inbox(self, int fd, InboxHeader* header) noexcept nogil

cdef int outbox_start(Outbox* outbox) except -1
cdef void outbox_free(Outbox* outbox) noexcept


cdef inline uint8_t* outbox_room(Outbox* outbox) noexcept nogil:
    """The slot for the next message; outbox_flush must have been called when the outbox was full."""
    return outbox.memory + <size_t>outbox.count * SLOT_STEP


cdef inline void outbox_put(Outbox* outbox, const Endpoint* to, uint32_t length, uint64_t branch) noexcept nogil:
    """Queues what was written to outbox_room."""
    cdef Outgoing* item = &outbox.item[outbox.count]
    item.to = to[0]
    item.length = length
    item.branch = branch
    outbox.count += 1


# Sends all that is queued, in order for each listener; failures go to outbox.failed. Adds to sent and errors.
cdef void outbox_flush(Outbox* outbox, const int* listener_fd, uint64_t* sent, uint64_t* errors) noexcept nogil
# One message to another worker's inbox; False: it was full (datagrams there are as lossy as UDP is).
cdef bint inbox_send(int fd, uint32_t kind, const Endpoint* peer, const uint8_t* data, uint32_t length) noexcept nogil
