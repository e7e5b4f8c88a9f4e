"""The proxies that are measured, as processes: Viaduct, Kamailio, OpenSIPS, and relays that are less than a proxy."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import measure, peer_configs
from benchmarks.edge import ROOT, STOP_LIMIT_S, EdgeProcess, wait_gone
from benchmarks.generate import RECEIVE_BUFFER, SO_RCVBUFFORCE, host_port
from sipcore import endpoint
from supervisor.version import source_version

READY_LIMIT_S = 15.0
ASK_EVERY_S = 0.1
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"  # where packages put servers, and users' PATH often does not look
SHARED_MEMORY_MB = 1024  # Kamailio and OpenSIPS refuse calls when it is used up; the bindings of all scenarios fit


class PeerError(Exception):
    """A peer did not start; the text holds its last words."""


class Peer:
    """One proxy on a free port of `host`, balancing over `destinations`; a context manager, started when entered."""

    name = ""
    routed = True  # it record-routes
    proxy = True  # it reads SIP, so that any user agent can call through it
    usual = True  # measured unless others are asked for
    scenarios: tuple[str, ...] = ("calls", "register", "options", "mix")

    def __init__(self, destinations: Sequence[str], workers: int = 2, host: str = "127.0.0.1") -> None:
        self.destinations, self.workers = list(destinations), workers
        self.address = (host, free_port(host))
        self._temporary = tempfile.TemporaryDirectory(prefix=f"viaduct-bench-{self.name}-")
        self.directory = Path(self._temporary.name)

    def __enter__(self) -> Peer:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @classmethod
    def version(cls) -> str | None:
        """Its version, None where this machine has it not."""
        raise NotImplementedError

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        """Ends every process of it, by force if need be."""
        self._temporary.cleanup()

    def pids(self) -> list[int]:
        raise NotImplementedError


class Viaduct(Peer):
    """Ours, as `viaduct run` starts it; the store is SQLite, so that a REGISTER is committed before its 200."""

    name = "viaduct"
    kernel_filter = True

    def __init__(self, destinations: Sequence[str], workers: int = 2, host: str = "127.0.0.1") -> None:
        super().__init__(destinations, workers, host)
        sections = {
            "edge": {
                "listen": [f"udp:{host_port(*self.address)}"],
                "workers": workers,
                "kernel_filter": self.kernel_filter,
            },
            "dispatcher": {"probe": False},  # the callees are no media servers, and the peers' do not probe either
            "log": {"level": "warning", "calls": False},
        }
        self.edge = EdgeProcess(self.directory, sections, self.address[1])
        self.edge.write_list(self.destinations)

    @classmethod
    def version(cls) -> str | None:
        return source_version()

    def start(self) -> None:
        self.edge.start()
        self.edge.wait_settled()

    def stop(self) -> None:
        for problem in self.edge.stop():
            print(f"viaduct: {problem}", file=sys.stderr)
        super().stop()

    def pids(self) -> list[int]:
        return measure.family(self.edge.process.pid) if self.edge.process else []


class Unsteered(Viaduct):
    """Ours where the kernel takes no filter: half of what comes reaches the wrong worker first."""

    name = "unsteered"
    usual = False
    kernel_filter = False


class Server(Peer):
    """A peer of one process tree that is ready when it answers OPTIONS."""

    process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        with open(self.directory / "stderr.txt", "ab") as out:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        wait_answer(self.address, self._alive)

    def _alive(self) -> None:
        code = self.process.poll() if self.process else None
        if code is not None:
            words = (self.directory / "stderr.txt").read_text(errors="replace")[-3000:]
            raise PeerError(f"{self.name} ended with {code}:\n{words}")

    def pids(self) -> list[int]:
        return measure.family(self.process.pid) if self.process else []

    def stop(self) -> None:
        if self.process is not None:
            end(self.process)
            self.process = None
        super().stop()


class Kamailio(Server):
    """The Debian package, or what stands on PATH."""

    name = "kamailio"

    @classmethod
    def binary(cls) -> str | None:
        return shutil.which("kamailio") or shutil.which("kamailio", path=SBIN)

    @classmethod
    def version(cls) -> str | None:
        return version_of(cls.binary(), "-v")

    def command(self) -> list[str]:
        config = peer_configs.write_kamailio(self.directory, self.address, self.workers, self.destinations)
        return [
            str(self.binary()), "-f", str(config), "-DD", "-E", "-m", str(SHARED_MEMORY_MB), "-Y", str(self.directory),
            "-b", str(RECEIVE_BUFFER),
        ]  # fmt: skip


class OpenSIPS(Server):
    """What stands on PATH; written for OpenSIPS 3.4 to 4.0."""

    name = "opensips"

    @classmethod
    def binary(cls) -> str | None:
        return shutil.which("opensips") or shutil.which("opensips", path=SBIN)

    @classmethod
    def version(cls) -> str | None:
        return version_of(cls.binary(), "-V")

    def command(self) -> list[str]:
        number = tuple(int(part) for part in re.findall(r"\d+", self.version() or "")[:2])
        prefix = Path(str(self.binary())).resolve().parent.parent
        modules = next((found.parent for found in prefix.glob("lib*/**/opensips/modules/tm.so")), "")
        config = peer_configs.write_opensips(
            self.directory, self.address, self.workers, self.destinations, modules=f"{modules}/", version=number
        )
        return [str(self.binary()), "-f", str(config), "-F", "-m", str(SHARED_MEMORY_MB), "-b", str(RECEIVE_BUFFER)]


class Relay(Peer):
    """Datagrams in, the same datagrams out: what the kernel and the machine take, without SIP."""

    name = "relay"
    routed = False
    proxy = False
    sip = False
    scenarios = ("calls",)

    def __init__(self, destinations: Sequence[str], workers: int = 2, host: str = "127.0.0.1") -> None:
        super().__init__(destinations, workers, host)
        self.processes: list[subprocess.Popen[bytes]] = []

    @classmethod
    def version(cls) -> str | None:
        return source_version()

    def start(self) -> None:
        family = socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET
        callees = [endpoint.pack("udp", *uri_address(uri)) for uri in self.destinations]
        own = host_port(*self.address).encode()
        call = f"relay(int(sys.argv[1]), {own!r}, {callees!r}, sip={self.sip})"
        command = [sys.executable, "-c", f"import sys; from benchmarks.relay import relay; {call}"]
        for _ in range(self.workers):
            with socket.socket(family, socket.SOCK_DGRAM) as opened:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                with contextlib.suppress(PermissionError):
                    opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
                opened.bind(self.address)
                number = opened.fileno()
                self.processes.append(subprocess.Popen([*command, str(number)], cwd=ROOT, pass_fds=[number]))

    def pids(self) -> list[int]:
        return [process.pid for process in self.processes]

    def stop(self) -> None:
        for process in self.processes:
            end(process)
        self.processes = []
        super().stop()


class Floor(Relay):
    """The least that a stateless SIP forwarder can do: a Via and a Record-Route in, the Via out; no parser."""

    name = "floor"
    routed = True
    sip = True


PEERS: dict[str, type[Peer]] = {peer.name: peer for peer in (Relay, Floor, Viaduct, Unsteered, Kamailio, OpenSIPS)}


def end(process: subprocess.Popen[bytes]) -> None:
    """TERM, then KILL to it and all below it; returns when they are gone."""
    pids = measure.family(process.pid)
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_LIMIT_S)
    for pid in wait_gone(pids[1:], 1.0):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def uri_address(uri: str) -> tuple[str, int]:
    host, port = uri.removeprefix("sip:").rsplit(":", 1)
    return host.strip("[]"), int(port)


def version_of(binary: str | None, option: str) -> str | None:
    """"5.6.3" from what a server prints about itself; None where there is no such server."""
    if binary is None:
        return None
    text = subprocess.run([binary, option], capture_output=True, text=True, check=False).stdout
    found = re.search(r"(?:kamailio|OpenSIPS \(|opensips)\D*(\d+\.\d+\.\d+\S*)", text, re.IGNORECASE)
    return found[1] if found else "unknown"


def wait_answer(address: tuple[str, int], alive: Callable[[], None]) -> None:
    """Asks with OPTIONS until something comes back; PeerError where nothing does in time."""
    deadline = time.monotonic() + READY_LIMIT_S
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((address[0], 0))
        probe.settimeout(ASK_EVERY_S)
        own, peer, number = host_port(*probe.getsockname()[:2]), host_port(*address), 0
        while time.monotonic() < deadline:
            alive()
            number += 1
            request = (
                f"OPTIONS sip:{peer} SIP/2.0\r\nVia: SIP/2.0/UDP {own};rport;branch=z9hG4bKready{number}\r\n"
                f"From: <sip:ready@{own}>;tag=ready\r\nTo: <sip:{peer}>\r\nCall-ID: ready{number}\r\n"
                "CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
            )
            with contextlib.suppress(TimeoutError, ConnectionError):
                probe.sendto(request.encode(), address)
                if probe.recv(65536).startswith(b"SIP/2.0"):
                    return
    raise PeerError(f"no answer to OPTIONS from {peer} within {READY_LIMIT_S:g} s")
