"""Light SIP user agents on asyncio: phones that register, call and answer, and destinations like media servers.

They check what reaches them (Vias, Max-Forwards, Record-Route, leftover Route) and keep `complaints`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.sip import Message, address_uri, host_port, parameter, sdp, token
from benchmarks.transactions import (
    T1_S,
    Address,
    ClientTransaction,
    Endpoint,
    ServerTransaction,
    Timeout,
    next_hop,
    settle,
)

MAX_FORWARDS = 70
Headers = tuple[tuple[str, str], ...]

SDP_TYPE = ("Content-Type", "application/sdp")
DIALOG_METHODS = frozenset(("INVITE", "SUBSCRIBE", "REFER"))  # these come to us with a Record-Route
PHRASES = {
    180: "Ringing", 183: "Session Progress", 200: "OK", 202: "Accepted", 302: "Moved Temporarily", 404: "Not Found",
    408: "Request Timeout", 480: "Temporarily Unavailable", 481: "Call/Transaction Does Not Exist", 486: "Busy Here",
    487: "Request Terminated", 488: "Not Acceptable Here", 500: "Server Internal Error", 502: "Bad Gateway",
    503: "Service Unavailable", 504: "Server Time-out", 603: "Decline",
}  # fmt: skip


class Unexpected(AssertionError):
    """An agent got another answer than the one its caller asked for."""


@dataclass
class Behaviour:
    """How a callee answers what comes outside a dialog. A status of 0 means: no answer at all."""

    status: int = 200
    headers: Headers = ()
    ring: int = 180  # the provisional response, 0: none
    ring_after_s: float = 0.0
    answer_after_s: float = 0.0
    options: int = 200


@dataclass
class Dialog:
    """One side of a dialog (RFC 3261 12): everything that the next request needs."""

    agent: Agent
    call_id: str
    local: str  # From of our requests, tag and all
    remote: str
    target: str
    routes: list[str]
    local_cseq: int
    remote_cseq: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    confirmed: asyncio.Event = field(default_factory=asyncio.Event)
    requests: list[Message] = field(default_factory=list)  # what came inside it, in order
    invite: ServerTransaction | None = None
    answer_body: bytes = b""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.call_id, parameter(self.local, "tag"), parameter(self.remote, "tag")

    def build(self, method: str, headers: Headers = (), body: bytes = b"", cseq: int | None = None) -> Message:
        """A request inside the dialog, with the CSeq number given or the next one."""
        if cseq is None:
            self.local_cseq += 1
            cseq = self.local_cseq
        lines = [self.agent.via(), *(("Route", route) for route in self.routes), ("Max-Forwards", str(MAX_FORWARDS))]
        lines += [("From", self.local), ("To", self.remote), ("Call-ID", self.call_id), ("CSeq", f"{cseq} {method}")]
        return Message(
            f"{method} {self.target} SIP/2.0", [*lines, ("Contact", f"<{self.agent.contact}>"), *headers], body
        )

    def send(self, method: str, headers: Headers = (), body: bytes = b"") -> ClientTransaction:
        return self.agent.request(self.build(method, headers, body), next_hop(self.routes, self.target))

    async def request(self, method: str, headers: Headers = (), body: bytes = b"") -> Message:
        """Sends a request inside the dialog; its final response. A re-INVITE's 2xx is acknowledged."""
        transaction = self.send(method, headers, body)
        response = await transaction.final()
        if method == "INVITE" and response.status == 200:
            self.acknowledge(transaction)
        return response

    async def hold(self, direction: str = "sendonly") -> Message:
        return await self.request("INVITE", (SDP_TYPE,), sdp(self.agent.advertised[0], direction=direction))

    async def bye(self) -> Message:
        self.ended.set()
        return await self.request("BYE")

    def acknowledge(self, invite: ClientTransaction) -> None:
        """ACK to a 2xx: along the route set, with the INVITE's CSeq number (RFC 3261 13.2.2.4)."""
        invite.acknowledge(self.build("ACK", cseq=invite.request.cseq), next_hop(self.routes, self.target))


