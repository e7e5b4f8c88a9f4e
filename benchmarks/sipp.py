"""Load by SIPp, with the face of the light generator: callees that run all the time, a caller for each load.

SIPp's clock steps by 4 ms and its rate gives way where it cannot keep up, so its delays are coarse and say nothing of
the moments it was late for; it is a second opinion, from another parser and another generator. Of retransmissions it
tells the caller's alone. It is one source: given several sockets, 3.6 and older write port 0 into their Vias.
"""

from __future__ import annotations

import csv
import math
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks import measure
from benchmarks.edge import end_with_parent
from benchmarks.generate import RECEIVE_BUFFER, Latency, Load, Result, drops, host_port
from benchmarks.peers import free_port

SCENARIOS = Path(__file__).parent / "sipp"
CALLERS = {"calls": "caller", "register": "register", "options": "options"}  # what it can offer, and by which file
IN_PROGRESS_S = 5         # calls of so many seconds at once, then SIPp offers less: far beyond what answers in time
LEAST_IN_PROGRESS = 1_000
LISTENS_S = 5.0
END_S = 5.0
STUCK_S = 2.0             # beyond the time that it was given
LOOK_EVERY_S = 0.01
ENDED_WELL = (0, 1, 97)    # 1: calls failed; 97: its time was over
# Columns of its statistics, over a whole run.
CREATED, DONE, FAILED, AGAIN = "TotalCallCreated", "SuccessfulCall(C)", "FailedCall(C)", "Retransmissions(C)"
SILENT = ("FailedMaxUDPRetrans(C)", "FailedTimeoutOnRecv(C)")


class SippError(Exception):
    """SIPp did not do what it was asked; the text holds its last words."""


def binary() -> str | None:
    return shutil.which("sipp")


class SippField:
    """SIPp callees on free ports of `host`; a context manager. ValueError for more than one source."""

    def __init__(self, sources: int = 1, callees: int = 2, host: str = "127.0.0.1") -> None:
        if sources != 1:
            raise ValueError(f"{sources} sources: SIPp is expected to be one")
        self.callees, self.host = callees, host
        self.destinations: list[str] = []
        self._ports: list[int] = []
        self._running: list[subprocess.Popen[bytes]] = []
        self._temporary = tempfile.TemporaryDirectory(prefix="viaduct-bench-sipp-")
        self._directory = Path(self._temporary.name)
        self._runs = 0

    def __enter__(self) -> SippField:
        try:
            if binary() is None:
                raise SippError("sipp is not on PATH; on Debian: apt-get install sip-tester")
            for _ in range(self.callees):
                port = free_port(self.host)
                self._spawn("callee", "-p", str(port))
                self._wait_listens(port)
                self._ports.append(port)
                self.destinations.append(f"sip:{host_port(self.host, port)}")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.kill()
            process.wait(END_S)
        self._running = []
        self._temporary.cleanup()

    def cpu_ns(self) -> int:
        """CPU of all SIPp processes up to now."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return int((ended.ru_utime + ended.ru_stime) * 1e9) + measure.cpu_ns(each.pid for each in self._running)

    def run(self, peer: tuple[str, int], load: Load) -> Result:
        """Puts a load on the proxy at `peer`; returns when it is over. SippError where SIPp ended badly."""
        before, calls = drops(set(self._ports)), max(round(load.rate * load.seconds), 1)
        self._runs += 1
        statistics, times = (self._directory / f"{self._runs}-{name}.csv" for name in ("statistics", "rtt"))
        caller = self._spawn(CALLERS[load.scenario], *self._pace(load, calls), "-stf", str(statistics),
                             host_port(*peer))  # fmt: skip
        try:
            code = caller.wait(load.seconds + load.drain_s + STUCK_S)
        except subprocess.TimeoutExpired:  # calls that nobody answers keep it; what it wrote a moment ago counts
            caller.kill()
            caller.wait(END_S)
            code = 0
        self._running.remove(caller)
        if code not in ENDED_WELL:
            raise SippError(f"SIPp ended with {code}: {self._words()}")
        for found in self._directory.glob(f"*_{caller.pid}_rtt.csv"):
            found.rename(times)
        result = parse(*(path.read_text() if path.exists() else "" for path in (statistics, times)), calls)
        name = "setup_us" if load.scenario == "calls" else "other_us"
        setattr(result, name, result.other_us)
        result.lost = drops(set(self._ports)) - before
        return result

    def _pace(self, load: Load, calls: int) -> list[str]:
        most = max(int(load.rate * IN_PROGRESS_S), LEAST_IN_PROGRESS)
        arguments = ["-m", str(calls), "-r", f"{load.rate:g}", "-l", str(most), "-s", "1000",
                     "-timeout", f"{math.ceil(load.seconds + load.drain_s)}s", "-trace_rtt", "-rtt_freq", "1",
                     "-trace_stat", "-fd", "1", "-p", str(free_port(self.host))]  # fmt: skip
        if load.scenario == "register":
            users = self._directory / f"users-{load.aors}.csv"
            if not users.exists():
                users.write_text("SEQUENTIAL\n" + "".join(f"user{number}\n" for number in range(load.aors)))
            arguments += ["-inf", str(users)]
        return arguments

    def _spawn(self, scenario: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [
            str(binary()), "-sf", str(SCENARIOS / f"{scenario}.xml"), "-i", self.host, "-nostdin", "-skip_rlimit",
            "-timer_resol", "1", "-buff_size", str(RECEIVE_BUFFER), *arguments,
        ]  # fmt: skip
        with open(self._directory / "output.txt", "ab") as out:
            process = subprocess.Popen(
                command, cwd=self._directory, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                preexec_fn=end_with_parent,  # noqa: PLW1509  no thread runs here
            )  # fmt: skip
        self._running.append(process)
        return process

    def _wait_listens(self, port: int) -> None:
        deadline = time.monotonic() + LISTENS_S
        while not listens(port):
            if time.monotonic() > deadline or self._running[-1].poll() is not None:
                raise SippError(f"a callee does not listen on port {port}: {self._words()}")
            time.sleep(LOOK_EVERY_S)

    def _words(self) -> str:
        return (self._directory / "output.txt").read_text(errors="replace")[-1000:]


def parse(statistics: str, times: str, calls: int) -> Result:
    """A Result from SIPp's two files; delays in other_us. What it was asked for and did not begin has failed too."""
    rows = list(csv.DictReader(statistics.splitlines(), delimiter=";"))
    if not rows:
        raise SippError("SIPp wrote no statistics")
    last = rows[-1]
    result = Result(offered=calls, done=int(last[DONE]), requests_again=int(last[AGAIN]))
    result.failed = calls - result.done
    result.unfinished = max(result.failed - int(last[FAILED]), 0)
    silent = sum(int(last[name]) for name in SILENT)
    result.status = {408: silent} if silent else {}
    values = sorted(float(row.split(";")[1]) * 1000 for row in times.splitlines()[1:] if row.count(";") >= 2)
    if values:
        result.other_us = Latency(*(round(quantile(values, share)) for share in (0.5, 0.99, 0.999, 1.0)))
    return result


def quantile(values: list[float], share: float) -> float:
    return values[max(math.ceil(share * len(values)) - 1, 0)]


def listens(port: int) -> bool:
    at = f":{port:04X} "
    return any(at in Path(name).read_text() for name in ("/proc/net/udp", "/proc/net/udp6"))
