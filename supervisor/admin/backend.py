"""What the admin API asks of the supervisor: one object with these methods, all on the supervisor's event loop."""

from typing import Any, Protocol, TypedDict


class AdminError(Exception):
    """A request that is refused: an HTTP-like code (404, 409, 500) and one sentence for the person who asked."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class DestinationRow(TypedDict, total=False):
    """One destination. `set`, `uri` and `state` are always there; the others where they are known."""

    set: int
    uri: str
    state: str  # active, trying, inactive, draining, disabled
    algorithm: str  # of its set
    weight: int
    priority: int
    attrs: str  # as in the list
    addresses: list[str]  # resolved, "ip:port"
    socket: str  # "udp:ip:port" we send from
    calls: int  # in progress
    attempts: int
    responses: int
    failures: int
    latency_ms: float | None  # of the last probe that was answered
    last_probe: str  # its answer
    probed: bool
    reason: str  # of the last change of state
    since: str  # when that was, ISO 8601


class BindingRow(TypedDict, total=False):
    """One binding. `contact` and `expires_s` are always there."""

    contact: str
    expires_s: int  # remaining
    q: int  # thousandths
    call_id: str
    cseq: int
    received: str  # "sip:ip:port" its REGISTER came from
    socket: str  # "udp:ip:port" it came to
    path: str
    agent: str
    instance: str


class AorRow(TypedDict):
    aor: str
    contacts: list[BindingRow]


class BindingsPage(TypedDict):
    """`total`: AORs there are; `aors`: those from the offset on, at most the limit, in an order that pages share."""

    total: int
    aors: list[AorRow]


class ProcessRow(TypedDict, total=False):
    """One process. `name` ("worker 0") and `pid` are always there; the others where they are known."""

    name: str
    pid: int
    cpu_percent: float
    cpu_s: float  # since it started
    rss: int  # octets
    messages: int  # datagrams in and out
    restarts: int
    uptime_s: float
    state: str  # serving, loading, starting, ...


class Backend(Protocol):
    """The supervisor, as the admin API sees it. Every method may raise AdminError."""

    async def destinations(self) -> list[DestinationRow]: ...

    async def reload_destinations(self) -> dict[str, Any]:
        """Reads the list again: {"added", "removed", "changed": number or list, "warnings": list of sentences}.

        AdminError when the list has mistakes, with all of them in the text; the running list then stays.
        """

    async def set_state(self, set_id: int, uri: str, state: str) -> None: ...

    async def bindings(self, aor: str | None, offset: int, limit: int) -> BindingsPage:
        """All AORs by pages, or the one that is asked for (no page then, `aors` empty when it is unknown)."""

    async def remove_bindings(self, aor: str, contact: str | None) -> int:
        """How many bindings went."""

    async def processes(self) -> list[ProcessRow]: ...

    async def statistics(self) -> dict[str, int]:
        """Name -> value, summed over the workers."""

    async def set_log_level(self, level: str) -> None: ...

    async def info(self) -> dict[str, Any]:
        """version, uptime_s, epoch, sequence, applied (what every worker has of the log), workers, log_level, and
        ready: a list is loaded and a worker serves."""
