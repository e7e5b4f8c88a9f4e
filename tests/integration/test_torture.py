"""The messages of RFC 4475 through the running edge: each gets the answer that the RFC fixes, and the edge lives on."""

from __future__ import annotations

import asyncio
import csv
import re
from pathlib import Path

SENDER_IP = "127.0.0.2"  # the sender binds the port of the message's Via there, so that each answer reaches it
QUIET_S = 0.15  # how long nothing must come before a message counts as dropped; answers take a millisecond
COPIED = ("via", "v", "from", "f", "to", "t", "call-id", "i", "cseq")

PASSED = "passed"  # relayed to the destination, or answered by a 2xx
DROPPED = "dropped"  # neither an answer nor a relay
CLOSED = {403, 404, 481}  # not for us: the profile relays no dialog that it did not begin, and is no open relay

# name -> what may happen: PASSED, DROPPED, or the status of the answer
EXPECTED: dict[str, set[object]] = {
    "wsinv": {PASSED, *CLOSED},  # has a To tag and a Route that is not ours
    "intmeth": {PASSED, 404},
    "esc01": {PASSED},
    "escnull": {PASSED},
    "esc02": {PASSED, 501},  # must not be taken for REGISTER: see below
    "lwsdisp": {PASSED},
    "longreq": {PASSED},
    "dblreq": {PASSED},
    "semiuri": {PASSED},
    "transports": {PASSED},
    "mpart01": {PASSED, *CLOSED},  # has a Route that is not ours
    "unreason": {DROPPED},  # a response to nothing that we sent
    "noreason": {DROPPED},
    "badinv01": {400},
    "clerr": {400},
    "ncl": {400},
    "scalar02": {400},
    "scalarlg": {DROPPED},
    "quotbal": {400},
    "ltgtruri": {400},
    "lwsruri": {400},
    "lwsstart": {400},
    "trws": {400},
    "escruri": {400, PASSED},  # the RFC leaves it open; never with a Route that came from the URI
    "baddate": {PASSED},
    "regbadct": {400, PASSED},
    "badaspec": {400, PASSED},
    "baddn": {400},
    "badvers": {505},
    "mismatch01": {400},
    "mismatch02": {400, 501},
    "bigcode": {DROPPED},
    "badbranch": {400, PASSED},
    "insuf": {400, DROPPED},
    "unkscm": {416},
    "novelsc": {416},
    "unksm2": {400},
    "bext01": {420},
    "invut": {PASSED},
    "regaut01": {PASSED},
    "multi01": {400},
    "mcl01": {400},
    "bcast": {DROPPED},
    "zeromf": {483},
    "cparam01": {PASSED},
    "cparam02": {PASSED},
    "regescrt": {PASSED},
    "sdp01": {PASSED},
    "inv2543": {PASSED},
    "test": {PASSED, 400, DROPPED, *CLOSED},  # in the RFC's archive, but not described in it
}
# AOR, message -> what the registrar must say of it afterwards (index.tsv, registrar_must)
CONTACTS = {
    "cparam01": ("watson@example.com", [b"<sip:+19725552222@gw1.example.net>"]),
    "cparam02": ("watson@example.com", [b"<sip:+19725552222@gw1.example.net;unknownparam>"]),
    "regescrt": ("user@example.com", [b"<sip:user@example.com?Route=%3Csip:sip.example.com%3E>"]),
    "escnull": ("null-%00-null@example.com", [b"<sip:%00@host5.example.com>", b"<sip:%00%00@host5.example.com>"]),
    "dblreq": ("j.user@example.com", [b"<sip:j.user@host.example.com>"]),
}


def read_index(directory: Path) -> list[dict]:
    with open(directory / "index.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [{**row, "data": (directory / row["file"]).read_bytes()} for row in rows]


class Socket(asyncio.DatagramProtocol):
    """Raw datagrams: no parser stands between the test and what came."""

    def __init__(self, answer: bool = False) -> None:
        self.received: list[bytes] = []
        self.answer = answer

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.received.append(data)
        if self.answer and not data.startswith((b"ACK ", b"SIP/2.0 ")):
            self.transport.sendto(liberal_answer(data), addr)

    async def open(self, host: str, port: int = 0) -> Socket:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, port))
        self.uri = "sip:{}:{}".format(*self.transport.get_extra_info("sockname"))
        return self


def liberal_answer(request: bytes) -> bytes:
    """A 200 that echoes what a response must, whatever the rest looks like."""
    head = re.sub(rb"\r\n[ \t]+", b" ", request.partition(b"\r\n\r\n")[0])
    lines = [
        line for line in head.split(b"\r\n")[1:] if line.split(b":")[0].strip().lower().decode("latin-1") in COPIED
    ]
    return b"\r\n".join([b"SIP/2.0 200 OK", *lines, b"Content-Length: 0", b"", b""])


