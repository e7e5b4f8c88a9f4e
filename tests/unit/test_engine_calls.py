"""workers.loop.Engine: a call byte for byte, retransmissions, and the way inside a dialog."""

import re

import pytest

from benchmarks.engine_bench import KEY, OUR_BRANCH, Bench, answer, same
from sipcore import cookie, endpoint


@pytest.fixture
def bench():
    made = Bench(1)
    yield made
    made.close()


def cookie_of(message):
    return re.search(rb";lr;v=([\w-]+)>", message.all("Record-Route")[0])[1]


def in_dialog(phone, method, ok, invite_call_id, *, cseq=2, tags=(b"f1", b"t1"), uri=None, **more):
    """A request inside the dialog: its Route is the 200's Record-Route, its URI the other side's Contact."""
    routes = b"".join(b"Route: %s\r\n" % value for value in ok.all("Record-Route"))
    uri = uri or re.search(rb"<(.*)>", ok.get("Contact"))[1]
    return phone.request(method, uri, cseq=cseq, call_id=invite_call_id, from_tag=tags[0], to_tag=tags[1],
                         headers=routes, **more)


class TestAnInviteLeaves:
    """Bytes that we do not edit leave as they came."""

    BODY = b"v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\n\x00\xff"

    def odd(self, phone):
        return (b"INVITE sip:1000@edge.example;x=1 SIP/2.0\r\n"
                b"v:  SIP/2.0/UDP  %s ;rport; branch=z9hG4bK-odd ;x=\"a;b\"\r\n"
                b"VIA: SIP/2.0/UDP 10.9.9.9;branch=z9hG4bK-below\r\n"
                b"f: \"A, \\\" B\" <sip:a@b.example>;tag=f1\r\n"
                b"t:<sip:1000@edge.example>\r\n"
                b"I: %s@odd\r\n"
                b"cseq:   00017   INVITE\r\n"
                b"Subject: folded\r\n  over\r\n\ttwo lines\r\n"
                b"max-forwards :  17\r\n"
                b"X-Empty:\r\n"
                b"m: <sip:a@%s>\r\n"
                b"l: %d\r\n\r\n" % (phone.address, phone.address, phone.address, len(self.BODY))) + self.BODY

    def test_byte_for_byte_but_for_our_edits(self, bench):
        phone = bench.agent()
        invite = self.odd(phone)
        phone.send(invite)
        arrived, = bench.destinations[0].expect("INVITE")
        branch, text = arrived.branch(), cookie_of(arrived)
        assert OUR_BRANCH.fullmatch(branch)
        ours = b"Via: SIP/2.0/UDP %s;branch=%s\r\n" % (bench.edge, branch)
        route = b"Record-Route: <sip:%s;lr;v=%s>\r\n" % (bench.edge, text)
        wanted = invite.replace(b"v:  SIP", ours + b"v:  SIP").replace(b";rport;", b";rport=%d;" % phone.port)
        wanted = wanted.replace(b'x="a;b"\r\n', b'x="a;b";received=127.0.0.1\r\n')
        wanted = wanted.replace(b"f: \"A", route + b"f: \"A").replace(b":  17\r\n", b":  16\r\n")
        assert arrived.octets == wanted

    def test_the_cookie_says_who_may_relay_where(self, bench):
        phone = bench.agent()
        phone.send(self.odd(phone))
        arrived, = bench.destinations[0].expect("INVITE")
        said = cookie.decode(KEY, cookie_of(arrived), phone.address + b"@odd", b"f1")
        assert said["destination"] == 1
        assert endpoint.unpack(said["caller"]) == ("udp", "127.0.0.1", phone.port, 0)
        assert endpoint.unpack(said["callee"]) == ("udp", "127.0.0.1", bench.destinations[0].port, 0)

    def test_100_comes_at_once_and_carries_no_tag(self, bench):
        phone = bench.agent()
        invite = phone.request(branch=b"z9hG4bK-a", call_id=b"one")
        phone.send(invite)
        assert phone.get().octets == (
            b"SIP/2.0 100 Trying\r\nVia: SIP/2.0/UDP %s;rport=%d;branch=z9hG4bK-a;received=127.0.0.1\r\n"
            b"From: <sip:caller@edge.example>;tag=f1\r\nTo: <sip:1000@edge.example>\r\n"
            b"Call-ID: one\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n" % (phone.address, phone.port))

    def test_max_forwards_is_given_to_one_without(self, bench):
        phone = bench.agent()
        phone.send(phone.request(forwards=None))
        arrived, = bench.destinations[0].expect("INVITE")
        assert arrived.all("Max-Forwards") == [b"70"]

    def test_a_message_opens_no_dialog_and_is_not_recorded(self, bench):
        phone = bench.agent()
        phone.send(phone.request("MESSAGE", body=b"hello"))
        arrived, = bench.destinations[0].expect("MESSAGE")
        assert arrived.all("Record-Route") == []
        assert arrived.body == b"hello"
        bench.destinations[0].send(answer(arrived, 200))
        phone.expect(200)

    def test_a_wrong_received_of_the_senders_is_replaced(self, bench):
        phone = bench.agent()
        phone.send(phone.request(rport=b";received=9.9.9.9;rport"))
        arrived, = bench.destinations[0].expect("INVITE")
        assert b";received=127.0.0.1;rport=%d;" % phone.port in arrived.all("Via")[1]

    def test_without_rport_the_answer_goes_to_the_vias_port(self, bench):
        phone, other = bench.agent(), bench.agent()
        phone.send(phone.request(rport=b"").replace(phone.address + b";branch", other.address + b";branch"))
        other.expect(100)
        phone.quiet()

    def test_the_branch_of_a_retransmission_is_the_same_and_of_another_call_is_not(self, bench):
        phone = bench.agent()
        branches = []
        for call_id in (b"a", b"b"):
            phone.send(phone.request(branch=b"z9hG4bK-same", call_id=call_id))
            branches.append(bench.destinations[0].expect("INVITE")[0].branch())
        assert branches[0] != branches[1]


