"""workers.registrar: what one worker judges of a REGISTER by itself, what it hands to the log, what it answers."""

import re
import time

import pytest
from log_values import entries, from_worker

from benchmarks.engine_bench import Bench
from sipcore import wire
from workers.registrar import CONTACTS_MAX

CONTACT = b"Contact: <sip:1000@10.0.0.1:5070>\r\n"


class Field:
    """An engine with a phone that registers."""

    fields = []

    def __init__(self, domains=(), **registrar):
        limits = {"default_expires": 600, "min_expires": 60, "max_expires": 3600, "use_domain": True}
        self.bench = Bench(edge={"domains": list(domains)}, registrar={**limits, **registrar})
        self.phone = self.bench.agent()
        self.outstanding = self.bench.outstanding
        Field.fields.append(self)

    def take(self, headers=CONTACT, *, to=b"<sip:1000@edge.example>", call_id=b"reg-1", cseq=7):
        """One REGISTER, as far as the worker takes it alone; what it hands to the log may go there."""
        self.phone.send(
            b"REGISTER sip:edge.example SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK-r%d\r\n"
            b"From: <sip:1000@edge.example>;tag=f\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d REGISTER\r\n%s"
            b"Content-Length: 0\r\n\r\n" % (self.phone.address, cseq, to, call_id, cseq, headers))
        self.outstanding.release()
        return self

    def answer(self):
        """(status, phrase, the header lines of ours) of the next answer; None where none came."""
        octets = self.bench.wait(self.phone, 0.02)
        if octets is None:
            return None
        status, phrase = re.match(rb"SIP/2.0 (\d+) ([^\r]*)\r\n", octets).groups()
        ours = re.findall(rb"(?:Contact|Min-Expires|Unsupported|Retry-After): [^\r]*\r\n", octets)
        return int(status), phrase, b"".join(ours)

    def operation(self):
        """The one operation that went to the log, behind its number; nothing was answered yet."""
        assert self.answer() is None
        (frame,) = self.outstanding.frames(0)
        ((self.op_id, aor, call_id, cseq, star, contacts, flow, path, agent),) = from_worker(frame)[1]
        assert (flow, path) == (self.phone.endpoint(), b"")
        return aor, call_id, cseq, star, contacts, agent

    def contacts(self):
        return [tuple(contact[:3]) for contact in self.operation()[4]]

    def refusal(self):
        """(status, the extra headers) of the answer; nothing went to the log."""
        assert len(self.outstanding) == 0
        status, _, extra = self.answer()
        return status, extra

    def bind(self, *puts, aor=b"1000@edge.example"):
        self.bench.location.apply(entries([wire.ENTRY_BINDINGS, 1, 0, 1, aor, list(puts), [], 10**15]))

    def acknowledge(self, *op_ids):
        self.bench.registrar.acknowledged(op_ids)
        self.bench.engine.flush()

    def refuse(self, op_id, *verdict):
        self.bench.registrar.refused(op_id, *verdict)
        self.bench.engine.flush()


@pytest.fixture(autouse=True)
def closed():
    yield
    while Field.fields:
        Field.fields.pop().bench.close()


def put(contact, left_s=300, q=1000, instance=b"", updated_ms=0):
    now_ms = time.monotonic_ns() // 1_000_000
    return [contact, b"reg-1", 7, q, now_ms + left_s * 1000, bytes(24), instance, b"", b"", now_ms + updated_ms]


