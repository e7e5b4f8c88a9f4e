"""workers.loop.Engine: from one destination to the next, and what the caller is told when none is left."""

import time

import pytest

from benchmarks.engine_bench import Bench, answer, foreign_name, same

FAST = {"t1_ms": 20, "t2_ms": 80, "t4_ms": 40}
REFUSED = b"SIP/2.0 500 No FS Destinations"


@pytest.fixture
def make():
    made = []

    def one(*arguments, **sections):
        made.append(Bench(*arguments, **sections))
        return made[-1]

    yield one
    for bench in made:
        bench.close()


def call(bench, **more):
    phone = bench.agent()
    phone.send(phone.request(**more))
    if more.get("method", "INVITE") == "INVITE":
        phone.expect(100)
    return phone


class TestAFailoverCode:
    @pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
    def test_goes_to_the_next_and_is_kept_from_the_caller(self, make, status):
        bench = make(2)
        phone = call(bench)
        first, = bench.destinations[0].expect("INVITE")
        bench.destinations[0].send(answer(first, status))
        bench.destinations[0].expect("ACK")
        second, = bench.destinations[1].expect("INVITE")
        assert second.branch() != first.branch()
        bench.destinations[1].send(answer(second, 200))
        phone.expect(200)
        assert bench.count("failovers") == 1
        # it answered: what it said may be the far end's, and is no sign that it is not there
        assert [bench.page.load(0, slot)["responses"] for slot in (0, 1)] == [1, 1]
        assert bench.page.load(0, 0)["failures"] == 0

    @pytest.mark.parametrize("status", [300, 401, 404, 486, 487, 488, 501, 600, 603])
    def test_no_other_answer_is_tried_elsewhere(self, make, status):
        bench = make(2)
        phone = call(bench)
        bench.destinations[0].send(answer(bench.destinations[0].expect("INVITE")[0], status))
        phone.expect(status)
        bench.destinations[1].quiet()
        assert bench.page.load(0, 0)["responses"] == 1
        assert bench.page.load(0, 0)["failures"] == 0

    def test_other_requests_fail_over_as_well(self, make):
        bench = make(2)
        phone = call(bench, method="MESSAGE")
        bench.destinations[0].send(answer(bench.destinations[0].expect("MESSAGE")[0], 503))
        bench.destinations[1].send(answer(bench.destinations[1].expect("MESSAGE")[0], 200))
        phone.expect(200)

    def test_the_codes_are_the_operators(self, make):
        bench = make(2, dispatcher={"failover_codes": [480]})
        phone = call(bench)
        bench.destinations[0].send(answer(bench.destinations[0].expect("INVITE")[0], 480))
        bench.destinations[1].send(answer(bench.destinations[1].expect("INVITE")[0], 200))
        phone.expect(200)
        phone = call(bench)
        bench.destinations[0].send(answer(bench.destinations[0].expect("ACK", "INVITE")[1], 503))
        phone.expect(503)


class TestWhenNoneIsLeft:
    @pytest.mark.parametrize("attempts", [1, 2, 3, 8])
    def test_at_most_max_attempts_are_tried(self, make, attempts):
        bench = make(10, dispatcher={"max_attempts": attempts})
        phone = call(bench)
        for destination in bench.destinations[:attempts]:
            destination.send(answer(destination.expect("INVITE")[0], 503))
        assert phone.get().start == REFUSED
        assert all(bench.wait(destination, 0) is None for destination in bench.destinations[attempts:])

    def test_the_refusal_is_the_operators(self, make):
        bench = make(1, dispatcher={"refuse_code": 480, "refuse_text": "Come Back Later"})
        phone = call(bench)
        bench.destinations[0].send(answer(bench.destinations[0].expect("INVITE")[0], 500))
        assert phone.get().start == b"SIP/2.0 480 Come Back Later"

    @pytest.mark.parametrize("wanted", [0, [{"state": "inactive"}, {"state": "disabled"}]])
    def test_an_empty_set_refuses_at_once(self, make, wanted):
        bench = make(wanted)
        phone = call(bench)
        final = phone.get()
        assert final.start == REFUSED
        assert b";tag=" in final.get("To")
        assert bench.count("calls_failed") == 1

    def test_an_unknown_set_refuses(self, make):
        bench = make(1, dispatcher={"set": 7})
        assert call(bench).get().start == REFUSED

    def test_max_time_ends_the_search(self, make):
        bench = make([{"first_response_ms": 100}, {}], timers={**FAST, "t1_ms": 10}, dispatcher={"max_time_ms": 50})
        phone = call(bench)
        assert phone.get().start == REFUSED
        bench.destinations[1].quiet()


