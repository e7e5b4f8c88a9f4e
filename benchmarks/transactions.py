"""SIP transactions over one UDP socket for the agents: RFC 3261 17 and 13.3.1.4 in asyncio, strict."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable

from benchmarks.sip import MAGIC, Malformed, Message, address_uri, host_port, parse, token, uri_endpoint

Address = tuple[str, int]

T1_S = 0.5  # RFC 3261 17.1.1.1
T2_S = 4.0
ANSWERED_KEPT_S = 5.0  # how long a finished transaction answers retransmissions: T4, enough on loopback
POLL_S = 0.01
NO_ANSWER = "no final answer"


class Timeout(Exception):  # noqa: N818 (RFC 3261's own name: Timer B and F give a timeout)
    """A transaction that got no final response within 64 x T1."""


class ClientTransaction:
    """A request that we sent: retransmits it, collects what comes back, acknowledges failures of an INVITE."""

    def __init__(self, endpoint: Endpoint, request: Message, target: Address) -> None:
        self.endpoint, self.request, self.target = endpoint, request, target
        self.invite = request.method == "INVITE"
        self.statuses: list[int] = []  # in order of arrival, retransmissions of the final one left out
        self.at: dict[int, float] = {}  # status -> loop time when it first came
        self.late: list[int] = []  # provisional ones that came after the final one: reordered on the way
        self.acknowledgement: Message | None = None
        self.provisional = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._final: asyncio.Future[Message] = self._loop.create_future()
        self._interval = endpoint.t1_s
        self._deadline = self._loop.time() + 64 * endpoint.t1_s
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self.endpoint.send(self.request, self.target)
        self._timer = self._loop.call_later(self._interval, self._again)

    async def final(self) -> Message:
        """The final response; Timeout where none came."""
        return await asyncio.shield(self._final)

    def receive(self, response: Message) -> None:
        status = response.status or 0
        if self._final.done() and status < 200:
            self.late.append(status)
            return
        if self._final.done():
            self.endpoint.seen[f"{status} again"] += 1
            if self.acknowledgement is not None:
                self.endpoint.send(self.acknowledgement, self.ack_target)
            return
        self.statuses.append(status)
        self.at.setdefault(status, self._loop.time())
        if status < 200:
            self.provisional.set()
            return
        if self.invite and status >= 300:
            self.acknowledge(ack_of_failure(self.request, response), self.target)
        self._stop()
        self._final.set_result(response)

    def acknowledge(self, ack: Message, target: Address) -> None:
        """Sends the ACK, and again whenever the final response comes again."""
        self.acknowledgement, self.ack_target = ack, target
        self.endpoint.send(ack, target)

    def close(self) -> None:
        self._stop()
        self._final.cancel()

    def _again(self) -> None:
        if self.invite and self.provisional.is_set():
            return
        if self._loop.time() >= self._deadline:
            self._final.set_exception(Timeout(f"{self.request.start}: {NO_ANSWER}, seen {self.statuses}"))
            self._final.exception()  # looked at: nobody need wait for it
            return
        self.endpoint.sent["again"] += 1
        self.endpoint.send(self.request, self.target)
        self._interval = self._interval * 2 if self.invite else min(self._interval * 2, T2_S)
        self._timer = self._loop.call_later(self._interval, self._again)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(
            ANSWERED_KEPT_S, self.endpoint.forget, self.request.branch, self.request.method
        )


class ServerTransaction:
    """A request that came: answers it, and its retransmissions; a final response to INVITE is sent until its ACK."""

    def __init__(self, endpoint: Endpoint, request: Message, source: Address) -> None:
        self.endpoint, self.request, self.source = endpoint, request, source
        self.tag = token(4)
        self.answer: Message | None = None
        self.acknowledged = asyncio.Event()
        self.cancelled = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._interval = endpoint.t1_s
        self._deadline = self._loop.time() + 64 * endpoint.t1_s  # RFC 3261 13.3.1.4
        self._timer: asyncio.TimerHandle | None = None

    def respond(self, status: int, phrase: str, headers: tuple[tuple[str, str], ...] = (), body: bytes = b"") -> None:
        to = self.request.first("to")
        if status > 100 and ";tag=" not in to:
            to += f";tag={self.tag}"
        copied = [("Via", value) for value in self.request.all("via")]
        copied += [("From", self.request.first("from")), ("To", to), ("Call-ID", self.request.first("call-id"))]
        copied += [("CSeq", self.request.first("cseq"))]
        if 100 < status < 300:
            copied += [("Record-Route", value) for value in self.request.all("record-route")]
        self.answer = Message(f"SIP/2.0 {status} {phrase}", [*copied, *headers], body)
        self.endpoint.send(self.answer, self.source)
        if status >= 200 and self.request.method == "INVITE":
            self._timer = self._loop.call_later(self._interval, self._again)

    def again(self) -> None:
        """A retransmission of the request came."""
        self.endpoint.seen[f"{self.request.method} again"] += 1
        if self.answer is not None:
            self.endpoint.send(self.answer, self.source)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def acknowledge(self) -> None:
        self.acknowledged.set()
        self.close()

    def _again(self) -> None:
        self._interval = min(self._interval * 2, T2_S)
        if self._loop.time() > self._deadline or self.answer is None:
            return
        self.endpoint.sent["again"] += 1
        self.endpoint.send(self.answer, self.source)
        self._timer = self._loop.call_later(self._interval, self._again)


class Endpoint(asyncio.DatagramProtocol):
    """One UDP socket with its transactions.

    `seen` and `sent` count messages by method or status; `complaints` what broke the protocol (tests assert none).
    `advertised` is what the agent believes to be its own address: not the socket's where it stands behind a NAT.
    """

    def __init__(self, name: str, t1_s: float = T1_S) -> None:
        self.name, self.t1_s = name, t1_s
        self.seen: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.complaints: list[str] = []
        self.strays: list[Message] = []  # responses to nothing that we sent
        self.serve: Callable[[ServerTransaction], None] = self.refuse
        self.acknowledged: Callable[[Message], None] = lambda ack: None
        self.deaf = False  # reads and drops everything: a silent peer
        self._clients: dict[tuple[str, str], ClientTransaction] = {}
        self._servers: dict[tuple[str, str, str], ServerTransaction] = {}

    async def open(self, host: str = "127.0.0.1", port: int = 0, advertised: Address | None = None) -> Endpoint:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, port))
        self.address: Address = self.transport.get_extra_info("sockname")[:2]
        self.advertised = advertised or self.address
        return self

    def close(self) -> None:
        for transaction in [*self._clients.values(), *self._servers.values()]:
            transaction.close()
        self.transport.close()

    @property
    def contact(self) -> str:
        return f"sip:{self.name}@{host_port(*self.advertised)}"

    def via(self, branch: str = "") -> tuple[str, str]:
        return ("Via", f"SIP/2.0/UDP {host_port(*self.advertised)};rport;branch={branch or MAGIC + token()}")

    def request(self, request: Message, target: Address) -> ClientTransaction:
        """Sends a request, its Via already on top, and follows it."""
        transaction = ClientTransaction(self, request, target)
        self._clients[request.branch, request.method] = transaction
        transaction.start()
        return transaction

    def cancel(self, transaction: ClientTransaction) -> ClientTransaction:
        """RFC 3261 9.1: the same request URI, Via, From, To, Call-ID, CSeq number and Route."""
        invite = transaction.request
        kept = ("via", "from", "to", "call-id", "route", "max-forwards")
        headers = [pair for pair in invite.headers if pair[0].lower() in kept]
        headers.append(("CSeq", f"{invite.cseq} CANCEL"))
        return self.request(Message(f"CANCEL {invite.uri} SIP/2.0", headers), transaction.target)

    def send(self, message: Message, target: Address) -> None:
        self.sent[str(message.status or message.method)] += 1
        self.transport.sendto(message.encode(), target)

    def forget(self, branch: str, method: str) -> None:
        self._clients.pop((branch, method), None)

    def refuse(self, transaction: ServerTransaction) -> None:
        transaction.respond(501, "Not Implemented")

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if self.deaf:
            return
        try:
            message = parse(data)
        except (Malformed, ValueError, IndexError) as error:
            self.complain(f"malformed datagram from {addr}: {error}")
            return
        self.seen[str(message.status or message.method)] += 1
        if message.status is None:
            self._request(message, addr[:2])
        else:
            self._response(message)

    def error_received(self, exc: Exception) -> None:
        self.seen[f"error {type(exc).__name__}"] += 1

    def complain(self, what: str) -> None:
        self.complaints.append(f"{self.name}: {what}")

    def _response(self, response: Message) -> None:
        if len(response.all("via")) != 1:
            self.complain(f"{response.start} with {len(response.all('via'))} Via, expected ours alone")
        transaction = self._clients.get((response.branch, response.method))
        if transaction is None:
            self.strays.append(response)
        else:
            transaction.receive(response)

    def _request(self, request: Message, source: Address) -> None:
        sent_by, method = request.first("via").split(";")[0], request.method
        if method == "ACK":
            failed = self._servers.get((request.branch, sent_by, "INVITE"))
            if failed is not None:
                failed.acknowledge()
            else:
                self.acknowledged(request)
            return
        known = self._servers.get((request.branch, sent_by, method))
        if known is not None:
            known.again()
            return
        transaction = ServerTransaction(self, request, source)
        self._servers[request.branch, sent_by, method] = transaction
        if method == "CANCEL":
            self._cancel(transaction, sent_by)
        else:
            self.serve(transaction)

    def _cancel(self, cancel: ServerTransaction, sent_by: str) -> None:
        invite = self._servers.get((cancel.request.branch, sent_by, "INVITE"))
        if invite is None:
            cancel.respond(481, "Call/Transaction Does Not Exist")
            return
        cancel.respond(200, "OK")
        invite.cancelled.set()


def ack_of_failure(invite: Message, response: Message) -> Message:
    """RFC 3261 17.1.1.3: the INVITE's request URI, top Via, From, Call-ID and Route; the response's To."""
    headers = [("Via", invite.first("via")), *(("Route", route) for route in invite.all("route"))]
    headers += [("Max-Forwards", "70"), ("From", invite.first("from")), ("To", response.first("to"))]
    headers += [("Call-ID", invite.first("call-id")), ("CSeq", f"{invite.cseq} ACK")]
    return Message(f"ACK {invite.uri} SIP/2.0", headers)


def next_hop(routes: list[str], target: str) -> Address:
    """Where a request goes (RFC 3261 12.2.1.1, loose routers only): its first Route, else its request URI."""
    return uri_endpoint(address_uri(routes[0]) if routes else target)


async def settle(awaitable: asyncio.Future[object] | asyncio.Event, within_s: float) -> bool:
    """Waits for an event or future; False where it did not come in time."""
    waiting = awaitable.wait() if isinstance(awaitable, asyncio.Event) else awaitable
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(waiting, within_s)
        return True
    return False


async def eventually(holds: Callable[[], bool], within_s: float = 3.0) -> None:
    """Returns once something holds that nothing announces; AssertionError where it does not in time."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not holds():
        assert asyncio.get_running_loop().time() < deadline, f"did not hold within {within_s:g} s"
        await asyncio.sleep(POLL_S)