class TestTheOperation:
    def test_carries_what_a_binding_needs(self):
        field = Field().take(CONTACT + b"Expires: 120\r\nUser-Agent: Phone/1.0\r\n")
        assert field.operation() == (
            b"1000@edge.example", b"reg-1", 7, False, [[b"sip:1000@10.0.0.1:5070", 120, 1000, b"", 0]], b"Phone/1.0")

    def test_an_agents_name_is_kept_to_its_first_128_octets(self):
        assert Field().take(CONTACT + b"User-Agent: " + 300 * b"x" + b"\r\n").operation()[-1] == 128 * b"x"

    def test_the_aor_is_tos_without_what_makes_no_difference(self):
        aor = Field().take(to=b'"A. User" <sip:10%300@EDGE.example;user=phone>').operation()[0]
        assert aor == b"1000@edge.example"

    def test_use_domain_false_keeps_the_user_alone(self):
        assert Field(use_domain=False).take().operation()[0] == b"1000"

    def test_an_instance_is_kept_without_its_quotes(self):
        headers = b'Contact: <sip:a@10.0.0.1>;+sip.instance="<urn:uuid:0-1>"\r\n'
        assert Field().take(headers).operation()[4][0][3] == b"<urn:uuid:0-1>"

    def test_several_contacts_in_one_line_and_in_several(self):
        headers = b"Contact: <sip:a@h1>;q=0.5, <sip:b@h2>;expires=90\r\nm: sip:c@h3;expires=0\r\nExpires: 240\r\n"
        assert Field().take(headers).contacts() == [
            (b"sip:a@h1", 240, 500), (b"sip:b@h2", 90, 1000), (b"sip:c@h3", 0, 1000)]

    def test_the_star_removes_all(self):
        operation = Field().take(b"Contact: *\r\nExpires: 0\r\n").operation()
        assert operation[3:5] == (True, [])


class TestExpires:
    @pytest.mark.parametrize(("parameter", "header", "wanted"), [
        (b"", b"", 600),                         # the default
        (b";expires=100", b"Expires: 200\r\n", 100),  # 10.3 step 7: the parameter is asked first
        (b"", b"Expires: 200\r\n", 200),
        (b"", b"Expires: soon\r\n", 600),        # malformed: the default
        (b"", b"Expires: 60\r\n", 60),           # the least
        (b"", b"Expires: 3600\r\n", 3600),
        (b"", b"Expires: 3601\r\n", 3600),       # the most
        (b";expires=4294967295", b"", 3600),
        (b"", b"Expires: 4294967296\r\n", 3600),
        (b"", b"Expires: 0\r\n", 0),
        (b";expires=0", b"Expires: 200\r\n", 0),
    ])
    def test_is_the_contacts_the_headers_or_the_default_within_the_limits(self, parameter, header, wanted):
        field = Field().take(b"Contact: <sip:a@h>%s\r\n%s" % (parameter, header))
        assert field.contacts() == [(b"sip:a@h", wanted, 1000)]

    @pytest.mark.parametrize("headers", [
        CONTACT + b"Expires: 59\r\n", b"Contact: <sip:a@h>;expires=1\r\n",
        b"Contact: <sip:a@h>;expires=600, <sip:b@h>;expires=59\r\n"])
    def test_below_the_least_is_423_and_says_it(self, headers):
        assert Field().take(headers).refusal() == (423, b"Min-Expires: 60\r\n")

    def test_the_limits_are_the_operators(self):
        field = Field(default_expires=30, min_expires=10, max_expires=20).take()
        assert field.contacts()[0][1] == 20
        assert Field(min_expires=10).take(CONTACT + b"Expires: 9\r\n").refusal()[1] == b"Min-Expires: 10\r\n"


