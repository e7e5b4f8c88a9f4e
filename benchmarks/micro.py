"""`python -m benchmarks.micro [--instructions] [--json]`: nanoseconds of CPU an operation, and their spread."""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks import pieces
from benchmarks.dispatcher import table_of
from sipcore import cookie, endpoint, hashing, location, message, steering, wire
from sipcore.algorithms import ALGORITHMS

RUNS = 7
RUN_NS = 20_000_000  # a run is long against the clock's step and short against what else the machine does
TABLE_SIZES = (100, 10_000, 100_000)
SET_SIZES = (2, 20, 200)
WORKERS = 2
TIMERS = 10_000
LIVE = 10_000  # transactions that wait meanwhile
ENTRIES = 50  # to a frame: what gathers while a batch is committed

SDP = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0 8 101\r\n"
    b"a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n"
)
INVITE = (
    b"INVITE sip:9001@edge.example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.7:5062;branch=z9hG4bK-524287-1---3a9c1f0be7d24c55;rport\r\nMax-Forwards: 70\r\n"
    b"Contact: <sip:1001@192.0.2.7:5062;transport=UDP>\r\nTo: <sip:9001@edge.example.com>\r\n"
    b'From: "Alice" <sip:1001@edge.example.com>;tag=5c7d1e2f\r\nCall-ID: 81210Zjc5NzU2MmQ4MTE0\r\nCSeq: 1 INVITE\r\n'
    b"Allow: INVITE, ACK, CANCEL, BYE, NOTIFY, REFER, MESSAGE, OPTIONS, INFO, SUBSCRIBE\r\n"
    b"Supported: replaces, outbound, path, gruu\r\nUser-Agent: Example Phone 5.1.2\r\n"
    b"Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n" % len(SDP)
) + SDP
ANSWER = (
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKV013f0be7d24c55aa1912345678\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.7:5062;branch=z9hG4bK-524287-1---3a9c1f0be7d24c55;rport=5062;received=192.0.2.7\r\n"
    b"Record-Route: <sip:192.0.2.1:5060;lr;v=AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA>\r\n"
    b'From: "Alice" <sip:1001@edge.example.com>;tag=5c7d1e2f\r\nTo: <sip:9001@edge.example.com>;tag=as7741f\r\n'
    b"Call-ID: 81210Zjc5NzU2MmQ4MTE0\r\nCSeq: 1 INVITE\r\nContact: <sip:9001@192.0.2.20:5080>\r\n"
    b"Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n" % len(SDP)
) + SDP
ROUTED = "a datagram through the router, mean of a call's six"
VIA = b"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKV013f0be7d24c55aa1912345678"
ROUTE = b"<sip:192.0.2.1:5060;lr;v=AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA>"


def hot_path() -> Iterator[tuple[str, Callable[[int], object], int]]:
    """What a forwarded message takes: name, what does it so many times, and how many operations one time is."""
    source = endpoint.pack("udp", "192.0.2.7", 5062)
    key, call_id, tag = bytes(range(16)), b"81210Zjc5NzU2MmQ4MTE0", b"5c7d1e2f"
    yield f"parse INVITE ({len(INVITE)} octets)", lambda n: message.repeat(INVITE, n), 1
    yield f"parse 200 ({len(ANSWER)} octets)", lambda n: message.repeat(ANSWER, n), 1
    yield (
        "edit INVITE: source, Via, Record-Route, Max-Forwards",
        lambda n: pieces.forward_request(INVITE, source, VIA, ROUTE, n),
        1,
    )
    yield "edit 200: Via off", lambda n: pieces.forward_response(ANSWER, n), 1
    yield "branch key: SipHash of 64 octets", lambda n: hashing.time_siphash(bytes(64), n), 1
    yield "steer INVITE", lambda n: steering.time_steer(bytearray(INVITE), WORKERS, n), 1
    yield "cookie written", lambda n: cookie.time_cookie(key, call_id, tag, source, source, n, decoding=False), 1
    yield "cookie verified", lambda n: cookie.time_cookie(key, call_id, tag, source, source, n, decoding=True), 1
    yield f"timer set and cleared, {TIMERS:,}", lambda n: pieces.set_timers(TIMERS, n), 1
    yield f"transaction begun and ended, {LIVE:,} live", lambda n: pieces.keep_transactions(LIVE, n), 1


