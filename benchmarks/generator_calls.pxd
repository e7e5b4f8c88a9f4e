"""The load generator's calls: its whole state in one struct, and what callers and callees do."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from benchmarks.generator_messages cimport Host, Scan, Text
from benchmarks.generator_timers cimport Histogram, Queue
from workers.sockets cimport iovec, mmsghdr, sockaddr_storage

cdef enum:
    BATCH = 64             # datagrams to a system call, as in the worker
    SOCKETS_MAX = 1024     # callers and callees
    CALLS_MAX = 1 << 17    # in progress: 10,000 a second that are all lost are given up before this is full
    PATTERN_MAX = 16
    QUEUES = 7             # T1, 2 T1, ... 32 T1 (RFC 3261 17.1.1.2: INVITE is sent seven times), and the hold time
    HOLD_QUEUE = 6
    STATUSES = 700
    MS = 1_000_000         # nanoseconds

cdef enum Kind:
    KIND_CALL = 0
    KIND_REGISTER = 1
    KIND_OPTIONS = 2

cdef enum CallerState:
    FREE = 0
    ASKING = 1      # INVITE, REGISTER or OPTIONS sent
    TALKING = 2     # ACK sent, the hold time runs
    ENDING = 3      # BYE sent
    OVER = 4

cdef enum CalleeState:  # flags
    ANSWERED = 1    # 200 sent
    ACKNOWLEDGED = 2
    ENDED = 4       # BYE answered

cdef enum:          # what Field.count counts; generator.pyx names them in this order
    OFFERED = 0
    DONE
    FAILED
    UNFINISHED      # of FAILED: neither end when the run was over
    NO_ROOM         # of FAILED: more calls in progress than CALLS_MAX
    REQUESTS_AGAIN
    ANSWERS_AGAIN   # 200 to INVITE, by the callees
    ACKS_AGAIN      # because a 200 came again
    SWAPPED         # 180 after its 200
    OVERTAKEN       # BYE before its ACK
    REPEATED        # INVITE that a callee saw again
    STRAY           # belongs to no call in progress
    MISROUTED       # dialogs whose route set does not begin at the proxy
    SENT
    RECEIVED
    SEND_ERRORS
    COUNTS

cdef struct Call:
    uint32_t number
    uint8_t kind
    uint8_t state
    uint8_t callee
    bint provisional
    uint16_t caller_socket
    uint16_t callee_socket
    uint32_t aor
    uint32_t cseq
    uint32_t tries                 # how often the request in progress was sent again
    uint32_t answer_tries
    int64_t intended_ns
    uint32_t to_length
    uint32_t target_length
    uint32_t routes_length
    uint32_t answer_length
    sockaddr_storage answer_to
    uint8_t to[256]                # To with the callee's tag
    uint8_t target[256]            # the remote target: the callee's Contact
    uint8_t routes[768]            # Route lines
    uint8_t answer[2048]           # the callee's 200 to INVITE

cdef struct Socket:
    int fd
    Host host

cdef struct Field:
    uint32_t callers
    uint32_t sockets               # callers first, then callees
    Socket socket[SOCKETS_MAX]
    Host peer
    sockaddr_storage peer_name
    uint32_t peer_name_length
    bint routed                    # a dialog must have a route set
    uint32_t nonce
    int64_t begin_ns
    double interval_ns
    uint64_t total
    uint64_t next                  # of the transactions offered
    int64_t drain_ns
    uint32_t pattern_length
    uint8_t pattern[PATTERN_MAX]
    uint32_t* cseq                 # per AOR
    uint32_t aors
    uint32_t next_aor
    uint32_t live
    uint32_t used                  # slots that were ever in use: the others' pages are not touched
    uint32_t free_count
    uint32_t* free_slot
    Call* call
    Queue queue[QUEUES]
    Histogram setup                # intended moment of the INVITE to its 200
    Histogram ending               # BYE to its 200
    Histogram other                # intended moment of a REGISTER or OPTIONS to its final response
    uint64_t count[COUNTS]
    uint64_t status[STATUSES]      # final responses that failed a call
    Scan scan
    int out_fd
    uint32_t out_count
    mmsghdr out[BATCH]
    iovec out_vector[BATCH]
    sockaddr_storage out_name[BATCH]
    mmsghdr into[BATCH]
    iovec into_vector[BATCH]
    sockaddr_storage into_name[BATCH]
    uint8_t* out_memory
    uint8_t* into_memory



# One more transaction, meant for `intended` and sent now.
cdef void begin(Field* field, int64_t intended, int64_t now) noexcept nogil
# What the message in field.scan means for its call.
cdef void response(Field* field, int64_t now) noexcept nogil
cdef void request(Field* field, uint32_t socket, const sockaddr_storage* source, uint32_t source_length, int64_t now) noexcept nogil
cdef void fire_timers(Field* field, int64_t now) noexcept nogil
# Sends what is batched.
cdef void flush(Field* field) noexcept nogil