class TestRefusals:
    @pytest.mark.parametrize("to", [b"<tel:+4912345>", b"<mailto:a@b>", b"<sip:edge.example>", b"<sip:@edge.example>", b"<http://a>"])
    def test_a_to_that_is_no_address_of_record_is_400(self, to):
        assert Field().take(to=to).refusal()[0] == 400

    def test_a_required_extension_is_420_with_all_that_were_required(self):
        status, extra = Field().take(CONTACT + b"Require: path, outbound\r\nRequire: gruu\r\n").refusal()
        assert (status, extra) == (420, b"Unsupported: path, outbound\r\nUnsupported: gruu\r\n")

    def test_a_domain_that_is_not_ours_is_404_where_domains_are_named(self):
        assert Field(domains=["Ours.example"]).take().refusal()[0] == 404
        assert Field(domains=["Ours.example", "EDGE.example"]).take().operation()[0] == b"1000@edge.example"
        assert Field(domains=["ours.example"], use_domain=False).take().refusal()[0] == 404

    @pytest.mark.parametrize("headers", [
        b"Contact: *\r\n",
        b"Contact: *\r\nExpires: 1\r\n",
        b"Contact: *, <sip:a@h>\r\nExpires: 0\r\n",
        b"Contact: <sip:a@h>\r\nContact: *\r\nExpires: 0\r\n",
    ])
    def test_a_star_with_anything_but_expires_0_is_400(self, headers):
        assert Field().take(headers).refusal()[0] == 400

    def test_a_contact_of_another_scheme_is_400(self):
        assert Field().take(b"Contact: <tel:+4912345>\r\n").refusal()[0] == 400

    def test_a_contact_that_is_too_long_is_400(self):
        assert Field().take(b"Contact: <sip:%s@h>\r\n" % (506 * b"a")).operation()
        assert Field().take(b"Contact: <sip:%s@h>\r\n" % (507 * b"a")).refusal()[0] == 400

    def test_too_many_contacts_in_one_request_are_400(self):
        def contacts(count):
            return b"".join(b"Contact: <sip:%d@h>\r\n" % n for n in range(count))

        assert len(Field().take(contacts(CONTACTS_MAX)).operation()[4]) == CONTACTS_MAX
        assert Field().take(contacts(CONTACTS_MAX + 1)).refusal()[0] == 400

    def test_when_too_many_wait_it_is_503_with_a_time(self):
        field = Field()
        while field.outstanding.add([b"a@x", b"c", 1, False, [], bytes(24), b"", b""]):
            continue
        assert field.take().answer() == (503, b"Service Unavailable", b"Retry-After: 5\r\n")


class TestTheAnswer:
    def test_waits_for_the_log_and_lists_all_bindings_with_their_time(self):
        field = Field().take()
        field.operation()
        field.bind(put(b"sip:1000@10.0.0.1:5070"), put(b"sip:b@h2", 61, 50, b"<urn:uuid:1>"), put(b"sip:gone@h", -1))
        field.acknowledge(field.op_id)
        status, phrase, ours = field.answer()
        assert (status, phrase) == (200, b"OK")
        assert ours.splitlines() == [
            b"Contact: <sip:1000@10.0.0.1:5070>;expires=300",
            b'Contact: <sip:b@h2>;expires=61;q=0.050;+sip.instance="<urn:uuid:1>"']

    def test_is_given_once(self):
        field = Field().take()
        field.operation()
        field.acknowledge(field.op_id, field.op_id)
        field.refuse(field.op_id, 503, b"Too Many Bindings")
        assert field.answer()[0] == 200
        assert field.answer() is None
        assert len(field.outstanding) == 0

    def test_to_an_operation_that_nobody_here_waits_for_is_none(self):
        field = Field()
        field.acknowledge(99)
        field.refuse(99, 503, b"Too Many Bindings")
        op_id = field.outstanding.add([b"a@x", b"c", 1, False, [], bytes(24), b"", b""])
        field.acknowledge(op_id)
        assert field.answer() is None

    def test_of_a_refused_operation_is_the_supervisors_verdict(self):
        field = Field().take()
        field.operation()
        field.refuse(field.op_id, 503, b"Too Many Bindings")
        assert field.answer() == (503, b"Too Many Bindings", b"")

    def test_of_many_comes_in_one_batch(self):
        field = Field()
        for cseq in range(1, 101):
            field.take(cseq=cseq)
        op_ids = [op[0] for frame in field.outstanding.frames(0) for op in from_worker(frame)[1]]
        assert len(op_ids) == 100
        field.acknowledge(*op_ids)
        assert [field.answer()[0] for _ in range(100)] == [200] * 100

    def test_without_contacts_it_lists_what_is_there_at_once(self):
        """10.3 step 6: a fetch changes nothing, so the log need not hear of it."""
        field = Field()
        field.bind(put(b"sip:b@h2", 100))
        assert field.take(b"").refusal() == (200, b"Contact: <sip:b@h2>;expires=100\r\n")

    def test_a_fetch_of_an_unknown_address_is_200_without_contacts(self):
        assert Field().take(b"").refusal() == (200, b"")
