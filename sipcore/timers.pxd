"""A timer wheel over slots of a caller's table: intrusive, no allocation after start, O(1) to set and to clear."""

from libc.stdint cimport int64_t, uint32_t

cdef enum:
    TIMER_TICK_MS = 10
    TIMER_WHEEL_SLOTS = 4096   # 40.96 s a turn: all but Timer C fire within one
    TIMER_DUE = 4096           # one more list behind the slots: what is due and not yet taken
    TIMER_NONE = 0xFFFFFFFF

cdef struct Timer:           # 16 octets: a waiting transaction has two
    uint32_t next            # links by timer number
    uint32_t previous
    uint32_t slot            # the list it is in; TIMER_NONE: not set
    uint32_t due_tick        # when it fires, modulo 2^32: a timer may be 248 days ahead, and the clock may run for ever

cdef struct TimerWheel:
    int64_t now_tick         # the last tick whose slot has been emptied
    uint32_t head[TIMER_WHEEL_SLOTS + 1]
    Timer* timer             # the caller's array, indexed by timer number; may move (call timers_rebase)
    uint32_t capacity
    uint32_t pending         # how many are set

cdef void timers_start(TimerWheel* wheel, Timer* timer, uint32_t capacity, int64_t now_ms) noexcept nogil
cdef void timers_rebase(TimerWheel* wheel, Timer* timer, uint32_t capacity) noexcept nogil
# Sets (or moves) timer number t to fire at due_ms (milliseconds on the caller's monotonic clock), never early, at most one tick late.
cdef void timer_set(TimerWheel* wheel, uint32_t t, int64_t due_ms) noexcept nogil
cdef void timer_clear(TimerWheel* wheel, uint32_t t) noexcept nogil
# Takes the next timer due at now_ms off the wheel and returns its number, or TIMER_NONE. Call until TIMER_NONE; setting and clearing
# timers between calls is allowed. A clock that jumps far ahead costs one turn of the wheel, not one step a tick.
cdef uint32_t timers_due(TimerWheel* wheel, int64_t now_ms) noexcept nogil
# Milliseconds from now_ms in which timers_due has none, at most `most`: until the next one, or until a slot where a timer of a later
# turn waits (a turn is visited slot by slot in any case). 0: it has one.
cdef int64_t timers_wait(const TimerWheel* wheel, int64_t now_ms, int64_t most) noexcept nogil
