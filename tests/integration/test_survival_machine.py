"""What the machine does to the edge under load: clock steps, a full disk, a log that nobody reads, too many calls."""

import os
import re
import resource
import signal
import struct
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from survival import LONGER, child, descriptors, loaded, registered, replaced, resident, steady, until

from benchmarks.edge import EdgeProcess
from benchmarks.generate import Field, Load

HOUR_S = 3600
FLOOD_RATE = 1200.0     # calls a second for a worker slowed down: some three times what it takes then
FLOOD_MEMORY_MAX = 64 << 20  # octets: what the calls of those seconds keep, and room
RECOVERY_S = 2.0
PROMPT_S = 0.2
SETTLED_S = 4.0         # of a soak: what is allocated once is allocated by then
SOAK_S = 6.0
GROWTH_MAX = 4 << 20    # octets of a process over the rest of a soak


@pytest.fixture
def field():
    with Field(sources=32, callees=2) as sockets:
        yield sockets


def kill(running, name):
    """SIGKILL, and wait for the heir."""
    pid = child(running, name)["pid"]
    os.kill(pid, signal.SIGKILL)
    replaced(running, name, pid)


def answer_to(running, number):
    """The registrar's answer to a question for one of the generator's AORs."""
    return registered(running, [number])[number]


def attempts(running, uri):
    """Calls that were sent to a destination."""
    return next(row["first_hit_counter"] for row in running.destinations() if row["URI"] == uri)


async def test_the_wall_clock_steps(edge, field, tmp_path, monkeypatch):
    """An hour ahead, then two back, and the supervisor dies each time: what is timed runs on the monotonic clock."""
    library, step = tmp_path / "clock_step.so", tmp_path / "step"
    source = Path(__file__).with_name("clock_step.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    step.write_bytes(bytes(8))
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("CLOCK_STEP", str(step))
    running = await edge(steady(field))
    monkeypatch.delenv("LD_PRELOAD")
    with loaded(running, field, 6) as load:
        for hour in (1, -1):
            time.sleep(1.5)
            with step.open("r+b") as file:
                file.write(struct.pack("q", hour * HOUR_S))
            time.sleep(0.5)
            kill(running, "supervisor")
    load.survived()
    assert len({line[:13] for line in running.text().splitlines() if ": call " in line}) >= 3  # its log did step
    left = int(re.search(r"^Contact:.*;expires=(\d+)", answer_to(running, 599), re.MULTILINE)[1])
    assert 580 <= left <= 600


async def test_a_full_disk(edge, field):
    """No file grows any more: registrations are refused, all else goes on, and once there is room all is well."""
    running = await edge(steady(field))
    with loaded(running, field, 6) as load:
        time.sleep(1.5)
        for pid in running.children():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        time.sleep(1)
        running.set_state(1, field.destinations[0], "draining")
        kill(running, "worker 0")
        time.sleep(1)
        for pid in running.children():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    calls, registers = load.ended()
    assert calls.failed == 0, calls
    assert set(registers.status) == {503}
    assert child(running, "supervisor")["restarts"] == 0
    running.wait_text("the store works again")
    drained = attempts(running, field.destinations[0])
    assert field.run(running.address, Load("calls", 100, 1)).failed == 0
    assert attempts(running, field.destinations[0]) == drained  # the order of that time reached the workers after all
    assert "200 OK" in answer_to(running, 0)
    assert "Contact:" in answer_to(running, registers.offered - 1)


class Deafened(EdgeProcess):
    """An edge that writes its log into a pipe which is read until `stalled`."""

    def __init__(self, directory, sections=None):
        super().__init__(directory, sections)
        os.mkfifo(self.stderr)
        self.reader = os.open(self.stderr, os.O_RDWR | os.O_NONBLOCK)
        self.heard, self.stalled = b"", False

    def text(self):
        while not self.stalled:
            try:
                self.heard += os.read(self.reader, 1 << 16)
            except BlockingIOError:
                break
        return self.heard.decode()


@contextmanager
def deafened(directory, destinations):
    running = Deafened(directory)
    running.write_list(destinations)
    try:
        running.start()
        yield running
    finally:
        running.stalled = False
        problems = running.stop()
        os.close(running.reader)
    assert problems == []


def test_a_log_that_nobody_reads(tmp_path, field):
    """The pipe is full after a second; every process goes on, and so does what the arbiter and supervisor write of."""
    with deafened(tmp_path, steady(field)) as running:
        running.stalled = True
        with loaded(running, field, 8) as load:
            time.sleep(2)
            kill(running, "worker 0")
            kill(running, "supervisor")
            for turn in range(50):
                running.write_list(steady(field)[:1 + turn % 2])
                running.signal(signal.SIGHUP)
                time.sleep(0.02)
            running.write_list(steady(field)[:1])
            running.signal(signal.SIGHUP)
            until(lambda: len(running.destinations()) == 1, "the list in force")
        load.survived()
        statistics = running.admin("get_statistics", statistics=["calls_failed"])
        assert statistics["calls_failed"] == 0
        assert child(running, "worker 1")["restarts"] == 0


@contextmanager
def slowed(pid):
    """The process runs 2 ms of every 50, so that little is too much for it on any machine."""
    ended = threading.Event()

    def hold():
        while not ended.wait(0.002):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.048)
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


