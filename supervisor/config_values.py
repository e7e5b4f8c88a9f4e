"""What each kind of value may be: one check a kind, giving the value in its one spelling and what is wrong with it."""

import os
from ipaddress import ip_address
from typing import Any, NamedTuple

from supervisor.config_schema import (
    ALGORITHM_NUMBERS,
    AUTO,
    DOMAINS_MAX,
    LIST_MAX,
    LISTEN_MAX,
    PATH_MAX,
    RUN_DIR_MAX,
    SOCKET_PATH_MAX,
    TEXT_MAX,
    Key,
)

PORT_MAX = 65535
LABEL_MAX = 63  # RFC 1035 2.3.4
NAME_MAX = 253
LATER_TRANSPORTS = ("tcp", "tls", "ws", "wss", "sctp")
LATER_STORES = ("postgresql", "postgres", "mysql", "redis", "rediss", "mongodb")
NEVER_FAILOVER = (
    486,
    487,
    488,
)  # busy, cancelled, not acceptable: another server would say the same, and the callee rings twice


class Bad(NamedTuple):
    """One thing wrong with a value: what was expected, and the index of the element when it is a list."""

    expected: str
    index: int | None = None


Checked = tuple[Any, list[Bad]]


def check(key: Key, value: Any, base: str) -> Checked:
    """(the value in its one spelling, what is wrong with it); relative paths are taken from the directory `base`."""
    return KINDS[key.kind](key, value, base)


def describe(key: Key) -> str:
    """What the key may be, for people: "a whole number from 1 to 64"."""
    if key.values:
        return one_of(key)
    text = DESCRIPTIONS.get(key.kind, "")
    if key.kind in ("whole", "number", "codes", "failover-codes", "workers"):
        text = (
            f"{text} from {key.low:g} to {key.high:g}" if key.high < 10**6 else f"{text} from {key.low} to {key.high}"
        )
    return text


def one_of(key: Key) -> str:
    return "one of " + ", ".join(f'"{word}"' for word in key.values)


def kind_of(value: Any) -> str:
    """The TOML name of a Python value's type."""
    for types, name in (
        (bool, "true/false"),
        (int, "whole number"),
        (float, "number"),
        (str, "text"),
        (list, "list"),
        (dict, "table"),
    ):
        if isinstance(value, types):
            return name
    return "date or time"


def show(value: Any) -> str:
    """A value as TOML would have it, shortened, with its type where the text alone does not tell."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        quoted = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in quoted)
        return quoted if len(quoted) <= 80 else quoted[:76] + '..."'
    if isinstance(value, list):
        return "[" + ", ".join(show(element) for element in value[:8]) + (", ...]" if len(value) > 8 else "]")
    if isinstance(value, dict):
        return "a table"
    return str(value)


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def whole(key: Key, value: Any, _base: str) -> Checked:
    if is_whole(value) and key.low <= value <= key.high:
        return value, []
    return value, [Bad(describe(key))]


def number(key: Key, value: Any, _base: str) -> Checked:
    if (is_whole(value) or isinstance(value, float)) and key.low <= value <= key.high:  # NaN and infinity compare false
        return value, []
    return value, [Bad(describe(key))]


def switch(_key: Key, value: Any, _base: str) -> Checked:
    return value, [] if isinstance(value, bool) else [Bad("true or false")]


def choice(key: Key, value: Any, _base: str) -> Checked:
    return value, [] if isinstance(value, str) and value in key.values else [Bad(one_of(key))]


def text(key: Key, value: Any, _base: str) -> Checked:
    """One printable line: it goes into a header or a status line as it is."""
    low, high = int(key.low or 0), int(key.high or TEXT_MAX)
    if isinstance(value, str) and value.isprintable() and low <= len(value.encode()) <= high and value == value.strip():
        return value, []
    return value, [Bad(f"one line of {low} to {high} octets, no control characters, no white space at its ends")]


def workers(key: Key, value: Any, _base: str) -> Checked:
    return (value, []) if value == AUTO else whole(key, value, _base)


def auth(key: Key, value: Any, _base: str) -> Checked:
    if value == "digest":
        return value, [Bad('"none" (registering with a password is not available in this version yet)')]
    if value == "none":
        return value, []
    return value, [Bad(auth_choices(key))]


def auth_choices(key: Key) -> str:
    return " or ".join(f'"{word}" ({meaning})' for word, meaning in key.values.items())


def algorithm(key: Key, value: Any, _base: str) -> Checked:
    """The name, also for a peer's number."""
    if isinstance(value, str):
        if value in key.values:
            return value, []
        if value in ALGORITHM_NUMBERS:
            return ALGORITHM_NUMBERS[value], []
        if value[:2] in ("o:", "k:"):
            peer = {"o": "OpenSIPS", "k": "Kamailio"}[value[0]]
            have = ", ".join(number for number in ALGORITHM_NUMBERS if number[0] == value[0])
            return value, [Bad(f"an algorithm that Viaduct has; of {peer}'s numbers it has {have}")]
    elif is_whole(value):
        return value, [
            Bad(f'a name, or the number with its owner: "o:{value}" as in OpenSIPS, "k:{value}" as in Kamailio')
        ]
    return value, [Bad(one_of(key) + ', or a number of the peers such as "o:4" or "k:9"')]


