"""The agents against each other, with no proxy between: what the other tests here rely on."""

import asyncio

import pytest

from benchmarks.agents import Agent, Behaviour, Unexpected
from benchmarks.sip import Malformed, parameter, parse, split_list


async def direct(field):
    """Two agents; the first one's outbound proxy is the second."""
    bob = await field.phone("bob", None)
    alice = await field.phone("alice", None, t1_s=0.05)
    alice.edge = bob.address
    alice.hops = bob.hops = 0
    return alice, bob


async def test_a_whole_call(field):
    alice, bob = await direct(field)
    call = await alice.answered(alice.invite("bob"))
    assert call.statuses == [180, 200]
    assert not call.swapped
    assert call.post_dial_delay_s < 1
    (dialog,) = bob.dialogs.values()
    await asyncio.wait_for(dialog.confirmed.wait(), 2)
    for method, status in (("INFO", 200), ("REFER", 202), ("UPDATE", 200), ("MESSAGE", 200)):
        assert (await call.dialog.request(method)).status == status
    held = await call.dialog.hold()
    assert b"a=recvonly" in held.body
    await asyncio.wait_for(dialog.confirmed.wait(), 2)
    assert (await dialog.request("INFO")).status == 200
    assert (await call.dialog.bye()).status == 200
    assert dialog.ended.is_set()
    assert [request.method for request in dialog.requests] == ["INFO", "REFER", "UPDATE", "MESSAGE", "INVITE", "BYE"]


async def test_cancel(field):
    alice, bob = await direct(field)
    bob.behaviour = Behaviour(answer_after_s=5)
    call = alice.invite("bob")
    await asyncio.wait_for(call.transaction.provisional.wait(), 2)
    assert (await alice.cancel(call.transaction).final()).status == 200
    assert (await alice.answered(call)).status == 487


async def test_a_refusal_is_reported(field):
    alice, bob = await direct(field)
    bob.behaviour = Behaviour(status=486)
    with pytest.raises(Unexpected, match="486"):
        await alice.call("bob")


async def test_a_retransmission_is_answered_once_more(field):
    alice, bob = await direct(field)
    bob.behaviour = Behaviour(ring=0, answer_after_s=0.12)
    call = await alice.answered(alice.invite("bob"))
    assert call.status == 200
    assert alice.sent["again"] >= 1
    assert bob.seen["INVITE again"] == alice.sent["again"]
    assert len(bob.requests) == 1


async def test_what_breaks_the_rules_is_a_complaint():
    bob = await Agent("bob").open()
    alice = await Agent("alice", bob.address).open()
    assert (await alice.ask("MESSAGE")).status == 200
    assert any("1 Via, expected 2" in complaint for complaint in bob.complaints)
    bob.datagram_received(b"nonsense\r\n\r\n", ("127.0.0.1", 9))
    assert "malformed" in bob.complaints[-1]
    alice.close()
    bob.close()
    await asyncio.sleep(0)


def test_the_parser_splits_lists_and_reads_parameters():
    assert split_list('"a,b" <sip:c@d;x=1,2>;q=1, <sip:e>') == ['"a,b" <sip:c@d;x=1,2>;q=1', "<sip:e>"]
    assert parameter("<sip:a@b;tag=no>;tag=yes", "tag") == "yes"
    assert parameter("SIP/2.0/UDP h:1;rport;branch=z9hG4bKx", "rport") == ""
    with pytest.raises(Malformed, match="no call-id"):
        parse(b"OPTIONS sip:a SIP/2.0\r\nVia: x\r\nFrom: x\r\nTo: x\r\nCSeq: 1 OPTIONS\r\n\r\n")
