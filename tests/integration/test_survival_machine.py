"""What the machine does to the edge under load: clock steps, a full disk, a log that nobody reads."""

import os
import re
import resource
import signal
import struct
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from survival import child, loaded, registered, replaced, steady, until

from benchmarks.edge import EdgeProcess
from benchmarks.generate import Field, Load

HOUR_S = 3600


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
