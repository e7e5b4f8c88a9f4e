"""workers.loop.Engine: what is refused, with which answer, and what waits."""

import pytest

from benchmarks.engine_bench import Bench, answer, same


@pytest.fixture
def make():
    made = []

    def one(*arguments, **sections):
        made.append(Bench(*arguments, **sections))
        return made[-1]

    yield one
    for bench in made:
        bench.close()


def refusal(bench, **more):
    """The one answer that a phone's request gets; nothing reaches the destination and no transaction is left."""
    phone = bench.agent()
    phone.send(phone.request(**more))
    final = phone.get()
    if final.status == 100:
        final = phone.get()
    for destination in bench.destinations:
        destination.quiet(0)
    return final


class TestChecks:
    def test_max_forwards_0_is_483(self, make):
        bench = make(1)
        final = refusal(bench, forwards=b"0")
        assert final.start == b"SIP/2.0 483 Too Many Hops"
        assert b";tag=" in final.get("To")
        bench.step()
        assert bench.count("transactions") == 0

    def test_max_forwards_1_goes_out_as_0(self, make):
        bench = make(1)
        phone = bench.agent()
        phone.send(phone.request(forwards=b"1"))
        assert bench.destinations[0].expect("INVITE")[0].get("Max-Forwards") == b"0"

    def test_proxy_require_is_420_and_names_the_tags(self, make):
        final = refusal(make(1), headers=b"Proxy-Require: foo, bar\r\nProxy-Require: baz\r\n")
        assert final.start == b"SIP/2.0 420 Bad Extension"
        assert final.all("Unsupported") == [b"foo, bar", b"baz"]

    def test_require_is_the_callees_matter(self, make):
        bench = make(1)
        phone = bench.agent()
        phone.send(phone.request(headers=b"Require: 100rel\r\n"))
        bench.destinations[0].expect("INVITE")

    def test_a_preloaded_route_elsewhere_is_403(self, make):
        bench = make(1)
        ours = b"Route: <sip:%s;lr>, <sip:10.0.0.1;lr>\r\n" % bench.edge
        assert refusal(bench, headers=b"Route: <sip:10.0.0.1;lr>\r\n").status == 403
        assert refusal(bench, headers=ours).status == 403

    def test_a_preloaded_route_to_us_is_taken_off(self, make):
        bench = make(1)
        phone = bench.agent()
        phone.send(phone.request(headers=b"Route: <sip:%s;lr>\r\n" % bench.edge))
        assert bench.destinations[0].expect("INVITE")[0].all("Route") == []

    def test_a_foreign_domain_is_403_where_domains_are_named(self, make):
        bench = make(1, edge={"domains": ["ours.example"]})
        assert refusal(bench, uri=b"sip:1@other.example").start == b"SIP/2.0 403 Relay Forbidden"
        for host in (b"OURS.example", b"ours.example:5080", bench.edge):
            phone = bench.agent()
            phone.send(phone.request(uri=b"sip:1@" + host))
            bench.destinations[0].expect("INVITE")

    def test_a_destination_may_call_any_domain(self, make):
        bench = make(1, edge={"domains": ["ours.example"]})
        gateway, trunk = bench.destinations[0], bench.agent()
        gateway.send(gateway.request(uri=b"sip:1@" + trunk.address))
        trunk.expect("INVITE")

    def test_a_request_that_comes_back_unchanged_is_482(self, make):
        bench = make(1)
        phone = bench.agent()
        phone.send(phone.request())
        arrived, = bench.destinations[0].expect("INVITE")
        other = bench.agent()
        via = b"Via: SIP/2.0/UDP %s;branch=z9hG4bK-loop\r\nVia: " % other.address
        other.send(arrived.octets.replace(b"Via: ", via, 1))
        other.expect(482)

    def test_a_destination_that_sends_a_call_back_is_no_loop(self, make):
        bench = make(1)
        phone, callee = bench.agent(), bench.agent()
        bench.register(b"1000@edge.example", (callee, b"sip:1000@" + callee.address))
        phone.send(phone.request())
        arrived, = bench.destinations[0].expect("INVITE")
        bench.destinations[0].send(arrived.octets.replace(b"Via: ", b"Via: SIP/2.0/UDP %s;branch=z9hG4bK-back\r\nVia: "
                                                          % bench.destinations[0].address, 1))
        callee.expect("INVITE")

    def test_a_request_that_comes_back_for_another_is_a_spiral(self, make):
        bench = make(1)
        phone, callee = bench.agent(), bench.agent()
        bench.register(b"2000@edge.example", (callee, b"sip:2000@10.0.0.1"))
        phone.send(phone.request())
        arrived, = bench.destinations[0].expect("INVITE")
        again = arrived.octets.replace(b"sip:1000@edge.example SIP", b"sip:2000@edge.example SIP")
        bench.destinations[0].send(again.replace(b"Via: ", b"Via: SIP/2.0/UDP %s;branch=z9hG4bK-spiral\r\nVia: "
                                                 % bench.destinations[0].address, 1))
        assert len(callee.expect("INVITE")[0].all("Via")) == 4

    def test_what_does_not_parse_is_400_where_it_can_be_answered(self, make):
        bench = make(1)
        phone = bench.agent()
        phone.send(phone.request().replace(b"CSeq: 1 INVITE", b"CSeq: 1 BYE"))
        assert phone.get().status == 400
        phone.send(b"nonsense\r\n\r\n")
        phone.quiet()
        assert bench.count("refused") == 2

    def test_keepalives_are_counted_and_not_answered(self, make):
        bench = make(1)
        phone = bench.agent()
        for octets in (b"\r\n\r\n", b"\0\0\0\0"):
            phone.send(octets)
        phone.quiet()
        assert bench.count("keepalives") == 2

    def test_options_to_us_is_200_even_with_max_forwards_0(self, make):
        bench = make(1)
        phone = bench.agent()
        for uri in (b"sip:" + bench.edge, b"sip:ping@" + bench.edge):
            phone.send(phone.request("OPTIONS", uri, forwards=b"0"))
            ok, = phone.expect(200)
            assert b"INVITE" in ok.get("Allow")

    def test_an_ack_without_a_call_is_dropped(self, make):
        bench = make(1)
        phone = bench.agent()
        phone.send(phone.request("ACK"))
        phone.quiet()
        assert bench.count("dropped") == 1


