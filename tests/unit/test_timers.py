"""Timers at the edges of the wheel."""

import pytest

from sipcore.timers import Timers

TURN_MS = 40_960


def drain(timers, now_ms):
    fired = []
    while (t := timers.due(now_ms)) is not None:
        fired.append(t)
    return fired


def test_fires_in_the_order_of_ticks():
    timers = Timers(3, 0)
    for t, due_ms in enumerate((300, 100, 200)):
        timers.set(t, due_ms)
    assert drain(timers, 99) == []
    assert drain(timers, 1000) == [1, 2, 0]


def test_a_due_time_that_has_passed_is_due_at_once():
    timers = Timers(2, 1000)
    timers.set(0, 1)
    timers.set(1, 1000)
    assert timers.wait(1000, 50) == 0
    assert sorted(drain(timers, 1000)) == [0, 1]


def test_moving_replaces():
    timers = Timers(1, 0)
    timers.set(0, 100)
    timers.set(0, 500)
    assert timers.pending == 1
    assert drain(timers, 499) == []
    assert drain(timers, 500) == [0]


def test_a_timer_turns_away_waits_in_its_slot():
    timers = Timers(2, 0)
    timers.set(0, 180_000)
    timers.set(1, 180_000 - 4 * TURN_MS)
    assert drain(timers, 179_999) == [1]
    assert drain(timers, 180_000) == [0]


def test_setting_and_clearing_between_what_is_due():
    timers = Timers(4, 0)
    for t in range(3):
        timers.set(t, 100)
    first = timers.due(100)
    other = next(t for t in range(3) if t != first)
    timers.clear(other)
    timers.set(3, 50)       # passed already
    timers.set(first, 200)
    assert sorted(drain(timers, 100)) == sorted({0, 1, 2, 3} - {first, other})
    assert drain(timers, 200) == [first]


def test_a_jump_of_half_a_year_costs_one_turn():
    timers = Timers(1000, 0)
    for t in range(1000):
        timers.set(t, t * 997)
    assert sorted(drain(timers, 182 * 86_400_000)) == list(range(1000))


def test_a_clock_that_steps_back_fires_nothing():
    timers = Timers(1, 10_000)
    timers.set(0, 10_500)
    assert timers.due(9_000) is None
    assert timers.wait(9_000, 10_000) == 1_500
    assert timers.due(10_500) == 0


def test_wait_ends_at_a_slot_where_a_timer_of_a_later_turn_is():
    timers = Timers(2, 0)
    timers.set(0, 180_000)
    timers.set(1, 20_000)
    assert timers.wait(0, 60_000) == 180_000 % TURN_MS
    assert timers.due(180_000 % TURN_MS) is None
    assert timers.wait(180_000 % TURN_MS, 60_000) == 20_000 - 180_000 % TURN_MS


def test_the_clock_may_pass_what_32_bits_of_ticks_hold():
    start_ms = (2**32 - 5) * 10
    timers = Timers(2, start_ms)
    timers.set(0, start_ms + 100)
    timers.set(1, start_ms + 180_000)
    assert drain(timers, start_ms + 99) == []
    assert drain(timers, start_ms + 100) == [0]
    assert drain(timers, start_ms + 179_990) == []
    assert drain(timers, start_ms + 180_000) == [1]


def test_wait_without_timers_is_the_most():
    assert Timers(1, 0).wait(0, 1234) == 1234


def test_growing_keeps_what_is_set():
    timers = Timers(1, 0)
    timers.set(0, 100)
    timers.grow(2)
    timers.set(1, 100)
    assert sorted(drain(timers, 100)) == [0, 1]
    with pytest.raises(ValueError, match="only grows"):
        timers.grow(1)


def test_a_number_beyond_the_capacity():
    timers = Timers(4, 0)
    with pytest.raises(IndexError, match="timer 4 of 4"):
        timers.set(4, 0)
    with pytest.raises(IndexError, match="timer 4 of 4"):
        timers.clear(4)
