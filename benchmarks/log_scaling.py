"""`python -m benchmarks.log_scaling [--bindings N] [--write]`: what the log costs, by workers and bindings.

The log, its store and replicas run in this process, one after the other, so that each has its own CPU time; only what
ZeroMQ takes is measured over a socket, with the workers' ends in another process. --write: into docs/scaling.md.
"""

from __future__ import annotations

import argparse
import asyncio
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import scaling, system
from benchmarks.edge import ROOT
from sipcore import wire
from sipcore.location import LocationTable
from supervisor import config
from supervisor.control import Control
from supervisor.location import Registrations
from supervisor.log import Log
from supervisor.stores import open_store
from supervisor.stores.sqlite import SqliteStore
from workers.outstanding import Outstanding
from workers.replica import Replica

WORKERS = (1, 2, 4, 16, 64)
BATCHES = (1, 10, 50, 500)    # operations to a wake: what is there at 100/s, and in a storm
USUAL = 50                    # of BATCHES: what the sums are made of
ENTRIES = 10_000              # a measurement of what one entry costs
RUNS = 3                      # of each; the least counts, the others met something else on the machine
SCATTER = 2_654_435_761       # odd, so that phones come in no order and none comes twice
BINDINGS = 1_000_000
FRAMES = 2_000                # sent over a real socket
FRAMES_AHEAD = 100            # between two looks at the loop, far below a queue's limit
CONNECT_S = 10.0
EXPIRES_S = 3_600
PID = 1
ORIGIN = 0                    # the worker that asks
SETTINGS = {"registrar": {"max_contacts": 10, "remember_offline_s": 86_400}}

# The workers' ends of the log's stream: take and forget everything until standard input ends.
SINK = """
import sys, threading, time
from workers.control import Control
ends = [Control(sys.argv[1], number) for number in range(int(sys.argv[2]))]
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
while not over.wait(0.001):
    for end in ends:
        while end.receive():
            pass
for end in ends:
    end.close()
"""


class Meter:
    """CPU of this process's parts in microseconds, by name."""

    def __init__(self) -> None:
        self.us: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        begin = time.process_time_ns()
        try:
            yield
        finally:
            self.us[part] = self.us.get(part, 0.0) + (time.process_time_ns() - begin) / 1000


class Bench:
    """A log with followers; what it sends is counted, and kept only for the worker `keep`."""

    def __init__(self, url: str = "memory:", workers: int = 1) -> None:
        self.frames: list[bytes] = []
        self.keep: int | None = None
        self.sent = 0
        self.octets = 0
        self.log = Log(open_store(url), Registrations(LocationTable(), SETTINGS), self._send)
        self.log.publish_settings({**config.embedded().settings, **SETTINGS})
        self.log.publish_destinations(1, [[1, 0, scaling.make_rows(2)]])
        self.workers = workers
        for worker in range(workers):
            self.log.on_frame(worker, wire.encode([wire.HELLO, worker, PID, *self.place()]))

    def place(self) -> tuple[int, int]:
        return self.log.journal.epoch, self.log.journal.sequence

    def register(self, first: int, count: int, batch: int, cseq: int = 1) -> None:
        """The operations of `count` phones, `batch` to a wake; followers report as real ones do."""
        for start in range(first, first + count, batch):
            numbers = range(start, min(start + batch, first + count))
            self.log.on_frame(ORIGIN, wire.encode([wire.OPS, [operation(number, cseq) for number in numbers]]))
            self.log.flush()
            if (start + batch - first) % 1_000 < batch:
                self.applied()

    def applied(self) -> None:
        for worker in range(self.workers):
            self.log.on_frame(worker, wire.encode([wire.APPLIED, *self.place(), 0]))
        self.log.store.keep(self.log.registrations.table, 0)  # copies SQLite's own log back; no checkpoint begins at 0

    def take(self) -> list[bytes]:
        taken, self.frames = self.frames, []
        return taken

    def _send(self, worker: int, frame: bytes) -> bool:
        self.sent += 1
        self.octets += len(frame)
        if worker == self.keep:
            self.frames.append(frame)
        return True


def operation(number: int, cseq: int = 1) -> list:
    """One phone's REGISTER as a worker sends it."""
    contact = b"sip:user%d@192.0.2.7:5062;transport=udp" % number
    flow = struct.pack("=BBHHH16s", 4, 0, 0, 5062, 0, bytes((192, 0, 2, 7)))
    aor = b"sip:user%010d@example.com" % (number * SCATTER % (1 << 32))
    call_id = b"81210Zjc5NzU2MmQ4MTE0%d" % number
    return [number, aor, call_id, cseq, False, [[contact, EXPIRES_S, 1000, b"", 0]], flow, b"", b"Example Phone 5.1.2"]


def least(work: Callable[[], float]) -> float:
    return min(work() for _ in range(RUNS))