class TestSilence:
    def test_of_the_destinations_own_time_brings_the_next(self, make):
        bench = make([{"first_response_ms": 100}, {}])
        started = time.monotonic()
        call(bench)
        bench.destinations[1].expect("INVITE")
        assert 0.09 < time.monotonic() - started < 1
        assert bench.count("timeouts") == 1
        assert bench.page.load(0, 0)["failures"] == 1

    def test_the_invite_is_sent_again_meanwhile_the_same_to_the_octet(self, make):
        bench = make(1, timers=FAST)
        call(bench)
        first = bench.destinations[0].get().octets
        started = time.monotonic()
        assert [bench.destinations[0].get().octets for _ in range(3)] == [first] * 3  # after 1, 3 and 7 T1
        assert time.monotonic() - started > 0.1
        assert bench.count("retransmissions_out") >= 3

    def test_a_provisional_response_ends_the_patience_and_the_repeating(self, make):
        bench = make([{"first_response_ms": 150}, {}], timers={**FAST, "t1_ms": 100})
        phone = call(bench)
        bench.destinations[0].send(answer(bench.destinations[0].expect("INVITE")[0], 180))
        phone.expect(180)
        bench.destinations[1].quiet(0.35)
        assert bench.wait(bench.destinations[0], 0) is None

    def test_a_late_ringing_of_the_silent_one_is_cancelled_and_kept_from_the_caller(self, make):
        bench = make([{"first_response_ms": 100}, {}])
        phone = call(bench)
        late, = bench.destinations[0].expect("INVITE")
        bench.destinations[1].expect("INVITE")
        bench.destinations[0].send(answer(late, 180))
        cancel, = bench.destinations[0].expect("CANCEL")
        assert cancel.all("Via") == [late.all("Via")[0]]
        phone.quiet()

    def test_a_late_200_of_the_silent_one_is_the_calls_and_the_other_is_cancelled(self, make):
        bench = make([{"first_response_ms": 100}, {}])
        phone = call(bench)
        late, = bench.destinations[0].expect("INVITE")
        second, = bench.destinations[1].expect("INVITE")
        bench.destinations[1].send(answer(second, 180))
        phone.expect(180)
        bench.destinations[0].send(answer(late, 200))
        phone.expect(200)
        bench.destinations[1].expect("CANCEL")

    def test_of_all_refuses_the_call(self, make):
        bench = make([{"first_response_ms": 100}] * 2)
        assert call(bench).get().start == REFUSED


class TestAClosedPort:
    def test_is_known_at_once(self, make):
        bench = make(2)
        bench.destinations[0].close()
        started = time.monotonic()
        phone = call(bench)
        bench.destinations[1].send(answer(bench.destinations[1].expect("INVITE")[0], 200))
        phone.expect(200)
        assert time.monotonic() - started < 1
        assert bench.count("unreachable") == 1
        assert bench.page.load(0, 0)["failures"] == 1

    def test_of_all_refuses_the_call(self, make):
        bench = make(2)
        for destination in bench.destinations:
            destination.close()
        assert call(bench).get().start == REFUSED

    def test_inside_a_dialog_is_500_for_there_is_no_other(self, make):
        bench = make(1)
        phone = bench.agent()
        _, arrived, ok = bench.place(phone)
        bench.destinations[0].close()
        phone.send(phone.request("BYE", b"sip:fs@" + bench.destinations[0].address, call_id=arrived.get("Call-ID"),
                                 to_tag=b"t1", cseq=2, headers=b"Route: %s\r\n" % ok.get("Record-Route")))
        assert phone.get().start == b"SIP/2.0 500 Next Hop Unreachable"

    def test_after_ringing_changes_nothing(self, make):
        """17.1.4 speaks of a request that is being sent: a ringing call is not given up for a stray ICMP."""
        bench = make(2)
        phone = call(bench)
        bench.destinations[0].send(answer(bench.destinations[0].expect("INVITE")[0], 180))
        phone.expect(180)
        bench.destinations[0].close()
        bench.destinations[1].quiet()