def elements(value: Any, what: str, maximum: int, minimum: int = 0) -> list[Bad]:
    if not isinstance(value, list):
        return [Bad(f"a list of {what}")]
    if not minimum <= len(value) <= maximum:
        return [Bad(f"{minimum} to {maximum} elements, not {len(value)}")]
    return []


def codes(key: Key, value: Any, _base: str) -> Checked:
    bad = elements(value, f"status codes from {key.low} to {key.high}", LIST_MAX)
    if bad:
        return value, bad
    for index, code in enumerate(value):
        if not (is_whole(code) and key.low <= code <= key.high):
            bad.append(Bad(f"a status code from {key.low} to {key.high}", index))
    return value, bad


def failover_codes(key: Key, value: Any, base: str) -> Checked:
    value, bad = codes(key, value, base)
    if isinstance(value, list):
        bad += [
            Bad("no 486, 487 or 488: that is the callee's word, not the server's failure", index)
            for index, code in enumerate(value)
            if code in NEVER_FAILOVER
        ]
    return value, bad


def listen(_key: Key, value: Any, _base: str) -> Checked:
    """Each "udp:IP:PORT" in the one spelling of its address, no two the same."""
    bad = elements(value, 'addresses such as "udp:0.0.0.0:5060"', LISTEN_MAX, 1)
    if bad:
        return value, bad
    spelled, seen = [], {}
    for index, entry in enumerate(value):
        one, wrong = listen_one(entry)
        spelled.append(one)
        if wrong:
            bad.append(Bad(wrong, index))
            continue
        same = one.replace("udp:*:", "udp:0.0.0.0:")
        if same in seen and not same.endswith(":0"):
            bad.append(Bad(f"each address once; it is already element {seen[same] + 1}", index))
        seen.setdefault(same, index)
    return spelled, bad


def listen_one(entry: Any) -> tuple[Any, str]:
    form = '"udp:IP:PORT", such as "udp:0.0.0.0:5060", "udp:[::1]:5060" or "udp:*:5060"'
    if not isinstance(entry, str):
        return entry, form
    transport, colon, rest = entry.partition(":")
    if transport.lower() in LATER_TRANSPORTS:
        return entry, f"{form} ({transport} is not available in this version yet)"
    if transport.lower() != "udp" or not colon:
        return entry, form
    host, port, wrong = host_port(rest)
    if wrong or port is None:
        return entry, wrong or f"{form} (the port is missing)"
    if host == "*":
        return f"udp:*:{port}", ""
    try:
        address = ip_address(host)
    except ValueError:
        return entry, f"{form} (an address, not a host name: names belong in edge.advertise and edge.domains)"
    return (f"udp:[{address}]:{port}" if address.version == 6 else f"udp:{address}:{port}"), ""


