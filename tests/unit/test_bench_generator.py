"""The load generator against callees without a proxy between: counts are exact, losses show as retransmissions."""

import socket
import threading

import pytest

pytest.importorskip("benchmarks.generator")
from benchmarks.generate import Field, Latency, Load, bucket_end_us, count_names, quantile_us

SHORT = {"rate": 400, "seconds": 0.25, "drain_s": 1.5, "routed": False}
CALLS = 100


def test_calls_without_a_proxy_are_counted_exactly():
    with Field(sources=4, callees=2) as field:
        result = field.run(("127.0.0.1", field.callee_ports[0]), Load(**SHORT))
    assert (result.offered, result.done, result.failed) == (CALLS, CALLS, 0)
    assert result.sent == result.received == 7 * CALLS  # INVITE 100 180 200 ACK BYE 200
    wrong = {name: getattr(result, name) for name in set(count_names()) - {"sent", "received", "offered", "done"}}
    assert not any(wrong.values()), wrong
    assert result.status == {}
    assert 0 < result.setup_us.p50 <= result.setup_us.p99 <= result.setup_us.p999 <= result.setup_us.most


def test_calls_over_ipv6_with_a_hold_time():
    with Field(sources=1, callees=1, host="::1") as field:
        result = field.run(("::1", field.callee_ports[0]), Load(**SHORT, hold_s=0.05))
    assert (result.done, result.failed, result.sent) == (CALLS, 0, 7 * CALLS)


def test_a_missing_record_route_is_told():
    with Field(sources=1, callees=1) as field:
        result = field.run(("127.0.0.1", field.callee_ports[0]), Load(**{**SHORT, "routed": True}))
    assert result.misrouted == CALLS


class Between:
    """A relay with one caller and one callee that loses and holds back as it is told."""

    def __init__(self, callee_port, verdict):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = self.socket.getsockname()
        self.callee, self.verdict, self.caller, self.held = ("127.0.0.1", callee_port), verdict, None, []
        self.seen = []
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        while True:
            data, source = self.socket.recvfrom(65536)
            if not data:
                return
            self.seen.append(data)
            if source != self.callee:
                self.caller = source
            target = self.caller if source == self.callee else self.callee
            verdict = self.verdict(data, len(self.seen))
            if verdict == "hold":
                self.held.append((data, target))
            elif verdict == "pass":
                self.socket.sendto(data, target)
                while self.held:
                    self.socket.sendto(*self.held.pop())
            elif isinstance(verdict, bytes):
                self.socket.sendto(verdict, source)

    def stop(self):
        self.socket.sendto(b"", self.address)
        self.thread.join(2)
        self.socket.close()


def through(verdict, **load):
    with Field(sources=1, callees=1) as field:
        between = Between(field.callee_ports[0], verdict)
        try:
            return field.run(between.address, Load(**{**SHORT, **load})), between
        finally:
            between.stop()


def first_of(prefix, answer="lose"):
    """Loses the first datagram of each call that begins so."""
    calls = set()

    def verdict(data, _):
        call_id = data.split(b"Call-ID: ")[1].split(b"\r\n")[0]
        if data.startswith(prefix) and call_id not in calls:
            calls.add(call_id)
            return answer
        return "pass"

    return verdict


@pytest.mark.parametrize("prefix", [b"INVITE", b"BYE"])
def test_a_lost_request_is_sent_again(prefix):
    result, _ = through(first_of(prefix), t1_s=0.05)
    assert (result.done, result.failed, result.requests_again) == (CALLS, 0, CALLS)


def test_a_lost_acknowledgement_makes_the_callee_answer_again():
    result, _ = through(first_of(b"ACK"), t1_s=0.05, hold_s=0.2)
    assert (result.done, result.failed, result.answers_again, result.acks_again) == (CALLS, 0, CALLS, CALLS)


def test_a_180_behind_its_200_is_swapped():
    result, _ = through(first_of(b"SIP/2.0 180", "hold"))
    assert (result.done, result.swapped) == (CALLS, CALLS)


def test_a_refusal_fails_its_call_and_is_acknowledged():
    def refuse(data, _):
        if not data.startswith(b"INVITE"):
            return "lose"
        return data.replace(data.split(b"\r\n")[0], b"SIP/2.0 503 Service Unavailable", 1)

    result, between = through(refuse)
    assert (result.done, result.failed, result.status) == (0, CALLS, {503: CALLS})
    assert sum(data.startswith(b"ACK") for data in between.seen) == CALLS


def test_what_gets_no_answer_fails_and_is_told():
    result, _ = through(lambda *_: "lose", t1_s=0.001, drain_s=0.5)
    assert (result.done, result.failed, result.status) == (0, CALLS, {408: CALLS})
    assert result.requests_again == 6 * CALLS  # RFC 3261 17.1.1.2: seven INVITEs


def test_a_route_set_is_followed_last_record_route_first():
    with Field(sources=1, callees=1) as field:
        between = Between(field.callee_ports[0], lambda *_: "pass")
        send = between.socket
        ours = f"<sip:{between.address[0]}:{between.address[1]};lr>"
        routes = f"Record-Route: {ours},<sip:far;lr>\r\nRecord-Route: <sip:x;lr>\r\n"

        class Adding:
            def __getattr__(self, name):
                return getattr(send, name)

            def sendto(self, data, target):
                if data.startswith(b"INVITE"):
                    data = data.replace(b"From:", routes.encode() + b"From:", 1)
                return send.sendto(data, target)

        between.socket = Adding()
        try:
            result = field.run(between.address, Load(**SHORT))
        finally:
            between.stop()
    assert (result.done, result.failed) == (CALLS, 0)
    bye = next(data for data in between.seen if data.startswith(b"BYE"))
    routes_seen = [line for line in bye.split(b"\r\n") if line.startswith(b"Route:")]
    assert routes_seen[0] == b"Route: <sip:x;lr>" and routes_seen[1] == b"Route: <sip:far;lr>"
    assert routes_seen[2].endswith(b"%d;lr>" % between.address[1])


@pytest.mark.parametrize("scenario", ["register", "options"])
def test_transactions_without_a_dialog(scenario):
    def answer(data, _):
        return data.replace(data.split(b"\r\n")[0], b"SIP/2.0 200 OK", 1)

    result, between = through(answer, scenario=scenario, aors=7)
    assert (result.done, result.failed) == (CALLS, 0)
    assert result.other_us.p50 > 0
    if scenario == "register":
        ids = {data.split(b"Call-ID: ")[1].split(b"\r\n")[0] for data in between.seen}
        assert len(ids) == 7  # one an AOR
        assert sorted({int(data.split(b"CSeq: ")[1].split(b" ")[0]) for data in between.seen}) == list(range(1, 16))


def test_quantiles_are_upper_ends_of_buckets():
    assert [bucket_end_us(index) for index in (0, 63, 64, 95, 96)] == [0, 63, 65, 127, 131]
    buckets = [0] * 100
    buckets[10], buckets[96] = 99, 1
    assert quantile_us(buckets, 0.5) == quantile_us(buckets, 0.99) == 10
    assert Latency.of((buckets, 130)) == Latency(10, 10, 130, 130)
