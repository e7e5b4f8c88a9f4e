"""workers.registrar: what one worker judges of a REGISTER by itself, what it hands to the log, what it answers."""

import time

import pytest

from sipcore import endpoint, wire
from sipcore.location import LocationTable
from workers.registrar import CONTACTS_MAX, Registrar

FLOW = endpoint.pack("udp", "127.0.0.1", 5070, 0)
REFERENCE = (3, 1)
CONTACT = b"Contact: <sip:1000@10.0.0.1:5070>\r\n"


class Engine:
    def __init__(self):
        self.answers = []

    def answer(self, reference, status, phrase, extra=b""):
        self.answers.append((reference, status, phrase, extra))


class Replica:
    def __init__(self):
        self.operations = []
        self.full = False

    def submit(self, *operation):
        if self.full:
            return 0
        self.operations.append(operation)
        return len(self.operations)


class Field:
    """A registrar with what it talks to."""

    def __init__(self, domains=(), **registrar):
        self.engine, self.replica, self.table = Engine(), Replica(), LocationTable()
        self.registrar = Registrar(self.engine, self.replica, self.table)
        limits = {"default_expires": 600, "min_expires": 60, "max_expires": 3600, "use_domain": True}
        self.registrar.configure({"registrar": {**limits, **registrar}, "edge": {"domains": list(domains)}})

    def take(self, headers=CONTACT, *, to=b"<sip:1000@edge.example>", call_id=b"reg-1", cseq=7):
        self.registrar.take(REFERENCE, (
            b"REGISTER sip:edge.example SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bK-r\r\n"
            b"From: <sip:1000@edge.example>;tag=f\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d REGISTER\r\n%s"
            b"Content-Length: 0\r\n\r\n" % (to, call_id, cseq, headers)), FLOW)
        return self

    def operation(self):
        """The one operation that went to the log; nothing was answered yet."""
        assert self.engine.answers == []
        (aor, call_id, cseq, star, contacts, flow, path, agent), = self.replica.operations
        assert (flow, path) == (FLOW, b"")
        return aor, call_id, cseq, star, contacts, agent

    def contacts(self):
        return [tuple(contact[:3]) for contact in self.operation()[4]]

    def refusal(self):
        """(status, the extra headers) of the answer; nothing went to the log."""
        assert self.replica.operations == []
        (reference, status, _, extra), = self.engine.answers
        assert reference == REFERENCE
        return status, extra

    def bind(self, *puts, aor=b"1000@edge.example"):
        self.table.apply([wire.ENTRY_BINDINGS, 1, 0, 1, aor, list(puts), [], 10**15])


def put(contact, left_s=300, q=1000, instance=b""):
    now_ms = time.monotonic_ns() // 1_000_000
    return [contact, b"reg-1", 7, q, now_ms + left_s * 1000, FLOW, instance, b"", b"", now_ms]


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
        field.replica.full = True
        assert field.take().refusal() == (503, b"Retry-After: 5\r\n")


class TestTheAnswer:
    def test_waits_for_the_log_and_lists_all_bindings_with_their_time(self):
        field = Field().take()
        assert field.engine.answers == []
        field.bind(put(b"sip:1000@10.0.0.1:5070"), put(b"sip:b@h2", 61, 500, b"<urn:uuid:1>"), put(b"sip:gone@h", -1))
        field.registrar.acknowledged(1)
        (reference, status, phrase, extra), = field.engine.answers
        assert (reference, status, phrase) == (REFERENCE, 200, b"OK")
        assert extra.splitlines() == [
            b"Contact: <sip:1000@10.0.0.1:5070>;expires=300",
            b'Contact: <sip:b@h2>;expires=61;q=0.500;+sip.instance="<urn:uuid:1>"']

    def test_is_given_once(self):
        field = Field().take()
        field.registrar.acknowledged(1)
        field.registrar.acknowledged(1)
        field.registrar.refused(1, 503, b"Too Many Bindings")
        assert len(field.engine.answers) == 1

    def test_to_an_operation_that_nobody_here_waits_for_is_none(self):
        field = Field()
        field.registrar.acknowledged(99)
        assert field.engine.answers == []

    def test_of_a_refused_operation_is_the_supervisors_verdict(self):
        field = Field().take()
        field.registrar.refused(1, 503, b"Too Many Bindings")
        assert [answer[1:3] for answer in field.engine.answers] == [(503, b"Too Many Bindings")]

    def test_without_contacts_it_lists_what_is_there_at_once(self):
        """10.3 step 6: a fetch changes nothing, so the log need not hear of it."""
        field = Field()
        field.bind(put(b"sip:b@h2", 100))
        assert field.take(b"").refusal() == (200, b"Contact: <sip:b@h2>;expires=100\r\n")

    def test_a_fetch_of_an_unknown_address_is_200_without_contacts(self):
        assert Field().take(b"").refusal() == (200, b"")