def host_port(value: str) -> tuple[str, int | None, str]:
    """(host without brackets, port or None, what is wrong)."""
    if value.startswith("["):
        host, bracket, rest = value[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            return host, None, 'an IPv6 address as "[::1]" or "[::1]:5060"'
        port = rest[1:] if rest else None
    elif value.count(":") > 1:
        return value, None, f'an IPv6 address in brackets: "[{value}]", with ":PORT" behind'
    else:
        host, colon, after = value.partition(":")
        port = after if colon else None
    if port is not None and not (port.isascii() and port.isdigit() and int(port) <= PORT_MAX):
        return host, None, f"a port from 0 to {PORT_MAX}"
    return host, None if port is None else int(port), ""


def is_address(text: str) -> bool:
    """A numeric address without brackets."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_host(name: str) -> bool:
    """A host name (RFC 1123) or a numeric address without brackets."""
    if is_address(name):
        return True
    labels = name.removesuffix(".").split(".")
    if not name or len(name) > NAME_MAX or labels[-1].isdigit():
        return False
    return all(
        0 < len(label) <= LABEL_MAX
        and label.isascii()
        and label.replace("-", "").isalnum()
        and label[0] != "-" != label[-1]
        for label in labels
    )


def advertise(_key: Key, value: Any, _base: str) -> Checked:
    form = '"host" or "host:port", such as "sip.example.com:5060", or "" for the listening address'
    if value == "":
        return value, []
    if not isinstance(value, str):
        return value, [Bad(form)]
    host, port, wrong = host_port(value)
    if wrong or port == 0 or not is_host(host) or host == "0.0.0.0" or host.strip("0:") == "":
        return value, [Bad(wrong or form)]
    return value, []


def domains(_key: Key, value: Any, _base: str) -> Checked:
    """Lower case, as domains compare."""
    bad = elements(value, 'domains such as "example.com"', DOMAINS_MAX)
    if bad:
        return value, bad
    for index, name in enumerate(value):
        if not (isinstance(name, str) and is_host(name.removeprefix("[").removesuffix("]"))):
            bad.append(Bad('a domain such as "example.com", without "sip:", user or port', index))
    return (value if bad else [name.lower() for name in value]), bad


def path(_key: Key, value: Any, base: str) -> Checked:
    if not isinstance(value, str) or not value or "\0" in value or len(os.fsencode(value)) > PATH_MAX:
        return value, [Bad("the path of a file")]
    return os.path.normpath(os.path.join(base, os.path.expanduser(value))), []


def run_dir(key: Key, value: Any, base: str) -> Checked:
    return short_path(key, value, base, RUN_DIR_MAX, "a directory")


def socket(key: Key, value: Any, base: str) -> Checked:
    return (value, []) if value == "" else short_path(key, value, base, SOCKET_PATH_MAX, "a Unix socket")


def short_path(key: Key, value: Any, base: str, maximum: int, what: str) -> Checked:
    full, bad = path(key, value, base)
    if bad:
        return value, [Bad(f"the path of {what}")]
    if len(os.fsencode(full)) > maximum:
        return value, [Bad(f"the path of {what} of at most {maximum} octets, because sockets have no longer names")]
    return full, []


def store(key: Key, value: Any, base: str) -> Checked:
    """ "memory:", or "sqlite://" and an absolute path."""
    form = '"sqlite:///absolute/path", "sqlite:relative/path" or "memory:"'
    if value in ("memory:", "memory"):
        return "memory:", []
    if not isinstance(value, str):
        return value, [Bad(form)]
    scheme, _, rest = value.partition(":")
    if scheme.split("+")[0] in LATER_STORES:
        return value, [Bad(f"{form} ({scheme} is not available in this version yet)")]
    if scheme != "sqlite" or rest in ("", "//", "///", ":memory:", "//:memory:", "///:memory:"):
        return value, [Bad(form)]
    if rest.startswith("//") and not rest.startswith("///"):
        return value, [Bad(f"{form} (three slashes: two of the URL, one of the path)")]
    full, bad = path(key, "/" + rest.lstrip("/") if rest.startswith("//") else rest, base)
    return (value, [Bad(form)]) if bad else ("sqlite://" + full, [])


def admin_listen(_key: Key, value: Any, _base: str) -> Checked:
    form = '"127.0.0.1:8888", "[::1]:8888" or "" for none'
    if value == "":
        return value, []
    if not isinstance(value, str):
        return value, [Bad(form)]
    host, port, wrong = host_port(value)
    try:
        address = ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return value, [Bad(wrong or form)]
    if wrong or port is None:
        return value, [Bad(wrong or form)]
    if not address.is_loopback:
        return value, [
            Bad(f"{form}: a loopback address, because the admin API asks for no password (reach it through ssh -L)")
        ]
    return (f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"), []


KINDS = {
    "whole": whole,
    "number": number,
    "switch": switch,
    "choice": choice,
    "text": text,
    "workers": workers,
    "auth": auth,
    "algorithm": algorithm,
    "codes": codes,
    "failover-codes": failover_codes,
    "listen": listen,
    "advertise": advertise,
    "domains": domains,
    "path": path,
    "run-dir": run_dir,
    "socket": socket,
    "store": store,
    "admin-listen": admin_listen,
}

DESCRIPTIONS = {
    "whole": "a whole number",
    "number": "a number",
    "switch": "true or false",
    "text": "one line of text",
    "workers": '"auto" or a whole number',
    "codes": "a list of status codes",
    "failover-codes": "a list of status codes",
    "listen": "a list of addresses",
    "advertise": "host or host:port",
    "domains": "a list of domains",
    "path": "a path",
    "run-dir": "a directory",
    "socket": "a path",
    "store": "a URL",
    "admin-listen": "address:port on loopback",
}