class TestResponses:
    def test_a_response_leaves_as_it_came_without_our_via(self, bench):
        phone = bench.agent()
        phone.send(phone.request())
        phone.expect(100)
        arrived, = bench.destinations[0].expect("INVITE")
        for status in (180, 183, 200):
            response = answer(arrived, status, b"  odd   phrase ", headers=b"X-Odd:\r\n folded\r\n", body=b"\x00body")
            bench.destinations[0].send(response)
            ours = b"Via: " + arrived.all("Via")[0] + b"\r\n"
            assert phone.get().octets == response.replace(ours, b"")

    def test_100_of_a_destination_stays_here(self, bench):
        phone = bench.agent()
        phone.send(phone.request())
        phone.expect(100)
        arrived, = bench.destinations[0].expect("INVITE")
        bench.destinations[0].send(answer(arrived, 100))
        phone.quiet()

    def test_a_2xx_again_passes_again(self, bench):
        phone = bench.agent()
        _, arrived, ok = bench.place(phone)
        contact = b"Contact: <sip:fs@%s>\r\n" % bench.destinations[0].address
        bench.destinations[0].send(answer(arrived, 200, b"OK", headers=contact))
        assert phone.get().octets == ok.octets

    @pytest.mark.parametrize("change", [
        lambda text: text.replace(b"z9hG4bKV", b"z9hG4bKW"),
        lambda text: re.sub(rb"(VAA)[0-9a-f]{16}", rb"\1ffffffffffffffff", text),
        lambda text: text.replace(b" INVITE\r\n", b" BYE\r\n"),
    ])
    def test_a_stray_response_is_dropped_and_counted(self, bench, change):
        phone = bench.agent()
        phone.send(phone.request())
        phone.expect(100)
        arrived, = bench.destinations[0].expect("INVITE")
        bench.destinations[0].send(change(answer(arrived, 200)))
        phone.quiet()
        assert bench.count("stray_responses") == 1


class TestRetransmissions:
    def test_an_invite_again_gets_the_last_answer_and_goes_no_further(self, bench):
        phone = bench.agent()
        invite = phone.request()
        phone.send(invite)
        trying, = phone.expect(100)
        phone.send(invite)
        assert phone.get().octets == trying.octets
        arrived, = bench.destinations[0].expect("INVITE")
        bench.destinations[0].send(answer(arrived, 180))
        ringing, = phone.expect(180)
        phone.send(invite)
        assert phone.get().octets == ringing.octets
        bench.destinations[0].quiet()
        assert bench.count("retransmissions_in") == 2

    def test_an_invite_again_after_its_2xx_is_absorbed(self, bench):
        phone = bench.agent()
        invite, _, _ = bench.place(phone)
        phone.send(invite)
        phone.quiet()
        bench.destinations[0].quiet()

    def test_another_request_again_gets_its_200_again(self, bench):
        phone = bench.agent()
        message = phone.request("MESSAGE")
        phone.send(message)
        phone.send(message)
        arrived, = bench.destinations[0].expect("MESSAGE")
        bench.destinations[0].send(answer(arrived, 200))
        ok, = phone.expect(200)
        phone.send(message)
        assert phone.get().octets == ok.octets
        bench.destinations[0].quiet()


