"""UDP in batches: recvmmsg, sendmmsg, the error queue, and the inboxes between workers. Knows nothing of SIP."""

from libc.errno cimport EAGAIN, EINTR, ENOBUFS, errno
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from sipcore.endpoint cimport endpoint_from_sockaddr, endpoint_to_sockaddr
from workers.sockets cimport (
    MSG_DONTWAIT, MSG_ERRQUEUE, MSG_NOSIGNAL, POLLOUT, iovec, mmsghdr, msghdr, poll, pollfd, recvmmsg, recvmsg, sendmmsg, sendmsg,
    sockaddr_storage,
)

cdef enum:
    SEND_WAIT_MS = 5       # how long a full send buffer may hold the worker up before the datagram is lost, as the network loses them
    SEND_TRIES = 4         # each takes one pending error of earlier datagrams off the socket
    CONTROL_ROOM = 512     # ancillary data of one error


cdef struct Slots:         # what recvmmsg fills
    mmsghdr message[BATCH]
    iovec vector[BATCH]
    sockaddr_storage name[BATCH]


cdef class Receiver:
    def __cinit__(self):
        cdef Slots* slots
        cdef uint32_t i
        self.memory = <uint8_t*>malloc(<size_t>BATCH * SLOT_STEP)
        slots = <Slots*>calloc(1, sizeof(Slots))
        if self.memory == NULL or slots == NULL:
            raise MemoryError("no memory for the receive slots")
        self.headers = slots
        for i in range(BATCH):
            self.item[i].data = self.memory + <size_t>i * SLOT_STEP
            slots.vector[i].iov_base = self.item[i].data
            slots.vector[i].iov_len = SLOT
            slots.message[i].msg_hdr.msg_iov = &slots.vector[i]
            slots.message[i].msg_hdr.msg_iovlen = 1
            slots.message[i].msg_hdr.msg_name = &slots.name[i]

    def __dealloc__(self):
        free(self.memory)
        free(self.headers)

    cdef int receive(self, int fd, uint16_t listener) noexcept nogil:
        """Up to BATCH datagrams of one socket into `item`; how many. A pending error of the socket counts as none."""
        cdef Slots* slots = <Slots*>self.headers
        cdef int i, got
        for i in range(BATCH):
            slots.message[i].msg_hdr.msg_namelen = sizeof(sockaddr_storage)
        got = recvmmsg(fd, slots.message, BATCH, MSG_DONTWAIT, NULL)
        if got <= 0:
            return 0
        for i in range(got):
            self.item[i].length = slots.message[i].msg_len
            memset(&self.item[i].source, 0, sizeof(Endpoint))
            endpoint_from_sockaddr(&self.item[i].source, &slots.name[i])
            self.item[i].source.listener = listener
        return got

    cdef int receive_error(self, int fd, uint16_t listener) noexcept nogil:
        """One entry of the error queue into item[0]: `source` is the target that refused, the data the start of what was sent to it.
        1: one came; 0: none is left."""
        cdef msghdr message
        cdef iovec vector
        cdef sockaddr_storage name
        cdef uint8_t control[CONTROL_ROOM]
        cdef ssize_t got
        memset(&message, 0, sizeof(message))
        vector.iov_base = self.item[0].data
        vector.iov_len = SLOT
        message.msg_iov = &vector
        message.msg_iovlen = 1
        message.msg_name = &name
        message.msg_namelen = sizeof(name)
        message.msg_control = control
        message.msg_controllen = CONTROL_ROOM
        got = recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT)
        if got < 0:
            return 0
        self.item[0].length = <uint32_t>got
        memset(&self.item[0].source, 0, sizeof(Endpoint))
        endpoint_from_sockaddr(&self.item[0].source, &name)
        self.item[0].source.listener = listener
        return 1

    cdef int receive_inbox(self, int fd, InboxHeader* header) noexcept nogil:
        """One message of the inbox: its header, and the datagram in item[0]. 1: one came; 0: none is left; -1: not one of ours."""
        cdef msghdr message
        cdef iovec vector[2]
        cdef ssize_t got
        memset(&message, 0, sizeof(message))
        vector[0].iov_base = header
        vector[0].iov_len = sizeof(InboxHeader)
        vector[1].iov_base = self.item[0].data
        vector[1].iov_len = SLOT
        message.msg_iov = vector
        message.msg_iovlen = 2
        got = recvmsg(fd, &message, MSG_DONTWAIT)
        if got < 0:
            return 0
        if got < <ssize_t>sizeof(InboxHeader):
            return -1
        self.item[0].length = <uint32_t>(got - sizeof(InboxHeader))
        self.item[0].source = header.peer
        return 1


