"""What the commands print: tables for people, JSON for programs, and one way to end badly."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

EXIT_FAILED = 1  # the edge refused, or a file has mistakes
EXIT_USAGE = 2  # the command line itself is wrong
EXIT_UNREACHABLE = 3  # no edge answers there
PIPE_WIDTH = 4096  # of tables that no terminal shows: never folded


def fail(text: str, code: int = EXIT_FAILED) -> NoReturn:
    """Ends with a sentence on standard error."""
    print(plain(text, lines=True), file=sys.stderr)
    sys.exit(code)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=4, ensure_ascii=True))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str) -> None:
    """A table; columns whose name ends with ">" stand to the right. Without rows, the sentence `empty`."""
    rows = [[cell(value) for value in row] for row in rows]
    if not rows:
        print(empty)
        return
    from rich import box  # noqa: PLC0415  takes longer to import than everything else together
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        table.add_column(name.rstrip(">"), justify="right" if name.endswith(">") else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    Console(markup=False, highlight=False, emoji=False, soft_wrap=False, width=width, file=sys.stdout).print(table)


def cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.1f}" if isinstance(value, float) else plain(str(value))


def plain(text: str, lines: bool = False) -> str:
    """Without control characters: a User-Agent from the network must not steer somebody's terminal."""
    return "".join(c if c.isprintable() or (lines and c == "\n") else "\ufffd" for c in text)


def octets(count: int | None) -> str:
    """ "12.3 MB"."""
    return "-" if count is None else f"{count / 1e6:.1f} MB"


def duration(seconds: float | None) -> str:
    """ "3d 04h", "2h 05m", "1m 09s"."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    for unit, below, size, part in (("d", "h", 86400, 3600), ("h", "m", 3600, 60), ("m", "s", 60, 1)):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // part:02d}{below}"
    return f"{whole}s"