def via_of(data: bytes) -> bytes:
    """The top Via's value, folding undone."""
    head = re.sub(rb"\r\n[ \t]+", b" ", data.partition(b"\r\n\r\n")[0])
    found = re.search(rb"\r\n(?:Via|v)[ \t]*:([^\r]*)", head, re.IGNORECASE)
    return found[1] if found else b""


def via_port(data: bytes) -> int:
    found = re.match(rb"[^;,]*?:[ \t]*(\d{4,5})", via_of(data))
    return int(found[1]) if found else 5060


def rounds(index: list[dict]) -> list[list[dict]]:
    """The messages by edge. Some share sent-by, branch and method: one edge would take the second for a retransmission
    of the first (RFC 3261 17.2.3), so each goes to the first edge that has not seen its transaction."""
    seen: list[set[tuple[bytes, str]]] = []
    parts: list[list[dict]] = []
    for row in index:
        key = (via_of(row["data"]), row["start_line"].split()[0])
        number = next((number for number, keys in enumerate(seen) if key not in keys), len(seen))
        if number == len(seen):
            seen.append(set())
            parts.append([])
        seen[number].add(key)
        parts[number].append(row)
    return parts


async def outcome_of(data: bytes, edge, destination: Socket) -> tuple[object, list[bytes]]:
    """Sends the message as its Via's host would; what happened, and what came back."""
    sender = await Socket().open(SENDER_IP, via_port(data))
    before = len(destination.received)
    try:
        sender.transport.sendto(data, edge.address)
        loop = asyncio.get_running_loop()
        quiet = loop.time() + QUIET_S
        seen = 0
        while loop.time() < quiet:
            await asyncio.sleep(0.01)
            if len(sender.received) > seen:
                seen, quiet = len(sender.received), loop.time() + QUIET_S / 3
        relayed = [
            each for each in destination.received[before:] if not each.startswith((b"ACK ", b"OPTIONS sip:127."))
        ]
        answers = [int(each[8:11]) for each in sender.received if each.startswith(b"SIP/2.0 ")]
        finals = [status for status in answers if status >= 200]
        if relayed or (finals and finals[-1] < 300):
            return PASSED, relayed + sender.received
        return (finals[-1] if finals else DROPPED), sender.received
    finally:
        sender.transport.close()
        await asyncio.sleep(0)


def problems_of(name: str, data: bytes, found: object, came: list[bytes]) -> list[str]:
    """What else the RFC says of single messages, beyond the kind of answer."""
    problems = []
    if found not in EXPECTED[name]:
        problems.append(f"{name}: {found}, expected one of {sorted(map(str, EXPECTED[name]))}")
    relayed = [each for each in came if not each.startswith(b"SIP/2.0 ")]
    for each in relayed:
        if name in ("mpart01", "intmeth") and each.partition(b"\r\n\r\n")[2] != data.partition(b"\r\n\r\n")[2]:
            problems.append(f"{name}: the body changed")
        if name == "intmeth" and b'"BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f"' not in each:
            problems.append("intmeth: quoted control characters changed")
        if name == "escruri" and re.search(rb"\r\nRoute:", each, re.IGNORECASE):
            problems.append("escruri: a URI header became a header")
        if name == "dblreq":
            problems.append("dblreq: a REGISTER, or the octets behind it, was relayed")
    if name == "longreq" and found == PASSED:
        answer = next(each for each in came if each.startswith(b"SIP/2.0 "))
        if len(re.findall(rb"\bSIP/2\.0/TCP ", answer)) != 34:
            problems.append("longreq: the answer does not hold all 34 Vias")
    if name == "bext01" and not any(b"norDoAnyProxiesSupportThis" in each for each in came):
        problems.append("bext01: the 420 has no Unsupported")
    return problems


async def test_every_message_of_the_rfc(field, edge, vectors):
    index = read_index(vectors / "rfc4475")
    assert {row["name"] for row in index} == set(EXPECTED)
    assert len(index) == 50
    destination = await Socket(answer=True).open("127.0.0.1")
    problems = []
    for number, part in enumerate(rounds(index)):
        running = await edge([destination.uri])
        probe = await field.phone(f"probe{number}", running)
        for row in part:
            found, came = await outcome_of(row["data"], running, destination)
            problems += problems_of(row["name"], row["data"], found, came)
            alive = await asyncio.wait_for(probe.ask("OPTIONS", f"sip:127.0.0.1:{running.port}"), 5)
            assert alive.status == 200, f"after {row['name']}"
            if row["name"] in CONTACTS:
                problems += await contact_problems(probe, row["name"])
    destination.transport.close()
    assert problems == []


async def contact_problems(probe, name: str) -> list[str]:
    """Whether the registrar shows the contacts as it must."""
    aor, expected = CONTACTS[name]
    response = await probe.ask("REGISTER", "sip:example.com", to=f"sip:{aor}")
    shown = {re.match(r"<[^>]*>", value)[0].encode() for value in response.all("contact")}
    return [] if shown == set(expected) else [f"{name}: the registrar shows {shown}, expected {expected}"]
