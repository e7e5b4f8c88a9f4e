"""The light generator's front: opens sockets for callers and callees, puts a load on a proxy, tells what happened."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field, fields

from benchmarks import generator
from sipcore import endpoint

# What is offered, in turn.
PATTERNS = {
    "calls": ("calls",),
    "register": ("register",),
    "options": ("options",),
    "mix": ("calls", "register", "register", "calls", "register", "register", "options"),
}
RECEIVE_BUFFER = 32 << 20  # octets: the generator must not lose what the proxy has sent
SO_RCVBUFFORCE = 33  # linux/socket.h; needs CAP_NET_ADMIN
LINEAR_US = 64  # generator_timers.pxd: buckets of 1 us up to here, then OCTAVE an octave
OCTAVE = 32


@dataclass(frozen=True)
class Load:
    """What to offer: `rate` transactions or calls a second for `seconds`, then up to `drain_s` to end them."""

    scenario: str = "calls"
    rate: float = 1000.0
    seconds: float = 5.0
    drain_s: float = 5.0
    hold_s: float = 0.0
    t1_s: float = 0.5
    aors: int = 10_000
    routed: bool = True  # a proxy that does not record-route misroutes


@dataclass
class Latency:
    """Microseconds from the moment a request was meant to go to the response that counts; at most 3 % too long."""

    p50: int = 0
    p99: int = 0
    p999: int = 0
    most: int = 0

    @classmethod
    def of(cls, histogram: tuple[list[int], int]) -> Latency:
        buckets, most = histogram
        return cls(*(min(quantile_us(buckets, share), most) for share in (0.5, 0.99, 0.999)), most)


@dataclass
class Result:
    """What became of a load. `lost` counts what our own sockets dropped: where it is not 0 the run proves nothing."""

    offered: int = 0
    done: int = 0
    failed: int = 0
    unfinished: int = 0  # of the failed: under way when the run was over
    no_room: int = 0  # of the failed: too many in progress
    requests_again: int = 0
    answers_again: int = 0
    acks_again: int = 0
    swapped: int = 0  # 180 after its 200
    overtaken: int = 0  # BYE before its ACK
    repeated: int = 0  # INVITEs that a callee saw again
    stray: int = 0
    misrouted: int = 0
    sent: int = 0
    received: int = 0
    send_errors: int = 0
    lost: int = 0
    status: dict[int, int] = field(default_factory=dict)  # final responses that failed a call; 408: none came
    setup_us: Latency = field(default_factory=Latency)  # INVITE to 200
    ending_us: Latency = field(default_factory=Latency)  # BYE to 200
    other_us: Latency = field(default_factory=Latency)  # REGISTER and OPTIONS

    @property
    def retransmissions(self) -> int:
        return self.requests_again + self.answers_again


class Field:
    """Callers and two or more callees on free ports of loopback; a context manager.

    One source only is a trunk. `destinations` are the callees' SIP URIs for the proxy's list.
    """

    def __init__(self, sources: int = 64, callees: int = 2, host: str = "127.0.0.1") -> None:
        self.host = host
        self._callers: list[socket.socket] = []
        self._callees: list[socket.socket] = []
        try:
            self._callers += [_open(host) for _ in range(sources)]
            self._callees += [_open(host) for _ in range(callees)]
        except OSError:
            self.close()
            raise
        self.destinations = [f"sip:{host_port(*callee.getsockname()[:2])}" for callee in self._callees]
        self.callee_ports = [callee.getsockname()[1] for callee in self._callees]
        self._cseq = 1

    def __enter__(self) -> Field:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for each in (*self._callers, *self._callees):
            each.close()

    def cpu_ns(self) -> int:
        """CPU of the generator up to now: this process's."""
        return time.process_time_ns()

    def run(self, peer: tuple[str, int], load: Load) -> Result:
        """Puts a load on the proxy at `peer` (numeric address, port); returns when it is over."""
        self._empty()
        before = self._drops()
        run = generator.Generator(
            _named(self._callers),
            _named(self._callees),
            endpoint.pack("udp", *peer),
            host_port(*peer).encode(),
            pattern=[generator.KINDS[kind] for kind in PATTERNS[load.scenario]],
            rate=load.rate,
            seconds=load.seconds,
            drain_s=load.drain_s,
            hold_s=load.hold_s,
            t1_s=load.t1_s,
            aors=load.aors,
            routed=load.routed,
            cseq=self._cseq,
        )
        found = run.run()
        self._cseq += int(load.rate * load.seconds) // load.aors + 1
        times = {f"{name}_us": Latency.of(found.pop(name)) for name in ("setup", "ending", "other")}
        return Result(**found, **times, lost=self._drops() - before)

    def _drops(self) -> int:
        return drops({each.getsockname()[1] for each in (*self._callers, *self._callees)})

    def _empty(self) -> None:
        """Takes what is left of an earlier run off the sockets."""
        for each in (*self._callers, *self._callees):
            try:
                while True:
                    each.recv(65536)
            except BlockingIOError:
                continue


def drops(ports: set[int]) -> int:
    """Datagrams that the kernel dropped at the UDP sockets of these ports because their buffers were full."""
    total = 0
    for name in ("/proc/net/udp", "/proc/net/udp6"):
        with open(name) as table:
            for row in list(table)[1:]:
                cells = row.split()
                if int(cells[1].rsplit(":", 1)[1], 16) in ports:
                    total += int(cells[-1])
    return total


def quantile_us(buckets: list[int], share: float) -> int:
    """The upper end of the bucket in which that share of the values is reached; 0 for none."""
    total, seen = sum(buckets), 0
    for index, count in enumerate(buckets):
        seen += count
        if count and seen >= share * total:
            return bucket_end_us(index)
    return 0


def bucket_end_us(index: int) -> int:
    if index < LINEAR_US:
        return index
    octave, part = divmod(index - LINEAR_US, OCTAVE)
    return ((part + OCTAVE + 1) << (octave + 1)) - 1


def host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def count_names() -> tuple[str, ...]:
    """The fields of a Result that are counts."""
    return tuple(each.name for each in fields(Result) if each.type == "int")


def _open(host: str) -> socket.socket:
    opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    opened.setblocking(False)
    try:
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except PermissionError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    opened.bind((host, 0))
    return opened


def _named(sockets: list[socket.socket]) -> list[tuple[int, bytes]]:
    return [(each.fileno(), host_port(*each.getsockname()[:2]).encode()) for each in sockets]
