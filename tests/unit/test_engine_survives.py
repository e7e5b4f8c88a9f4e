"""workers.loop.Engine: whatever comes, in whatever order, the engine goes on and in the end holds no transaction."""

import random

import pytest

from benchmarks.engine_bench import Bench, Message, answer, same

ROUNDS = 800
POOL = 50       # requests that may come again
METHODS = ("INVITE", "INVITE", "MESSAGE", "REGISTER", "OPTIONS", "SUBSCRIBE", "BYE")
STATUSES = (100, 180, 200, 200, 302, 401, 486, 503, 603)


def damaged(chance, octets):
    """The octets with a few of them changed, cut out or doubled."""
    octets = bytearray(octets)
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(octets))
        what = chance.randrange(3)
        if what == 0:
            octets[at] = chance.randrange(256)
        elif what == 1:
            del octets[at:at + chance.randrange(1, 20)]
        else:
            octets[at:at] = octets[at:at + chance.randrange(1, 40)]
    return bytes(octets)


def requested(chance, phone, pool):
    """A new request, one that was there before, or a CANCEL, ACK or BYE that looks like it."""
    if not pool or chance.random() < 0.4:
        route = chance.choice([b"", b"Route: <sip:%s;lr>\r\n" % phone.bench.edge])
        pool.append(phone.request(chance.choice(METHODS), headers=route))
        del pool[:-POOL]
        return pool[-1]
    octets = chance.choice(pool)
    return same(octets, chance.choice(["CANCEL", "ACK", "BYE"])) if chance.random() < 0.3 else octets


def answered(chance, bench, destination):
    """The destination answers most of what it got, some of it twice, some of it damaged."""
    while (octets := bench.wait(destination, 0)) is not None:
        request = Message(octets)
        if request.method == b"ACK" or chance.random() < 0.2:
            continue
        response = answer(request, chance.choice(STATUSES))
        for _ in range(chance.choice([1, 1, 1, 2])):
            destination.send(damaged(chance, response) if chance.random() < 0.2 else response)


@pytest.mark.parametrize("seed", [1, 2])
def test_any_traffic_is_survived_and_leaves_nothing(seed):
    chance = random.Random(seed)
    bench = Bench([{"first_response_ms": 100}] * 2,
                  timers={"t1_ms": 10, "t2_ms": 40, "t4_ms": 20, "timer_c_ms": 1000})
    try:
        phone, pool = bench.agent(), []
        for _ in range(ROUNDS):
            octets = requested(chance, phone, pool)
            phone.send(damaged(chance, octets) if chance.random() < 0.3 else octets)
            for destination in bench.destinations:
                answered(chance, bench, destination)
            phone.forget()
        assert bench.count("transactions_total") > ROUNDS / 10
        assert bench.until(lambda: bench.count("transactions") == 0, within_s=6)
        other = bench.agent()
        other.send(other.request("OPTIONS", b"sip:" + bench.edge))
        other.expect(200)
    finally:
        bench.close()
