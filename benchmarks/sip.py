"""A small SIP text parser and writer for the agents, not the product's: so the one checks the other."""

from __future__ import annotations

import re
import secrets

LONG_NAMES = {  # RFC 3261 7.3.3 and the IANA registry: compact forms
    "c": "content-type", "f": "from", "i": "call-id", "k": "supported", "l": "content-length",
    "m": "contact", "o": "event", "s": "subject", "t": "to", "v": "via",
}  # fmt: skip
LISTS = frozenset(("via", "route", "record-route", "contact", "supported", "allow", "unsupported"))
MAGIC = "z9hG4bK"  # RFC 3261 8.1.1.7

_LINE = re.compile(r"([!-9;-~]+)[ \t]*:[ \t]*(.*)\Z", re.DOTALL)


class Malformed(ValueError):
    """A datagram that is not SIP; the text says what was found."""


class Message:
    """One SIP message as text: start line, (name, value) pairs in order, body as bytes. Names compare without case."""

    __slots__ = ("body", "headers", "start")

    def __init__(self, start: str, headers: list[tuple[str, str]], body: bytes = b"") -> None:
        self.start, self.headers, self.body = start, headers, body

    @property
    def status(self) -> int | None:
        """The status code, None for a request."""
        return int(self.start[8:11]) if self.start.startswith("SIP/2.0 ") else None

    @property
    def phrase(self) -> str:
        return self.start[12:]

    @property
    def method(self) -> str:
        """The request's method; of a response, the CSeq's."""
        return self.start.split(" ", 1)[0] if self.status is None else self.first("cseq").split()[1]

    @property
    def uri(self) -> str:
        return self.start.split(" ")[1]

    def first(self, name: str) -> str:
        """The first value of a header, "" where there is none."""
        return next(iter(self.all(name)), "")

    def all(self, name: str) -> list[str]:
        """Every value of a header; the list headers split at their commas."""
        name = name.lower()
        found = [value for key, value in self.headers if LONG_NAMES.get(key.lower(), key.lower()) == name]
        return [part for value in found for part in split_list(value)] if name in LISTS else found

    @property
    def branch(self) -> str:
        return parameter(self.first("via"), "branch")

    @property
    def cseq(self) -> int:
        return int(self.first("cseq").split()[0])

    def encode(self) -> bytes:
        lines = [self.start, *(f"{name}: {value}" for name, value in self.headers)]
        return (
            "\r\n".join([*lines, f"Content-Length: {len(self.body)}", "", ""]).encode("utf-8", "surrogateescape")
            + self.body
        )


def parse(data: bytes) -> Message:
    """One datagram; Malformed where it is not a SIP message with the headers that each must have (RFC 3261 8.1.1)."""
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        raise Malformed(f"no empty line in {data[:60]!r}")
    start, *lines = re.sub(r"\r\n[ \t]+", " ", head.decode("utf-8", "surrogateescape")).split("\r\n")
    if not (re.match(r"SIP/2\.0 \d{3} ", start) or re.fullmatch(r"\S+ \S+ SIP/2\.0", start)):
        raise Malformed(f"start line {start!r}")
    headers = []
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            raise Malformed(f"header line {line!r}")
        headers.append((match[1], match[2].rstrip()))
    message = Message(start, headers, body)
    for name in ("via", "from", "to", "call-id", "cseq"):
        if not message.first(name):
            raise Malformed(f"no {name} in {start!r}")
    length = message.first("content-length")
    if length and int(length) != len(body):
        raise Malformed(f"Content-Length {length}, but {len(body)} octets of body in {start!r}")
    message.headers = [pair for pair in headers if LONG_NAMES.get(pair[0].lower(), pair[0].lower()) != "content-length"]
    return message


def split_list(value: str) -> list[str]:
    """A list header's value at its top-level commas: not those in quotes or angle brackets."""
    parts, depth, quoted, begin = [], 0, False, 0
    for at, char in enumerate(value):
        if char == '"' and value[at - 1 : at] != "\\":
            quoted = not quoted
        elif not quoted and char in "<>":
            depth += 1 if char == "<" else -1
        elif char == "," and not quoted and not depth:
            parts.append(value[begin:at].strip())
            begin = at + 1
    return [*parts, value[begin:].strip()]


def parameter(value: str, name: str) -> str:
    """A header parameter of a From, To, Contact or Via value; "" where it is absent or has no value."""
    outside = value[value.rfind(">") + 1 :] if ">" in value else value
    match = re.search(rf";\s*{name}\s*=\s*([^;,\s]+)", outside, re.IGNORECASE)
    return match[1] if match else ""


def address_uri(value: str) -> str:
    """The URI of a From, To, Contact, Route or Record-Route value."""
    match = re.search(r"<([^>]*)>", value)
    return match[1] if match else value.split(";", 1)[0].strip()


def uri_endpoint(uri: str) -> tuple[str, int]:
    """The numeric host and port of a SIP URI."""
    match = re.match(r"sips?:(?:[^@]*@)?(\[[^\]]+\]|[^:;?>]+)(?::(\d+))?", uri)
    if match is None:
        raise Malformed(f"URI {uri!r}")
    return match[1].strip("[]"), int(match[2] or 5060)


def host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def token(octets: int = 8) -> str:
    return secrets.token_hex(octets)


def sdp(host: str, port: int = 40000, direction: str = "sendrecv") -> bytes:
    """A session description of one PCMU stream; nothing listens at the port."""
    return (
        f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na={direction}\r\n"
    ).encode()
