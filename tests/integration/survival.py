"""What the survival tests share: calls and registrations by the light generator, while the test breaks something."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.edge import EdgeProcess
from benchmarks.generate import Field, Load, Result
from supervisor.dispatcher_list import FLAG_NO_PING

# `make soak` sets VIADUCT_SOAK: loads last so many times longer.
LONGER = float(os.environ.get("VIADUCT_SOAK", "1"))
CALLS_RATE = 3_000.0    # a second: half of what two cores carry, the generator included
REGISTERS_RATE = 100.0
AORS = 1_000            # each registers again after ten seconds: after whatever held its last REGISTER up
DRAIN_S = 6.0           # for what was held up: the longest wait between two retransmissions of RFC 3261 is 4 s
SERVING_WITHIN_S = 10.0
QUESTIONS = 100         # for bindings, under way at a time
ASK_AGAIN_S = 0.5


class Running:
    """Calls and, beside them, registrations on an edge, from now until `seconds` are over."""

    def __init__(self, edge: EdgeProcess, field: Field, registrars: Field, seconds: float, *,
                 rate: float = CALLS_RATE, registers: float = REGISTERS_RATE) -> None:
        self.edge = edge
        self.results: dict[str, Result] = {}
        self.registrars = registrars
        self._threads = [
            threading.Thread(target=self._run, args=(name, sockets, load), daemon=True) for name, sockets, load in (
                ("calls", field, Load("calls", rate, seconds, DRAIN_S)),
                ("register", registrars, Load("register", registers, seconds, DRAIN_S, aors=AORS)))]
        for thread in self._threads:
            thread.start()

    def _run(self, name: str, sockets: Field, load: Load) -> None:
        self.results[name] = sockets.run(self.edge.address, load)

    def ended(self) -> tuple[Result, Result]:
        """Waits for the end: what became of the calls, and of the registrations."""
        for thread in self._threads:
            thread.join()
        calls, registers = self.results["calls"], self.results["register"]
        for name, result in self.results.items():
            times = result.setup_us if name == "calls" else result.other_us
            print(f"{name}: {result.done} of {result.offered} done, status {result.status}, sent again "
                  f"{result.requests_again}, answered again {result.answers_again}, p99 {times.p99} us, longest "
                  f"{times.most} us, swapped {result.swapped}, overtaken {result.overtaken}, stray {result.stray}")
        assert calls.lost == registers.lost == 0, "the generator's own sockets overflowed: this run proves nothing"
        return calls, registers

    def survived(self, spared: int = 0) -> tuple[Result, Result]:
        """The same, after asserting what every test here is about: no failed call (but `spared`), no lost binding."""
        calls, registers = self.ended()
        assert calls.failed <= spared, calls
        assert calls.done > 0
        assert registers.failed == 0, registers
        self.assert_bindings()
        return calls, registers

    def assert_bindings(self) -> None:
        """Every AOR that was registered is known to the supervisor and the workers: asked by two branches."""
        expected = min(AORS, self.results["register"].done)
        users = self.edge.admin("get_statistics", statistics=["registered_users"])["registered_users"]
        assert users == expected
        for turn in range(2):
            for number, answer in registered(self.edge, range(expected)).items():
                assert answer.startswith("SIP/2.0 200") and "Contact:" in answer, f"user{number}, turn {turn}: {answer}"


def registered(edge: EdgeProcess, numbers: Iterable[int]) -> dict[int, str]:
    """The registrar's answers to who is registered for these of the generator's AORs (RFC 3261 10.2.3)."""
    answers: dict[int, str] = {}
    waiting = {os.urandom(8).hex(): number for number in numbers}
    end = time.monotonic() + SERVING_WITHIN_S
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(edge.address)
        sock.settimeout(ASK_AGAIN_S)
        while waiting:
            assert time.monotonic() < end, f"{len(waiting)} questions for bindings without an answer"
            asked = list(waiting.items())[:QUESTIONS]
            for mark, number in asked:
                sock.send(question(mark, number, edge.address, sock.getsockname()))
            with contextlib.suppress(TimeoutError):  # what was lost is asked again
                while any(mark in waiting for mark, _ in asked):
                    answer = sock.recv(65535).decode()
                    mark = re.search(r"branch=z9hG4bK(\w+)", answer)[1]
                    if mark in waiting:
                        answers[waiting.pop(mark)] = answer
    return answers


def question(mark: str, number: int, edge: tuple[str, int], own: tuple[str, int]) -> bytes:
    """A REGISTER without a Contact."""
    to = f"sip:user{number}@{edge[0]}:{edge[1]}"
    via = f"SIP/2.0/UDP {own[0]}:{own[1]};rport;branch=z9hG4bK{mark}"
    return (f"REGISTER sip:{edge[0]}:{edge[1]} SIP/2.0\r\nVia: {via}\r\n"
            f"Max-Forwards: 70\r\nFrom: <{to}>;tag=q\r\nTo: <{to}>\r\nCall-ID: {mark}\r\nCSeq: 1 REGISTER\r\n"
            "Content-Length: 0\r\n\r\n").encode()


@contextmanager
def loaded(edge: EdgeProcess, field: Field, seconds: float, phones: Field | None = None,
           **more: float) -> Iterator[Running]:
    """Runs the load while the body does its worst; the caller asks it for the outcome behind the body.

    phones: what registers, where the same ones are to come again.
    """
    with contextlib.nullcontext(phones) if phones else Field(sources=16, callees=1) as registrars:
        running = Running(edge, field, registrars, seconds * LONGER, **more)
        try:
            yield running
        finally:
            for thread in running._threads:
                thread.join()


def steady(field: Field, weight: int = 1) -> list[str]:
    """The generator's callees as lines of the list: always there, and not probed, for they know nothing but calls."""
    return [f"1 {uri} {FLAG_NO_PING} 0 weight={weight}" for uri in field.destinations]


def until(true: Callable[[], object], what: str, within_s: float = SERVING_WITHIN_S) -> object:
    """Waits for true() and gives its value."""
    end = time.monotonic() + within_s
    while not (value := true()):
        assert time.monotonic() < end, f"{what}: not within {within_s:g} s"
        time.sleep(0.01)
    return value


def child(edge: EdgeProcess, name: str) -> dict:
    """The place of that name as the arbiter tells it."""
    return next(one for one in edge.state()["children"] if one["name"] == name)


def replaced(edge: EdgeProcess, name: str, pid: int, within_s: float = SERVING_WITHIN_S) -> float:
    """Waits until another process than pid serves in the place; how long that took, in seconds."""
    begun = time.monotonic()
    until(lambda: (one := child(edge, name))["ready"] and one["pid"] != pid, f"a new {name}", within_s)
    return time.monotonic() - begun


def resident(pid: int) -> int:
    """Octets of memory that a process has in RAM."""
    return int(re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[1]) * 1024


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