@dataclass
class Call:
    """A call that we placed. Times are the loop's, in seconds; delays count from the intended moment of sending."""

    transaction: ClientTransaction
    intended: float
    dialog: Dialog | None = None
    final: Message | None = None

    @property
    def status(self) -> int:
        return (self.final.status or 0) if self.final else 0

    @property
    def statuses(self) -> list[int]:
        return self.transaction.statuses

    @property
    def post_dial_delay_s(self) -> float | None:
        """From the intended moment to the first answer that a caller notices (RFC 6076 4.3: 18x or final)."""
        times = [at for status, at in self.transaction.at.items() if status > 100]
        return min(times) - self.intended if times else None

    @property
    def swapped(self) -> bool:
        """Whether a provisional response came after the final one: the messages of the call were reordered."""
        return bool(self.transaction.late)


class Agent(Endpoint):
    """A user agent without behaviour of its own: sends requests, keeps dialogs, answers what comes inside them."""

    def __init__(self, name: str, edge: Address | None = None, domain: str = "", t1_s: float = T1_S) -> None:
        super().__init__(name, t1_s)
        self.edge, self.domain = edge, domain
        self.dialogs: dict[tuple[str, str, str], Dialog] = {}
        self.behaviour = Behaviour()
        self.requests: list[Message] = []  # initial requests that came, in order
        self.on_dialog: Callable[[Dialog], None] = lambda dialog: None
        self.hops = 1  # proxies between us and every peer: how many Vias and Max-Forwards steps are right
        self._tasks: set[asyncio.Task[None]] = set()
        self.serve = self._serve
        self.acknowledged = self._acknowledged

    @property
    def aor(self) -> str:
        return f"sip:{self.name}@{self.domain or host_port(*(self.edge or self.address))}"

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        super().close()

    def build(
        self,
        method: str,
        uri: str,
        headers: Headers = (),
        body: bytes = b"",
        *,
        to: str = "",
        call_id: str = "",
        cseq: int = 1,
        max_forwards: int | None = MAX_FORWARDS,
        branch: str = "",
    ) -> Message:
        """A request outside any dialog."""
        lines = [self.via(branch), ("From", f"<{self.aor}>;tag={token(4)}"), ("To", f"<{to or uri}>")]
        lines += [("Call-ID", call_id or token()), ("CSeq", f"{cseq} {method}")]
        if max_forwards is not None:
            lines.append(("Max-Forwards", str(max_forwards)))
        if not any(name.lower() == "contact" for name, _ in headers) and method != "REGISTER":
            lines.append(("Contact", f"<{self.contact}>"))
        return Message(f"{method} {uri} SIP/2.0", [*lines, *headers], body)

    def send_out(self, request: Message) -> ClientTransaction:
        """Sends a request to the edge, as to an outbound proxy."""
        if self.edge is None:
            raise ValueError(f"{self.name} knows no edge")
        return self.request(request, self.edge)

    async def ask(
        self, method: str, uri: str = "", headers: Headers = (), body: bytes = b"", **more: object
    ) -> Message:
        """A request outside any dialog and its final response."""
        return await self.send_out(self.build(method, uri or self.uri_of(""), headers, body, **more)).final()  # type: ignore[arg-type]

    def uri_of(self, user: str) -> str:
        """The URI of a user at the edge; of the edge itself where user is ""."""
        host = self.domain or host_port(*(self.edge or self.address))
        return f"sip:{user}@{host}" if user else f"sip:{host}"

    # Calling

    def invite(self, user: str, intended: float | None = None, headers: Headers = (), **more: object) -> Call:
        """Sends an INVITE for user at the edge and returns at once."""
        request = self.build("INVITE", self.uri_of(user), (SDP_TYPE, *headers), sdp(self.advertised[0]), **more)  # type: ignore[arg-type]
        now = asyncio.get_running_loop().time()
        return Call(self.send_out(request), now if intended is None else intended)

    async def answered(self, call: Call) -> Call:
        """Waits for the final response, and acknowledges a 2xx."""
        call.final = final = await call.transaction.final()
        if call.status < 300:
            request = call.transaction.request
            call.dialog = Dialog(
                self,
                request.first("call-id"),
                request.first("from"),
                final.first("to"),
                address_uri(final.first("contact")),
                final.all("record-route")[::-1],
                request.cseq,
            )
            self._check_record_route(final)
            self.dialogs[call.dialog.key] = call.dialog
            call.dialog.acknowledge(call.transaction)
        return call

    async def call(self, user: str, hold_s: float = 0.0, intended: float | None = None) -> Call:
        """A whole call: INVITE, ACK, a while, BYE. Unexpected where any step failed."""
        call = await self.answered(self.invite(user, intended))
        if call.dialog is None:
            raise Unexpected(f"{self.name}: call to {user} got {call.final.start if call.final else 'nothing'}")
        if hold_s:
            await asyncio.sleep(hold_s)
        ended = await call.dialog.bye()
        if ended.status != 200:
            raise Unexpected(f"{self.name}: BYE got {ended.start}")
        return call

    # Registering

    async def register(
        self,
        expires: int | None = 600,
        contacts: tuple[str, ...] = (),
        *,
        cseq: int = 0,
        call_id: str = "",
        headers: Headers = (),
    ) -> Message:
        """REGISTER with our Contact or the ones given; its final response. CSeq counts on by itself."""
        self.register_cseq = cseq or getattr(self, "register_cseq", 0) + 1
        self.register_call_id = call_id or getattr(self, "register_call_id", "") or token()
        lines = [("Contact", contact) for contact in (contacts or (f"<{self.contact}>",))]
        if expires is not None:
            lines.append(("Expires", str(expires)))
        return await self.ask(
            "REGISTER",
            self.uri_of(""),
            (*lines, *headers),
            to=self.aor,
            cseq=self.register_cseq,
            call_id=self.register_call_id,
        )

    async def bindings(self) -> dict[str, int]:
        """What the registrar holds for us: contact URI -> remaining seconds."""
        response = await self.ask("REGISTER", self.uri_of(""), to=self.aor, call_id=token())
        if response.status != 200:
            raise Unexpected(f"{self.name}: query got {response.start}")
        return contacts_of(response)

    # Answering

    def _serve(self, transaction: ServerTransaction) -> None:
        request = transaction.request
        key = dialog_key(request)
        self._check_request(request, initial=not key[1])
        if key[1]:
            self._serve_inside(transaction, self.dialogs.get(key))
            return
        if (
            len(request.all("via")) > 1 or not self.hops or request.method != "OPTIONS"
        ):  # not a probe by the edge itself
            self.requests.append(request)
        if request.method == "INVITE":
            task = asyncio.ensure_future(self._answer(transaction))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif request.method == "OPTIONS":
            if self.behaviour.options:
                transaction.respond(self.behaviour.options, PHRASES.get(self.behaviour.options, "Whatever"))
        elif self.behaviour.status:
            transaction.respond(self.behaviour.status, PHRASES[self.behaviour.status], self.behaviour.headers)

    async def _answer(self, transaction: ServerTransaction) -> None:
        how, request = self.behaviour, transaction.request
        if not how.status:
            return
        contact = (("Contact", f"<{self.contact}>"),)
        if how.ring and how.status < 300:
            if how.ring_after_s:
                await asyncio.sleep(how.ring_after_s)
            transaction.respond(how.ring, PHRASES[how.ring], contact)
        if how.answer_after_s and await settle(transaction.cancelled, how.answer_after_s):
            transaction.respond(487, PHRASES[487])
            return
        if how.status >= 300:
            transaction.respond(how.status, PHRASES[how.status], how.headers)
            return
        local = f"{request.first('to')};tag={transaction.tag}"
        dialog = Dialog(
            self,
            request.first("call-id"),
            local,
            request.first("from"),
            address_uri(request.first("contact")),
            request.all("record-route"),
            0,
            request.cseq,
            invite=transaction,
        )
        self.dialogs[dialog.key] = dialog
        dialog.answer_body = sdp(self.advertised[0])
        transaction.respond(how.status, PHRASES[how.status], (*contact, SDP_TYPE, *how.headers), dialog.answer_body)
        self.on_dialog(dialog)

    def _serve_inside(self, transaction: ServerTransaction, dialog: Dialog | None) -> None:
        request = transaction.request
        if dialog is None:
            transaction.respond(481, PHRASES[481])
            return
        if request.cseq <= dialog.remote_cseq:
            self.complain(f"{request.start} with CSeq {request.cseq} after {dialog.remote_cseq}")
        dialog.remote_cseq = request.cseq
        dialog.requests.append(request)
        if request.method == "BYE":
            dialog.ended.set()
        if request.method == "INVITE":
            dialog.confirmed.clear()
            dialog.invite = transaction
            dialog.target = address_uri(request.first("contact")) or dialog.target
            body = sdp(self.advertised[0], direction="recvonly" if b"a=sendonly" in request.body else "sendrecv")
            transaction.respond(200, "OK", (("Contact", f"<{self.contact}>"), SDP_TYPE), body)
        else:
            status = 202 if request.method == "REFER" else 200
            transaction.respond(status, PHRASES[status], (("Contact", f"<{self.contact}>"),))

    def _acknowledged(self, ack: Message) -> None:
        dialog = self.dialogs.get(dialog_key(ack))
        self._check_request(ack, initial=False)
        if dialog is None or dialog.invite is None:
            self.complain(f"{ack.start} for no call of ours")
        elif ack.cseq != dialog.invite.request.cseq:
            self.complain(f"{ack.start} with CSeq {ack.cseq}, expected {dialog.invite.request.cseq}")
        else:
            dialog.invite.acknowledge()
            dialog.confirmed.set()

    # Checking

    def _check_request(self, request: Message, initial: bool) -> None:
        method, vias = request.method, request.all("via")
        if method == "OPTIONS" and len(vias) == 1:
            return  # a probe, from the edge itself
        if len(vias) != 1 + self.hops:
            self.complain(f"{method} with {len(vias)} Via, expected {1 + self.hops}")
        if "received=" not in vias[-1] and "rport=" not in vias[-1] and self.hops:
            self.complain(f"{method}: the edge did not mark the sender's Via {vias[-1]} (RFC 3581)")
        if request.first("route"):
            self.complain(f"{method} with Route {request.first('route')}, expected none at the last hop")
        hops_left, expected = request.first("max-forwards"), MAX_FORWARDS - self.hops
        if not hops_left.isdigit() or int(hops_left) > expected:
            self.complain(f"{method} with Max-Forwards {hops_left!r}, expected at most {expected}")
        if initial and method in DIALOG_METHODS:
            self._check_record_route(request)

    def _check_record_route(self, message: Message) -> None:
        routes = message.all("record-route")
        if len(routes) not in (self.hops, 2 * self.hops):  # one, or two where the sides differ in transport or address
            self.complain(f"{message.start} with {len(routes)} Record-Route, expected {self.hops}")
        for route in routes:
            if ";lr" not in address_uri(route):
                self.complain(f"Record-Route {route} without lr")


class Destination(Agent):
    """A media server: answers what the edge sends, and calls registered users back through it."""

    @property
    def uri(self) -> str:
        """What dispatcher.list says of it."""
        return f"sip:{host_port(*self.address)}"


def dialog_key(request: Message) -> tuple[str, str, str]:
    """Call-ID, our tag, the peer's tag of a request that came to us."""
    return request.first("call-id"), parameter(request.first("to"), "tag"), parameter(request.first("from"), "tag")


def contacts_of(response: Message) -> dict[str, int]:
    """Contact URI -> expires, of a response to REGISTER; -1 where it says none."""
    return {address_uri(value): int(parameter(value, "expires") or -1) for value in response.all("contact")}


__all__ = ["Agent", "Behaviour", "Call", "Destination", "Dialog", "Timeout", "Unexpected", "contacts_of"]
