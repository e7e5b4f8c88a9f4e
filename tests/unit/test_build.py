"""sipcore.build: responses, CANCEL and ACK."""

import pytest

from sipcore import build, endpoint, message
from sipcore.reasons import REASONS, Refused
from tests.vectors.messages import MESSAGES, cseq_for, replaced
from tests.vectors.messages import message as make

SOURCE = endpoint.pack("udp", "203.0.113.9", 4444)
INVITE = cseq_for(b"INVITE", b"INVITE sip:bob@example.net;x=1 SIP/2.0")


def test_response():
    answer = build.response(make(b"v: SIP/2.0/TCP far;branch=z9hG4bKb ,SIP/2.0/UDP farther"), 404, b"Not Found",
                            b"t1", SOURCE, b"Retry-After: 5\r\n")
    assert answer.split(b"\r\n") == [
        b"SIP/2.0 404 Not Found",
        b"Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bKabc;rport=4444;received=203.0.113.9",
        b"Via: SIP/2.0/TCP far;branch=z9hG4bKb ,SIP/2.0/UDP farther",
        b"From: \"Ann\" <sip:ann@example.com>;tag=77",
        b"To: <sip:bob@example.net>;tag=t1",
        b"Call-ID: 1@192.0.2.1",
        b"CSeq: 9 OPTIONS",
        b"Retry-After: 5",
        b"Content-Length: 0", b"", b""]
    assert message.parse(answer).reason == 0


def test_to_keeps_its_tag_and_100_gets_none():
    assert message.parse(build.response(replaced(b"To: sip:b@h;tag=z"), 404, b"x", b"new")).to_tag == b"z"
    assert message.parse(build.response(make(), 100, b"Trying")).to_tag == b""
    assert message.parse(build.response(replaced(b"To: sip:b@h"), 404, b"x", b"new")).to_tag == b"new"


def test_record_route_goes_back_below_300():
    data = make(b"Record-Route: <sip:a;lr>", b"Record-Route: <sip:b;lr>, <sip:c;lr>")
    assert len(message.parse(build.response(data, 200, b"OK", b"t")).values(b"Record-Route")) == 3
    assert message.parse(build.response(data, 404, b"Not Found", b"t")).values(b"Record-Route") == []


def test_folded_values_go_back_as_they_came():
    answer = build.response(replaced(b"To: \"A\r\n B\"\r\n <sip:b@h>"), 200, b"OK", b"t")
    assert b"To: \"A\r\n B\"\r\n <sip:b@h>;tag=t\r\n" in answer


@pytest.mark.parametrize("vector", [v for v in MESSAGES if message.parse(v.data).answerable], ids=lambda v: v.name)
def test_every_answerable_vector_gets_an_answer_that_can_be_read(vector):
    """The answer has one of each header at most, and nothing that the request hid in a faulty line."""
    parsed = message.parse(vector.data)
    answer = message.parse(build.response(parsed, 400, b"Bad Request", b"t", SOURCE))
    assert answer.status == 400 and b"evil" not in answer.header(b"Via")
    for name in (b"From", b"To", b"Call-ID", b"CSeq"):
        assert len([1 for other, _ in answer.headers if other == name]) == (parsed.header(name) is not None)
    if parsed.reason == 0:
        assert answer.reason == 0


def test_response_room():
    whole = build.response(make(), 200, b"OK", b"t", SOURCE)
    assert build.response(make(), 200, b"OK", b"t", SOURCE, room=len(whole)) == whole
    for room in range(len(whole)):
        with pytest.raises(Refused) as caught:
            build.response(make(), 200, b"OK", b"t", SOURCE, room=room)
        assert caught.value.reason == REASONS["NO_ROOM"][0]


def hop_request(method, to):
    return (b"%s sip:bob@example.net;x=1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bKabc;rport\r\n"
            b"Max-Forwards: 70\r\nRoute: <sip:r;lr>\r\nFrom: \"Ann\" <sip:ann@example.com>;tag=77\r\nTo: %s\r\n"
            b"Call-ID: 1@192.0.2.1\r\nCSeq: 9 %s\r\nContent-Length: 0\r\n\r\n" % (method, to, method))


SENT = cseq_for(b"INVITE", INVITE.split(b"\r\n")[0]).replace(
    b"Max-Forwards: 70\r\n", b"Via: SIP/2.0/UDP caller\r\nRoute: <sip:r;lr>\r\n")


def test_cancel():
    assert build.cancel(SENT) == hop_request(b"CANCEL", b"<sip:bob@example.net>")
    assert message.parse(build.cancel(SENT)).reason == 0


def test_ack_takes_to_from_the_response():
    answer = build.response(SENT, 486, b"Busy Here", b"callee")
    assert build.ack(SENT, answer) == hop_request(b"ACK", b"<sip:bob@example.net>;tag=callee")


@pytest.mark.parametrize("header", [b"Via", b"From", b"To", b"Call-ID", b"CSeq"])
def test_nothing_is_built_from_less_than_is_needed(header):
    lacking = b"\r\n".join(line for line in INVITE.split(b"\r\n") if not line.startswith(header + b":"))
    with pytest.raises(Refused) as caught:
        build.cancel(lacking)
    assert caught.value.reason == REASONS["NO_" + header.decode().upper().replace("-", "_")][0]
