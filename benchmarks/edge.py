"""The edge as a process, for the demonstration and the tests: writes its config, starts it, asks it, ends it."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_LIMIT_S = 20.0  # a loaded machine with two cores needs seconds to import everything
STOP_LIMIT_S = 10.0  # the arbiter's own bound for a drain is half of it
SETTLED_S = 0.3  # without a clock tick of CPU: what starts takes all that it can get
PR_SET_PDEATHSIG = 1  # linux/prctl.h
READY = re.compile(r"viaduct ready\b.*")


def end_with_parent() -> None:
    """In the child: TERM once the demonstration or the test that started it is gone, however it went."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class EdgeError(Exception):
    """The edge did not start, did not answer, or refused; the text holds its last words."""


class EdgeProcess:
    """One edge with its config, dispatcher list, run directory and store in `directory`.

    `sections` go over the config here: two workers on a free port of 127.0.0.1, a registrar without authentication.
    """

    def __init__(self, directory: Path, sections: dict[str, dict] | None = None, port: int = 0) -> None:
        self.directory = directory
        self.port = port or free_port()
        self.address = ("127.0.0.1", self.port)
        self.run_dir = directory / "run"
        self.config = directory / "viaduct.toml"
        self.list = directory / "dispatcher.list"
        self.stderr = directory / "stderr.txt"
        self.process: subprocess.Popen[bytes] | None = None
        self.sections = {
            "edge": {"listen": [f"udp:127.0.0.1:{self.port}"], "workers": 2, "run_dir": str(self.run_dir)},
            "dispatcher": {"list": str(self.list)},
            "registrar": {"auth": "none"},
            "store": {"url": f"sqlite://{directory}/viaduct.sqlite"},
        }
        for section, values in (sections or {}).items():
            self.sections[section] = {**self.sections.get(section, {}), **values}
        self.write_config()

    def write_config(self, text: str | None = None) -> None:
        self.config.write_text(toml(self.sections) if text is None else text)

    def write_list(self, destinations: Iterable[object], set_id: int = 1) -> None:
        """dispatcher.list of these: agents with a `uri`, URIs, or whole lines."""
        texts = [getattr(destination, "uri", destination) for destination in destinations]
        self.list.write_text("".join(f"{text if str(text)[:1].isdigit() else f'{set_id} {text}'}\n" for text in texts))

    def start(self) -> None:
        """Starts it and returns when it serves; EdgeError where it does not."""
        before = len(self.text())
        with open(self.stderr, "ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "supervisor.arbiter", "-c", str(self.config)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=end_with_parent,  # noqa: PLW1509  no thread runs here
            )
        self.wait_text(READY.pattern, START_LIMIT_S, begin=before)

    def text(self) -> str:
        """All it has written so far."""
        return self.stderr.read_text(errors="replace") if self.stderr.exists() else ""

    def wait_text(self, pattern: str, within_s: float = 5.0, begin: int = 0) -> re.Match[str]:
        """Waits until it has written something that matches."""
        deadline = time.monotonic() + within_s
        while True:
            found = re.search(pattern, self.text()[begin:])
            if found:
                return found
            code = self.process.poll() if self.process else None
            if code is not None or time.monotonic() > deadline:
                state = f"ended with {code}" if code is not None else f"runs, but after {within_s:g} s"
                raise EdgeError(f"the edge {state}: no {pattern!r} in what it wrote:\n{self.text()[begin:][-3000:]}")
            time.sleep(0.02)

    def state(self) -> dict:
        """What the arbiter says of itself: arbiter.json."""
        return json.loads((self.run_dir / "arbiter.json").read_text())

    def children(self) -> dict[int, str]:
        """The children's process ids and command lines, from /proc."""
        return children_of(self.process.pid) if self.process else {}

    def wait_settled(self, within_s: float = START_LIMIT_S) -> None:
        """Waits until the spares stand by: each is there and sleeps, so that nothing is left of starting."""
        deadline = time.monotonic() + within_s
        seen: list[tuple[int, int]] = []
        while True:
            spares = [one["pid"] for one in self.state()["children"] if one["role"] == "spare"]
            now = [(pid, cpu_ticks(pid)) for pid in spares if pid is not None]
            if now == seen and len(now) == len(spares):
                return
            if time.monotonic() > deadline:
                raise EdgeError(f"the edge runs, but after {within_s:g} s its spares are not ready: {now}")
            seen = now
            time.sleep(SETTLED_S)

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        return [one["pid"] for one in self.state()["children"] if one["role"] == "worker" and one["pid"]]

    def admin(self, method: str, **params: object) -> object:
        """One JSON-RPC call over the admin socket; its result, EdgeError where it is an error."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        connection = _UnixConnection(str(self.run_dir / "admin.sock"))
        try:
            connection.request("POST", "/mi", body, {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())
        except (OSError, ValueError) as error:
            raise EdgeError(f"admin {method}: {error}") from error
        finally:
            connection.close()
        if "error" in answer:
            raise EdgeError(f"admin {method}: {answer['error']}")
        return answer["result"]

    def destinations(self) -> list[dict]:
        """Every destination's row of ds_list, all sets."""
        partitions = self.admin("ds_list", full=1)["PARTITIONS"]  # type: ignore[index]
        return [row for partition in partitions for each in partition["SETS"] for row in each["Destinations"]]

    def replicated(self) -> bool:
        """Every worker has all that the supervisor has committed."""
        info = self.admin("version")
        return info["applied"] >= info["sequence"]

    def set_state(self, set_id: int, uri: str, state: str) -> None:
        """Sets a destination's state; EdgeError where there is no such destination."""
        self.admin("ds_set_state", state=state, group=set_id, address=uri)

    def signal(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    def kill_all(self) -> None:
        """SIGKILL to the arbiter and everything below it, as a power cut would."""
        pids = [self.process.pid, *self.children()] if self.process else []
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait(STOP_LIMIT_S)
            self.process = None
        wait_gone(pids, STOP_LIMIT_S)

    def stop(self) -> list[str]:
        """TERM; what was wrong with the end: a bad exit code, processes left behind. Nothing survives this."""
        if self.process is None:
            return []
        pids, problems = list(self.children()), []
        if self.process.poll() is None:
            self.process.terminate()
        try:
            code = self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            problems.append(f"the edge still ran {STOP_LIMIT_S:g} s after TERM")
            self.kill_all()
            return problems
        if code != 0:
            problems.append(f"the edge ended with {code}, expected 0; its last words:\n{self.text()[-3000:]}")
        left = wait_gone(pids, 1.0)
        for pid in left:
            problems.append(f"process {pid} outlived the arbiter")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process = None
        return problems


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=5)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def toml(sections: dict[str, dict]) -> str:
    """A config of plain values and lists; a nested dict becomes a table of its own."""
    lines: list[str] = []
    for name, values in sections.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items() if not isinstance(value, dict)]
        for key, value in values.items():
            if isinstance(value, dict):
                lines.append(toml({f"{name}.{key}": value}))
    return "\n".join(lines) + "\n"


def free_port() -> int:
    """A UDP port of 127.0.0.1 that nobody has now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def children_of(pid: int) -> dict[int, str]:
    """Every process below pid -> its command line."""
    found: dict[int, str] = {}
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                with contextlib.suppress(OSError):
                    command = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found[child] = command.strip()
                    found.update(children_of(child))
    return found


def cpu_ticks(pid: int) -> int:
    """CPU that a process has taken, in clock ticks of 10 ms; 0 where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def wait_gone(pids: Iterable[int], within_s: float) -> list[int]:
    """Those of the processes that are still there (zombies of others apart) after the time given."""
    deadline = time.monotonic() + within_s
    while True:
        left = [pid for pid in pids if _alive(pid)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False