def entry_us(url: str, workers: int, batch: int, entries: int = ENTRIES) -> tuple[float, float]:
    """Supervisor's CPU of a refresh: from the operation's octets to the frames for all, sockets apart; its part of a
    checkpoint where the log grows as long as the table, which is the most that it comes to."""
    bench, meter = Bench(url, workers), Meter()
    try:
        bench.register(0, entries, 500)
        asked = [
            wire.encode([wire.OPS, [operation(number, 2) for number in range(start, start + batch)]])
            for start in range(0, entries, batch)
        ]
        with meter("entries"):
            for number, frame in enumerate(asked):
                bench.log.on_frame(ORIGIN, frame)
                bench.log.flush()
                if number * batch % 1_000 < batch:
                    bench.applied()
        with meter("checkpoint"):
            checkpoint(bench)
    finally:
        bench.log.close()
    return meter.us["entries"] / entries, meter.us["checkpoint"] / entries


def checkpoint(bench: Bench) -> list[float]:
    """A whole checkpoint of what the store holds, and away with what it replaced; the seconds that each step took."""
    store, steps = bench.log.store, []
    if isinstance(store, SqliteStore):
        store.begin_checkpoint(bench.log.registrations.table, bench.log.journal.sequence)
        while store.walk is not None or store.stale:
            begin = time.monotonic()
            store.keep(bench.log.registrations.table, bench.log.journal.sequence)
            steps.append(time.monotonic() - begin)
    return steps


def apply_us(batch: int, entries: int = ENTRIES) -> float:
    """CPU of one worker for one entry of another's, decoded, checked and applied."""
    bench, meter = Bench(workers=2), Meter()
    replica = Replica(ORIGIN + 1, PID, LocationTable(), Nobody(), Outstanding(PID))
    follow(bench, replica, meter)
    bench.keep = replica.worker
    for cseq, part in ((1, "registrations"), (2, "refreshes")):
        bench.register(0, entries, batch, cseq)
        with meter(part):
            for frame in bench.take():
                replica.feed(frame)
    if replica.sequence != bench.log.journal.sequence:
        raise RuntimeError(f"the replica is at {replica.sequence}, expected {bench.log.journal.sequence}")
    return meter.us["refreshes"] / entries


class Nobody:
    """Takes destinations and forgets them."""

    def replace(self, generation: int, sets: list) -> None:
        """Nobody chooses here."""

    def set_state(self, number: int, state: int) -> None:
        """Nor here."""


def follow(bench: Bench, replica: Replica, meter: Meter) -> int:
    """Brings a replica from nothing to the log's end: parts "supervisor" and "worker". How many frames it took."""
    bench.keep, bench.frames, frames, now_ms = replica.worker, [], 0, 0
    replica.feed(b"")
    while not replica.whole:
        now_ms += 1
        with meter("worker"):
            outgoing = replica.outgoing(now_ms)
        with meter("supervisor"):
            for frame in outgoing:
                bench.log.on_frame(replica.worker, frame)
        taken = bench.take()
        frames += len(taken)
        with meter("worker"):
            for frame in taken:
                replica.feed(frame)
    bench.keep = None
    return frames


