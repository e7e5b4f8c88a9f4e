"""Probes destinations by OPTIONS over UDP, on the supervisor's event loop: no thread, one socket a family.

Each destination has its own rhythm. An answer counts by its branch, which is random; a refusal that the kernel learns
of (port unreachable) counts at once, from the socket's error queue.
"""

import asyncio
import ipaddress
import os
import random
import re
import secrets
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sipcore.endpoint import unpack
from supervisor.dispatcher import Target

FIRST_PROBE_MAX_S = 1.0  # after a start the first probes are spread over this: soon known, and no burst
T1_S = 0.5  # RFC 3261 17.1.2.2: a request is sent again after T1, 2*T1, 4*T1 ...
T2_S = 4.0  # ... up to this apart
ANSWER_MAX = 65535  # octets of one datagram
READS_MAX = 256  # datagrams taken in one go: the rest of the supervisor wants the loop as well
IP_RECVERR = 11  # linux/in.h
IPV6_RECVERR = 25  # linux/in6.h
ANCILLARY_MAX = 512  # a struct sock_extended_err and a sockaddr, with room

FOLD = re.compile(rb"\r?\n[ \t]+")
STATUS_LINE = re.compile(rb"SIP/2\.0 ([1-6][0-9][0-9])(?: ([^\r\n]{0,100}))?")
TOP_VIA_BRANCH = re.compile(rb"\r?\n(?:via|v)[ \t]*:[^\r\n]*?;[ \t]*branch[ \t]*=[ \t]*([^;,\s]{1,100})", re.IGNORECASE)

# id, whether it counts as up, status or None, latency or None, reason phrase or what went wrong
Result = Callable[[int, bool, "int | None", "float | None", str], None]


@dataclass
class _Probed:
    """A destination on its rhythm."""

    target: Target
    address: tuple[str, int]
    family: int
    timer: asyncio.TimerHandle | None = None
    branch: bytes = b""  # of the probe under way
    request: bytes = b""
    sent_s: float = 0.0
    deadline_s: float = 0.0
    wait_s: float = 0.0  # until it is sent again