class TestAFailure:
    @pytest.fixture
    def bench(self):
        made = Bench(1, timers={"t1_ms": 20, "t2_ms": 80, "t4_ms": 40})
        yield made
        made.close()

    def refused(self, bench, phone, status=486):
        invite = phone.request()
        phone.send(invite)
        phone.expect(100)
        arrived, = bench.destinations[0].expect("INVITE")
        bench.destinations[0].send(answer(arrived, status))
        final, = phone.expect(status)
        return invite, arrived, final

    def test_is_acknowledged_by_us_on_the_invites_branch_with_the_answers_to(self, bench):
        phone = bench.agent()
        _, arrived, _ = self.refused(bench, phone)
        ack, = bench.destinations[0].expect("ACK")
        assert ack.octets == (
            b"ACK sip:1000@edge.example SIP/2.0\r\nVia: %s\r\nMax-Forwards: 70\r\n"
            b"From: <sip:caller@edge.example>;tag=f1\r\n"
            b"To: <sip:1000@edge.example>;tag=t1\r\nCall-ID: %s\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n"
            % (arrived.all("Via")[0], arrived.get("Call-ID")))

    def test_again_is_acknowledged_again_and_not_passed(self):
        bench = Bench(1)  # with the RFC's timers: nothing is repeated or forgotten meanwhile
        try:
            phone = bench.agent()
            invite, arrived, final = self.refused(bench, phone)
            bench.destinations[0].expect("ACK")
            phone.send(same(invite, "ACK", final.get("To")))
            bench.destinations[0].send(answer(arrived, 486))
            bench.destinations[0].expect("ACK")
            phone.quiet()
        finally:
            bench.close()

    def test_is_repeated_by_timer_g_until_its_ack(self, bench):
        phone = bench.agent()
        invite, _, final = self.refused(bench, phone)
        assert [phone.get().octets for _ in range(3)] == [final.octets] * 3
        phone.send(same(invite, "ACK", final.get("To")))
        phone.forget()  # what was on its way
        phone.quiet(0.2)  # two of the longest intervals
        bench.destinations[0].expect("ACK")
        bench.destinations[0].quiet()  # the caller's ACK goes no further

    def test_ends_with_its_timers(self, bench):
        phone = bench.agent()
        invite, _, final = self.refused(bench, phone)
        phone.send(same(invite, "ACK", final.get("To")))
        assert bench.until(lambda: bench.count("transactions") == 0)  # Timer I is T4


