"""`python -m benchmarks.route CALLS`: calls through one worker's engine in this process, one message after another.

`instructions()` runs that under callgrind: what a worker spends on a datagram in user space, from its first octet
read to the message that leaves built, as the mean over the six that it receives of a call (INVITE 180 200 ACK BYE 200).
"""

from __future__ import annotations

import sys

from benchmarks.engine_bench import Agent, Bench, Message, answer
from benchmarks.instructions import collected
from benchmarks.micro import SDP

RECEIVED = 6  # datagrams of a call that the edge receives
FEW, MANY = 20, 120  # the difference leaves out what is touched first
WHAT_PHONES_SAY = (
    b"Allow: INVITE, ACK, CANCEL, BYE, NOTIFY, REFER, MESSAGE, OPTIONS, INFO, SUBSCRIBE\r\n"
    b"Supported: replaces, outbound, path, gruu\r\nUser-Agent: Example Phone 5.1.2\r\n"
)
BODY = b"Content-Type: application/sdp\r\n"


def place(bench: Bench, phone: Agent, number: int) -> None:
    """One call from the phone to whichever destination is chosen, answered and hung up."""
    branch, call_id = b"z9hG4bK-524287-1---%016x" % number, b"81210Zjc5NzU2MmQ4MTE0%04d" % number
    named = {"call_id": call_id, "uri": b"sip:9001@edge.example.com", "to": b"<sip:9001@edge.example.com>"}
    phone.send(phone.request("INVITE", branch=branch, headers=WHAT_PHONES_SAY + BODY, body=SDP, **named))
    phone.expect(100)
    server, invite = called(bench)
    contact = b"Contact: <sip:fs@%s>\r\n" % server.address
    server.send(answer(invite, 180, b"Ringing", headers=contact))
    phone.expect(180)
    server.send(answer(invite, 200, b"OK", headers=contact + BODY, body=SDP))
    (ok,) = phone.expect(200)
    inside = {
        **named,
        "uri": b"sip:fs@" + server.address,
        "to_tag": b"t1",
        "headers": b"".join(b"Route: %s\r\n" % route for route in ok.all("Record-Route")) + WHAT_PHONES_SAY,
    }
    phone.send(phone.request("ACK", branch=branch + b"a", **inside))
    server.expect("ACK")
    phone.send(phone.request("BYE", branch=branch + b"b", cseq=2, **inside))
    server.send(answer(*server.expect("BYE"), 200, b"OK"))
    phone.expect(200)


def called(bench: Bench) -> tuple[Agent, Message]:
    """The destination that an INVITE came to, and the INVITE."""
    while True:
        for server in bench.destinations:
            octets = bench.wait(server, 0)
            if octets is not None:
                return server, Message(octets)
        bench.step()


def calls(times: int) -> int:
    """So many calls; how many datagrams the engine received."""
    bench = Bench(2, algorithm="weighted-round-robin", log={"calls": False})
    phone = bench.agent()
    try:
        for number in range(times):
            place(bench, phone, number)
        return bench.count("datagrams_in")
    finally:
        bench.close()


def instructions() -> float:
    """A datagram's through the router; RuntimeError without valgrind."""
    few, many = (
        collected("benchmarks.route", str(times), within="*router_datagram*") for times in (FEW, MANY)
    )
    return (many - few) / (MANY - FEW) / RECEIVED


if __name__ == "__main__":
    print(calls(int(sys.argv[1])) if len(sys.argv) > 1 else f"{instructions():,.0f} instructions a datagram")
