"""workers.loop.Engine: a call to several contacts, together and by q, and whose answer the caller gets (16.7)."""

import pytest

from benchmarks.engine_bench import Bench, answer, same

AOR = b"1000@edge.example"
FAST = {"t1_ms": 10, "t2_ms": 80, "t4_ms": 40}


@pytest.fixture
def make():
    made = []

    def one(*arguments, **sections):
        made.append(Bench(*arguments, **sections))
        return made[-1]

    yield one
    for bench in made:
        bench.close()


def fork(bench, *qs):
    """A destination calls an AOR with contacts of these q: (the caller, the contacts' phones)."""
    phones = [bench.agent() for _ in qs]
    bench.register(AOR, *((phone, b"sip:1000@10.0.0.%d:5070;x=y" % n, q)
                          for n, (phone, q) in enumerate(zip(phones, qs, strict=True))))
    gateway = bench.destinations[0]
    gateway.send(gateway.request())
    gateway.expect(100)
    return gateway, phones


class TestTheBranches:
    def test_a_contact_is_reached_by_its_flow_with_its_uri(self, make):
        bench = make(1)
        gateway, (phone,) = fork(bench, 1000)
        arrived, = phone.expect("INVITE")
        assert arrived.start == b"INVITE sip:1000@10.0.0.0:5070;x=y SIP/2.0"
        assert arrived.get("To") == b"<sip:1000@edge.example>"
        phone.send(answer(arrived, 200))
        gateway.expect(200)
        assert bench.page.load(0, 0)["started"] == 1  # the caller is a destination: its call counts there

    def test_equal_q_ring_together_on_branches_of_their_own(self, make):
        _, phones = fork(make(1), 1000, 1000, 1000)
        arrived = [phone.expect("INVITE")[0] for phone in phones]
        assert len({one.branch() for one in arrived}) == 3
        assert len({one.start for one in arrived}) == 3

    def test_lower_q_wait_until_the_higher_have_failed(self, make):
        gateway, (low, high, middle) = fork(make(1), 100, 1000, 500)
        high.send(answer(high.expect("INVITE")[0], 486))
        high.expect("ACK")
        middle.send(answer(middle.expect("INVITE")[0], 404))
        low.send(answer(low.expect("INVITE")[0], 200))
        gateway.expect(200)

    def test_all_of_one_q_must_fail_before_the_next(self, make):
        bench = make(1)
        gateway, (a, b, low) = fork(bench, 1000, 1000, 200)
        at_a, at_b = a.expect("INVITE")[0], b.expect("INVITE")[0]
        a.send(answer(at_a, 486))
        low.quiet()
        b.send(answer(at_b, 480))
        low.expect("INVITE")
        gateway.quiet()

    def test_a_contact_that_is_gone_does_not_hold_up_the_next(self, make):
        bench = make(1)
        gone, other = bench.agent(), bench.agent()
        gone.close()
        bench.register(AOR, (gone, b"sip:1000@10.0.0.1", 1000), (other, b"sip:1000@10.0.0.2", 200))
        gateway = bench.destinations[0]
        gateway.send(gateway.request())
        other.expect("INVITE")
        assert bench.count("unreachable") == 1

    def test_more_contacts_than_a_request_may_try(self, make):
        _, phones = fork(make(1), *[1000] * 33)
        reached = [phone for phone in phones if phone.bench.wait(phone, 0) is not None]
        assert len(reached) == 32  # FORKS_MAX

    def test_known_but_offline_is_480_and_unknown_404(self, make):
        bench = make(1)
        bench.register(b"off@edge.example")
        gateway = bench.destinations[0]
        gateway.send(gateway.request(uri=b"sip:off@edge.example"))
        gateway.expect(100, 480)
        gateway.send(gateway.request(uri=b"sip:nobody@" + bench.edge))
        gateway.expect(100, 404)

    def test_a_destinations_call_to_a_number_beyond_follows_the_uri(self, make):
        bench = make(1)
        gateway, trunk = bench.destinations[0], bench.agent()
        gateway.send(gateway.request(uri=b"sip:123@" + trunk.address))
        arrived, = trunk.expect("INVITE")
        assert arrived.start == b"INVITE sip:123@" + trunk.address + b" SIP/2.0"

    def test_a_clients_call_goes_to_the_set_or_where_the_operator_says_to_a_contact_first(self, make):
        for initial in ("dispatch", "lookup-first"):
            bench = make(1, edge={"initial": initial})
            caller, callee = bench.agent(), bench.agent()
            bench.register(AOR, (callee, b"sip:1000@10.0.0.1"))
            caller.send(caller.request())
            (callee if initial == "lookup-first" else bench.destinations[0]).expect("INVITE")
            caller.send(caller.request(uri=b"sip:unknown@edge.example"))
            bench.destinations[0].expect("INVITE")

    def test_without_domains_in_the_key_only_the_user_counts(self, make):
        bench = make(1, registrar={"use_domain": False})
        phone = bench.agent()
        bench.register(b"1000", (phone, b"sip:1000@10.0.0.1"))
        gateway = bench.destinations[0]
        gateway.send(gateway.request(uri=b"sip:1000@anything.example"))
        phone.expect("INVITE")