class TestInsideADialog:
    def test_the_ack_and_a_bye_of_the_caller_follow_the_cookie(self, bench):
        phone = bench.agent()
        _, arrived, ok = bench.place(phone)
        call_id = arrived.get("Call-ID")
        phone.send(in_dialog(phone, "ACK", ok, call_id, cseq=1))
        ack, = bench.destinations[0].expect("ACK")
        assert ack.all("Route") == []
        assert ack.get("Max-Forwards") == b"69"
        assert OUR_BRANCH.fullmatch(ack.branch())
        phone.send(in_dialog(phone, "BYE", ok, call_id))
        bye, = bench.destinations[0].expect("BYE")
        assert bye.all("Route") == []
        assert bye.all("Record-Route") == []
        bench.destinations[0].send(answer(bye, 200))
        phone.expect(200)

    def test_the_other_side_reaches_the_callers_flow_whatever_its_contact_says(self, bench):
        phone, fs = bench.agent(), bench.destinations[0]
        _, arrived, _ = bench.place(phone)
        route = b"Route: %s\r\n" % arrived.get("Record-Route")
        fs.send(fs.request("BYE", b"sip:caller@10.255.255.1:9", call_id=arrived.get("Call-ID"), from_tag=b"t1",
                           to_tag=b"f1", headers=route))
        bye, = phone.expect("BYE")
        assert bye.start == b"BYE sip:caller@10.255.255.1:9 SIP/2.0"
        phone.send(answer(bye, 200))
        fs.expect(200)

    def test_a_call_needs_no_memory(self, bench):
        phone = bench.agent()
        _, arrived, ok = bench.place(phone)
        heir = Bench(0)  # it never saw the call
        try:
            phone.bench = heir
            phone.send(in_dialog(phone, "BYE", ok, arrived.get("Call-ID")).replace(bench.edge, heir.edge))
            assert b";tag=t1" in bench.destinations[0].expect("BYE")[0].get("To")
        finally:
            heir.close()

    def test_a_re_invite_gets_its_100_from_us(self, bench):
        phone = bench.agent()
        _, arrived, ok = bench.place(phone)
        phone.send(in_dialog(phone, "INVITE", ok, arrived.get("Call-ID")))
        phone.expect(100)
        again, = bench.destinations[0].expect("INVITE")
        assert again.all("Record-Route") == []
        bench.destinations[0].send(answer(again, 200))
        phone.expect(200)
        assert bench.count("calls") == 1

    @pytest.mark.parametrize("status", [488, 491, 503])
    def test_a_refused_re_invite_is_acknowledged_by_us_and_tried_nowhere_else(self, bench, status):
        phone, fs = bench.agent(), bench.destinations[0]
        _, arrived, ok = bench.place(phone)
        again = in_dialog(phone, "INVITE", ok, arrived.get("Call-ID"))
        phone.send(again)
        phone.expect(100)
        fs.send(answer(fs.expect("INVITE")[0], status))
        fs.expect("ACK")
        final, = phone.expect(status)
        phone.send(same(again, "ACK", final.get("To")))
        fs.quiet()

    def test_a_re_invite_is_cancelled_as_it_was_sent(self, bench):
        phone, fs = bench.agent(), bench.destinations[0]
        _, arrived, ok = bench.place(phone)
        again = in_dialog(phone, "INVITE", ok, arrived.get("Call-ID"))
        phone.send(again)
        phone.expect(100)
        sent, = fs.expect("INVITE")
        fs.send(answer(sent, 180))
        phone.expect(180)
        phone.send(same(again, "CANCEL"))
        phone.expect(200)
        cancel, = fs.expect("CANCEL")
        assert cancel.all("Via") == [sent.all("Via")[0]]
        assert cancel.all("Route") == []
        fs.send(answer(sent, 487))
        phone.expect(487)

    def test_the_calls_in_progress_go_up_and_down(self, bench):
        phone = bench.agent()
        _, arrived, ok = bench.place(phone)
        assert bench.page.load(0, 0)["started"] == 1
        phone.send(in_dialog(phone, "BYE", ok, arrived.get("Call-ID")))
        bench.destinations[0].send(answer(bench.destinations[0].expect("BYE")[0], 200))
        phone.expect(200)
        assert bench.page.load(0, 0)["ended"] == 1

    FORGERIES = {
        "a changed cookie": lambda text: re.sub(rb";v=..", b";v=AA", text),
        "no cookie": lambda text: re.sub(rb";v=[\w-]+", b"", text),
        "no Route": lambda text: re.sub(rb"Route: .*\r\n", b"", text),
        "another call": lambda text: re.sub(rb"Call-ID: .*\r\n", b"Call-ID: other\r\n", text),
        "other tags": lambda text: text.replace(b"tag=f1", b"tag=f2").replace(b"tag=t1", b"tag=t2"),
    }

    @pytest.mark.parametrize("forgery", FORGERIES)
    def test_without_the_right_cookie_nothing_is_relayed(self, bench, forgery):
        phone = bench.agent()
        _, arrived, ok = bench.place(phone)
        change = self.FORGERIES[forgery]
        phone.send(change(in_dialog(phone, "BYE", ok, arrived.get("Call-ID"))))
        phone.expect(481)
        dropped = bench.count("dropped")
        phone.send(change(in_dialog(phone, "ACK", ok, arrived.get("Call-ID"), cseq=1)))
        phone.quiet()
        bench.destinations[0].quiet()
        assert bench.count("dropped") == dropped + 1

    def test_between_two_listeners_both_are_recorded(self):
        bench = Bench(1, listeners=2)
        try:
            phone = bench.agent()
            phone.send(phone.request(), listener=1)
            arrived, = bench.destinations[0].expect("INVITE")
            routes = arrived.all("Record-Route")
            assert [b":%d;" % port in route for port, route in zip(bench.ports, routes, strict=True)] == [True, True]
            assert b":%d;" % bench.ports[0] in arrived.all("Via")[0]
            contact = b"Contact: <sip:fs@%s>\r\n" % bench.destinations[0].address
            bench.destinations[0].send(answer(arrived, 200, headers=contact))
            phone.expect(100)
            ok, = phone.expect(200)
            ok.lines.reverse()  # the caller's route set is the Record-Route reversed (RFC 3261 12.1.2)
            phone.send(in_dialog(phone, "BYE", ok, arrived.get("Call-ID")), listener=1)
            bye, = bench.destinations[0].expect("BYE")
            assert bye.all("Route") == []
        finally:
            bench.close()
