"""Messages and edits against slow oracles, over random octets and random mutations of our vectors."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sipcore import build, edits, endpoint, message
from sipcore.reasons import REASONS, Refused
from tests.vectors.messages import MESSAGES

NUMBERS = {row[0] for row in REASONS.values()} | {0}
ACCEPTED = [vector.data for vector in MESSAGES if vector.reason == "OK" and not vector.data.startswith(b"\r\n")]
MAX_EDITS = 32
SOURCE = endpoint.pack("udp", "203.0.113.9", 4444)
ODD = [b"\r", b"\n", b"\r\n", b"\r\n ", b"\0", b"\"", b"\\", b"<", b">", b",", b";", b";;", b"=", b"%", b"@", b"[",
       b" ",
       b"\t", b"\xff", b"z9hG4bK", b"0" * 20, b"SIP/2.0"]


@st.composite
def mutated(draw):
    """A vector with octets replaced, dropped, doubled or put in."""
    data = bytearray(draw(st.sampled_from(MESSAGES)).data)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        data[at:at + draw(st.integers(0, 9))] = draw(st.one_of(st.sampled_from(ODD), st.binary(max_size=4)))
    return bytes(data)


@st.composite
def edit_lists(draw):
    data = draw(st.sampled_from(ACCEPTED))
    size = message.parse(data).size
    place = st.tuples(st.just("replace"), st.integers(0, size), st.integers(0, 40), st.binary(max_size=30))
    return data, [(name, at, min(remove, size - at), text)
                  for name, at, remove, text in draw(st.lists(place, max_size=MAX_EDITS))]


def oracle(data, steps):
    """Octet by octet: what goes is marked, what comes is put in front of its place."""
    gone = set()
    texts = {}
    for _, at, remove, text in steps:
        gone.update(range(at, at + remove))
        texts[at] = texts.get(at, b"") + text
    return b"".join(texts.get(at, b"") + (b"" if at in gone else data[at:at + 1]) for at in range(len(data) + 1))


@settings(max_examples=200, deadline=None)
@given(edit_lists())
def test_edits_are_what_the_oracle_says(case):
    data, steps = case
    assert edits.apply_steps(data, steps) == oracle(data[:message.parse(data).size], steps)


@settings(max_examples=200, deadline=None)
@given(mutated())
def test_any_message_has_a_verdict_and_what_is_accepted_can_be_forwarded(data):
    parsed = message.parse(data)
    assert parsed.reason in NUMBERS
    assert parsed.size <= len(data)
    if parsed.answerable:
        assert message.parse(build.response(parsed, 400, b"Bad Request", b"t", SOURCE)).status == 400
    if parsed.reason != 0:
        return
    via = b"SIP/2.0/UDP edge;branch=z9hG4bKVxx"
    pushed = edits.apply_steps(parsed, [("push_via", via)])
    assert edits.apply_steps(pushed, [("pop_via",)]) == edits.apply_steps(parsed, [])
    try:
        after = message.parse(edits.apply_steps(parsed, [
            ("mark_source", SOURCE), ("push_via", via), ("lower_max_forwards",), ("pop_routes", 1),
            ("record_route", b"<sip:edge;lr>")]))
    except Refused as refused:
        assert refused.reason in (REASONS["NO_ROOM"][0], REASONS["ROUTE"][0])
        return
    assert after.reason in (0, REASONS["TOO_MANY_HEADERS"][0])
    assert (after.call_id, after.cseq, after.from_tag, after.to_tag, after.body) == (
        parsed.call_id, parsed.cseq, parsed.from_tag, parsed.to_tag, parsed.body)
    assert after.via["text"] == via


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_random_octets_have_a_verdict(data):
    assert message.parse(data).reason in NUMBERS
    assert message.parse(b"OPTIONS sip:a@h SIP/2.0\r\n" + data).reason in NUMBERS
