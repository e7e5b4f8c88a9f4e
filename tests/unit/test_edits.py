"""sipcore.edits: what a proxy changes, and that nothing else changes."""

import pytest

from sipcore import edits, endpoint, message
from sipcore.reasons import REASONS, Refused
from tests.vectors.messages import message as make
from tests.vectors.messages import replaced

SOURCE = endpoint.pack("udp", "203.0.113.9", 4444)
VIA = b"SIP/2.0/UDP edge;branch=z9hG4bKVxx"
MAX_EDITS = 32
MAX_TEXT = 8192


def lines(data):
    return data.split(b"\r\n")


def changed(before, after):
    """The lines that went and the lines that came."""
    return ([line for line in lines(before) if line not in lines(after)],
            [line for line in lines(after) if line not in lines(before)])


def reason_of(data, steps, **options):
    with pytest.raises(Refused) as caught:
        edits.apply_steps(data, steps, **options)
    return caught.value.reason


def test_no_edit_gives_the_octets_that_belong_to_the_message():
    data = make(b"l: 2", body=b"abcd")
    assert edits.apply_steps(data, []) == data[:-2]
    assert edits.apply_steps(b"\r\n\r\n" + data, []) == data[:-2]


@pytest.mark.parametrize("via, marked", [
    (b"SIP/2.0/UDP h;branch=z9hG4bKa", b"SIP/2.0/UDP h;branch=z9hG4bKa;received=203.0.113.9"),
    (b"SIP/2.0/UDP h;rport;branch=z9hG4bKa", b"SIP/2.0/UDP h;rport=4444;branch=z9hG4bKa;received=203.0.113.9"),
    (b"SIP/2.0/UDP h;rport=1;branch=z9hG4bKa", b"SIP/2.0/UDP h;rport=4444;branch=z9hG4bKa;received=203.0.113.9"),
    (b"SIP/2.0/UDP h;received=1.1.1.1;rport", b"SIP/2.0/UDP h;received=203.0.113.9;rport=4444"),
    (b"SIP/2.0/UDP h;branch=z9hG4bKa;rport , SIP/2.0/UDP i;rport",
     b"SIP/2.0/UDP h;branch=z9hG4bKa;rport=4444;received=203.0.113.9 , SIP/2.0/UDP i;rport"),
    (b"SIP/2.0/UDP h\r\n ;rport", b"SIP/2.0/UDP h\r\n ;rport=4444;received=203.0.113.9"),
])
def test_mark_source(via, marked):
    data = replaced(b"Via: " + via)
    after = edits.apply_steps(data, [("mark_source", SOURCE)])
    assert after == data.replace(via, marked)
    assert edits.apply_steps(after, [("mark_source", SOURCE)]) == after


def test_mark_source_ipv6_has_no_brackets():
    data = replaced(b"Via: SIP/2.0/UDP h")
    assert b"h;received=2001:db8::1\r\n" in edits.apply_steps(
        data, [("mark_source", endpoint.pack("udp", "2001:db8::1", 1))])


def test_an_unreadable_via_is_left_alone():
    data = replaced(b"Via: SIP/2.0/UDP ::::")
    assert edits.apply_steps(data, [("mark_source", SOURCE)]) == data


@pytest.mark.parametrize("data", [
    make(), replaced(b"Via: SIP/2.0/UDP a, SIP/2.0/UDP b"), make(b"v: SIP/2.0/UDP b"), make(without=(b"Via",)),
])
def test_push_and_pop_via(data):
    pushed = edits.apply_steps(data, [("push_via", VIA)])
    assert message.parse(pushed).values(b"Via") == [VIA, *message.parse(data).values(b"Via")]
    assert edits.apply_steps(pushed, [("pop_via",)]) == data


def test_pop_via_up_to_its_comma():
    data = make(b"v: SIP/2.0/UDP a ,\r\n SIP/2.0/UDP b", without=(b"Via",))
    assert edits.apply_steps(data, [("pop_via",)]) == make(b"v: SIP/2.0/UDP b", without=(b"Via",))
    data = make(b"v: SIP/2.0/UDP a , ,", without=(b"Via",))
    assert edits.apply_steps(data, [("pop_via",)]) == make(without=(b"Via",))


@pytest.mark.parametrize("before, after", [
    (b"Max-Forwards: 70", b"Max-Forwards: 69"), (b"Max-Forwards: 0068 ", b"Max-Forwards: 67 "),
    (b"max-forwards:1", b"max-forwards:0"), (b"Max-Forwards: 0", b"Max-Forwards: 0"),
    (b"Max-Forwards: 1000", b"Max-Forwards: 254"),
])
def test_lower_max_forwards(before, after):
    data = make(before, without=(b"Max-Forwards",))
    assert edits.apply_steps(data, [("lower_max_forwards",)]) == make(after, without=(b"Max-Forwards",))