class TestTheAnswer:
    @pytest.mark.parametrize(("answers", "wanted"), [
        ((486, 404), 486),             # the first of a class stays
        ((503, 404), 404),             # the lower class
        ((404, 302), 302),
        ((500, 486), 486),
        ((404, 401), 401),             # 16.7 step 6: what lets the caller try again
        ((401, 404), 401),
        ((404, 407), 407),
        ((486, 484), 484),
        ((404, 503), 404),
    ])
    def test_is_the_best_of_the_failures(self, make, answers, wanted):
        gateway, phones = fork(make(1), *[1000] * len(answers))
        arrived = [phone.expect("INVITE")[0] for phone in phones]
        for phone, one, status in zip(phones, arrived, answers, strict=True):
            gateway.quiet(0)
            phone.send(answer(one, status, tag=b"of-%d" % status))
        final, = gateway.expect(wanted)
        assert final.get("To").endswith(b";tag=of-%d" % wanted)
        gateway.quiet()

    def test_a_6xx_cancels_the_others_and_waits_for_them(self, make):
        gateway, (a, b, low) = fork(make(1), 1000, 1000, 100)
        at_a, at_b = a.expect("INVITE")[0], b.expect("INVITE")[0]
        b.send(answer(at_b, 180))
        gateway.expect(180)
        a.send(answer(at_a, 603))
        b.expect("CANCEL")
        b.send(answer(at_b, 487))
        gateway.expect(603)
        low.quiet()

    def test_a_2xx_goes_at_once_and_cancels_the_others(self, make):
        gateway, (a, b) = fork(make(1), 1000, 1000)
        at_a, at_b = a.expect("INVITE")[0], b.expect("INVITE")[0]
        for phone, one in ((a, at_a), (b, at_b)):
            phone.send(answer(one, 180))
            gateway.expect(180)
        a.send(answer(at_a, 200))
        gateway.expect(200)
        b.expect("CANCEL")
        b.send(answer(at_b, 487))
        b.expect("ACK")
        gateway.quiet()

    def test_one_that_begins_to_ring_after_the_2xx_is_cancelled_then(self, make):
        gateway, (a, b) = fork(make(1), 1000, 1000)
        at_a, at_b = a.expect("INVITE")[0], b.expect("INVITE")[0]
        a.send(answer(at_a, 200))
        gateway.expect(200)
        b.quiet()
        b.send(answer(at_b, 180))
        b.expect("CANCEL")
        b.send(answer(at_b, 487))
        b.expect("ACK")
        gateway.quiet()

    def test_every_2xx_passes(self, make):
        """16.7 step 5: the caller must be able to end the second dialog."""
        bench = make(1)
        gateway, (a, b) = fork(bench, 1000, 1000)
        at_a, at_b = a.expect("INVITE")[0], b.expect("INVITE")[0]
        a.send(answer(at_a, 200, tag=b"a"))
        b.send(answer(at_b, 200, tag=b"b"))
        first, second = gateway.expect(200, 200)
        assert first.get("To").endswith(b"tag=a")
        assert second.get("To").endswith(b"tag=b")
        assert bench.count("calls_answered") == 1

    def test_a_2xx_after_a_6xx_still_wins(self, make):
        gateway, (a, b) = fork(make(1), 1000, 1000)
        at_a, at_b = a.expect("INVITE")[0], b.expect("INVITE")[0]
        a.send(answer(at_a, 603))
        b.send(answer(at_b, 200))
        gateway.expect(200)

    def test_provisional_responses_of_all_pass_until_the_final_one(self, make):
        gateway, (a, b) = fork(make(1), 1000, 1000)
        at_a, at_b = a.expect("INVITE")[0], b.expect("INVITE")[0]
        for phone, one, status in ((a, at_a, 180), (b, at_b, 183), (a, at_a, 199)):
            phone.send(answer(one, status))
            gateway.expect(status)
        a.send(answer(at_a, 200))
        gateway.expect(200)
        b.send(answer(at_b, 180))
        gateway.quiet()

    @pytest.mark.parametrize(("status", "wanted"), [(486, 486), (500, 408)])
    def test_silence_of_one_counts_as_408(self, make, status, wanted):
        gateway, (silent, other) = fork(make(1, timers=FAST), 1000, 1000)
        silent.expect("INVITE")
        other.send(answer(other.expect("INVITE")[0], status))
        gateway.quiet(0.3)  # the silent one has 64*T1
        gateway.expect(wanted)

    def test_a_forked_message_gets_one_answer(self, make):
        bench = make(1)
        phones = [bench.agent(), bench.agent()]
        bench.register(AOR, *((phone, b"sip:1000@10.0.0.%d" % n) for n, phone in enumerate(phones)))
        gateway = bench.destinations[0]
        gateway.send(gateway.request("MESSAGE"))
        arrived = [phone.expect("MESSAGE")[0] for phone in phones]
        for phone, one in zip(phones, arrived, strict=True):
            phone.send(answer(one, 200))
        gateway.expect(200)
        gateway.quiet()

    def test_the_failure_is_repeated_until_its_ack(self, make):
        bench = make(1, timers={**FAST, "t1_ms": 20})
        phones = [bench.agent(), bench.agent()]
        bench.register(AOR, *((phone, b"sip:1000@10.0.0.%d" % n) for n, phone in enumerate(phones)))
        gateway = bench.destinations[0]
        invite = gateway.request()
        gateway.send(invite)
        gateway.expect(100)
        for phone in phones:
            phone.send(answer(phone.expect("INVITE")[0], 486))
        final, again = gateway.expect(486, 486)
        assert final.octets == again.octets
        gateway.send(same(invite, "ACK", final.get("To")))
        gateway.forget()  # what was on its way
        gateway.quiet(0.1)