def operations() -> Iterator[tuple[str, Callable[[int], object], int]]:
    """The hot path's, and those of the tables and the wire."""
    yield from hot_path()
    for size in SET_SIZES:
        table = table_of(ALGORITHMS["weighted-round-robin"], size)
        yield f"destination chosen of {size}", lambda n, table=table: table.time_choose(1, n), 1
    for size in TABLE_SIZES:
        table, aors = table_with(size)
        yield f"location found of {size:,}", lambda n, table=table, aors=aors: pieces.find_aors(table, aors, n), 1
    yield from wire_operations()


def wire_operations() -> Iterator[tuple[str, Callable[[int], object], int]]:
    entries = [entry(number) for number in range(ENTRIES)]
    frame = wire.encode_delta(1, 1, [wire.encode(each) for each in entries])
    found = wire.decode_from_supervisor(frame)[-1]
    table = location.LocationTable()

    def encode(times: int) -> None:
        for _ in range(times):
            wire.encode_delta(1, 1, [wire.encode(each) for each in entries])

    def decode(times: int) -> None:
        for _ in range(times):
            wire.decode_from_supervisor(frame)

    def apply(times: int) -> None:
        for _ in range(times):
            table.apply(found)

    yield "wire: a binding encoded", encode, ENTRIES
    yield "wire: a binding decoded and checked", decode, ENTRIES
    yield "location: a binding refreshed", apply, ENTRIES


def entry(number: int) -> list:
    """ENTRY_BINDINGS of one AOR with one phone."""
    contact = b"sip:user%d@192.0.2.7:5062" % number
    flow = struct.pack("=BBHHH16s", 4, 0, 0, 5062, 0, bytes((192, 0, 2, 7)))
    put = [contact, b"81210Zjc5NzU2MmQ4MTE0%d" % number, 1, 1000, 600_000, flow, b"", b"", b"Example Phone 5.1.2", 1000]
    return [wire.ENTRY_BINDINGS, number + 1, 0, number, b"sip:user%d@example.com" % number, [put], [], 0]


def table_with(size: int) -> tuple[location.LocationTable, list[bytes]]:
    table = location.LocationTable()
    for first in range(0, size, ENTRIES):
        numbers = range(first, min(first + ENTRIES, size))
        table.apply(wire.decode_entries(wire.encode_entries([wire.encode(entry(number)) for number in numbers])))
    return table, [b"sip:user%d@example.com" % number for number in range(size)]


def measure(work: Callable[[int], object], operations_each: int = 1) -> list[float]:
    """Nanoseconds of CPU an operation in each run, sorted."""
    rounds, spent = 1, 0
    while spent < RUN_NS // 4:  # also what warms it up
        begin = time.process_time_ns()
        work(rounds)
        spent = time.process_time_ns() - begin
        rounds = max(rounds * 2, rounds * (RUN_NS // 2) // max(spent, RUN_NS // 200))
    found = []
    for _ in range(RUNS):
        begin = time.process_time_ns()
        work(rounds)
        found.append((time.process_time_ns() - begin) / rounds / operations_each)
    return sorted(found)


def measure_all() -> list[dict]:
    rows = []
    for name, work, each in operations():
        runs = measure(work, each)
        rows.append({"name": name, "ns": median(runs), "least": runs[0], "most": runs[-1]})
    return rows


def add_instructions(rows: list[dict]) -> None:
    """Adds `instructions` to the hot path's rows of measure_all(), and a row of all together; ten seconds each."""
    from benchmarks import instructions, route  # they import this module  # noqa: PLC0415

    names = {name for name, _, _ in hot_path()}
    for row in rows:
        if row["name"] in names:
            row["instructions"] = instructions.count(row["name"])
    rows.append({"name": ROUTED, "instructions": route.instructions()})


def table(rows: list[dict]) -> Table:
    shown = Table(title=f"ns of CPU an operation, median of {RUNS} runs", title_justify="left")
    shown.add_column("operation")
    columns = [name for name in ("ns", "least", "most", "instructions") if name in rows[0]]
    for title in columns:
        shown.add_column(title, justify="right")
    for row in rows:
        shown.add_row(row["name"], *(f"{row[name]:,.0f}" if name in row else "-" for name in columns))
    return shown


def main() -> None:
    rows = measure_all()
    if "--instructions" in sys.argv[1:]:
        add_instructions(rows)
    if "--json" in sys.argv[1:]:
        print(json.dumps(rows))
    else:
        Console().print(table(rows))


if __name__ == "__main__":
    main()
