"""dispatcher.list: `setid destination [flags [priority [attrs]]]` a line, as Kamailio's users write it.

The grammar is checked here, every mistake at once; `unusable` tells what of it cannot be used yet, and
supervisor/dispatcher.py resolves the names.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sipcore.algorithms import ALGORITHM_NAMES, algorithm_of

FILE_MAX = 1 << 20  # octets; 1,024 destinations with long attrs are a quarter of it
LINE_MAX = 4096  # octets; a URI and its attrs, and then some
DESTINATIONS_MAX = 1024  # rows of the shared page
URI_MAX = 255  # octets a worker keeps
SET_ID_MAX = 2**31 - 1  # the peers' int
PRIORITY_MAX = 65535
WEIGHT_MAX = 65535
PROBLEMS_MAX = 50  # a file of another kind would complain in every line

FLAG_INACTIVE = 1
FLAG_TRYING = 2
FLAG_DISABLED = 4
FLAG_PROBING = 8  # every destination is probed unless FLAG_NO_PING says otherwise: accepted, changes nothing
FLAG_NO_DNS_A = 16
FLAG_NO_PING = 32
FLAGS_MAX = 63

DEFAULT_WEIGHT = 1
DEFAULT_PORT = 5060
TRANSPORTS = ("udp", "tcp", "tls", "sctp", "ws", "wss")
USABLE_TRANSPORTS = ("udp",)
# attrs that Kamailio acts upon and we, so far, only keep
ATTRS_NOT_ACTED_UPON = ("cc", "latency", "maxload", "obproxy", "ocmax", "ocmin", "ocrate", "ping_from", "ping_socket",
                        "sockname", "socket")  # fmt: skip
UNWEIGHTED_ALGORITHMS = ("round-robin", "priority")

URI = re.compile(
    r"(?P<scheme>sips?):(?:(?P<user>[^@\s]+)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.\-_]+)(?::(?P<port>\d{1,5}))?"
    r"(?P<params>(?:;[^;?\s]+)*)(?:\?\S*)?",
    re.IGNORECASE,
)
COMMENT = re.compile(r"(?:^|\s)#.*$")


@dataclass(frozen=True)
class Problem:
    """A mistake or a doubt: where, and one sentence. Line 0 is the file as a whole."""

    name: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.name}:{self.line}: {self.text}" if self.line else f"{self.name}: {self.text}"


class ListError(ValueError):
    """The list is refused whole; `problems` has every mistake in order of lines."""

    def __init__(self, problems: list[Problem]) -> None:
        shown = [str(problem) for problem in problems[:PROBLEMS_MAX]]
        if len(problems) > PROBLEMS_MAX:
            shown.append(f"and {len(problems) - PROBLEMS_MAX} more")
        super().__init__("\n".join(shown))
        self.problems = problems


@dataclass(frozen=True)
class Entry:
    """One destination as written. weight is what balancing uses; attrs is the column verbatim; host has no brackets."""

    line: int
    set_id: int
    uri: str
    host: str
    port: int
    transport: str
    flags: int
    priority: int
    weight: int
    attrs: str
    numeric: bool

    @property
    def key(self) -> tuple[int, str]:
        return self.set_id, self.uri


@dataclass
class DispatcherList:
    """A list without mistakes: its entries in order of lines, and what its author may not have meant."""

    name: str
    entries: list[Entry] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


class LineError(ValueError):
    """One sentence about one line."""


def read(path: str, settings: Mapping[str, Any] | None = None) -> DispatcherList:
    """The list in a file; `settings` is the [dispatcher] section. ListError."""
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_MAX + 1)
    except OSError as error:
        raise ListError([Problem(path, 0, f"cannot be read: {error.strerror}")]) from error
    return parse(data, settings, path)


def parse(
    data: bytes | str, settings: Mapping[str, Any] | None = None, name: str = "dispatcher.list"
) -> DispatcherList:
    """The list in `data`; `settings` is the [dispatcher] section (its defaults where None). ListError."""
    settings = settings or {}
    parsed = DispatcherList(name)
    problems: list[Problem] = []
    lines_of: dict[tuple[int, str], int] = {}
    for number, line in enumerate(text_lines(data, name), 1):
        try:
            entry = parse_line(line, number, settings)
            if entry is None:
                continue
            if entry.key in lines_of:
                raise LineError(
                    f"set {entry.set_id} has {entry.uri} already on line {lines_of[entry.key]}; "
                    "expected each destination once (give it more calls by weight=)"
                )
            lines_of[entry.key] = number
            parsed.entries.append(entry)
        except LineError as error:
            problems.append(Problem(name, number, str(error)))
    if len(parsed.entries) > DESTINATIONS_MAX:
        problems.append(Problem(name, 0, f"{len(parsed.entries)} destinations, expected at most {DESTINATIONS_MAX}"))
    if problems:
        raise ListError(problems)
    parsed.warnings = sorted(doubts(parsed, settings), key=lambda problem: problem.line)
    return parsed


def unusable(parsed: DispatcherList) -> list[Problem]:
    """What is right in the grammar and cannot be used yet: transports other than UDP."""
    return [
        Problem(
            parsed.name,
            entry.line,
            f"{entry.uri} wants {entry.transport.upper()}, which destinations cannot use yet; "
            "expected ;transport=udp or none",
        )
        for entry in parsed.entries
        if entry.transport not in USABLE_TRANSPORTS
    ]


def set_settings(settings: Mapping[str, Any], set_id: int) -> dict[str, Any]:
    """The [dispatcher] keys as they hold for one set."""
    return {**settings, **settings.get("sets", {}).get(str(set_id), {})}


# -- lines -------------------------------------------------------------------------------------------------------------


def text_lines(data: bytes | str, name: str) -> list[str]:
    if isinstance(data, str):
        data = data.encode()
    if len(data) > FILE_MAX:
        raise ListError([Problem(name, 0, f"more than {FILE_MAX} octets; is this a dispatcher list?")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ListError([Problem(name, line, f"octet 0x{data[error.start]:02x} is not UTF-8")]) from error
    return re.split(r"\r\n|\n|\r", text)


def parse_line(line: str, number: int, settings: Mapping[str, Any]) -> Entry | None:
    """One line; None where it holds nothing. LineError."""
    if len(line) > LINE_MAX:
        raise LineError(f"{len(line)} characters, expected at most {LINE_MAX}")
    fields = COMMENT.sub("", line).split(maxsplit=4)
    if not fields:
        return None
    if len(fields) == 1:
        raise LineError(f"found {shown(fields[0])} alone, expected: setid destination [flags [priority [attrs]]]")
    columns = dict(zip(("setid", "destination", "flags", "priority", "attrs"), fields, strict=False))
    set_id = number_of(columns["setid"], "setid", SET_ID_MAX)
    host, port, transport = parse_uri(columns["destination"])
    flags = flags_of(columns.get("flags", "0"))
    priority = priority_of(columns.get("priority", "0"))
    attrs = columns.get("attrs", "").rstrip()
    weight = weight_of(attrs)
    if weight is None:
        priority_is_weight = set_settings(settings, set_id).get("priority_is_weight", False)
        weight = priority if priority_is_weight and priority else DEFAULT_WEIGHT
    return Entry(
        number, set_id, columns["destination"], host, port, transport, flags, priority, weight, attrs, is_numeric(host)
    )


def number_of(text: str, column: str, most: int) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > most:
        raise LineError(f"{column} {shown(text)}: expected a number from 0 to {most}")
    return int(text)


def priority_of(text: str) -> int:
    if "=" in text:
        raise LineError(f"priority {shown(text)}: expected a number; attrs such as {shown(text)} are the fifth column")
    return number_of(text, "priority", PRIORITY_MAX)


def flags_of(text: str) -> int:
    if "=" in text:
        raise LineError(f"flags {shown(text)}: expected a number; attrs such as {shown(text)} are the fifth column")
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > FLAGS_MAX:
        raise LineError(
            f"flags {shown(text)}: expected 0 or a sum of 1 inactive, 2 trying, 4 disabled, 8 probing, "
            "16 no DNS A, 32 no ping"
        )
    return int(text)


def parse_uri(uri: str) -> tuple[str, int, str]:
    """Host without brackets, port and transport of a SIP URI. LineError."""
    if len(uri.encode()) > URI_MAX:
        raise LineError(f"a destination of {len(uri.encode())} octets, expected at most {URI_MAX}")
    match = URI.fullmatch(uri)
    if match is None:
        raise LineError(f"destination {shown(uri)}: expected a SIP URI such as sip:10.0.0.11:5080;transport=udp")
    host = match["host"].strip("[]").lower()
    if not host_is_good(match["host"]):
        raise LineError(f"destination {shown(uri)}: {shown(match['host'])} is neither an IP address nor a host name")
    port = int(match["port"]) if match["port"] else DEFAULT_PORT
    if not 0 < port < 65536:
        raise LineError(f"destination {shown(uri)}: port {port}, expected 1 to 65535")
    transport = "tls" if match["scheme"].lower() == "sips" else "udp"
    for param in match["params"].split(";")[1:]:
        key, _, value = param.partition("=")
        if key.lower() == "transport":
            transport = value.lower()
            if transport not in TRANSPORTS:
                expected = ", ".join(TRANSPORTS)
                raise LineError(f"destination {shown(uri)}: transport {shown(value)}, expected one of {expected}")
    return host, port, transport


def is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def host_is_good(host: str) -> bool:
    if host.startswith("["):
        return is_numeric(host[1:-1]) and ":" in host
    if re.fullmatch(r"[0-9.]+", host):
        return is_numeric(host)
    labels = host.rstrip(".").split(".")
    return len(host) <= 253 and all(0 < len(label) <= 63 and label[0] != "-" != label[-1] for label in labels)


def attrs_of(attrs: str) -> dict[str, str]:
    """`a=b;c=d` as a dict; a name without a value has an empty one."""
    pairs = (pair.partition("=") for pair in attrs.split(";") if pair.strip())
    return {key.strip(): value.strip() for key, _, value in pairs}


def weight_of(attrs: str) -> int | None:
    """weight= (Kamailio's algorithm 9) or else rweight= (its 11); None where neither stands. LineError."""
    pairs = attrs_of(attrs)
    for key in ("weight", "rweight"):
        if key in pairs:
            return number_of(pairs[key], f"{key}=", WEIGHT_MAX)
    return None


def shown(text: str) -> str:
    """A piece of the file as a sentence can carry it."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


# -- doubts ------------------------------------------------------------------------------------------------------------


def doubts(parsed: DispatcherList, settings: Mapping[str, Any]) -> list[Problem]:
    """What loads and may not do what its author meant."""
    sets: dict[int, list[Entry]] = {}
    for entry in parsed.entries:
        sets.setdefault(entry.set_id, []).append(entry)
    found = []
    for set_id, entries in sets.items():
        keys = set_settings(settings, set_id)
        algorithm = ALGORITHM_NAMES[algorithm_of(keys.get("algorithm", "weighted-round-robin"))]
        if algorithm not in UNWEIGHTED_ALGORITHMS:
            found += weight_doubts(parsed.name, set_id, entries, bool(keys.get("priority_is_weight")), algorithm)
    wanted = settings.get("set")
    if not parsed.entries:
        found.append(Problem(parsed.name, 0, "no destinations: calls have nowhere to go"))
    elif wanted is not None and wanted not in sets:
        have = ", ".join(map(str, sorted(sets)))
        text = f"no destination in set {wanted}, where calls go; the list has set {have}"
        found.append(Problem(parsed.name, 0, text))
    return found + attr_doubts(parsed)


def weight_doubts(
    name: str, set_id: int, entries: list[Entry], priority_is_weight: bool, algorithm: str
) -> list[Problem]:
    unweighted = [entry for entry in entries if weight_of(entry.attrs) is None]
    if len(unweighted) == len(entries):
        first = next((entry for entry in entries if entry.priority), None)
        if first is None or priority_is_weight:
            return []
        return [
            Problem(
                name,
                first.line,
                f"{first.priority} is a priority, which {algorithm} does not look at, and set {set_id} has no weights: "
                f"its destinations share equally. For a weight write weight={first.priority} in the fifth column "
                f"({first.set_id} {first.uri} {first.flags} 0 weight={first.priority}) "
                "or set priority_is_weight = true",
            )
        ]
    if priority_is_weight:
        return []
    return [
        Problem(name, entry.line, f"no weight where others in set {set_id} have one: it counts as {entry.weight}")
        for entry in unweighted
    ]


def attr_doubts(parsed: DispatcherList) -> list[Problem]:
    found, lines = [], {}
    for entry in parsed.entries:
        pairs = attrs_of(entry.attrs)
        for key in ATTRS_NOT_ACTED_UPON:
            if key in pairs:
                lines.setdefault(key, entry.line)
        if "weight" in pairs and "rweight" in pairs and pairs["weight"] != pairs["rweight"]:
            text = f"weight and rweight differ: {entry.weight} (weight) counts"
            found.append(Problem(parsed.name, entry.line, text))
        if entry.flags & FLAG_NO_DNS_A and not entry.numeric:
            found.append(Problem(parsed.name, entry.line, f"flag 16: {entry.host} is resolved at load all the same"))
    for key, line in lines.items():
        found.append(Problem(parsed.name, line, f"{key}= is kept and shown, but nothing acts upon it yet"))
    return found