async def test_more_calls_than_it_can_take(edge, field):
    """What it cannot take at once waits for its retransmission: no call fails, memory is bounded, calm returns soon."""
    # this late, a worker takes answers that wait in its own socket for silence, and would put destinations out of use
    patient = {"passive_failures": 0, "first_response_ms": 10_000}
    running = await edge(steady(field), edge={"workers": 1}, dispatcher=patient)
    pid = running.workers()[0]
    with loaded(running, field, 7, rate=FLOOD_RATE) as load:
        time.sleep(1)
        before = resident(pid)
        with slowed(pid):
            time.sleep(3)
            at_worst = waited_s(running)
        time.sleep(RECOVERY_S)
        recovered = max(waited_s(running) for _ in range(20))
    calls, _ = load.survived()
    print(f"an answer took {at_worst:.3f} s at worst, {recovered:.3f} s {RECOVERY_S:g} s later; "
          f"{(resident(pid) - before) >> 20} MB more")
    assert calls.requests_again > 0, "it was not too much: this run proves nothing"
    assert recovered < PROMPT_S
    assert child(running, "worker 0")["restarts"] == 0
    assert resident(pid) - before < FLOOD_MEMORY_MAX


def waited_s(running):
    """How long the registrar took for an answer."""
    begun = time.monotonic()
    answer_to(running, 0)
    return time.monotonic() - begun


async def test_a_soak(edge, field):
    """Under steady load and registrations nothing grows, and afterwards nothing is left."""
    running = await edge(steady(field), timers={"t1_ms": 50})
    pids = [running.process.pid, *running.children()]
    with loaded(running, field, SETTLED_S + SOAK_S) as load:
        time.sleep(SETTLED_S)
        before = {pid: (resident(pid), descriptors(pid)) for pid in pids}
        time.sleep(SOAK_S * LONGER - 1)
        after = {pid: (resident(pid), descriptors(pid)) for pid in pids}
    calls, _ = load.survived()
    for pid in pids:
        print(f"pid {pid}: {before[pid][0] >> 10} KB, then {after[pid][0] >> 10} KB; {after[pid][1]} descriptors")
        assert after[pid][0] - before[pid][0] < GROWTH_MAX
        assert after[pid][1] <= before[pid][1]
    assert calls.setup_us.p99 < 100_000
    until(lambda: running.admin("get_statistics", statistics=["transactions"])["transactions"] == 0,
          "transactions gone", 10)
