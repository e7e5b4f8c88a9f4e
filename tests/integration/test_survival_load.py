"""More calls than a worker can take, and calls for a long time."""

import os
import signal
import threading
import time
from contextlib import contextmanager

import pytest
from survival import CALLS_RATE, LONGER, child, descriptors, loaded, registered, resident, steady, until

from benchmarks.generate import Field, Load

RAMP = [4_000.0 * 1.25**step for step in range(6)]  # calls a second; callers can offer three times the last
RAMP_S = 2.0
FLOOD_S = 10.0
FLOOD_DRAIN_S = 20.0    # for an INVITE that waits for its retransmission, 15.5 s after its first at the latest
STEADY_S = 2.0          # of the flood: by then it has noticed
FLOOD_MEMORY_MAX = 256 << 20  # octets: what the calls of those seconds keep, and room
KEPT_UP_US = 100_000    # p99 of a rate that it keeps up with
GOODPUT = 0.25          # of the peak at three times as much: 0.42 to 1 was measured; a collapse leaves none
RECOVERY_S = 2.0
PROMPT_S = 0.2
PARTS, PART_S = (2, 4.0) if LONGER == 1 else (20, 30.0)  # of a soak
SOAK_RATE = CALLS_RATE if LONGER == 1 else 2 * CALLS_RATE  # half of what two cores carry with the generator on them
GROWTH_MAX = 4 << 20    # octets of a process, from the first parts of a soak to the last
KEPT_DESCRIPTORS = 1    # SQLite keeps that of the first copy of its log for the next ones
LATER_MAX = 2.0         # p99 of the last part over that of the first ones


@pytest.fixture
def field():
    with Field(sources=32, callees=2) as sockets:
        yield sockets


@pytest.fixture
def phones():
    with Field(sources=16, callees=1) as sockets:
        yield sockets


@contextmanager
def apart(pid):
    """The callers keep off the core of the process, so that they are not what is slow."""
    core, ours = os.sched_getaffinity(pid), os.sched_getaffinity(0)
    if not ours - core:
        pytest.skip("one core only: the callers would be held up with the worker")
    os.sched_setaffinity(0, ours - core)
    try:
        yield
    finally:
        os.sched_setaffinity(0, ours)


class Flood:
    """Calls in a thread, and how many the edge has answered a second between two moments of it."""

    def __init__(self, running, field, rate, seconds, drain_s):
        self.running, self.result = running, None
        self._thread = threading.Thread(target=self._run, args=(field, Load("calls", rate, seconds, drain_s)))
        self._thread.start()

    def _run(self, field, load):
        self.result = field.run(self.running.address, load)

    def answered(self, from_s, to_s):
        """The rate of answered calls from from_s to to_s from now."""
        time.sleep(from_s)
        begin, before = time.monotonic(), counted(self.running, "calls_answered")
        time.sleep(to_s - from_s)
        return (counted(self.running, "calls_answered") - before) / (time.monotonic() - begin)

    def ended(self):
        self._thread.join()
        return self.result


def sustained(running, field):
    """The most calls a second, of RAMP, that it answers as they come."""
    kept_up = 0.0
    for rate in RAMP:
        result = Flood(running, field, rate, RAMP_S, FLOOD_DRAIN_S).ended()
        if result.failed or result.requests_again or result.setup_us.p99 > KEPT_UP_US:
            break
        kept_up = rate
    assert kept_up, f"not even {RAMP[0]:.0f} calls/s: {result}"
    return kept_up


def counted(running, name):
    return running.admin("get_statistics", statistics=[name])[name]


async def test_three_times_the_calls_that_it_can_take(edge, field):
    """It goes on answering a good part of what it could; the rest are refused with 503; calm returns soon."""
    # this late, a worker takes answers that wait in its own socket for silence, and would put destinations out of use
    patient = {"passive_failures": 0, "first_response_ms": 10_000}
    many = {"workers": 1, "max_transactions": 4_000_000}  # that its table is full is another limit
    running = await edge(steady(field), edge=many, dispatcher=patient, log={"calls": False})
    pid = running.workers()[0]
    with apart(pid):
        peak = sustained(running, field)
        before = resident(pid)
        flood = Flood(running, field, 3 * peak, FLOOD_S, FLOOD_DRAIN_S)
        answered = flood.answered(STEADY_S, FLOOD_S)
        at_worst = resident(pid)
        time.sleep(RECOVERY_S)
        recovered = max(waited_s(running) for _ in range(20))
        result = flood.ended()
        after = field.run(running.address, Load("calls", peak / 2, 2.0))
    print(f"{peak:.0f} calls/s at most, {answered:.0f} answered of {3 * peak:.0f}; {result}")
    print(f"{(at_worst - before) >> 20} MB more, an answer took {recovered:.3f} s {RECOVERY_S:g} s later")
    assert answered >= GOODPUT * peak
    assert set(result.status) == {503}, "a call that was refused was told so"
    assert counted(running, "overload") >= result.status[503]
    assert result.unfinished == 0
    assert at_worst - before < FLOOD_MEMORY_MAX
    assert recovered < PROMPT_S
    assert after.failed == 0
    assert child(running, "worker 0")["restarts"] == 0


def waited_s(running):
    """How long the registrar took for an answer."""
    begun = time.monotonic()
    registered(running, [0])
    return time.monotonic() - begun


async def test_a_soak(edge, field, phones):
    """Calls, registrations and reloads without end: nothing grows or gets slower, and afterwards nothing is left."""
    running = await edge(steady(field), timers={"t1_ms": 50} if LONGER == 1 else {})
    measured = []  # (p99 in microseconds, {pid: (octets, descriptors)}) of each part
    for part in range(PARTS):
        with loaded(running, field, PART_S / LONGER, phones, rate=SOAK_RATE) as load:
            until_s = time.monotonic() + PART_S - 1
            while time.monotonic() < until_s:
                time.sleep(1)
                running.write_list(steady(field)[:1 + part % 2])
                running.signal(signal.SIGHUP)
        calls, _ = load.survived()
        pids = [one["pid"] for one in running.state()["children"] if one["pid"]] + [running.process.pid]
        sizes = {pid: (resident(pid), descriptors(pid)) for pid in pids}
        measured.append((calls.setup_us.p99, sizes))
        megabytes = [size >> 20 for size, _ in sizes.values()]
        print(f"part {part + 1} of {PARTS}: p99 {calls.setup_us.p99} us, {megabytes} MB")
    settled = max(1, 2 * PARTS // 5)  # a transaction's whole life, and 20,000 REGISTERs: the log's ring is full
    (_, before), (late_us, after) = measured[settled - 1], measured[-1]
    for pid in before.keys() & after.keys():
        assert after[pid][0] - before[pid][0] < GROWTH_MAX
        assert after[pid][1] <= before[pid][1] + KEPT_DESCRIPTORS
    assert after.keys() == before.keys(), "a process was replaced"
    assert late_us < LATER_MAX * max(p99_us for p99_us, _ in measured[:settled])
    until(lambda: counted(running, "transactions") == 0, "transactions gone", 10 if LONGER == 1 else 80)
