"""Real SIPp on both sides of the running edge; its exit code says whether every call went as its scenario says."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.edge import free_port
from benchmarks.transactions import eventually

SCENARIOS = Path(__file__).parent / "sipp"
CALL_LIMIT_S = 30  # a whole run; SIPp is told to give up then
BY_CALLS_ALONE = {"probe": False, "first_response_ms": 300}  # a scenario answers its own requests only: no probes
SERIAL = {**BY_CALLS_ALONE, "algorithm": "priority"}


class Sipp:
    """SIPp processes of one test, their files in its directory; all are gone after it."""

    def __init__(self, program: str, directory: Path) -> None:
        self.program, self.directory = program, directory
        self.running: list[subprocess.Popen[bytes]] = []

    def spawn(self, scenario: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [self.program, "-sf", str(SCENARIOS / f"{scenario}.xml"), "-i", "127.0.0.1", "-nostdin"]
        errors = self.directory / f"errors-{len(self.running)}.log"
        command += ["-trace_err", "-error_file", str(errors), *arguments]
        process = subprocess.Popen(
            command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.running.append(process)
        return process

    async def destination(self, scenario: str = "uas") -> str:
        """Starts one that answers; its URI."""
        port = free_port()
        self.spawn(scenario, "-p", str(port), "-aa")
        await eventually(lambda: listens(port))
        return f"sip:127.0.0.1:{port}"

    async def calls(self, scenario: str, edge, calls: int, rate: int, *more: str) -> None:
        """Runs a caller to its end; AssertionError with SIPp's words where a call failed."""
        process = self.spawn(
            scenario, "-p", str(free_port()), "-m", str(calls), "-r", str(rate), "-s", "1000", "-d", "100",
            "-timeout", f"{CALL_LIMIT_S}s", "-timeout_error", *more, f"127.0.0.1:{edge.port}",
        )  # fmt: skip
        output, _ = await asyncio.to_thread(process.communicate, None, CALL_LIMIT_S + 5)
        errors = "".join(path.read_text(errors="replace")[:3000] for path in self.directory.glob("errors-*.log"))
        words = output.decode(errors="replace")[-2500:]
        assert process.returncode == 0, f"{scenario} ended with {process.returncode}\n{words}\n{errors}"

    def close(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.communicate()


def listens(port: int) -> bool:
    return f"0100007F:{port:04X} " in Path("/proc/net/udp").read_text()


@pytest.fixture
def tool(sipp: str, tmp_path: Path) -> Iterator[Sipp]:
    directory = tmp_path / "sipp"
    directory.mkdir()
    processes = Sipp(sipp, directory)
    try:
        yield processes
    finally:
        processes.close()


async def test_register_refresh_remove(tool, edge):
    await tool.calls("register", await edge([]), 100, 100)


async def test_calls(tool, edge):
    destinations = [await tool.destination(), await tool.destination()]
    running = await edge(destinations, dispatcher=BY_CALLS_ALONE)
    await tool.calls("uac", running, 200, 100)
    assert abs(hits(running, destinations[0]) - 100) <= 1  # each worker has its own turn


async def test_cancel(tool, edge):
    running = await edge([await tool.destination("uas_cancel")], dispatcher=BY_CALLS_ALONE)
    await tool.calls("uac_cancel", running, 50, 50)


async def test_retransmissions_on_a_bad_line(tool, edge):
    running = await edge([await tool.destination()], dispatcher=BY_CALLS_ALONE)
    await tool.calls("uac_lossy", running, 60, 60)


async def test_483_and_options(tool, edge):
    await tool.calls("uac_483", await edge([]), 20, 50)


async def test_failover_from_a_refused_port(tool, edge):
    running = await edge([f"sip:127.0.0.1:{free_port()}", await tool.destination()], dispatcher=SERIAL)
    await tool.calls("uac", running, 50, 50)


async def test_failover_from_a_silent_destination(tool, field, edge):
    silent = await field.destination("silent")
    silent.deaf = True
    running = await edge([silent, await tool.destination()], dispatcher=SERIAL)
    await tool.calls("uac", running, 50, 50)


async def test_failover_from_503(tool, edge):
    running = await edge([await tool.destination("uas_503"), await tool.destination()], dispatcher=SERIAL)
    await tool.calls("uac", running, 50, 50)


async def test_draining_under_load(tool, edge):
    first, second = await tool.destination(), await tool.destination()
    running = await edge([first, second], dispatcher=BY_CALLS_ALONE)
    load = asyncio.ensure_future(tool.calls("uac", running, 200, 80))
    await asyncio.sleep(0.8)
    await asyncio.to_thread(running.set_state, 1, first, "draining")
    await asyncio.sleep(0.1)
    counted = hits(running, first)
    await load
    assert 0 < counted < 100
    assert hits(running, first) == counted
    assert hits(running, second) == 200 - counted


def hits(running, uri: str) -> int:
    return next(row["first_hit_counter"] for row in running.destinations() if row["URI"] == uri)


async def test_reload_under_load(tool, edge):
    first, second = await tool.destination(), await tool.destination()
    running = await edge([first, second], dispatcher=BY_CALLS_ALONE)
    load = asyncio.ensure_future(tool.calls("uac", running, 300, 100))
    for index in range(8):
        await asyncio.sleep(0.3)
        running.write_list([first] if index % 2 else [first, second])
        await asyncio.to_thread(running.admin, "ds_reload")
    await load


async def test_worker_killed_under_load(tool, edge):
    running = await edge([await tool.destination(), await tool.destination()], dispatcher=BY_CALLS_ALONE)
    load = asyncio.ensure_future(tool.calls("uac", running, 300, 100))
    for _ in range(2):
        await asyncio.sleep(0.9)
        os.kill(running.workers()[0], signal.SIGKILL)
    await load
    assert len(running.workers()) == 2
