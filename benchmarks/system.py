"""One point of the whole-system benchmark: start a proxy, warm it up, put a load on it, and say what it cost."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from benchmarks import measure
from benchmarks.edge import ROOT
from benchmarks.generate import Field, Load, Result, drops
from benchmarks.peers import PEERS, Peer
from benchmarks.sipp import SippField

WARM_RATE, WARM_S = 300.0, 0.5  # every worker has served, allocated and loaded what it needs
FILL_RATE = 4000.0  # REGISTERs a second that fill the location table before a measurement
FILL_DRAIN_S = 10.0
GENERATORS = {"light": Field, "sipp": SippField}


@dataclass(frozen=True)
class Point:
    """What is measured: a scenario at a rate, and what is around it."""

    scenario: str
    rate: float
    seconds: float
    workers: int = 2
    sources: int = 64  # 1: a trunk
    destinations: int = 2
    bindings: int = 0  # in the location table before the measurement begins
    aors: int = 10_000
    host: str = "127.0.0.1"
    load: str = "light"  # of GENERATORS


@dataclass
class Row:
    """What one proxy did at one point. CPU: microseconds a call or transaction done, over all its processes."""

    proxy: str
    version: str
    point: Point
    result: Result = field(default_factory=Result)
    cpu_us: float = 0.0
    generator_cpu_us: float = 0.0
    busy: float = 0.0  # cores that the proxy took while the load ran
    pss: int = 0
    messages_s: float = 0.0  # in and out, seen from outside
    dropped: int = 0  # datagrams that the kernel dropped at the proxy's sockets
    failure: str = ""  # why there is nothing else

    def as_json(self) -> dict:
        return asdict(self)


def run_point(name: str, point: Point) -> Row:
    """Measures one proxy at one point; its failure to start or to answer is a Row too."""
    kind = PEERS[name]
    row = Row(name, kind.version() or "", point)
    with GENERATORS[point.load](point.sources, point.destinations, point.host) as load_field:
        try:
            with kind(load_field.destinations, point.workers, point.host) as peer:
                if point.bindings and "register" in kind.scenarios:
                    fill = Load("register", FILL_RATE, point.bindings / FILL_RATE, FILL_DRAIN_S, aors=point.bindings)
                    filled = load_field.run(peer.address, fill)
                    if filled.failed:
                        row.failure = f"{filled.failed} of {point.bindings} bindings not taken: {filled.status}"
                load = Load(point.scenario, point.rate, point.seconds, routed=kind.routed, aors=point.aors)
                load_field.run(peer.address, replace(load, rate=WARM_RATE, seconds=WARM_S))
                _measure(row, load_field, peer, load)
        except Exception as error:  # a table with a hole says more than none
            row.failure = f"{type(error).__name__}: {error}".strip()
    return row


def _measure(row: Row, load_field: Field | SippField, peer: Peer, load: Load) -> None:
    pids = peer.pids()
    before, dropped, own = measure.cost(pids), drops({peer.address[1]}), load_field.cpu_ns()
    begin = time.monotonic_ns()
    result = load_field.run(peer.address, load)
    elapsed_ns = time.monotonic_ns() - begin
    after = measure.cost(pids)
    done = max(result.done, 1)
    row.result = result
    row.cpu_us = (after.cpu_ns - before.cpu_ns) / 1000 / done
    row.busy = (after.cpu_ns - before.cpu_ns) / elapsed_ns
    row.generator_cpu_us = (load_field.cpu_ns() - own) / 1000 / done
    row.pss = after.pss
    row.messages_s = (result.sent + result.received) * 1e9 / elapsed_ns
    row.dropped = drops({peer.address[1]}) - dropped
    gone = set(pids) - set(peer.pids())
    if gone:
        row.failure = f"processes died under the load: {sorted(gone)}"


def machine() -> dict:
    """Where and on what a run was made."""
    cpu = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    memory = next((int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory": memory,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def commit() -> str:
    """The commit that is measured, "-dirty" where files differ from it; "unknown" outside of a repository."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    described = subprocess.run(command, capture_output=True, text=True, check=False)
    return described.stdout.strip() or "unknown"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
