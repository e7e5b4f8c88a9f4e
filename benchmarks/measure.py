"""What processes cost: CPU of all their threads from schedstat, memory from smaps_rollup."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.edge import children_of


@dataclass(frozen=True)
class Cost:
    """CPU in nanoseconds since the processes began, and proportional memory in octets (0: not readable)."""

    cpu_ns: int
    pss: int


def family(pid: int) -> list[int]:
    """A process and everything below it."""
    return [pid, *children_of(pid)]


def cpu_ns(pids: Iterable[int]) -> int:
    """CPU of all threads that live now, user and system; a process that is gone counts nothing."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(OSError):
                    total += int((task / "schedstat").read_text().split()[0])
    return total


def pss(pids: Iterable[int]) -> int:
    """Memory, shared pages divided among those that share them, so that the sum over a family is what it takes."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def cost(pids: Iterable[int]) -> Cost:
    listed = list(pids)
    return Cost(cpu_ns(listed), pss(listed))
