"""`python -m benchmarks`: micro benchmarks, then each proxy in turn under the same loads; a table, ratios, and JSON."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import micro, system
from benchmarks.generate import PATTERNS
from benchmarks.peers import PEERS
from benchmarks.sipp import CALLERS, binary
from benchmarks.system import GENERATORS, Point, Row

EXIT_BAD = 1
BASES = ("kamailio", "opensips", "floor", "relay")  # what ratios are given to
WIDTH = 160  # columns where the output is no terminal
# Growth: what a point's field becomes in turn.
SWEEPS: dict[str, tuple[int, ...]] = {"workers": (1, 2, 3, 4), "bindings": (100, 10_000), "destinations": (2, 20, 200)}
SWEEPS_FULL = {**SWEEPS, "bindings": (100, 10_000, 1_000_000)}
USUAL = tuple(name for name, peer in PEERS.items() if peer.usual)
QUIET_LOAD = 0.5  # a load average above which figures are doubtful


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)  # a pipe has no width of its own
    report = {
        "machine": system.machine(),
        "commit": system.commit(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": {name: peer.version() for name, peer in PEERS.items()},
        "micro": [],
        "rows": [],
    }
    load = report["machine"]["load_before"]
    if load > QUIET_LOAD:
        console.print(f"load average {load:.1f}: other work disturbs these figures", style="yellow")
    if "micro" in options.only:
        report["micro"] = micro.measure_all()
        if options.instructions:
            micro.add_instructions(report["micro"])
        console.print(micro.table(report["micro"]))
    for scenario in (each for each in options.only if each != "micro"):
        for point in points(scenario, options):
            rows = measure(point, options.peers, console)
            console.print(table(point, rows))
            report["rows"] += [row.as_json() for row in rows]
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
        console.print(f"written: {options.json}")
    broken = [row for row in report["rows"] if row["proxy"] == "viaduct" and row["failure"]]
    return EXIT_BAD if broken else 0


def points(scenario: str, options: argparse.Namespace) -> list[Point]:
    """What is measured of a scenario: every rate, and at each rate every step of a sweep."""
    found = []
    for rate in options.rates:
        point = Point(
            scenario,
            rate,
            options.seconds,
            workers=options.workers,
            sources=options.sources if options.load == "light" else 1,
            destinations=options.destinations,
            bindings=options.bindings,
            aors=options.aors,
            host="::1" if options.ipv6 else "127.0.0.1",
            load=options.load,
        )
        steps = (SWEEPS_FULL if options.full else SWEEPS).get(options.sweep, ())
        found += [replace(point, **{options.sweep: step}) for step in steps] or [point]
    return found


def parse(arguments: list[str] | None) -> argparse.Namespace:
    scenarios = ("micro", *PATTERNS)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of load at each point (8)")
    parser.add_argument("--rates", type=rates, default=(1000.0, 3000.0, 8000.0), help="a second (1000,3000,8000)")
    parser.add_argument("--only", type=words(scenarios), default=("micro", "calls", "register", "options"),
                        help=f"of {','.join(scenarios)}")  # fmt: skip
    parser.add_argument("--peers", type=words(tuple(PEERS)), default=USUAL, help=f"of {','.join(PEERS)}")
    parser.add_argument("--workers", type=int, default=2, help="of each proxy (2)")
    parser.add_argument("--sources", type=int, default=64, help="ports that callers send from; 1 is a trunk (64)")
    parser.add_argument("--destinations", type=int, default=2, help="callees in the dispatcher's list (2)")
    parser.add_argument("--bindings", type=int, default=0, help="registered before each measurement (0)")
    parser.add_argument("--aors", type=int, default=10_000, help="that the register scenario refreshes (10000)")
    parser.add_argument("--load", choices=tuple(GENERATORS), default="light", help="who offers it (light)")
    parser.add_argument("--sweep", choices=tuple(SWEEPS), help="measure each rate at several of these")
    parser.add_argument("--full", action="store_true", help="sweep to 1,000,000 bindings (minutes for each proxy)")
    parser.add_argument("--instructions", action="store_true", help="of micro, by valgrind (two minutes)")
    parser.add_argument("--ipv6", action="store_true", help="over ::1")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, for benchmarks.compare")
    options = parser.parse_args(arguments)
    if options.load == "sipp":
        options.only = tuple(name for name in options.only if name in CALLERS)
        if binary() is None:
            parser.error("--load sipp: found no sipp on PATH, expected one (Debian: apt-get install sip-tester)")
        if not options.only:
            parser.error(f"--load sipp: found nothing of it in --only, expected some of {', '.join(CALLERS)}")
    return options


def rates(text: str) -> tuple[float, ...]:
    found = tuple(float(part) for part in text.split(","))
    if not all(rate > 0 for rate in found):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected rates above 0")
    return found


def words(known: tuple[str, ...]):
    def parse_words(text: str) -> tuple[str, ...]:
        found = tuple(text.split(","))
        unknown = [word for word in found if word not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"found {', '.join(unknown)}, expected some of {', '.join(known)}")
        return found

    return parse_words


def measure(point: Point, peers: tuple[str, ...], console: Console) -> list[Row]:
    """Each proxy that is here and knows the scenario, one after the other."""
    rows = []
    for name in peers:
        kind = PEERS[name]
        if point.scenario not in kind.scenarios or (point.load == "sipp" and not kind.proxy) or kind.version() is None:
            continue
        with console.status(f"{point.scenario} at {point.rate:,.0f}/s: {name}"):
            rows.append(system.run_point(name, point))
    return rows


def table(point: Point, rows: list[Row]) -> Table:
    around = [f"{point.workers} workers", f"{point.sources} sources", f"{point.destinations} destinations"]
    around += [f"{point.bindings:,} bindings"] if point.bindings else []
    around += [f"load by {point.load}"] if point.load != "light" else []
    title = f"{point.scenario} at {point.rate:,.0f}/s for {point.seconds:g} s, {', '.join(around)}"
    shown = Table(title=title, title_justify="left")
    shown.add_column("proxy")
    for column in ("done", "failed", "again", "swapped", "p50", "p99", "p99.9", "CPU each", "cores", "PSS", "msg/s"):
        shown.add_column(column, justify="right")
    by_name = {row.proxy: row for row in rows}
    bases = [name for name in BASES if name in by_name and name != "viaduct"]
    for name in bases:
        shown.add_column(f"x {name}", justify="right")
    for row in rows:
        if row.failure:
            shown.add_row(row.proxy, row.failure.splitlines()[0][:60], style="red")
        if row.result.offered:
            shown.add_row(*cells(row), *(ratio(row, by_name[name]) for name in bases))
    return shown


def cells(row: Row) -> list[str]:
    result = row.result
    times = result.other_us if row.point.scenario in ("register", "options") else result.setup_us
    lost = f" (lost {result.lost} here)" if result.lost else ""
    dropped = f" ({row.dropped} dropped)" if row.dropped else ""
    return [
        row.proxy,
        f"{result.done:,} of {result.offered:,}{lost}",
        f"{result.failed:,}{dropped}",
        f"{result.retransmissions:,}",
        f"{result.swapped:,}",
        *(f"{value / 1000:.2f} ms" for value in (times.p50, times.p99, times.p999)),
        f"{row.cpu_us:.1f} us",
        f"{row.busy:.2f}",
        f"{row.pss / (1 << 20):.0f} MB",
        f"{row.messages_s:,.0f}",
    ]


def ratio(row: Row, base: Row) -> str:
    return f"{row.cpu_us / base.cpu_us:.2f}" if base.cpu_us and base.result.done and row.result.done else "-"


if __name__ == "__main__":
    sys.exit(main())
