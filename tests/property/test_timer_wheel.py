"""The timer wheel against a plain dictionary: setting, moving, clearing, growing, waiting and jumps of the clock."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sipcore.timers import Timers

CAPACITY = 12
TICK_MS = 10
TURN_MS = 40_960
START_MS = 5_000_003

EDGES = st.sampled_from([TURN_MS - 1, TURN_MS, TURN_MS + 1, 180_000])
DELAYS = st.one_of(st.integers(-50, 100), st.integers(0, 3 * TURN_MS), EDGES)
STEPS = st.one_of(
    st.tuples(st.just("set"), st.integers(0, CAPACITY - 1), DELAYS),
    st.tuples(st.just("clear"), st.integers(0, CAPACITY - 1), st.none()),
    st.tuples(st.just("advance"), st.integers(0, 300), st.none()),
    st.tuples(st.just("advance"), st.integers(0, 5 * TURN_MS), st.none()),
    st.tuples(st.just("take"), st.integers(1, 3), st.none()),
    st.tuples(st.just("grow"), st.none(), st.none()),
)


def tick_ms(due_ms):
    """When a timer fires: the tick that begins at its due time or next after it."""
    return -(-due_ms // TICK_MS) * TICK_MS


class Pair:
    """The wheel and its oracle, driven together."""

    def __init__(self):
        self.now_ms = START_MS
        self.capacity = CAPACITY
        self.timers = Timers(CAPACITY, self.now_ms)
        self.due_ms = {}

    def set(self, t, delay_ms):
        self.timers.set(t, self.now_ms + delay_ms)
        self.due_ms[t] = self.now_ms + delay_ms

    def clear(self, t, _):
        self.timers.clear(t)
        self.due_ms.pop(t, None)

    def grow(self, *_):
        self.capacity *= 2
        self.timers.grow(self.capacity)

    def advance(self, by_ms, _):
        self.now_ms += by_ms

    def take(self, most, _):
        """Some of what is due, as a batch that ends early does."""
        for _ in range(most):
            t = self.timers.due(self.now_ms)
            if t is None:
                assert self.expected() == set()
                return
            assert t in self.expected()
            del self.due_ms[t]

    def expected(self):
        return {t for t, due_ms in self.due_ms.items() if tick_ms(due_ms) <= self.now_ms}

    def check_wait(self):
        """Never later than the earliest timer; exact where none waits for a later turn of the wheel."""
        earliest_ms = min((tick_ms(due_ms) for due_ms in self.due_ms.values()), default=self.now_ms + 3 * TURN_MS)
        until = max(0, earliest_ms - self.now_ms)
        within_a_turn = all(due_ms < self.now_ms + TURN_MS - 2 * TICK_MS for due_ms in self.due_ms.values())
        for most in (7, TURN_MS // 2):
            wait = self.timers.wait(self.now_ms, most)
            if wait == 0 and not self.expected():  # the clock has passed such a slot: asking moves the wheel on
                assert self.timers.due(self.now_ms) is None
                wait = self.timers.wait(self.now_ms, most)
                assert wait > 0
            assert wait <= min(most, until)
            if within_a_turn:
                assert wait == min(most, until)


@settings(max_examples=200, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_the_wheel_fires_what_the_dictionary_says(sequence):
    pair = Pair()
    for name, first, second in sequence:
        getattr(pair, name)(first, second)
        assert pair.timers.pending == len(pair.due_ms)
        pair.check_wait()
    pair.take(CAPACITY + 1, None)
    pair.advance(5 * TURN_MS, None)
    pair.take(CAPACITY + 1, None)
    assert pair.timers.pending == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 2 * TURN_MS), min_size=1, max_size=20))
def test_never_early_and_at_most_a_tick_late(delays_ms):
    timers = Timers(len(delays_ms), START_MS)
    now_ms = START_MS
    for t, delay_ms in enumerate(delays_ms):
        timers.set(t, START_MS + delay_ms)
    while timers.pending:
        now_ms += timers.wait(now_ms, 10**6)
        t = timers.due(now_ms)
        if t is None:  # a slot where a timer of a later turn waits
            continue
        assert 0 <= now_ms - (START_MS + delays_ms[t]) < TICK_MS