class TestOverload:
    def test_a_full_table_is_503_and_retransmissions_still_find_theirs(self, make):
        bench = make(1, edge={"max_transactions": 2})
        phone = bench.agent()
        invites = [phone.request() for _ in range(2)]
        for invite in invites:
            phone.send(invite)
            phone.expect(100)
        phone.send(phone.request())
        refused, = phone.expect(503)
        assert refused.get("Retry-After") == b"5"
        phone.send(invites[0])
        phone.expect(100)
        register = phone.request("REGISTER")
        phone.send(register)
        phone.expect(503)
        arrived, = bench.destinations[0].expect("INVITE")
        bench.destinations[0].send(answer(arrived, 200))
        phone.expect(200)

    def test_a_place_that_is_free_again_is_used(self, make):
        bench = make(1, edge={"max_transactions": 2}, timers={"t1_ms": 10, "t2_ms": 40, "t4_ms": 20})
        phone = bench.agent()
        for _ in range(2):
            for _ in range(2):
                bench.place(phone)
            assert bench.until(lambda: bench.count("transactions") == 0)

    def test_more_branches_than_the_table_has_leave_none_behind(self, make):
        bench = make(1, edge={"max_transactions": 2})
        phones = [bench.agent() for _ in range(4)]
        bench.register(b"1000@edge.example", *((phone, b"sip:1000@10.0.0.%d" % n) for n, phone in enumerate(phones)))
        gateway = bench.destinations[0]
        gateway.send(gateway.request())
        gateway.expect(100)
        reached = [phone for phone in phones if bench.wait(phone, 0.01) is not None]
        assert len(reached) == 2


class TestDraining:
    def test_new_calls_are_503_and_running_ones_go_on(self, make):
        bench = make(1)
        phone = bench.agent()
        invite, arrived, ok = bench.place(phone)
        ringing = phone.request()
        phone.send(ringing)
        phone.expect(100)
        half, = bench.destinations[0].expect("INVITE")
        bench.engine.drain()
        assert refusal(bench).start == b"SIP/2.0 503 Service Unavailable"
        assert refusal(bench, method="OPTIONS", uri=b"sip:" + bench.edge).status == 503
        phone.send(ringing)
        phone.expect(100)
        assert bench.engine.unanswered == 1
        bench.destinations[0].send(answer(half, 200))
        phone.expect(200)
        assert bench.engine.unanswered == 0
        phone.send(phone.request("BYE", call_id=arrived.get("Call-ID"), to_tag=b"t1", cseq=2,
                                 headers=b"Route: %s\r\n" % ok.get("Record-Route")))
        bench.destinations[0].expect("BYE")


class TestBeforeTheReplicaIsLive:
    def test_new_calls_wait_and_go_when_it_is(self, make):
        bench = make(1, live=False)
        phone = bench.agent()
        invite = phone.request()
        phone.send(invite)
        phone.quiet()
        assert bench.count("parked") == 1
        assert bench.count("live") == 0
        bench.engine.set_live()
        assert bench.count("live") == 1
        phone.expect(100)
        bench.destinations[0].expect("INVITE")

    def test_a_cancel_waits_behind_its_invite(self, make):
        bench = make(1, live=False)
        phone = bench.agent()
        invite = phone.request()
        phone.send(invite)
        phone.send(same(invite, "CANCEL"))
        phone.quiet()
        bench.engine.set_live()
        phone.expect(100, 200)
        bench.destinations[0].send(answer(bench.destinations[0].expect("INVITE")[0], 100))
        bench.destinations[0].expect("CANCEL")

    def test_a_retransmission_that_waited_as_well_is_absorbed(self, make):
        bench = make(1, live=False)
        phone = bench.agent()
        invite = phone.request()
        phone.send(invite)
        phone.send(invite)
        bench.engine.set_live()
        bench.destinations[0].expect("INVITE")
        bench.destinations[0].quiet()

    def test_dialogs_and_options_do_not_wait(self, make):
        before, bench = make(1), make(0, live=False)
        phone = before.agent()
        _, arrived, ok = before.place(phone)
        phone.bench = bench
        bye = phone.request("BYE", b"sip:fs@" + before.destinations[0].address, call_id=arrived.get("Call-ID"),
                            to_tag=b"t1", cseq=2, headers=b"Route: %s\r\n" % ok.get("Record-Route"))
        phone.send(bye.replace(before.edge, bench.edge))
        before.destinations[0].expect("BYE")
        phone.send(phone.request("OPTIONS", b"sip:" + bench.edge))
        phone.expect(200)

    def test_beyond_what_may_wait_it_is_dropped_and_counted(self, make):
        bench = make(1, live=False)
        phone = bench.agent()
        for n in range(4097):  # PARKED_MAX and one
            phone.send(phone.request(branch=b"z9hG4bK-p%d" % n, call_id=b"p"))
        assert (bench.count("parked"), bench.count("dropped")) == (4096, 1)