class Prober:
    """Probes what `update` named until `stop`; tells every verdict by `result`, on the loop.

    local_ips are the addresses to send from, at most one a family; `host` is what From and Via name.
    """

    def __init__(
        self,
        result: Result,
        local_ips: Sequence[str] = ("0.0.0.0",),
        host: str = "localhost",
        max_forwards: int = 70,
        user_agent: str = "",
    ) -> None:
        self._result, self._host = result, f"[{host}]" if ":" in host else host
        self._max_forwards, self._user_agent = max_forwards, user_agent
        self._local_ips = tuple(local_ips)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sockets: dict[int, socket.socket] = {}
        self._probed: dict[int, _Probed] = {}
        self._by_branch: dict[bytes, _Probed] = {}
        self.strays = 0  # answers to nothing that is under way: late, or not for us

    def start(self) -> None:
        """Open the sockets; within a running loop. OSError where a local address is not ours."""
        self._loop = asyncio.get_running_loop()
        try:
            for ip in self._local_ips:
                self._open(ip)
        except OSError:
            self.stop()
            raise

    def stop(self) -> None:
        """Forget all and close; no verdict is told any more. May be called twice."""
        for id in list(self._probed):
            self._forget(id)
        for sock in self._sockets.values():
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(sock)
            sock.close()
        self._sockets.clear()

    def update(self, targets: Iterable[Target]) -> None:
        """From now on probe these. Who stays as it was keeps its rhythm; what was under way to others is forgotten."""
        wanted = {target.id: target for target in targets}
        for id, probed in list(self._probed.items()):
            if wanted.get(id) != probed.target:
                self._forget(id)
        for id, target in wanted.items():
            if id not in self._probed:
                self._begin(target)

    # -- rhythm --------------------------------------------------------------------------------------------------------

    def _begin(self, target: Target) -> None:
        _, host, port, _ = unpack(target.endpoint)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        probed = self._probed[target.id] = _Probed(target, (host, port), family)
        self._later(probed, random.uniform(0, min(FIRST_PROBE_MAX_S, target.interval_s)), self._probe)

    def _later(self, probed: _Probed, delay_s: float, step: Callable[[_Probed], None]) -> None:
        if probed.timer is not None:
            probed.timer.cancel()
        probed.timer = self._loop.call_later(delay_s, step, probed)

    def _forget(self, id: int) -> None:
        probed = self._probed.pop(id)
        self._by_branch.pop(probed.branch, None)
        probed.branch = b""
        if probed.timer is not None:
            probed.timer.cancel()

    def _probe(self, probed: _Probed) -> None:
        now_s = self._loop.time()
        probed.branch = f"z9hG4bKp{secrets.token_hex(12)}".encode()
        self._by_branch[probed.branch] = probed
        probed.sent_s, probed.deadline_s, probed.wait_s = now_s, now_s + probed.target.timeout_ms / 1000, T1_S
        sock = self._sockets.get(probed.family)
        if sock is None:
            self._verdict(probed, None, "no local address of its family to probe from")
            return
        probed.request = self._options(probed, sock)
        self._send(probed)

    def _send(self, probed: _Probed) -> None:
        """Send, once more at T1, 2*T1 ..., and wait for the rest of the time. A send may fail: that is the verdict."""
        now_s = self._loop.time()
        if now_s >= probed.deadline_s:
            self._verdict(probed, None, f"no answer within {probed.target.timeout_ms} ms")
            return
        # set first: the error queue that a failed send shows may hold the verdict on this very probe
        self._later(probed, min(probed.wait_s, probed.deadline_s - now_s), self._send)
        probed.wait_s = min(2 * probed.wait_s, T2_S)
        sock, branch = self._sockets[probed.family], probed.branch
        for _ in range(2):
            try:
                sock.sendto(probed.request, probed.address)
                return
            except BlockingIOError:
                return  # the buffer is full: the next time round is its retransmission
            except OSError as error:
                # with an error queue the error that a send reports may be that of an earlier datagram to somebody else
                others = self._read_errors(sock)
                if probed.branch != branch:
                    return
                if not others:
                    self._verdict(probed, None, error.strerror or str(error))
                    return

    def _verdict(self, probed: _Probed, code: int | None, reason: str) -> None:
        now_s = self._loop.time()
        self._by_branch.pop(probed.branch, None)
        probed.branch, target = b"", probed.target
        spread = random.uniform(1 - target.jitter, 1 + target.jitter)
        self._later(probed, max(0.0, probed.sent_s + target.interval_s * spread - now_s), self._probe)
        latency_ms = round((now_s - probed.sent_s) * 1000, 1) if code is not None else None
        self._result(target.id, code in target.codes, code, latency_ms, reason)

    # -- the wire ------------------------------------------------------------------------------------------------------

    def _open(self, ip: str) -> None:
        version6 = ipaddress.ip_address(ip).version == 6
        family = socket.AF_INET6 if version6 else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            if version6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            sock.bind((ip, 0))
        except OSError:
            sock.close()
            raise
        self._sockets[family] = sock
        self._loop.add_reader(sock, self._readable, sock)

    def _options(self, probed: _Probed, sock: socket.socket) -> bytes:
        port = sock.getsockname()[1]
        lines = [
            f"OPTIONS {probed.target.uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {self._host}:{port};rport;branch={probed.branch.decode()}",
            f"Max-Forwards: {self._max_forwards}",
            f"From: <sip:dispatcher@{self._host}>;tag={secrets.token_hex(8)}",
            f"To: <{probed.target.uri}>",
            f"Call-ID: {secrets.token_hex(12)}",
            "CSeq: 1 OPTIONS",
            f"Contact: <sip:dispatcher@{self._host}:{port}>",
            "Accept: application/sdp",
            *([f"User-Agent: {self._user_agent}"] if self._user_agent else []),
            "Content-Length: 0",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def _readable(self, sock: socket.socket) -> None:
        self._read_errors(sock)
        for _ in range(READS_MAX):
            try:
                data = sock.recv(ANSWER_MAX)
            except BlockingIOError:
                return
            except OSError:  # the pending error: its details stand in the queue
                if not self._read_errors(sock):
                    return
                continue
            self._answered(data)
            if sock.fileno() < 0:  # stopped by whom we told
                return

    def _answered(self, data: bytes) -> None:
        data = FOLD.sub(b" ", data)
        status, via = STATUS_LINE.match(data), TOP_VIA_BRANCH.search(data)
        probed = self._by_branch.get(via[1]) if status and via else None
        if probed is None:
            self.strays += 1
            return
        code = int(status[1])
        if code >= 200:
            phrase = (status[2] or b"").decode("utf-8", "replace")
            self._verdict(probed, code, "".join(filter(str.isprintable, phrase)).strip())

    def _read_errors(self, sock: socket.socket) -> bool:
        """Empty the error queue; whether it held any. A refusal is the verdict on what is under way to that address."""
        any_read = False
        while sock.fileno() >= 0:
            try:
                _, ancillary, _, address = sock.recvmsg(0, ANCILLARY_MAX, socket.MSG_ERRQUEUE)
            except OSError:  # BlockingIOError: it is empty
                break
            any_read = True
            # struct sock_extended_err begins with the error's number
            number = int.from_bytes(ancillary[0][2][:4], sys.byteorder) if ancillary else 0
            self._refused(address[:2], os.strerror(number) if number else "unreachable")
        return any_read

    def _refused(self, address: tuple[str, int], reason: str) -> None:
        for probed in [one for one in self._by_branch.values() if one.address == address]:
            if probed.branch:  # a verdict may change what is under way
                self._verdict(probed, None, reason)
