"""workers.loop.Engine: CANCEL in every state of its INVITE (RFC 3261 9 and 16.10)."""

import pytest

from benchmarks.engine_bench import Bench, answer, same

FAST = {"t1_ms": 20, "t2_ms": 80, "t4_ms": 40}


@pytest.fixture
def bench():
    made = Bench(2)
    yield made
    made.close()


@pytest.fixture
def fast():
    made = Bench(2, timers=FAST)
    yield made
    made.close()


def begin(bench, **more):
    """(phone, its INVITE, the INVITE at the first destination)."""
    phone = bench.agent()
    invite = phone.request(**more)
    phone.send(invite)
    phone.expect(100)
    return phone, invite, bench.destinations[0].expect("INVITE")[0]


def test_before_a_provisional_response_it_waits_for_one(bench):
    """9.1: a CANCEL must not overtake its INVITE."""
    phone, invite, arrived = begin(bench)
    phone.send(same(invite, "CANCEL"))
    ok, = phone.expect(200)
    assert ok.get("CSeq") == b"1 CANCEL"
    bench.destinations[0].quiet()
    bench.destinations[0].send(answer(arrived, 100))
    bench.destinations[0].expect("CANCEL")
    bench.destinations[0].send(answer(arrived, 487))
    phone.expect(487)
    bench.destinations[0].expect("ACK")
    bench.destinations[1].quiet()


def test_after_a_provisional_response_it_goes_at_once_on_the_invites_branch(bench):
    phone, invite, arrived = begin(bench)
    bench.destinations[0].send(answer(arrived, 180))
    phone.expect(180)
    phone.send(same(invite, "CANCEL"))
    phone.expect(200)
    cancel, = bench.destinations[0].expect("CANCEL")
    assert cancel.octets == (
        b"CANCEL sip:1000@edge.example SIP/2.0\r\nVia: %s\r\nMax-Forwards: 70\r\n"
        b"From: <sip:caller@edge.example>;tag=f1\r\n"
        b"To: <sip:1000@edge.example>\r\nCall-ID: %s\r\nCSeq: 1 CANCEL\r\nContent-Length: 0\r\n\r\n"
        % (arrived.all("Via")[0], arrived.get("Call-ID")))


def ringing(bench):
    phone, invite, arrived = begin(bench)
    bench.destinations[0].send(answer(arrived, 180))
    phone.expect(180)
    return phone, invite, arrived


def test_the_callees_487_ends_the_call(bench):
    phone, invite, arrived = ringing(bench)
    phone.send(same(invite, "CANCEL"))
    phone.expect(200)
    cancel, = bench.destinations[0].expect("CANCEL")
    bench.destinations[0].send(answer(cancel, 200))
    phone.quiet()  # the 200 to our own CANCEL is ours
    bench.destinations[0].send(answer(arrived, 487, b"Request Terminated"))
    final, = phone.expect(487)
    assert final.get("CSeq") == b"1 INVITE"
    bench.destinations[0].expect("ACK")
    phone.send(same(invite, "ACK", final.get("To")))
    phone.quiet()


def test_a_cancel_again_is_answered_again_and_cancels_once(bench):
    phone, invite, _ = ringing(bench)
    for _ in range(3):
        phone.send(same(invite, "CANCEL"))
        phone.expect(200)
    bench.destinations[0].expect("CANCEL")
    bench.destinations[0].quiet()


def test_after_the_2xx_it_changes_nothing(bench):
    phone = bench.agent()
    invite, _, _ = bench.place(phone)
    phone.send(same(invite, "CANCEL"))
    phone.expect(200)
    phone.quiet()
    bench.destinations[0].quiet()


def test_after_a_failure_it_changes_nothing(bench):
    phone, invite, arrived = begin(bench)
    bench.destinations[0].send(answer(arrived, 486))
    phone.expect(486)
    bench.destinations[0].expect("ACK")
    phone.send(same(invite, "CANCEL"))
    assert phone.get().get("CSeq") == b"1 CANCEL"
    phone.quiet()
    bench.destinations[0].quiet()


def test_the_200_that_crossed_it_wins(bench):
    phone, invite, arrived = ringing(bench)
    phone.send(same(invite, "CANCEL"))
    phone.expect(200)
    bench.destinations[0].expect("CANCEL")
    bench.destinations[0].send(answer(arrived, 200))
    assert phone.get().get("CSeq") == b"1 INVITE"


@pytest.mark.parametrize("change", [
    lambda text: text.replace(b"branch=z9hG4bK-", b"branch=z9hG4bK-other"),
    lambda text: text.replace(b"CSeq: 1", b"CSeq: 2"),
    lambda text: text.replace(b"Call-ID: ", b"Call-ID: other"),
])
def test_without_its_invite_it_is_481(bench, change):
    phone, invite, _ = ringing(bench)
    phone.send(change(same(invite, "CANCEL")))
    phone.expect(481)
    bench.destinations[0].quiet()


def test_it_ends_the_failover(bench):
    phone, invite, arrived = begin(bench)
    phone.send(same(invite, "CANCEL"))
    phone.expect(200)
    bench.destinations[0].send(answer(arrived, 503))
    phone.expect(487)
    bench.destinations[1].quiet()


def test_it_is_sent_again_until_it_is_answered(fast):
    phone, invite, _ = ringing(fast)
    phone.send(same(invite, "CANCEL"))
    phone.expect(200)
    first, second, third = fast.destinations[0].expect("CANCEL", "CANCEL", "CANCEL")
    assert first.octets == second.octets == third.octets
    fast.destinations[0].send(answer(first, 200))
    fast.destinations[0].forget()  # what was on its way
    fast.destinations[0].quiet(0.2)


def test_a_callee_that_never_ends_its_invite_is_given_64_t1():
    bench = Bench(1, timers={**FAST, "t1_ms": 10})
    try:
        phone, invite, _ = ringing(bench)
        phone.send(same(invite, "CANCEL"))
        phone.expect(200)
        final, = phone.expect(487)
        phone.send(same(invite, "ACK", final.get("To")))
        assert bench.until(lambda: bench.count("transactions") == 0)
    finally:
        bench.close()


def test_of_a_silent_callee_ends_with_487():
    """The INVITE that nobody answered: no provisional response, so no CANCEL ever left."""
    bench = Bench([{"first_response_ms": 100}], timers={**FAST, "t1_ms": 10})
    try:
        phone, invite, _ = begin(bench)
        phone.send(same(invite, "CANCEL"))
        phone.expect(200)
        phone.expect(487)
    finally:
        bench.close()


def test_a_cancel_before_a_response_reaches_both_of_a_fork():
    bench = Bench(1)
    try:
        gateway, a, b = bench.destinations[0], bench.agent(), bench.agent()
        bench.register(b"1000@edge.example", (a, b"sip:1000@10.0.0.1"), (b, b"sip:1000@10.0.0.2"))
        invite = gateway.request()
        gateway.send(invite)
        gateway.expect(100)
        at_a, at_b = a.expect("INVITE")[0], b.expect("INVITE")[0]
        a.send(answer(at_a, 180))
        gateway.expect(180)
        gateway.send(same(invite, "CANCEL"))
        gateway.expect(200)
        a.expect("CANCEL")
        b.quiet()
        b.send(answer(at_b, 180))
        b.expect("CANCEL")
        a.send(answer(at_a, 487))
        b.send(answer(at_b, 487))
        gateway.expect(180, 487)
    finally:
        bench.close()
