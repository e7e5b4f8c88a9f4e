"""What one worker knows: its listeners, settings, tables, outbox and transactions, in one struct that the hot path passes on."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from sipcore.counters cimport InHand, Load, Quarantine
from sipcore.dispatcher cimport Dispatcher
from sipcore.edits cimport Edits
from sipcore.endpoint cimport Endpoint
from sipcore.hashing cimport HashKey
from sipcore.location cimport AOR_MAX, Location
from sipcore.message cimport Message
from sipcore.packed cimport Packer
from workers.datagram cimport Outbox
from workers.outstanding cimport Operations
from workers.pace cimport Pace
from workers.transactions cimport Transactions

cdef enum:
    LISTENERS_MAX = 16     # a host's addresses; the supervisor refuses more
    NAMES_MAX = 256        # hosts that mean us, and domains that we serve
    HOST_MAX = 128
    PREFIX_MAX = 160
    PARKED_MAX = 4096      # datagrams that wait for the first snapshot; a second's worth at the rate of a busy worker
    REGISTERS_PACE_MS = 20 # between two batches of them: a frame, a commit and a wake-up are shared by all that come meanwhile
    ENDED_MAX = 8192       # dialogs whose end was counted and may be told again by a second BYE: seconds of them at the highest rate
    CALL_LINES_MAX = 65536 # octets of call lines kept until the batch boundary

cdef struct Listener:
    int fd
    Endpoint local                 # a concrete address; its `listener` is its own index
    uint32_t via_length            # "SIP/2.0/UDP host:port;branch=z9hG4bKV" + the worker's two characters
    uint8_t via[PREFIX_MAX]
    uint32_t route_length          # "<sip:host:port;lr;v="
    uint8_t route[PREFIX_MAX]

cdef struct Name:                  # a host that means us
    uint32_t length
    uint32_t port                  # 0: any port
    bint domain                    # served as a domain, not a listener's address
    uint8_t host[HOST_MAX]

cdef struct Settings:
    bint lookup_first
    bint source_any_port
    bint use_domain
    bint log_calls
    bint log_json
    uint32_t set_id
    uint32_t max_attempts
    int64_t max_time_ms
    int64_t retry_after_cap_ms
    int64_t t1_ms
    int64_t t2_ms
    int64_t t4_ms
    int64_t timer_c_ms
    uint8_t failover[88]           # a bit for each status from 0 to 703
    int32_t refuse_code
    uint8_t refuse_text[128]
    uint32_t server_length         # of the Server header line for answers of our own; 0: none
    uint8_t server[160]

cdef struct Parked:
    Parked* next
    Endpoint source
    uint32_t length
    uint8_t data[1]

cdef struct Registry:              # what the registrar knows (workers/registrar)
    int64_t default_s
    int64_t least_s
    int64_t most_s
    Operations* operations         # that wait for the log; NULL: nobody keeps them, REGISTERs are refused
    int64_t released_ms            # when operations last went to the log: the next ones wait for each other
    uint32_t held                  # operations that wait so
    Packer operation               # the one in hand
    Packer headers                 # whole header lines for the answer in hand
    uint8_t aor[AOR_MAX]           # of the request in hand

cdef struct Edge:
    uint32_t worker
    uint32_t workers
    bint live                      # the replica is complete
    bint draining                  # no new calls
    bint heir                      # this worker replaced one that died: it forwards responses to its predecessor's branches
    int64_t heir_until_ms
    int64_t now_ms                 # monotonic, read once a batch
    HashKey key
    uint64_t loop_seed             # of loop_key: made from the key, which it must not tell
    uint64_t random                # state of a small generator (weights, tags): nothing secret
    uint32_t listener_count
    Listener listener[LISTENERS_MAX]
    uint32_t name_count
    Name name[NAMES_MAX]
    Settings settings
    Dispatcher* dispatcher
    Location* location
    uint64_t* counter              # our row of the shared page
    Load* load                     # our row of loads
    InHand* in_hand                # the datagram that would be to blame if we died now
    const Quarantine* quarantine
    uint32_t crash_length          # VIADUCT_CRASH_ON: die on a message that holds this text; for tests
    uint8_t crash_text[64]
    int inbox_fd
    int inbox_peer[64]             # WORKERS_MAX sending ends
    Pace pace
    Outbox outbox
    Transactions transactions
    Message message                # the datagram in hand
    Message other                  # a message that we rebuild while `message` is in hand
    Edits edits
    uint8_t* scratch               # 64 KB for such a rebuilt message
    Parked* parked_first
    Parked* parked_last
    uint32_t parked
    Registry registry
    uint64_t ended[ENDED_MAX]      # keys of dialogs whose BYE was counted, by the key's low bits
    uint32_t call_lines_length
    uint8_t call_lines[CALL_LINES_MAX]


cdef inline uint64_t edge_random(Edge* edge) noexcept nogil:
    """xorshift64*: for spreading, nothing secret."""
    edge.random ^= edge.random >> 12
    edge.random ^= edge.random << 25
    edge.random ^= edge.random >> 27
    return edge.random * 2685821657736338717ULL
