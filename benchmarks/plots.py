"""`python -m benchmarks.plots REPORT.json [--out DIRECTORY]`: figures of a run, as PNG: CPU each and p99.

Over the rate, or over what was swept (workers, bindings, destinations). Needs matplotlib: the extra `plots`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

EXIT_BAD = 1
SIZE_INCHES, DOTS_AN_INCH = (7.0, 4.2), 110  # 770 x 462: as wide as a README's column
SWEPT = ("workers", "bindings", "destinations")
# One colour a proxy in every figure, told apart by those who see no red; markers say it again.
LOOKS = {
    "viaduct": ("#0072b2", "o"),
    "kamailio": ("#e69f00", "s"),
    "opensips": ("#009e73", "^"),
    "floor": ("#666666", "v"),
    "relay": ("#aaaaaa", "x"),
}
HELD = 0.99  # of what was offered must be done, or the rate was too much, and what it cost says nothing
DASHES = ("-", "--", ":", "-.")  # the rates of a sweep
MEASURES = {"cpu": "CPU, microseconds each", "p99": "99 of 100 answered within, ms"}

Curve = list[tuple[float, float]]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plots", description=__doc__)
    parser.add_argument("report", type=Path, help="what `python -m benchmarks --json FILE` wrote")
    parser.add_argument("--out", type=Path, default=Path("."), help="directory for the figures (.)")
    options = parser.parse_args(arguments)
    try:
        report = json.loads(options.report.read_text())
    except (OSError, ValueError) as error:
        print(f"cannot read a report: {error}", file=sys.stderr)
        return EXIT_BAD
    try:
        paths = draw_all(report, options.out)
    except ImportError:
        print("found no matplotlib, expected the extra `plots`: pip install 'viaduct-sip[plots]'", file=sys.stderr)
        return EXIT_BAD
    for path in paths:
        print(path)
    if not paths:
        print("the report holds no points that could be drawn", file=sys.stderr)
    return 0 if paths else EXIT_BAD


def draw_all(report: dict, directory: Path) -> list[Path]:
    """One PNG a scenario, axis and measure: calls-rate-cpu.png. ImportError without matplotlib."""
    import matplotlib  # slow, and an extra  # noqa: PLC0415

    matplotlib.use("Agg")
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for scenario, axis, rows in groups(report["rows"]):
        for measure, title in MEASURES.items():
            path = directory / f"{scenario}-{axis}-{measure}.png"
            lines = curves(rows, axis, measure)
            draw(path, lines, f"{scenario}: {title}", axis, caption(report, rows, axis), orders=measure == "p99")
            paths.append(path)
    return paths


def groups(rows: list[dict]) -> Iterator[tuple[str, str, list[dict]]]:
    """(scenario, axis, rows that held their rate) for each axis along which a scenario has more than one place."""
    done = [row for row in rows if not row["failure"] and row["result"]["done"] >= HELD * row["result"]["offered"] > 0]
    for scenario in dict.fromkeys(row["point"]["scenario"] for row in done):
        own = [row for row in done if row["point"]["scenario"] == scenario]
        swept = [axis for axis in SWEPT if len({row["point"][axis] for row in own}) > 1]
        for axis in swept or ["rate"]:
            yield scenario, axis, own


def curves(rows: list[dict], axis: str, measure: str) -> dict[str, Curve]:
    """Name of a curve to its points, in order; where a sweep has several rates, one curve for each."""
    found: dict[str, Curve] = {}
    several = axis != "rate" and len({row["point"]["rate"] for row in rows}) > 1
    for row in rows:
        name = f"{row['proxy']}, {row['point']['rate']:,.0f}/s" if several else row["proxy"]
        found.setdefault(name, []).append((row["point"][axis], value(row, measure)))
    return {name: sorted(points) for name, points in found.items()}


def value(row: dict, measure: str) -> float:
    if measure == "cpu":
        return row["cpu_us"]
    return max(row["result"][name]["p99"] for name in ("setup_us", "other_us")) / 1000


def caption(report: dict, rows: list[dict], axis: str) -> str:
    """What, where and when, so that a figure that travels alone still says it."""
    machine, point = report["machine"], rows[0]["point"]
    versions = ", ".join(dict.fromkeys(f"{row['proxy']} {row['version']}" for row in rows))
    around = "".join(
        f"{point[name]:,} {name}, " for name in ("workers", "sources", "destinations", "bindings") if name != axis
    )
    return (
        f"{machine['cores']} x {machine['cpu']}, Linux {machine['kernel']}, commit {report['commit']}, "
        f"{report['started']}\n{around}{point['seconds']:g} s a point; {versions}"
    )


def draw(path: Path, lines: dict[str, Curve], title: str, axis: str, words: str, *, orders: bool = False) -> None:
    """orders: the values are orders of magnitude apart."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_AN_INCH, layout="constrained")
    axes = figure.add_subplot()
    rates = list(dict.fromkeys(name.partition(", ")[2] for name in lines))
    for name, points in lines.items():
        proxy, _, rate = name.partition(", ")
        colour, marker = LOOKS.get(proxy, (None, "."))
        dashes = DASHES[rates.index(rate) % len(DASHES)]
        axes.plot(*zip(*points, strict=True), label=name, color=colour, marker=marker, linestyle=dashes)
    axes.set_title(title, loc="left")
    axes.set_xlabel("a second" if axis == "rate" else axis)
    if orders:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    if axis in ("bindings", "destinations"):
        axes.set_xscale("log")
    if axis != "rate":
        steps = sorted({at for points in lines.values() for at, _ in points})
        axes.set_xticks(steps, [f"{step:,}" for step in steps])
    axes.grid(alpha=0.3)
    axes.legend()
    figure.supxlabel(words, fontsize=6, x=0.01, ha="left")
    figure.savefig(path, metadata={"Software": None})


if __name__ == "__main__":
    sys.exit(main())
