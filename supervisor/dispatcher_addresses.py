"""From a list's hosts to endpoints: names are resolved once, at load, and each gets the listener that reaches it."""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from typing import Protocol

from sipcore.endpoint import pack
from supervisor.dispatcher_list import DispatcherList, Entry, ListError, Problem, unusable

RESOLVE_TIMEOUT_S = 5.0  # of all names together; the C library's own limit is 30 s a name, and a start waits for this
DISCARD_PORT = 9  # any port will do to ask the kernel for a route: nothing is sent


class Listener(Protocol):
    """What is needed of a listen address: see supervisor/launch.py."""

    transport: str
    ip: str


async def resolve(parsed: DispatcherList, listeners: Sequence[Listener]) -> dict[tuple[int, str], bytes]:
    """The endpoint (24 octets) of every entry, by (set, URI). ListError names each that cannot be used, by its line."""
    problems = unusable(parsed)
    lines = {problem.line for problem in problems}
    entries = [entry for entry in parsed.entries if entry.line not in lines]
    found = await addresses_of({entry.host for entry in entries if not entry.numeric})
    endpoints = {}
    for entry in entries:
        result = [entry.host] if entry.numeric else found[entry.host]
        if isinstance(result, str):
            problems.append(Problem(parsed.name, entry.line, f"{entry.host} cannot be resolved: {result}"))
            continue
        try:
            endpoints[entry.key] = endpoint_of(entry, result, listeners)
        except LookupError as error:
            problems.append(Problem(parsed.name, entry.line, str(error)))
    if problems:
        raise ListError(sorted(problems, key=lambda problem: problem.line))
    return endpoints


async def addresses_of(names: set[str]) -> dict[str, list[str] | str]:
    """Numeric addresses of each name in the resolver's order, or one sentence of why there are none."""
    loop = asyncio.get_running_loop()
    tasks = {name: asyncio.ensure_future(loop.getaddrinfo(name, None, type=socket.SOCK_DGRAM)) for name in names}
    if tasks:
        await asyncio.wait(tasks.values(), timeout=RESOLVE_TIMEOUT_S)
    found: dict[str, list[str] | str] = {}
    for name, task in tasks.items():
        if not task.done():
            task.cancel()
            found[name] = f"no answer within {RESOLVE_TIMEOUT_S:g} s"
        elif isinstance(task.exception(), OSError):
            found[name] = task.exception().strerror or str(task.exception())
        else:
            found[name] = [address[4][0] for address in task.result()]
    return found


def endpoint_of(entry: Entry, addresses: list[str], listeners: Sequence[Listener]) -> bytes:
    """The first address that a listener reaches. LookupError where none does."""
    for address in addresses:
        index = listener_for(address, entry.transport, listeners)
        if index is not None:
            return pack(entry.transport, address, entry.port, index)
    shown = entry.host if entry.numeric else f"{entry.host} ({', '.join(addresses)})"
    raise LookupError(f"no {entry.transport} address of [edge] listen reaches {shown}: another family or loopback only")


def listener_for(address: str, transport: str, listeners: Sequence[Listener]) -> int | None:
    """The listener that sends to address: the one on the kernel's own source address, or the first that can."""
    target = ipaddress.ip_address(address)
    source = source_address(target)
    usable = []
    for index, listener in enumerate(listeners):
        local = ipaddress.ip_address(listener.ip)
        if listener.transport != transport or local.version != target.version:
            continue
        if local == source:
            return index
        # the kernel lets no packet leave the machine with a loopback source
        if local.is_unspecified or local.is_loopback == target.is_loopback:
            usable.append(index)
    return usable[0] if usable else None


def source_address(
    target: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address from which the kernel would send to target; None where it has no route (yet)."""
    family = socket.AF_INET if target.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(target), DISCARD_PORT))
            return ipaddress.ip_address(probe.getsockname()[0])
    except OSError:
        return None