async def _send_frames(path: str, workers: int, frame: bytes, frames: int) -> float:
    """CPU of this process, ZeroMQ's thread included, in microseconds a frame for one worker."""
    connected: set[int] = set()
    control = Control(path, lambda worker, _: connected.add(worker), lambda: None)
    command = [sys.executable, "-c", SINK, path, str(workers)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE) as sink:
        try:
            deadline = time.monotonic() + CONNECT_S
            while not all(control.send(worker, b"") for worker in range(workers)):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"not all {workers} workers connected within {CONNECT_S:g} s")
                await asyncio.sleep(0.01)
            begin = time.process_time_ns()
            for number in range(max(frames // workers, 1)):
                for worker in range(workers):
                    while not control.send(worker, frame):
                        await asyncio.sleep(0.001)
                if number % FRAMES_AHEAD == 0:
                    await asyncio.sleep(0)
            spent = time.process_time_ns() - begin
        finally:
            sink.stdin.close()
            sink.wait(CONNECT_S)
            control.close()
    return spent / 1000 / (max(frames // workers, 1) * workers)


def send_us(workers: int, batch: int, frames: int = FRAMES) -> float:
    entries = entries_of(batch)
    with tempfile.TemporaryDirectory(prefix="viaduct-bench-log-") as directory:
        path = f"ipc://{directory}/control.sock"
        return asyncio.run(_send_frames(path, workers, wire.encode_delta(1, 1, entries), frames))


def entries_of(count: int) -> list[bytes]:
    _, operations = wire.decode_from_worker(wire.encode([wire.OPS, [operation(number) for number in range(count)]]))
    return Registrations(LocationTable(), SETTINGS).evaluate(operations, ORIGIN, 1, 1)[0]


def cost_rows(entries: int = ENTRIES, batches: Sequence[int] = BATCHES) -> list[list[float]]:
    """Microseconds an entry: batch, the log with each store, checkpoints, then what each worker adds on both sides."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="viaduct-bench-log-") as directory:
        for batch in batches:
            memory = least(lambda: entry_us("memory:", 1, batch, entries)[0])  # noqa: B023
            many = least(lambda: entry_us("memory:", max(WORKERS), batch, entries)[0])  # noqa: B023
            stored = [entry_us(f"sqlite:///{directory}/{batch}-{run}", 1, batch, entries) for run in range(RUNS)]
            sqlite, kept = (min(run[part] for run in stored) for part in (0, 1))
            queue = max(many - memory, 0.0) / (max(WORKERS) - 1)
            socket = least(lambda: send_us(1, batch) / batch)  # noqa: B023
            each = least(lambda: apply_us(batch, entries))  # noqa: B023
            rows.append([batch, memory, sqlite, kept, queue, socket, each])
    return rows


def total_rows(costs: list[float], workers: Sequence[int] = WORKERS) -> list[list[str]]:
    """From a row of cost_rows: what an entry takes of all, and where the supervisor's one core is full."""
    _, _, sqlite, kept, queue, socket, each = costs
    rows = []
    for number in workers:
        us = sqlite + kept + (number - 1) * queue + number * socket
        rate = 1e6 / us
        rows.append([
            f"{number}", f"{us:.1f} us", f"{rate:,.0f}", f"{rate * each / 1e4:.0f} %", f"{us + number * each:.1f} us",
        ])  # fmt: skip
    return rows


def growth_rows(bindings: int) -> list[list[str]]:
    """What so many bindings take: to be made, to be read back from both forms of the store, as a snapshot."""
    with tempfile.TemporaryDirectory(prefix="viaduct-bench-log-") as directory:
        path = Path(directory, "store.sqlite")
        url, meter = f"sqlite:///{path}", Meter()
        bench = Bench(url)
        with meter("register"):
            bench.register(0, bindings, 500)
        bench.log.close()
        bench = read("read as log", url, meter, bindings)
        log_octets = path.stat().st_size
        with meter("checkpoint"):
            steps = checkpoint(bench)
        bench.log.close()
        bench = read("read as table", url, meter, bindings)
        table_octets = path.stat().st_size
        replica = Replica(ORIGIN, PID, LocationTable(), Nobody(), Outstanding(PID))
        before = bench.octets
        frames = follow(bench, replica, meter)
        memory = bench.log.registrations.table.memory()
        bench.log.close()
    rows = [
        ("registered and committed, 500 a batch", meter.us["register"], ""),
        ("read back at start: the log", meter.us["read as log"], f"{megabytes(log_octets)} of file"),
        ("a checkpoint, and the log deleted", meter.us["checkpoint"],
         f"{len(steps):,} steps, the longest {max(steps) * 1000:.0f} ms; {megabytes(table_octets)} of file"),
        ("read back at start: a checkpoint", meter.us["read as table"],
         f"{memory / bindings:,.0f} octets each in memory"),
        ("a snapshot for one worker: the supervisor", meter.us["supervisor"],
         f"{megabytes(bench.octets - before)} in {frames:,} frames"),
        ("the same snapshot: the worker", meter.us["worker"], ""),
    ]  # fmt: skip
    return [[name, f"{us / 1e6:.2f} s", f"{us / bindings:.2f} us", note] for name, us, note in rows]


def read(part: str, url: str, meter: Meter, bindings: int) -> Bench:
    """A supervisor's start on a store that holds so many bindings."""
    with meter(part):
        bench = Bench(url)
    found = bench.log.registrations.table.counts()["bindings"]
    if found != bindings:
        raise RuntimeError(f"found {found} bindings in the store, expected {bindings}")
    return bench


def megabytes(octets: int) -> str:
    return f"{octets / 1e6:,.0f} MB"


def tables(bindings: int) -> dict[str, str]:
    costs = cost_rows()
    machine = system.machine()
    return {
        "log machine": f"Measured on {machine['cores']} x {machine['cpu']}, Linux {machine['kernel']}, Python "
        f"{machine['python']}, commit {system.commit()}.",
        "log costs": scaling.markdown(
            ["entries to a commit", "log, memory", "log, SQLite", "checkpoints", "queued for one more worker",
             "ZeroMQ, a worker", "applied, a worker"],
            [[f"{row[0]:,}", *(f"{us:.2f}" for us in row[1:])] for row in costs],
        ),
        "log totals": scaling.markdown(
            ["workers", "supervisor, an entry", "entries a second", "of each worker at that rate", "all CPU, an entry"],
            total_rows(costs[BATCHES.index(USUAL)]),
        ),
        "log growth": scaling.markdown([f"{bindings:,} bindings", "CPU", "each", ""], growth_rows(bindings)),
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.log_scaling", description=__doc__)
    parser.add_argument("--bindings", type=int, default=BINDINGS, help=f"1 KB of memory each ({BINDINGS:,})")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/scaling.md")
    options = parser.parse_args(arguments)
    scaling.show(tables(options.bindings), options.write)


if __name__ == "__main__":
    main()
