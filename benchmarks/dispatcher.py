"""What choosing a destination costs, by algorithm and size of the set: `python -m benchmarks.dispatcher [--json]`."""

import json
import platform
import struct
import sys
import time

from sipcore.algorithms import ALGORITHMS, STATES
from sipcore.counters import Page
from sipcore.dispatcher import DispatcherTable

SIZES = (2, 20, 200)
WORKERS = 2
RUNS = 7
CANDIDATES_PER_RUN = 400_000  # a run is some milliseconds whatever the size


def table_of(algorithm: int, size: int) -> DispatcherTable:
    table = DispatcherTable(workers=WORKERS, page=Page.anonymous())
    rows = []
    for i in range(size):
        endpoint = struct.pack("=BBHHH16s", 4, 0, 0, 5060, 0, bytes((10, 0, i // 256, i % 256)))
        rows.append([i + 1, i, b"sip:d", endpoint, i % 7, 1 + i % 5, 2000, STATES["active"]])
    table.replace(1, [[1, algorithm, rows]])
    return table


def measure(table: DispatcherTable, rounds: int) -> list[float]:
    """Nanoseconds of CPU a choice, sorted."""
    found = []
    for _ in range(RUNS):
        start = time.process_time_ns()
        table.time_choose(1, rounds)
        found.append((time.process_time_ns() - start) / rounds)
    return sorted(found)


def main() -> None:
    results = {}
    for name, algorithm in ALGORITHMS.items():
        results[name] = {size: measure(table_of(algorithm, size), CANDIDATES_PER_RUN // size) for size in SIZES}
    if "--json" in sys.argv[1:]:
        print(json.dumps({"machine": platform.platform(), "workers": WORKERS, "ns": results}))
        return
    print(f"{platform.platform()}, {WORKERS} workers; ns of CPU a choice: median (least to most of {RUNS} runs)")
    print(f"{'':22}" + "".join(f"{f'{size} destinations':>28}" for size in SIZES))
    for name, sizes in results.items():
        cells = (f"{runs[RUNS // 2]:.0f} ({runs[0]:.0f} to {runs[-1]:.0f})" for runs in sizes.values())
        print(f"{name:22}" + "".join(f"{cell:>28}" for cell in cells))


if __name__ == "__main__":
    main()
