"""The four transaction state machines (RFC 3261 17, RFC 6026) as one table: (machine, state, event) -> (state, actions)."""

from libc.stdint cimport uint8_t, uint16_t

cdef enum Machine:
    MACHINE_INVITE_CLIENT = 0
    MACHINE_CLIENT = 1
    MACHINE_INVITE_SERVER = 2
    MACHINE_SERVER = 3
    MACHINE_COUNT = 4

cdef enum State:
    STATE_TRYING = 0      # Calling in the INVITE client machine
    STATE_PROCEEDING = 1
    STATE_ACCEPTED = 2    # RFC 6026: a 2xx went by
    STATE_COMPLETED = 3
    STATE_CONFIRMED = 4
    STATE_TERMINATED = 5
    STATE_COUNT = 6

cdef enum Event:
    EVENT_1XX = 0          # received by a client machine, sent by the core through a server machine
    EVENT_2XX = 1
    EVENT_FAILURE = 2      # 300 to 699
    EVENT_REQUEST = 3      # the request again
    EVENT_ACK = 4
    EVENT_RETRANSMIT = 5   # Timer A, E or G
    EVENT_TIMEOUT = 6      # Timer B, F or H
    EVENT_WAITED = 7       # Timer D, I, J, K, L or M
    EVENT_TRANSPORT = 8    # the transport failed
    EVENT_COUNT = 9

cdef enum Action:
    ACTION_PASS = 1              # client: to the core; server: out to the peer
    ACTION_REPLAY = 2            # the last message goes out again
    ACTION_ACK = 4               # acknowledge the failure
    ACTION_RETRANSMIT_ON = 8     # the retransmission timer runs (again), its interval doubled as the machine says
    ACTION_RETRANSMIT_OFF = 16
    ACTION_TIMEOUT_OFF = 32
    ACTION_TIMEOUT_ON = 64
    ACTION_WAIT = 128            # nothing more will happen but late arrivals: wait, then end
    ACTION_FAIL = 256            # tell the core that no answer will come

cdef struct Step:
    uint8_t state
    uint16_t actions

cdef Step TRANSACTION_STEPS[MACHINE_COUNT][STATE_COUNT][EVENT_COUNT]


cdef inline Step transaction_step(int machine, int state, int event) noexcept nogil:
    """What the event does; a pair that the RFC does not name leaves the state and asks for nothing."""
    return TRANSACTION_STEPS[machine][state][event]


cdef inline int event_of_status(int status) noexcept nogil:
    return EVENT_1XX if status < 200 else (EVENT_2XX if status < 300 else EVENT_FAILURE)
