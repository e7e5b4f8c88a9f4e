"""The demonstration: an edge, two destinations, registered users, real calls both ways, and a table of what happened.

On a terminal the edge is left running for a phone until Ctrl-C. The exit code is 0 only if every call worked.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.agents import Agent, Behaviour, Destination, Timeout
from benchmarks.edge import EdgeError, EdgeProcess
from benchmarks.load import Outcome, Report, place_calls, quantile

SIP_PORT = 5060
SETTINGS = {"dispatcher": {"probe_interval_s": 2}, "log": {"level": "info"}}
RING_S = 0.02  # so that a call rings before it is answered
HOLD_S = 0.2
BACK_EVERY = 4  # every fourth call is one from a destination to a registered user
USERS_ROW = "registered users"
NOBODY_ROW = "nobody answered"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Field:
    """The agents of the demonstration: two destinations and the users' phones."""

    def __init__(self) -> None:
        self.destinations: list[Destination] = []
        self.phones: list[Agent] = []

    async def open_destinations(self, count: int) -> None:
        for number in range(1, count + 1):
            destination = Destination(f"fs{number}")
            destination.behaviour = Behaviour(answer_after_s=RING_S)
            await destination.open()
            self.destinations.append(destination)

    async def register_phones(self, edge: EdgeProcess, count: int) -> list[str]:
        """What went wrong, one text a phone."""
        for destination in self.destinations:
            destination.edge = edge.address
        failed = []
        for number in range(1, count + 1):
            phone = Agent(f"user{number}", edge.address)
            phone.behaviour = Behaviour(answer_after_s=RING_S)
            await phone.open()
            self.phones.append(phone)
            try:
                answer = await phone.register()
            except Timeout as error:
                failed.append(f"{phone.name}: {error}")
                continue
            if answer.status != 200:
                failed.append(f"{phone.name}: REGISTER got {answer.start}")
        return failed

    def pairs(self, calls: int) -> list[tuple[Agent, str]]:
        """Who calls whom: the users the set, and every fourth time a destination one of the users."""
        found: list[tuple[Agent, str]] = []
        for index in range(calls):
            phone = self.phones[index % len(self.phones)]
            back = index % BACK_EVERY == BACK_EVERY - 1
            caller = self.destinations[index // BACK_EVERY % len(self.destinations)]
            found.append((caller, phone.name) if back else (phone, str(9000 + index)))
        return found

    def complaints(self) -> list[str]:
        return [each for agent in (*self.destinations, *self.phones) for each in agent.complaints]

    def close(self) -> None:
        for agent in (*self.destinations, *self.phones):
            agent.close()


def destination_table(report: Report, field: Field) -> Table:
    """Per destination: calls, answered, failed, post-dial delay."""
    table = Table(title="Calls", title_justify="left")
    table.add_column("answered by")
    for title in ("calls", "answered", "failed", "median PDD", "p99 PDD"):
        table.add_column(title, justify="right")
    rows: dict[str, list[Outcome]] = {destination.name: [] for destination in field.destinations}
    rows[USERS_ROW] = []
    names = {destination.contact: destination.name for destination in field.destinations}
    for answerer, outcomes in report.by_answerer().items():
        row = names.get(answerer, USERS_ROW) if answerer else NOBODY_ROW
        rows.setdefault(row, []).extend(outcomes)
    for name, outcomes in rows.items():
        delays = [outcome.post_dial_delay_s for outcome in outcomes if not outcome.failure]
        failed = sum(bool(outcome.failure) for outcome in outcomes)
        shown = (f"{quantile(delays, share) * 1000:.1f} ms" if delays else "-" for share in (0.5, 0.99))
        table.add_row(name, str(len(outcomes)), str(len(delays)), str(failed), *shown)
    return table


def process_table(rows: list[dict]) -> Table:
    """Per process: messages and CPU, as the edge tells them."""
    table = Table(title="Processes", title_justify="left")
    table.add_column("process")
    for title in ("pid", "messages", "CPU", "memory", "restarts"):
        table.add_column(title, justify="right")
    for row in rows:
        cpu, memory = row.get("cpu_s"), row.get("rss")
        table.add_row(
            row["name"],
            str(row["pid"]),
            str(row["messages"]) if "messages" in row else "-",
            f"{cpu:.2f} s" if cpu is not None else "-",
            f"{memory / 1e6:.0f} MB" if memory is not None else "-",
            str(row.get("restarts", "-")),
        )
    return table


async def place(field: Field, calls: int, rate: float, console: Console) -> Report:
    """The calls under a progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"calls at {rate:g}/s", total=calls)
        return await place_calls(field.pairs(calls), rate, HOLD_S, lambda outcome: progress.advance(task))


async def demonstrate(options: argparse.Namespace, directory: Path, console: Console) -> int:
    """The whole demonstration; the exit code."""
    field, stop = Field(), asyncio.Event()
    for number in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    edge = EdgeProcess(directory, {**SETTINGS, "edge": {"workers": options.workers}}, pick_port(options.port))
    try:
        await field.open_destinations(2)
        edge.write_list(field.destinations)
        started = time.monotonic()
        await asyncio.to_thread(edge.start)
        console.print(f"The edge listens on udp:127.0.0.1:{edge.port} ({time.monotonic() - started:.1f} s to start)")
        show = asyncio.ensure_future(run(options, edge, field, console))
        stopped = asyncio.ensure_future(stop.wait())
        await asyncio.wait((show, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not show.done():
            show.cancel()
            await asyncio.wait((show,))
            return 128 + signal.SIGINT
        code = show.result()
        if console.is_terminal and not options.once:
            say_where(edge, field, console)
            await wait_for_end(edge, stop, console)
        stopped.cancel()
        return code
    finally:
        field.close()
        problems = await asyncio.to_thread(edge.stop)
        for problem in problems:
            console.print(f"[red]{problem}[/red]", highlight=False)


async def run(options: argparse.Namespace, edge: EdgeProcess, field: Field, console: Console) -> int:
    """Registers, calls, prints the tables; 0 where everything worked."""
    failed = await field.register_phones(edge, options.users)
    console.print(f"{options.users - len(failed)} of {options.users} users registered")
    report = await place(field, options.calls, options.rate, console)
    processes = await asyncio.to_thread(edge.admin, "ps")
    console.print(destination_table(report, field), process_table(processes["Processes"]))  # type: ignore[index]
    wrong = failed + report.failures + field.complaints()
    for text in wrong[:10]:
        console.print(f"[red]{text}[/red]", highlight=False)
    if len(wrong) > 10:
        console.print(f"[red]and {len(wrong) - 10} more[/red]")
    worked = len(report.outcomes) - len(report.failures)
    console.print(f"{worked} of {len(report.outcomes)} calls worked, {report.swapped} with 180 after 200")
    if options.json:
        options.json.write_text(json.dumps(summary(report, processes), indent=2) + "\n")
    return 1 if wrong else 0


def summary(report: Report, processes: object) -> dict:
    """The same for programs."""
    delays = [outcome.post_dial_delay_s for outcome in report.outcomes if not outcome.failure]
    return {
        "calls": len(report.outcomes),
        "failed": report.failures,
        "swapped": report.swapped,
        "post_dial_delay_median_ms": round(quantile(delays, 0.5) * 1000, 3),
        "post_dial_delay_p99_ms": round(quantile(delays, 0.99) * 1000, 3),
        "processes": processes,
    }


def say_where(edge: EdgeProcess, field: Field, console: Console) -> None:
    """Where a phone goes, and what can be asked."""
    console.print(
        f"\n[bold]Point a phone at 127.0.0.1:{edge.port} (UDP)[/bold]: any user name, no password; dial any number, "
        f"{field.destinations[0].name} or {field.destinations[1].name} answers in silence.\n"
        f"Ask it: viaduct ps -s {edge.run_dir}/admin.sock    Its log: {edge.stderr}\n"
        "Ctrl-C ends everything.",
        highlight=False,
        soft_wrap=True,
    )


async def wait_for_end(edge: EdgeProcess, stop: asyncio.Event, console: Console) -> None:
    """Until Ctrl-C, or until the edge ends by itself."""
    while edge.process is not None and edge.process.poll() is None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0)
            return
    console.print(f"[red]The edge ended by itself:[/red]\n{edge.text()[-2000:]}", highlight=False)


def pick_port(wanted: int) -> int:
    """The wanted port of 127.0.0.1 where it is free, else 0: any."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return 0
    return wanted


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m benchmarks.demo", description=__doc__.splitlines()[0])
    options.add_argument("--calls", type=int, default=200, help="how many calls (default 200)")
    options.add_argument("--rate", type=float, default=50, help="calls a second (default 50)")
    options.add_argument("--users", type=int, default=20, help="users that register (default 20)")
    options.add_argument("--workers", type=int, default=2, help="worker processes (default 2)")
    options.add_argument("--port", type=int, default=SIP_PORT, help="preferred UDP port (default 5060)")
    options.add_argument("--once", action="store_true", help="end after the tables, on a terminal too")
    options.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE too")
    return options


@contextlib.contextmanager
def place_for_files() -> Iterator[Path]:
    """A private directory, gone afterwards; its path is short, for the sockets in it."""
    with tempfile.TemporaryDirectory(prefix="viaduct-demo-") as name:
        yield Path(name)


def main(arguments: list[str] | None = None) -> int:
    options, console = parser().parse_args(arguments), Console()
    with place_for_files() as directory:
        try:
            return asyncio.run(demonstrate(options, directory, console))
        except EdgeError as error:
            console.print(f"[red]{error}[/red]", highlight=False)
            return 1


if __name__ == "__main__":
    sys.exit(main())