class TestRetryAfter:
    def busy(self, bench, value):
        phone = call(bench)
        first, = bench.destinations[0].expect("INVITE")
        bench.destinations[0].send(answer(first, 503, headers=b"Retry-After: %s\r\n" % value))
        bench.destinations[1].send(answer(bench.destinations[1].expect("INVITE")[0], 200))
        phone.expect(200)
        bench.destinations[0].expect("ACK")
        return bench.page.load(0, 0)["busy_until_ms"] - time.monotonic_ns() // 1_000_000

    @pytest.mark.parametrize(("value", "seconds"), [
        (b"2", 2), (b"2 (soon)", 2), (b"2;duration=9", 2), (b"29", 29), (b"30", 30), (b"31", 30), (b"99999", 30)])
    def test_is_honoured_up_to_the_cap(self, make, value, seconds):
        bench = make(2)
        assert seconds * 1000 - 500 < self.busy(bench, value) <= seconds * 1000
        call(bench)
        bench.destinations[1].expect("INVITE")
        bench.destinations[0].quiet(0)

    @pytest.mark.parametrize("value", [b"0", b"soon", b"-5", b""])
    def test_of_no_time_is_none(self, make, value):
        bench = make(2)
        assert self.busy(bench, value) < 0
        call(bench)
        bench.destinations[0].expect("INVITE")

    def test_a_cap_of_0_honours_none(self, make):
        bench = make(2, dispatcher={"retry_after_cap_s": 0})
        self.busy(bench, b"10")
        call(bench)
        bench.destinations[0].expect("INVITE")


class TestNoAnswerAtAll:
    """Requests that no destination set can fail over: from a destination to a number beyond us."""

    def beyond(self, bench, method):
        gateway, trunk = bench.destinations[0], bench.agent()
        gateway.send(gateway.request(method, b"sip:123@" + trunk.address))
        if method == "INVITE":
            gateway.expect(100)
        trunk.expect(method)
        return gateway, trunk

    def test_an_invite_is_answered_with_408_after_64_t1(self, make):
        bench = make(1, timers={**FAST, "t1_ms": 10})
        gateway, _ = self.beyond(bench, "INVITE")
        assert gateway.get().status == 408

    def test_any_other_request_is_not(self, make):
        """RFC 4320 4.2."""
        bench = make(1, timers={**FAST, "t1_ms": 10})
        gateway, trunk = self.beyond(bench, "OPTIONS")
        assert bench.until(lambda: bench.count("timeouts") == 1)
        gateway.quiet()
        assert bench.until(lambda: bench.count("transactions") == 0)
        assert bench.wait(trunk, 0) is not None  # it was sent again meanwhile

    def test_timer_c_cancels_what_rings_for_ever(self, make):
        """16.8: CANCEL, and 408 only where even that brings no answer."""
        bench = make(1, timers={**FAST, "t1_ms": 10, "timer_c_ms": 100})
        phone = call(bench)
        ringing, = bench.destinations[0].expect("INVITE")
        bench.destinations[0].send(answer(ringing, 180))
        phone.expect(180)
        bench.destinations[0].expect("CANCEL")
        bench.destinations[0].send(answer(ringing, 487))
        phone.expect(487)

    def test_a_new_provisional_response_begins_timer_c_again(self, make):
        bench = make(1, timers={**FAST, "timer_c_ms": 500})
        phone = call(bench)
        ringing, = bench.destinations[0].expect("INVITE")
        for _ in range(4):
            bench.destinations[0].send(answer(ringing, 180))
            phone.expect(180)
            bench.destinations[0].quiet(0.2)


