"""Pacing. A wake-up costs as much as several datagrams, and a call that is begun costs ten times one that is refused."""

cdef enum:
    LEAST = PACE_ALL // 64     # the smallest share that is taken: enough to notice that there is room again
    FIRST = PACE_ALL // 2      # taken once it is sure that there are too many
    STEP = PACE_ALL // 256     # on top, so that a small share does not stay small for long


cdef void pace_start(Pace* pace, int64_t now_ms) noexcept nogil:
    pace.emptied = pace.left = pace.gathering = False
    pace_stalled(pace, now_ms)


cdef void pace_stalled(Pace* pace, int64_t now_ms) noexcept nogil:
    pace.window_ms = now_ms
    pace.taken = pace.registers = 0
    pace.late = -PACE_GRACE_WINDOWS
    pace.admitted = PACE_ALL


cdef void pace_turn(Pace* pace, uint32_t taken, uint32_t registers, bint left, int64_t now_ms) noexcept nogil:
    cdef int64_t elapsed_ms = now_ms - pace.window_ms
    cdef int64_t _
    pace.taken += taken
    pace.registers += registers
    pace.left = left
    pace.emptied |= not left
    if elapsed_ms < PACE_WINDOW_MS:
        return
    pace.gap_us = pace.coalesce_us
    if pace.registers == pace.taken:
        pace.gap_us = max(pace.gap_us, min(pace.gap_us * PACE_PATIENCE, <uint32_t>PACE_PATIENCE_US))
    pace.gathering = <uint64_t>pace.taken * pace.gap_us >= <uint64_t>PACE_GATHER * 1000 * <uint64_t>elapsed_ms
    for _ in range(elapsed_ms // PACE_WINDOW_MS):  # one with nothing to do sleeps for several
        _admit(pace)
    pace.window_ms = now_ms
    pace.taken = pace.registers = 0
    pace.emptied = not left


cdef void _admit(Pace* pace) noexcept nogil:
    """Down by an eighth for a window that was never emptied, up by about a thirtieth for one that was: it settles where the sockets are
    empty now and then, so that what is taken is served at once."""
    if pace.emptied:
        pace.late = min(pace.late + 1, 0)
        pace.admitted = min(<uint32_t>PACE_ALL, pace.admitted + pace.admitted // 32 + STEP)
        return
    pace.late += 1
    if pace.admitted < PACE_ALL:
        pace.admitted = max(<uint32_t>LEAST, pace.admitted - pace.admitted // 8)
    elif pace.late >= PACE_LATE_WINDOWS:
        pace.admitted = FIRST


cdef class Pacer:
    """A Pace, for tests; times in milliseconds on any monotonic clock."""
    cdef Pace pace

    def __init__(self, int64_t now_ms, uint32_t coalesce_us=500):
        pace_start(&self.pace, now_ms)
        self.pace.coalesce_us = coalesce_us

    def turn(self, uint32_t taken, bint left, int64_t now_ms, uint32_t registers=0):
        """What one turn of the loop read, whether it left something in a socket, and how much of it was REGISTERs."""
        pace_turn(&self.pace, taken, registers, left, now_ms)

    def stalled(self, int64_t now_ms):
        """Nobody served for a while."""
        pace_stalled(&self.pace, now_ms)

    def until_ns(self, int64_t turn_ns) -> int:
        """When to look at the sockets after the turn that began at turn_ns; 0: as soon as one is ready."""
        return pace_until_ns(&self.pace, turn_ns)

    def admits(self, uint64_t key) -> bool:
        return pace_admits(&self.pace, key)

    @property
    def share(self) -> float:
        """Of new requests that is taken."""
        return <double>self.pace.admitted / PACE_ALL
