"""JSON-RPC 2.0 over bytes: one request or a batch in, the answer out. Knows neither HTTP nor what the methods do."""

import inspect
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from supervisor.admin.backend import AdminError

BATCH_MAX = 64  # requests in a batch: more than any script sends, and a bound on what one body can start

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603

TRUE_WORDS = ("1", "true", "yes", "on", "y", "full", "brief")  # the last two: the peers' flags name themselves
FALSE_WORDS = ("", "0", "false", "no", "off", "n")

log = logging.getLogger(__name__)


class Method(NamedTuple):
    """A callable and its parameters in order: name -> (type, default or inspect.Parameter.empty)."""

    call: Callable[..., Awaitable[Any]]
    parameters: dict[str, tuple[type, Any]]


class Methods:
    """The registry: name -> async callable. Parameters and their types come from the callable's signature."""

    def __init__(self) -> None:
        self.methods: dict[str, Method] = {}

    def register(self, name: str, call: Callable[..., Awaitable[Any]]) -> None:
        signature = inspect.signature(call)
        self.methods[name] = Method(call, {p.name: (p.annotation, p.default) for p in signature.parameters.values()})

    def names(self) -> list[str]:
        return sorted(self.methods)

    def parameters(self, name: str) -> list[str]:
        """The names of a method's parameters; AdminError 404 when there is no such method."""
        if name not in self.methods:
            raise AdminError(404, f"no method {name!r}; `which` lists them")
        return list(self.methods[name].parameters)

    async def answer(self, body: bytes) -> bytes | None:
        """The answer to one body, None when it holds only notifications."""
        try:
            request = json.loads(body, parse_constant=refuse_constant)
        except (ValueError, RecursionError):
            return encode(failure(None, PARSE_ERROR, "Parse error: the body is not JSON"))
        if not isinstance(request, list):
            reply = await self.one(request)
            return None if reply is None else encode(reply)
        if not 0 < len(request) <= BATCH_MAX:
            return encode(failure(None, INVALID_REQUEST, f"Invalid Request: a batch holds 1 to {BATCH_MAX} requests"))
        replies = [reply for reply in [await self.one(each) for each in request] if reply is not None]
        return encode(replies) if replies else None

    async def one(self, request: Any) -> dict[str, Any] | None:
        """The reply to one request; a notification (no id) is carried out and has none."""
        if not isinstance(request, dict):
            return failure(None, INVALID_REQUEST, "Invalid Request: expected an object")
        identity = request.get("id")
        if identity is not None and (isinstance(identity, bool) or not isinstance(identity, (str, int, float))):
            return failure(None, INVALID_REQUEST, "Invalid Request: id is a string, a number or null")
        name, params = request.get("method"), request.get("params", [])
        if request.get("jsonrpc") != "2.0" or not isinstance(name, str) or not isinstance(params, (list, dict)):
            return failure(identity, INVALID_REQUEST, 'Invalid Request: expected jsonrpc "2.0", method and params')
        reply = await self.carry_out(name, params, identity)
        return reply if "id" in request else None

    async def carry_out(self, name: str, params: list[Any] | dict[str, Any], identity: Any) -> dict[str, Any]:
        method = self.methods.get(name)
        if method is None:
            return failure(identity, METHOD_NOT_FOUND, f"Method not found: {name[:64]!r}; `which` lists them")
        try:
            arguments = bind(method, params)
        except ValueError as error:
            return failure(identity, INVALID_PARAMS, f"Invalid params of {name}: {error}")
        try:
            return {"jsonrpc": "2.0", "result": await method.call(**arguments), "id": identity}
        except AdminError as error:
            return failure(identity, error.code, error.text)
        except Exception:  # whatever a method does wrong must not end the supervisor; the log keeps it
            log.exception("admin method %s failed", name)
            return failure(identity, INTERNAL_ERROR, f"Internal error in {name}; the supervisor's log says more")


def bind(method: Method, params: list[Any] | dict[str, Any]) -> dict[str, Any]:
    """The arguments by name, each in its type. ValueError with a sentence."""
    known = method.parameters
    takes = "it takes " + (", ".join(known) or "none")
    if isinstance(params, list):
        if len(params) > len(known):
            raise ValueError(f"{len(params)} given, {takes}")
        params = dict(zip(known, params, strict=False))
    for name in params:
        if name not in known:
            raise ValueError(f"unknown {name[:64]!r}, {takes}")
    missing = [
        name for name, (_, default) in known.items() if default is inspect.Parameter.empty and name not in params
    ]
    if missing:
        raise ValueError(f"missing {', '.join(missing)}; {takes}")
    return {name: convert(name, value, known[name][0]) for name, value in params.items()}


def convert(name: str, value: Any, wanted: Any) -> Any:
    """A value as its parameter wants it; texts are read as numbers and switches, because command lines send texts."""
    if wanted is bool:
        if isinstance(value, (bool, int)) or value is None:
            return bool(value)
        if isinstance(value, str) and value.lower() in TRUE_WORDS + FALSE_WORDS:
            return value.lower() in TRUE_WORDS
        raise ValueError(f"{name} is 0 or 1")
    if wanted is int:
        text = str(value)
        if isinstance(value, bool) or not (text.isascii() and text.isdigit() and len(text) <= 18):
            raise ValueError(f"{name} is a whole number")
        return int(text)
    if wanted == list[str]:
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(each, str) for each in values):
            raise ValueError(f"{name} is a list of texts")
        return values
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)  # a peer's log level or user part that looks like a number
    if not isinstance(value, str):
        raise ValueError(f"{name} is a text")
    return value


def failure(identity: Any, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": identity}


def encode(reply: Any) -> bytes:
    return json.dumps(reply, separators=(",", ":"), default=plain).encode()


def plain(value: Any) -> int | str:
    """A counter that NumPy summed is a number; anything else that JSON does not know is its text."""
    return int(value) if hasattr(value, "__index__") else str(value)


def refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
