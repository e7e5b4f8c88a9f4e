"""The live transactions of one worker: slots, keys, buffers and timers. States move by sipcore/transaction; what to do is proxy's."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from sipcore.endpoint cimport Endpoint
from sipcore.timers cimport Timer, TimerWheel

cdef enum:
    NONE = 0xFFFFFFFF
    BUFFER_CLASSES = 6        # 512, 1024, 2048, 4096, 16384 and 65536 octets
    TRIED_MAX = 8             # destinations that one request may try: the most that dispatcher.max_attempts allows (its branches
                              # remember which)
    FORKS_MAX = 32            # contacts that one request may ring: the most that registrar.max_contacts allows

cdef enum TransactionFlag:
    TX_CANCELLED = 1          # its CANCEL came
    TX_IN_DIALOG = 2
    TX_DISPATCH = 4           # its targets come from a dispatcher set: the next one after a failure
    TX_RECORD_ROUTE = 8
    TX_FROM_DESTINATION = 16  # the caller is a destination
    TX_TO_CLIENT = 32         # the callee is a registered client: reached by its flow
    TX_FINAL = 64             # a final response went upstream
    TX_CALL = 128             # an initial INVITE: one line in the log
    TX_OURS = 256             # answered by us alone (REGISTER)
    TX_RINGING = 512          # a provisional response went upstream

cdef enum BranchFlag:
    BRANCH_CANCEL_WANTED = 1  # as soon as a provisional response is there (RFC 3261 9.1)
    BRANCH_CANCELLED = 2
    BRANCH_PASSED_OVER = 4    # silent for too long: the next destination was tried
    BRANCH_ENDED = 8          # its verdict is in
    BRANCH_COUNTED = 16       # its outcome is in the destination's load

cdef struct Buffer:
    Buffer* next
    uint32_t room
    uint32_t length
    uint8_t data[1]

cdef struct Transaction:      # a server transaction and its context (RFC 3261 16.2)
    uint64_t key
    uint32_t chain            # next with the same bucket; next free slot
    uint32_t generation       # changes each time the slot is used
    uint32_t branches         # first Branch
    uint8_t machine
    uint8_t state
    uint8_t method
    uint8_t attempts
    uint16_t flags
    uint16_t status           # last sent upstream
    uint8_t pop_routes        # Route values of ours on top of the request
    uint16_t targets_at       # offset of the next Target in `targets`
    uint16_t best_status      # of the failures so far; 0: none
    uint16_t answer_port      # at the source's address: where answers go
    uint32_t set_id
    uint32_t destination      # id that a dialog of this counts against
    uint32_t interval_ms      # Timer G
    uint32_t ringing_ms       # from created_ms to the first 18x (TX_RINGING)
    Endpoint source           # of the request
    Buffer* request           # as it came
    Buffer* response          # as it was last sent upstream
    Buffer* best              # the best failure so far, as it came
    Buffer* targets           # contacts still to be tried (proxy.Target, packed)
    int64_t created_ms
    int64_t retransmit_ms     # 0: not running
    int64_t expire_ms         # Timer H, I, J, L; 0: not running

cdef struct Branch:           # a client transaction
    uint64_t key
    uint32_t chain
    uint32_t next             # of the same transaction
    uint32_t transaction
    uint8_t machine
    uint8_t state
    uint8_t index             # fork index: part of the branch's hash
    uint8_t flags             # BranchFlag
    uint16_t status           # last received
    uint16_t target           # offset + 1 of its Target in the transaction's targets; 0: the request URI stays
    uint32_t destination      # dispatcher id; 0: none
    uint32_t interval_ms      # Timer A or E
    uint32_t sent_ms          # from the transaction's created_ms
    Endpoint to
    int64_t retransmit_ms     # the request, or once cancelled the CANCEL; 0: not running
    int64_t expire_ms         # Timer B, F, C, the destination's patience, or the wait for a cancelled branch's verdict

cdef struct Transactions:
    uint32_t capacity         # of each of the two tables
    uint32_t live
    uint32_t branches_live
    uint32_t buckets          # power of two
    Transaction* transaction
    Branch* branch
    uint32_t* transaction_bucket
    uint32_t* branch_bucket
    uint32_t transaction_free
    uint32_t branch_free
    uint32_t transaction_used # slots ever used: beyond it memory was never touched
    uint32_t branch_used
    Buffer* buffer_free[BUFFER_CLASSES]
    uint64_t buffer_octets
    Timer* timer              # numbers 0..capacity-1 are branches, the rest transactions
    TimerWheel wheel

cdef int transactions_start(Transactions* table, uint32_t capacity, int64_t now_ms) except -1
cdef void transactions_stop(Transactions* table) noexcept
cdef Buffer* buffer_new(Transactions* table, uint32_t room) noexcept nogil
cdef void buffer_free(Transactions* table, Buffer* buffer) noexcept nogil
# A buffer with a copy of data, replacing old (which may be NULL, and may be reused); NULL: no memory, old is freed.
cdef Buffer* buffer_copy(Transactions* table, Buffer* old, const uint8_t* data, uint32_t length) noexcept nogil
cdef uint32_t transaction_find(Transactions* table, uint64_t key) noexcept nogil
cdef uint32_t transaction_new(Transactions* table, uint64_t key) noexcept nogil     # NONE: the table is full
cdef void transaction_free(Transactions* table, uint32_t number) noexcept nogil     # with its branches and buffers
cdef uint32_t branch_find(Transactions* table, uint64_t key) noexcept nogil
cdef uint32_t branch_new(Transactions* table, uint32_t transaction, uint64_t key) noexcept nogil
# Puts the entity's timer at the earlier of its two times, or takes it off.
cdef void transaction_arm(Transactions* table, uint32_t number) noexcept nogil
cdef void branch_arm(Transactions* table, uint32_t number) noexcept nogil