def test_max_forwards_where_it_was_absent():
    data = make(without=(b"Max-Forwards",))
    assert message.parse(edits.apply_steps(data, [("lower_max_forwards",)])).max_forwards == 70


def test_record_route():
    after = edits.apply_steps(make(), [("record_route", b"<sip:e;lr>")])
    assert lines(after)[2] == b"Record-Route: <sip:e;lr>"
    again = edits.apply_steps(after, [("record_route", b"<sip:f;lr>")])
    assert message.parse(again).values(b"Record-Route") == [b"<sip:f;lr>", b"<sip:e;lr>"]


@pytest.mark.parametrize("count, left", [
    (0, [b"<sip:a,1@h;lr>", b"<sip:b>", b"<sip:c>"]), (1, [b"<sip:b>", b"<sip:c>"]), (2, [b"<sip:c>"]), (3, []),
    (9, []),
])
def test_pop_routes(count, left):
    data = make(b"Route: <sip:a,1@h;lr> ,\r\n <sip:b>", b"X: 1", b"route:<sip:c>")
    after = message.parse(edits.apply_steps(data, [("pop_routes", count)]))
    assert after.reason == 0
    assert after.values(b"Route") == left
    assert after.header(b"X") == b"1"


def test_pop_and_push_routes():
    data = make(b"Route: <sip:a;lr>")
    steps = [("pop_routes", 1), ("push_route", b"<sip:n;lr>")]
    assert edits.apply_steps(data, steps) == edits.apply_steps(data, steps[::-1]) == make(b"Route: <sip:n;lr>")
    assert message.parse(edits.apply_steps(make(), steps[1:])).values(b"Route") == [b"<sip:n;lr>"]


def test_a_malformed_route_is_refused():
    assert reason_of(make(b"Route: <sip:a"), [("pop_routes", 1)]) == REASONS["ROUTE"][0]
    assert reason_of(make(b"Route: *"), [("pop_routes", 1)]) == REASONS["ROUTE"][0]


def test_request_uri():
    went, came = changed(make(), edits.apply_steps(make(), [("request_uri", b"sip:x@y")]))
    assert (went, came) == ([lines(make())[0]], [b"OPTIONS sip:x@y SIP/2.0"])


def test_what_a_proxy_does_at_once():
    data = make(b"Route: <sip:edge;lr>", b"l: 0")
    after = edits.apply_steps(data, [
        ("mark_source", SOURCE), ("push_via", VIA), ("lower_max_forwards",), ("pop_routes", 1),
        ("record_route", b"<sip:edge;lr;v=1>"), ("request_uri", b"sip:1@10.0.0.1")])
    parsed = message.parse(after)
    assert (parsed.reason, parsed.request_uri, parsed.max_forwards) == (0, b"sip:1@10.0.0.1", 69)
    assert len(parsed.values(b"Via")) == 2 and b"rport=4444" in parsed.values(b"Via")[1]
    assert parsed.values(b"Route") == [] and parsed.values(b"Record-Route") == [b"<sip:edge;lr;v=1>"]


def test_limits_hold_at_and_one_past():
    data = make()
    assert len(edits.apply_steps(data, [("replace", 0, 0, b"x")] * MAX_EDITS)) == len(data) + MAX_EDITS
    assert reason_of(data, [("replace", 0, 0, b"x")] * (MAX_EDITS + 1)) == REASONS["NO_ROOM"][0]
    assert len(edits.apply_steps(data, [("replace", 0, 0, b"x" * MAX_TEXT)])) == len(data) + MAX_TEXT
    assert reason_of(data, [("replace", 0, 0, b"x" * (MAX_TEXT + 1))]) == REASONS["NO_ROOM"][0]
    assert reason_of(data, [("push_via", b"x" * MAX_TEXT)]) == REASONS["NO_ROOM"][0]
    assert len(edits.apply_steps(data, [("push_via", b"x" * (MAX_TEXT - 7))])) == len(data) + MAX_TEXT
    assert edits.apply_steps(data, [], room=len(data)) == data
    assert reason_of(data, [], room=len(data) - 1) == REASONS["NO_ROOM"][0]
    assert reason_of(data, [("push_via", VIA)], room=len(data)) == REASONS["NO_ROOM"][0]
