"""How a worker paces itself: when it lets datagrams come together, and what share of new requests it takes when there are too many."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cdef enum:
    PACE_WINDOW_MS = 50     # what is judged at a time: long against a scheduler's slice, short against a retransmission
    PACE_GATHER = 4         # datagrams that must be expected in one coalesce_us, or waiting for them saves nothing
    PACE_PATIENCE = 8       # coalesce_us that REGISTERs alone wait for each other, and PACE_PATIENCE_US at most: 4 of the 20 ms that
    PACE_PATIENCE_US = 4000 # their operations wait
    PACE_LATE_WINDOWS = 4   # in a row in which the sockets were never empty: 200 ms of that are more than it can serve
    PACE_GRACE_WINDOWS = 40 # more of them after a time in which nobody served (2 s): what waits is to be caught up with, not refused
    PACE_ALL = 65536        # every new request is taken

cdef struct Pace:
    uint32_t coalesce_us    # how long a busy worker lets datagrams come together; 0: not at all
    int64_t window_ms       # when the present window began
    uint32_t taken          # datagrams read in it
    uint32_t registers      # those of them that were REGISTERs
    uint32_t gap_us         # how long datagrams come together now
    bint emptied            # every socket was read to its end at least once in it
    bint left               # the last turn left something in a socket
    bint gathering          # the last window had so many that waiting for more to come together pays
    int32_t late            # windows in a row that were not emptied; below 0: grace
    uint32_t admitted       # of PACE_ALL new requests

cdef void pace_start(Pace* pace, int64_t now_ms) noexcept nogil
# Nobody served for a while: a worker that was stopped, or the heir of a dead one.
cdef void pace_stalled(Pace* pace, int64_t now_ms) noexcept nogil
# After each turn of the loop: how many datagrams it read, how many of them were REGISTERs, and whether it left any.
cdef void pace_turn(Pace* pace, uint32_t taken, uint32_t registers, bint left, int64_t now_ms) noexcept nogil


cdef inline int64_t pace_until_ns(const Pace* pace, int64_t turn_ns) noexcept nogil:
    """When the sockets are looked at again after the turn that began at turn_ns; 0: as soon as one is ready."""
    return turn_ns + <int64_t>pace.gap_us * 1000 if pace.gathering and not pace.left else 0


cdef inline bint pace_admits(const Pace* pace, uint64_t key) noexcept nogil:
    """Whether one more new request is taken; `key`: 64 bits that are evenly spread, the same for its retransmission."""
    return pace.admitted == PACE_ALL or (key >> 48) < pace.admitted