cdef int outbox_start(Outbox* outbox) except -1:
    memset(outbox, 0, sizeof(Outbox))
    outbox.memory = <uint8_t*>malloc(<size_t>BATCH * SLOT_STEP)
    if outbox.memory == NULL:
        raise MemoryError("no memory for the send slots")
    return 0


cdef void outbox_free(Outbox* outbox) noexcept:
    free(outbox.memory)
    outbox.memory = NULL


cdef void outbox_flush(Outbox* outbox, const int* listener_fd, uint64_t* sent, uint64_t* errors) noexcept nogil:
    cdef mmsghdr message[BATCH]
    cdef iovec vector[BATCH]
    cdef sockaddr_storage name[BATCH]
    cdef uint64_t branch[BATCH]
    cdef bint taken[BATCH]
    cdef uint32_t i, j, batch, done = 0
    cdef uint16_t listener
    if outbox.count == 0:
        return
    memset(taken, 0, sizeof(taken))
    while done < outbox.count:
        i = 0
        while taken[i]:
            i += 1
        listener = outbox.item[i].to.listener
        batch = 0
        for j in range(i, outbox.count):
            if taken[j] or outbox.item[j].to.listener != listener:
                continue
            taken[j] = True
            vector[batch].iov_base = outbox.memory + <size_t>j * SLOT_STEP
            vector[batch].iov_len = outbox.item[j].length
            memset(&message[batch], 0, sizeof(mmsghdr))
            message[batch].msg_hdr.msg_iov = &vector[batch]
            message[batch].msg_hdr.msg_iovlen = 1
            message[batch].msg_hdr.msg_name = &name[batch]
            message[batch].msg_hdr.msg_namelen = endpoint_to_sockaddr(&outbox.item[j].to, &name[batch])
            branch[batch] = outbox.item[j].branch
            batch += 1
        _send(outbox, listener_fd[listener], message, branch, batch, sent, errors)
        done += batch
    outbox.count = 0


cdef void _send(Outbox* outbox, int fd, mmsghdr* message, const uint64_t* branch, uint32_t count,
                uint64_t* sent, uint64_t* errors) noexcept nogil:
    """Sends one socket's share. An error that belongs to an earlier datagram (ICMP) costs another try, not this one its way."""
    cdef uint32_t at = 0
    cdef int tries = 0
    cdef int got
    cdef pollfd waiting
    while at < count:
        got = sendmmsg(fd, message + at, count - at, MSG_NOSIGNAL)
        if got > 0:
            at += <uint32_t>got
            sent[0] += <uint64_t>got
            tries = 0
            continue
        if errno == EINTR:
            continue
        tries += 1
        if tries < (2 if errno == EAGAIN or errno == ENOBUFS else SEND_TRIES):
            if errno == EAGAIN or errno == ENOBUFS:
                waiting.fd = fd
                waiting.events = POLLOUT
                poll(&waiting, 1, SEND_WAIT_MS)
            continue
        errors[0] += 1
        if branch[at] != NO_BRANCH and errno != EAGAIN and errno != ENOBUFS and outbox.failed_count < BATCH:
            outbox.failed[outbox.failed_count] = branch[at]
            outbox.failed_count += 1
        at += 1
        tries = 0


cdef bint inbox_send(int fd, uint32_t kind, const Endpoint* peer, const uint8_t* data, uint32_t length) noexcept nogil:
    cdef msghdr message
    cdef iovec vector[2]
    cdef InboxHeader header
    header.kind = kind
    header.peer = peer[0]
    memset(&message, 0, sizeof(message))
    vector[0].iov_base = &header
    vector[0].iov_len = sizeof(header)
    vector[1].iov_base = <void*>data
    vector[1].iov_len = length
    message.msg_iov = vector
    message.msg_iovlen = 2
    return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0
