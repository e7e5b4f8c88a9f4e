"""`python -m benchmarks.compare BEFORE.json AFTER.json`: what changed between two runs, as ratios.

Two runs differ by what else the machine did, so CPU is also given relative to the relay (or Kamailio) of the same run.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

YARDSTICKS = ("relay", "kamailio")  # peers that our changes do not touch, the first that both runs have
NOISE = 0.05  # a change of less is not coloured: runs of the same code differ by as much


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    options = parser.parse_args(arguments)
    console = Console()
    try:
        before, after = (json.loads(path.read_text()) for path in (options.before, options.after))
    except (OSError, ValueError) as error:
        console.print(f"cannot read a report: {error}", style="red")
        return 1
    for name, report in (("before", before), ("after", after)):
        machine = report["machine"]
        where = f"{machine['cores']} x {machine['cpu']}, {machine['kernel']}"
        console.print(f"{name}: {report['commit']}, {report['started']}, {where}")
    if before["machine"]["cpu"] != after["machine"]["cpu"]:
        console.print("two machines: only the columns against a yardstick mean something", style="yellow")
    console.print(system_table(before, after))
    if before["micro"] and after["micro"]:
        console.print(micro_table(before, after))
    return 0


def key(row: dict) -> tuple:
    """What makes two rows comparable."""
    point = {"load": "light", **row["point"]}  # older reports know no other
    return (*(point[name] for name in sorted(point) if name != "seconds"), row["proxy"])


def yardstick(row: dict, rows: dict[tuple, dict]) -> float | None:
    """CPU of this row over that of a peer at the same point of the same run."""
    for name in YARDSTICKS:
        other = rows.get((*key(row)[:-1], name))
        if other and other["cpu_us"] and row["proxy"] != name:
            return row["cpu_us"] / other["cpu_us"]
    return None


def changes(before: dict, after: dict) -> list[dict]:
    """A dict for each point and proxy that both runs have: cpu, relative and p99 as after / before, and both rows."""
    old, new = ({key(row): row for row in report["rows"]} for report in (before, after))
    found = []
    for where, row in new.items():
        was = old.get(where)
        if was is None or not was["cpu_us"] or not row["cpu_us"]:
            continue
        relative = (yardstick(was, old), yardstick(row, new))
        p99_was, p99 = (max(each["result"][name]["p99"] for name in ("setup_us", "other_us")) for each in (was, row))
        found.append({
            "before": was,
            "after": row,
            "cpu": row["cpu_us"] / was["cpu_us"],
            "relative": relative[1] / relative[0] if all(relative) else None,
            "p99": p99 / p99_was if p99_was else None,
        })  # fmt: skip
    return found


def system_table(before: dict, after: dict) -> Table:
    shown = Table(title="CPU each, after / before", title_justify="left")
    shown.add_column("scenario")
    shown.add_column("proxy")
    for title in ("before", "after", "ratio", "against the yardstick", "p99", "failed"):
        shown.add_column(title, justify="right")
    for change in changes(before, after):
        was, row = change["before"], change["after"]
        point = row["point"]
        shown.add_row(
            f"{point['scenario']} {point['rate']:,.0f}/s",
            row["proxy"],
            f"{was['cpu_us']:.1f} us",
            f"{row['cpu_us']:.1f} us",
            *(coloured(change[name]) for name in ("cpu", "relative", "p99")),
            f"{was['result']['failed']} -> {row['result']['failed']}",
        )
    return shown


def micro_table(before: dict, after: dict) -> Table:
    old = {row["name"]: row for row in before["micro"]}
    shown = Table(title="ns an operation", title_justify="left")
    shown.add_column("operation")
    for title in ("before", "after", "ratio"):
        shown.add_column(title, justify="right")
    for row in after["micro"]:
        was = old.get(row["name"])
        if was:
            shown.add_row(row["name"], f"{was['ns']:.0f}", f"{row['ns']:.0f}", coloured(row["ns"] / was["ns"]))
    return shown


def coloured(ratio: float | None) -> str:
    if ratio is None:
        return "-"
    if abs(ratio - 1) < NOISE:
        return f"{ratio:.2f}"
    return f"[{'red' if ratio > 1 else 'green'}]{ratio:.2f}[/]"


if __name__ == "__main__":
    sys.exit(main())
