"""When datagrams are let come together, and what share of new requests is taken."""

import random

import pytest

from workers.pace import Pacer

WINDOW_MS = 50
LATE_MS = 200
WORD = 2**64


def settled():
    """A pacer whose worker has served for long."""
    pacer = Pacer(0)
    for turn_ms in range(1, 2001):
        pacer.turn(1, False, turn_ms)
    return pacer, 2000


def run(pacer, begin_ms, windows, *, taken, left):
    """So many windows of turns of one millisecond, `taken` datagrams each; the time after them."""
    for now_ms in range(begin_ms + 1, begin_ms + windows * WINDOW_MS + 1):
        pacer.turn(taken, left, now_ms)
    return begin_ms + windows * WINDOW_MS


def test_a_worker_with_little_to_do_never_waits():
    pacer = Pacer(0)
    for now_ms in range(1, 1000):
        pacer.turn(7, False, now_ms)  # 3.5 in half a millisecond
        assert pacer.until_ns(1000) == 0


def test_registers_alone_wait_longer_for_each_other():
    pacer = Pacer(0)
    for now_ms in range(1, WINDOW_MS + 1):
        pacer.turn(1, False, now_ms, 1)  # 4 in four milliseconds
    assert pacer.until_ns(1000) == 8 * 500_000 + 1000
    for now_ms in range(WINDOW_MS + 1, 2 * WINDOW_MS + 1):
        pacer.turn(1, False, now_ms, now_ms % 10 > 0)  # a call among them
    assert pacer.until_ns(1000) == 0


def test_a_busy_one_waits_and_stops_waiting():
    pacer = Pacer(0)
    now_ms = run(pacer, 0, 1, taken=8, left=False)
    assert pacer.until_ns(1000) == 501_000
    pacer.turn(512, True, now_ms + 1)
    assert pacer.until_ns(1000) == 0  # it left something: on with that
    run(pacer, now_ms + 1, 2, taken=1, left=False)
    assert pacer.until_ns(1000) == 0


def test_none_waits_where_it_is_switched_off():
    pacer = Pacer(0, coalesce_us=0)
    for now_ms in range(1, 200):
        pacer.turn(1000, False, now_ms)
        assert pacer.until_ns(1000) == 0


def test_all_new_requests_are_taken_where_sockets_are_emptied_now_and_then():
    pacer = Pacer(0)
    for now_ms in range(1, 2000):
        pacer.turn(512, now_ms % WINDOW_MS != 7, now_ms)
    assert pacer.share == 1 and pacer.admits(WORD - 1)


def test_what_a_stalled_worker_finds_is_taken():
    """Refusing the calls that waited would fail them for nothing."""
    pacer, now_ms = settled()
    pacer.stalled(now_ms + 5000)  # it comes back after five seconds
    now_ms = run(pacer, now_ms + 5000, 2000 // WINDOW_MS, taken=512, left=True)
    assert pacer.share == 1
    run(pacer, now_ms, LATE_MS // WINDOW_MS, taken=512, left=True)
    assert pacer.share < 1  # but not for ever


def test_too_much_for_long_is_refused_in_part_and_less_and_less_is_taken():
    pacer, now_ms = settled()
    now_ms = run(pacer, now_ms, LATE_MS // WINDOW_MS, taken=512, left=True)
    assert pacer.share == 1
    now_ms = run(pacer, now_ms, 1, taken=512, left=True)
    assert pacer.share == 0.5
    now_ms = run(pacer, now_ms, 1, taken=512, left=True)
    assert 0.4 < pacer.share < 0.45
    run(pacer, now_ms, 200, taken=512, left=True)
    assert 0 < pacer.share < 0.02


def test_all_is_taken_again_within_two_seconds():
    pacer, now_ms = settled()
    now_ms = run(pacer, now_ms, 10, taken=512, left=True)
    assert pacer.share < 0.3
    run(pacer, now_ms, 2000 // WINDOW_MS, taken=10, left=False)
    assert pacer.share == 1


def test_also_where_the_worker_has_nothing_to_do_meanwhile():
    pacer, now_ms = settled()
    now_ms = run(pacer, now_ms, 10, taken=512, left=True)
    for turn in range(1, 11):  # it sleeps for 200 ms
        pacer.turn(0, False, now_ms + 200 * turn)
    assert pacer.share == 1


@pytest.mark.parametrize("load", [1.5, 3.0, 6.0])
def test_it_settles_near_what_can_be_served(load):
    """A worker that can serve 100 calls a window, a reader of a queue, and `load` times as many that come."""
    pacer, chance = Pacer(0), random.Random(1)
    queue, served, offered = 0.0, [], 100 * load
    for window in range(400):
        came = sum(pacer.admits(chance.getrandbits(64)) for _ in range(int(offered)))
        queue = min(queue + came, 300)
        done = min(queue, 100)
        queue -= done
        served.append(done)
        for turn in range(WINDOW_MS):
            pacer.turn(512 if queue else 10, queue > 0, window * WINDOW_MS + turn + 1)
    later = served[100:]
    assert sum(later) / len(later) > 90
