"""More than a worker can read: what is new is refused in part, what is known or asks for nothing is not."""

import time

import pytest

from benchmarks.engine_bench import Bench, Message

FLOOD = 512         # datagrams a turn: as many as the loop reads of one socket before it goes on
FLOOD_S = 2.6       # grace, what makes it sure, and some
CALLS = 120


@pytest.fixture
def bench():
    made = Bench(1)
    yield made
    made.close()


def flood(bench, noise, seconds):
    """Keep-alives without end: no turn of the loop finds the end of the socket."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(FLOOD):
            noise.socket.sendto(b"\r\n\r\n", ("127.0.0.1", bench.ports[0]))
        bench.step()


def answers(bench, phone, wanted):
    """The status of the first answer to each of so many requests, by its branch."""
    found = {}
    while len(found) < wanted:
        octets = bench.wait(phone, 2.0)
        assert octets is not None, f"{len(found)} of {wanted} were answered"
        message = Message(octets)
        found.setdefault(message.branch(), message.status)
    return found


def offer(bench, phone, requests):
    for request in requests:
        phone.socket.sendto(request, ("127.0.0.1", bench.ports[0]))
    bench.step()


def test_new_requests_are_refused_in_part_and_their_retransmissions_alike(bench):
    phone, noise = bench.agent(), bench.agent()
    flood(bench, noise, FLOOD_S)
    requests = [phone.request() for _ in range(CALLS)]
    offer(bench, phone, requests)
    first = answers(bench, phone, CALLS)
    refused = {branch for branch, status in first.items() if status == 503}
    assert CALLS / 5 < len(refused) < CALLS
    assert set(first.values()) == {100, 503}
    assert bench.count("overload") == len(refused)
    offer(bench, phone, [request for request in requests if Message(request).branch() in refused])
    again = answers(bench, phone, len(refused))
    assert sum(status == 503 for status in again.values()) > 0.7 * len(refused)


def test_dialogs_and_pings_are_served_all_the_same(bench):
    phone, noise = bench.agent(), bench.agent()
    invite, _, ok = bench.place(phone)
    flood(bench, noise, FLOOD_S)
    route = b"Route: %s\r\n" % ok.get("Record-Route")
    inside = {"call_id": Message(invite).get("Call-ID"), "to_tag": b"t1", "headers": route}
    pings = [phone.request("OPTIONS", b"sip:" + bench.edge) for _ in range(CALLS)]
    infos = [phone.request("INFO", b"sip:fs@" + bench.destinations[0].address, cseq=2 + n, **inside)
             for n in range(10)]
    offer(bench, phone, pings)
    assert set(answers(bench, phone, CALLS).values()) == {200}
    offer(bench, phone, infos)
    assert {bench.destinations[0].get().method for _ in infos} == {b"INFO"}
    assert bench.count("overload") == 0