def test_selection_by_call_id_is_the_same_in_every_worker(make):
    """The hash is keyed with the deployment's key, not the process's."""
    choices = []
    for _ in range(2):
        bench = make(4, algorithm="hash-call-id")
        row = []
        for call_id in (b"a", b"b", b"c", b"d", b"e", b"f"):
            call(bench, call_id=call_id, branch=foreign_name(1, 0) + call_id)
            assert bench.until(lambda bench=bench: any(bench.page.load(0, slot)["attempts"] for slot in range(4)))
            row.append([bench.page.load(0, slot)["attempts"] for slot in range(4)])
        choices.append(row)
    assert choices[0] == choices[1]
    assert len({tuple(row) for row in choices[0]}) > 1


class TestWhatOneSaidOfTheCall:
    """A code that fails over never stands above one that does not: the callee's own word ends the search."""

    @pytest.mark.parametrize("status", [404, 486, 488])
    def test_ends_it_behind_a_silent_one(self, make, status):
        bench = make([{"first_response_ms": 100}, {}, {}])
        phone = call(bench)
        bench.destinations[1].send(answer(bench.destinations[1].expect("INVITE")[0], status))
        bench.destinations[2].quiet()
        phone.expect(status)

    def test_ends_it_behind_a_503(self, make):
        bench = make(3)
        phone = call(bench)
        bench.destinations[0].send(answer(bench.destinations[0].expect("INVITE")[0], 503))
        bench.destinations[1].send(answer(bench.destinations[1].expect("INVITE")[0], 501))
        bench.destinations[2].quiet()
        phone.expect(501)

    def test_is_judged_by_the_operators_codes(self, make):
        bench = make(2, dispatcher={"failover_codes": [480]})
        phone = call(bench)
        bench.destinations[0].send(answer(bench.destinations[0].expect("INVITE")[0], 480))
        bench.destinations[1].send(answer(bench.destinations[1].expect("INVITE")[0], 503))
        phone.expect(503)


def test_a_failure_is_acknowledged_for_64_t1_whatever_the_caller_did(make):
    """17.1.1.2: Timer D is at least 32 s; Timer I of the server side (T4) does not end it."""
    bench = make(1, timers={"t1_ms": 20, "t2_ms": 80, "t4_ms": 40})
    phone = bench.agent()
    invite = phone.request()
    phone.send(invite)
    arrived, = bench.destinations[0].expect("INVITE")
    bench.destinations[0].send(answer(arrived, 486))
    bench.destinations[0].expect("ACK")
    phone.send(same(invite, "ACK", phone.expect(100, 486)[1].get("To")))
    bench.destinations[0].quiet(0.3)  # past T4, far from 64*T1 = 1.28 s
    bench.destinations[0].send(answer(arrived, 486))
    bench.destinations[0].expect("ACK")


def test_a_late_ring_of_one_passed_over_is_cancelled(make):
    bench = make([{"first_response_ms": 100}, {}], timers={"t1_ms": 200})
    phone = call(bench)
    late, = bench.destinations[0].expect("INVITE")
    second, = bench.destinations[1].expect("INVITE")
    bench.destinations[1].send(answer(second, 200))
    phone.expect(200)
    bench.destinations[0].send(answer(late, 180))
    bench.destinations[0].expect("CANCEL")
    bench.destinations[0].send(answer(late, 487))
    bench.destinations[0].expect("ACK")


def test_a_request_that_cannot_grow_is_513(make):
    bench = make(1)
    phone = bench.agent()
    phone.send(phone.request(body=64_000 * b"x"))
    phone.expect(513)
    assert bench.count("transactions_total") == 0
