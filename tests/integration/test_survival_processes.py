"""Processes killed, stopped and replaced under load: no failed call, no lost binding."""

import os
import signal
import time

import pytest
from survival import LONGER, child, loaded, replaced, steady

from benchmarks.generate import Field

KILL_EVERY_S = 5.0
KILLS = round(6 * LONGER)
SERVING_AGAIN_S = 0.2
ANSWERED_AGAIN_S = 2.0    # REGISTERs that waited for a new supervisor


@pytest.fixture
def field():
    with Field(sources=32, callees=2) as sockets:
        yield sockets


async def test_a_worker_killed_again_and_again(edge, field):
    running = await edge(steady(field))
    times = []
    with loaded(running, field, KILL_EVERY_S * 6 + 1) as load:
        for turn in range(KILLS):
            time.sleep(KILL_EVERY_S)
            name = f"worker {turn % 2}"
            pid = child(running, name)["pid"]
            os.kill(pid, signal.SIGKILL)
            times.append(replaced(running, name, pid))
    load.survived()
    print("serving again after", [f"{took:.3f} s" for took in times])
    assert max(times) < SERVING_AGAIN_S


async def test_a_killed_supervisor(edge, field):
    running = await edge(steady(field))
    with loaded(running, field, 5) as load:
        time.sleep(2)
        pid = child(running, "supervisor")["pid"]
        os.kill(pid, signal.SIGKILL)
        replaced(running, "supervisor", pid)
    _, registers = load.survived()
    assert registers.other_us.most < ANSWERED_AGAIN_S * 1e6


async def test_a_worker_that_hangs(edge, field):
    """Stopped, it neither serves nor says so: its silence is noticed, and what queued in its socket is served late."""
    running = await edge(steady(field))
    with loaded(running, field, 8) as load:
        time.sleep(1)
        pid = child(running, "worker 1")["pid"]
        os.kill(pid, signal.SIGSTOP)
        took = replaced(running, "worker 1", pid)
    print(f"replaced after {took:.1f} s")
    load.survived()
    assert f"worker 1 (pid {pid}) gave no sign of life" in running.text()


async def test_a_rolling_restart(edge, field):
    running = await edge(steady(field))
    old = {name: child(running, name)["pid"] for name in ("worker 0", "worker 1")}
    with loaded(running, field, 4) as load:
        time.sleep(1)
        running.signal(signal.SIGUSR2)
        for name, pid in old.items():
            replaced(running, name, pid)
    load.survived()
    assert child(running, "worker 0")["restarts"] == child(running, "worker 1")["restarts"] == 1
