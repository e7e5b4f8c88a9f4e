"""A timer wheel: slots of one tick, and a list of what is due. A timer whose tick is turns away waits in its slot."""

from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.stdlib cimport calloc, free, realloc


cdef inline int64_t tick_after(int64_t ms) noexcept nogil:
    """The first tick that begins at ms or later."""
    return ms // TIMER_TICK_MS + (ms % TIMER_TICK_MS > 0)


cdef inline void link(TimerWheel* wheel, uint32_t t, uint32_t slot) noexcept nogil:
    cdef Timer* timer = &wheel.timer[t]
    cdef uint32_t first = wheel.head[slot]
    timer.slot = slot
    timer.previous = TIMER_NONE
    timer.next = first
    if first != TIMER_NONE:
        wheel.timer[first].previous = t
    wheel.head[slot] = t


cdef inline void unlink(TimerWheel* wheel, uint32_t t) noexcept nogil:
    cdef Timer* timer = &wheel.timer[t]
    if timer.previous == TIMER_NONE:
        wheel.head[timer.slot] = timer.next
    else:
        wheel.timer[timer.previous].next = timer.next
    if timer.next != TIMER_NONE:
        wheel.timer[timer.next].previous = timer.previous
    timer.slot = TIMER_NONE


cdef inline void collect(TimerWheel* wheel, uint32_t slot, int64_t tick) noexcept nogil:
    """Moves what is due at tick from its slot to the due list; timers of later turns stay."""
    cdef uint32_t t = wheel.head[slot]
    cdef uint32_t following
    while t != TIMER_NONE:
        following = wheel.timer[t].next
        if <int32_t>(wheel.timer[t].due_tick - <uint32_t>tick) <= 0:
            unlink(wheel, t)
            link(wheel, t, TIMER_DUE)
        t = following


cdef void timers_start(TimerWheel* wheel, Timer* timer, uint32_t capacity, int64_t now_ms) noexcept nogil:
    cdef uint32_t slot
    for slot in range(TIMER_WHEEL_SLOTS + 1):
        wheel.head[slot] = TIMER_NONE
    wheel.now_tick = now_ms // TIMER_TICK_MS
    wheel.pending = 0
    wheel.capacity = 0
    timers_rebase(wheel, timer, capacity)


cdef void timers_rebase(TimerWheel* wheel, Timer* timer, uint32_t capacity) noexcept nogil:
    cdef uint32_t t
    for t in range(wheel.capacity, capacity):
        timer[t].slot = TIMER_NONE
    wheel.timer = timer
    wheel.capacity = capacity


cdef void timer_set(TimerWheel* wheel, uint32_t t, int64_t due_ms) noexcept nogil:
    cdef int64_t tick = tick_after(due_ms)
    assert t < wheel.capacity
    timer_clear(wheel, t)
    wheel.timer[t].due_tick = <uint32_t>tick
    link(wheel, t, <uint32_t>TIMER_DUE if tick <= wheel.now_tick else <uint32_t>(tick % TIMER_WHEEL_SLOTS))
    wheel.pending += 1


cdef void timer_clear(TimerWheel* wheel, uint32_t t) noexcept nogil:
    if wheel.timer[t].slot != TIMER_NONE:
        unlink(wheel, t)
        wheel.pending -= 1


cdef uint32_t timers_due(TimerWheel* wheel, int64_t now_ms) noexcept nogil:
    cdef int64_t target = now_ms // TIMER_TICK_MS
    cdef uint32_t t
    if wheel.head[TIMER_DUE] == TIMER_NONE and wheel.now_tick < target:
        if wheel.pending == 0:
            wheel.now_tick = target
        elif target - wheel.now_tick > TIMER_WHEEL_SLOTS:
            wheel.now_tick = target - TIMER_WHEEL_SLOTS   # the last turn visits every slot, and finds all that was passed over
        while wheel.now_tick < target and wheel.head[TIMER_DUE] == TIMER_NONE:
            wheel.now_tick += 1
            collect(wheel, <uint32_t>(wheel.now_tick % TIMER_WHEEL_SLOTS), wheel.now_tick)
    t = wheel.head[TIMER_DUE]
    if t != TIMER_NONE:
        timer_clear(wheel, t)
    return t


cdef int64_t timers_wait(const TimerWheel* wheel, int64_t now_ms, int64_t most) noexcept nogil:
    cdef int64_t tick
    cdef int64_t reach = min(wheel.now_tick + TIMER_WHEEL_SLOTS, tick_after(now_ms + most))  # no need to look further
    if wheel.head[TIMER_DUE] != TIMER_NONE:
        return 0
    if wheel.pending == 0:
        return most
    for tick in range(wheel.now_tick + 1, reach):
        if wheel.head[tick % TIMER_WHEEL_SLOTS] != TIMER_NONE:
            return max(0, min(most, tick * TIMER_TICK_MS - now_ms))
    return max(0, min(most, reach * TIMER_TICK_MS - now_ms))


cdef class Timers:
    """A wheel over an array of its own, for tests; all times in ms on any monotonic clock."""
    cdef TimerWheel wheel
    cdef Timer* timer

    def __cinit__(self, uint32_t capacity, int64_t now_ms):
        self.timer = <Timer*>calloc(capacity, sizeof(Timer))
        if self.timer == NULL:
            raise MemoryError
        timers_start(&self.wheel, self.timer, capacity, now_ms)

    def __dealloc__(self):
        free(self.timer)

    def set(self, uint32_t t, int64_t due_ms):
        """Sets or moves timer t; IndexError beyond the capacity."""
        self._check(t)
        timer_set(&self.wheel, t, due_ms)

    def clear(self, uint32_t t):
        """Clears timer t, set or not; IndexError beyond the capacity."""
        self._check(t)
        timer_clear(&self.wheel, t)

    def due(self, int64_t now_ms):
        """The number of a timer that is due, taken off, or None."""
        cdef uint32_t t = timers_due(&self.wheel, now_ms)
        return None if t == TIMER_NONE else t

    def wait(self, int64_t now_ms, int64_t most) -> int:
        """Milliseconds in which due() has none, at most `most`."""
        return timers_wait(&self.wheel, now_ms, most)

    def grow(self, uint32_t capacity):
        """Moves the timers to an array of larger capacity."""
        cdef Timer* moved
        if capacity < self.wheel.capacity:
            raise ValueError(f"{capacity} timers: a wheel of {self.wheel.capacity} only grows")
        moved = <Timer*>realloc(self.timer, capacity * sizeof(Timer))
        if moved == NULL:
            raise MemoryError
        self.timer = moved
        timers_rebase(&self.wheel, moved, capacity)

    @property
    def pending(self) -> int:
        return self.wheel.pending

    def _check(self, uint32_t t):
        if t >= self.wheel.capacity:
            raise IndexError(f"timer {t} of {self.wheel.capacity}")
