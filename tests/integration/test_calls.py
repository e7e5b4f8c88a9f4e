"""Calls through the running edge in both directions, and the requests around them."""

import asyncio

import pytest

from benchmarks.agents import Behaviour
from benchmarks.sip import Message, address_uri, parse, token
from benchmarks.transactions import eventually


async def edge_with_one(field, start, /, **sections):
    """(edge, its only destination, a client)."""
    destination = await field.destination()
    running = await start([destination], **sections)
    return running, destination, await field.phone("carol", running)


async def registered(field, running, name="alice", **more):
    phone = await field.phone(name, running, **more)
    assert (await phone.register()).status == 200
    await eventually(running.replicated)  # the 200 says that one worker has it; the call may come to the other
    return phone


async def test_a_client_calls_the_set(field, edge):
    _, destination, carol = await edge_with_one(field, edge)
    call = await carol.answered(carol.invite("1000"))
    assert call.status == 200
    assert call.statuses in ([100, 180, 200], [180, 200])
    (dialog,) = destination.dialogs.values()
    await asyncio.wait_for(dialog.confirmed.wait(), 3)
    assert (await call.dialog.bye()).status == 200
    assert dialog.ended.is_set()
    assert destination.requests[-1].uri.startswith("sip:1000@")


async def test_trying_comes_before_a_slow_destination(field, edge):
    _, destination, carol = await edge_with_one(field, edge)
    destination.behaviour = Behaviour(ring_after_s=0.4)
    call = await carol.answered(carol.invite("1000"))
    assert call.statuses == [100, 180, 200]
    assert call.transaction.at[100] - call.intended < 0.3
    assert carol.sent["again"] == 0


async def test_a_destination_calls_a_registered_user(field, edge):
    running, destination, _ = await edge_with_one(field, edge)
    alice = await registered(field, running)
    call = await destination.answered(destination.invite("alice"))
    assert call.status == 200
    assert [request.method for request in alice.requests] == ["INVITE"]
    assert alice.requests[0].uri == alice.contact  # RFC 3261 16.5: the target set is the contact
    (dialog,) = alice.dialogs.values()
    await asyncio.wait_for(dialog.confirmed.wait(), 3)
    assert (await dialog.bye()).status == 200
    assert call.dialog.ended.is_set()


@pytest.mark.parametrize("method", ["INFO", "UPDATE", "REFER", "SUBSCRIBE", "NOTIFY", "MESSAGE", "PRACK", "FROBNICATE"])
async def test_requests_inside_a_dialog_go_both_ways(field, edge, method):
    _, destination, carol = await edge_with_one(field, edge)
    call = await carol.answered(carol.invite("1000"))
    (theirs,) = destination.dialogs.values()
    for mine, peer in ((call.dialog, theirs), (theirs, call.dialog)):
        assert (await mine.request(method)).status in (200, 202)
        assert peer.requests[-1].method == method
    await call.dialog.bye()


async def test_hold_from_either_side(field, edge):
    _, destination, carol = await edge_with_one(field, edge)
    call = await carol.answered(carol.invite("1000"))
    (theirs,) = destination.dialogs.values()
    await asyncio.wait_for(theirs.confirmed.wait(), 3)
    assert b"a=recvonly" in (await call.dialog.hold()).body
    await asyncio.wait_for(theirs.confirmed.wait(), 3)
    assert b"a=recvonly" in (await theirs.hold()).body
    await asyncio.wait_for(call.dialog.confirmed.wait(), 3)
    assert (await theirs.bye()).status == 200


async def test_methods_outside_a_dialog_reach_the_set(field, edge):
    _, destination, carol = await edge_with_one(field, edge)
    for method in ("MESSAGE", "SUBSCRIBE", "PUBLISH", "FROBNICATE"):
        assert (await carol.ask(method, carol.uri_of("1000"))).status == 200
        assert destination.requests[-1].method == method


async def test_cancel_gives_487(field, edge):
    _, destination, carol = await edge_with_one(field, edge)
    destination.behaviour = Behaviour(answer_after_s=20)
    call = carol.invite("1000")
    await eventually(lambda: 180 in call.statuses)
    assert (await carol.cancel(call.transaction).final()).status == 200
    assert (await carol.answered(call)).status == 487
    await eventually(lambda: destination.seen["CANCEL"] == 1 and destination.seen["ACK"] == 1)


async def test_cancel_of_nothing_is_481(field, edge):
    _, destination, carol = await edge_with_one(field, edge)
    request = carol.build("CANCEL", carol.uri_of("1000"))
    assert (await carol.send_out(request).final()).status == 481
    assert destination.seen["CANCEL"] == 0


@pytest.mark.parametrize(("method", "statuses"), [("INVITE", {483}), ("MESSAGE", {483}), ("OPTIONS", {200, 483})])
async def test_no_hops_left_is_483(field, edge, method, statuses):
    """RFC 3261 16.3 step 3: OPTIONS may be answered instead."""
    _, destination, carol = await edge_with_one(field, edge)
    request = carol.build(method, carol.uri_of("1000"), max_forwards=0)
    assert (await carol.send_out(request).final()).status in statuses
    assert destination.requests == []


async def test_options_to_the_edge_is_200(field, edge):
    running, destination, carol = await edge_with_one(field, edge)
    for uri in (f"sip:127.0.0.1:{running.port}", f"sip:ping@127.0.0.1:{running.port}"):
        assert (await carol.ask("OPTIONS", uri)).status == 200
    assert destination.requests == []


async def test_a_refusal_passes_through_and_is_acknowledged(field, edge):
    _, destination, carol = await edge_with_one(field, edge)
    for status in (486, 404, 488, 603, 302):
        destination.behaviour = Behaviour(status=status)
        assert (await carol.answered(carol.invite("1000"))).status == status
    await eventually(lambda: destination.seen["ACK"] == 5)


async def test_a_retransmitted_invite_is_absorbed(field, edge):
    running, destination, carol = await edge_with_one(field, edge)
    destination.behaviour = Behaviour(answer_after_s=0.6)
    call = carol.invite("1000")
    await eventually(lambda: 180 in call.statuses)
    for _ in range(3):
        carol.send(call.transaction.request, running.address)
    await carol.answered(call)
    assert call.status == 200
    assert destination.seen["INVITE"] == 1
    assert call.statuses.count(180) == 4  # each is answered with the last provisional response
    await call.dialog.bye()


async def test_a_retransmitted_bye_is_absorbed(field, edge):
    _, destination, carol = await edge_with_one(field, edge)
    call = await carol.answered(carol.invite("1000"))
    bye = call.dialog.send("BYE")
    assert (await bye.final()).status == 200
    carol.send(bye.request, bye.target)
    await eventually(lambda: carol.seen["200 again"] == 1)
    assert destination.seen["BYE"] == 1


async def test_responses_go_where_rfc_3581_says(field, edge):
    running, _, carol = await edge_with_one(field, edge)
    transaction = carol.send_out(carol.build("OPTIONS", f"sip:127.0.0.1:{running.port}"))
    via = (await transaction.final()).first("via")
    assert "received=127.0.0.1" in via
    assert f"rport={carol.address[1]}" in via


async def test_without_rport_the_response_goes_to_the_port_of_the_via(field, edge):
    """RFC 3261 18.2.2: to the received address, at the port of sent-by."""
    running, _, carol = await edge_with_one(field, edge)
    listener = await field.phone("listener", running)
    request = carol.build("OPTIONS", f"sip:127.0.0.1:{running.port}")
    via = f"SIP/2.0/UDP 192.0.2.77:{listener.address[1]};branch=z9hG4bK{token()}"
    request.headers[0] = ("Via", via)
    carol.send(request, running.address)
    await eventually(lambda: len(listener.strays) == 1)
    assert "received=127.0.0.1" in listener.strays[0].first("via")


async def test_a_client_behind_nat_is_reached_by_its_flow(field, edge):
    """Via and Contact hold an address that nobody can reach; requests of the dialog come by the cookie's flow."""
    running, destination, _ = await edge_with_one(field, edge)
    natted = await field.phone("nat", running, advertised=("10.9.8.7", 5060))
    call = await natted.answered(natted.invite("1000"))
    (theirs,) = destination.dialogs.values()
    await asyncio.wait_for(theirs.confirmed.wait(), 3)
    assert "10.9.8.7" in theirs.target
    assert (await theirs.request("INFO")).status == 200
    assert (await theirs.bye()).status == 200
    assert call.dialog.ended.is_set()


async def test_a_registered_client_behind_nat_is_called(field, edge):
    running, destination, _ = await edge_with_one(field, edge)
    natted = await registered(field, running, "nat", advertised=("10.9.8.7", 5060))
    call = await destination.call("nat", hold_s=0.05)
    assert call.status == 200
    assert natted.seen["INVITE"] == natted.seen["BYE"] == 1


async def test_unknown_is_404_and_offline_is_480(field, edge):
    running, destination, _ = await edge_with_one(field, edge)
    alice = await registered(field, running)
    assert (await destination.answered(destination.invite("nobody"))).status == 404
    await alice.register(0)
    await eventually(running.replicated)
    assert (await destination.answered(destination.invite("alice"))).status == 480
    assert alice.requests == []


async def test_several_contacts_are_tried_by_q(field, edge):
    running, destination, _ = await edge_with_one(field, edge)
    first, second = await field.phone("alice", running), await field.phone("alice", running)
    await first.register(600, (f"<{first.contact}>;q=0.9",))
    await second.register(600, (f"<{second.contact}>;q=0.1",))
    await eventually(running.replicated)
    first.behaviour = Behaviour(status=486)
    call = await destination.answered(destination.invite("alice"))
    assert call.status == 200
    assert first.seen["INVITE"] == second.seen["INVITE"] == 1
    await call.dialog.bye()


async def test_contacts_of_one_q_ring_together_and_the_first_answer_wins(field, edge):
    running, destination, _ = await edge_with_one(field, edge)
    quick, slow = await field.phone("alice", running), await field.phone("alice", running)
    slow.behaviour = Behaviour(answer_after_s=10)
    quick.behaviour = Behaviour(answer_after_s=0.2)
    await quick.register()
    await slow.register()
    await eventually(running.replicated)
    call = await destination.answered(destination.invite("alice"))
    assert call.status == 200
    await eventually(lambda: slow.seen["CANCEL"] == 1 and slow.seen["ACK"] == 1)
    await call.dialog.bye()
    assert quick.seen["BYE"] == 1


async def test_lookup_first_prefers_a_registered_user(field, edge):
    running, destination, carol = await edge_with_one(field, edge, edge={"initial": "lookup-first"})
    alice = await registered(field, running)
    await carol.call("alice", hold_s=0.05)
    assert alice.seen["INVITE"] == 1
    await carol.call("1000")
    assert [request.uri.split("@")[0] for request in destination.requests if request.method == "INVITE"] == ["sip:1000"]


async def test_dispatch_ignores_registrations(field, edge):
    running, destination, carol = await edge_with_one(field, edge)
    alice = await registered(field, running)
    await carol.call("alice")
    assert alice.requests == []
    assert destination.seen["INVITE"] == 1


def forged(dialog, change):
    """A BYE of the dialog whose Route was tampered with."""
    bye = dialog.build("BYE")
    bye.headers = [(name, change(value) if name == "Route" else value) for name, value in bye.headers]
    return bye


def flipped(route):
    """The cookie with its tenth character changed."""
    at = route.index(";v=") + 12
    return route[:at] + ("A" if route[at] != "A" else "B") + route[at + 1 :]


@pytest.mark.parametrize("kind", ["flipped", "without cookie", "no route", "another call"])
async def test_a_forged_cookie_opens_nothing(field, edge, kind):
    running, destination, carol = await edge_with_one(field, edge)
    call = await carol.answered(carol.invite("1000"))
    bye = forged(call.dialog, {"flipped": flipped, "without cookie": lambda route: f"<sip:127.0.0.1:{running.port};lr>"}
                 .get(kind, lambda route: route))  # fmt: skip
    if kind == "no route":
        bye.headers = [pair for pair in bye.headers if pair[0] != "Route"]
    if kind == "another call":
        bye.headers = [(name, token() if name == "Call-ID" else value) for name, value in bye.headers]
    response = await carol.request(bye, running.address).final()
    assert response.status in (403, 404, 481)
    assert destination.seen["BYE"] == 0
    assert (await call.dialog.bye()).status == 200


async def test_an_ack_to_nothing_is_dropped(field, edge):
    running, destination, carol = await edge_with_one(field, edge)
    carol.send(carol.build("ACK", carol.uri_of("1000")), running.address)
    assert (await carol.ask("OPTIONS")).status == 200
    assert carol.strays == []
    assert destination.seen["ACK"] == 0


async def test_a_response_to_nothing_is_dropped(field, edge):
    running, _, carol = await edge_with_one(field, edge)
    stray = Message("SIP/2.0 200 OK", [carol.via(), *carol.build("OPTIONS", "sip:x@y").headers[1:]])
    carol.send(stray, running.address)
    assert (await carol.ask("OPTIONS")).status == 200
    assert carol.strays == []


async def test_record_route_holds_a_reachable_address_and_a_cookie(field, edge):
    running, destination, carol = await edge_with_one(field, edge)
    call = await carol.answered(carol.invite("1000"))
    uri = address_uri(destination.requests[-1].first("record-route"))
    assert uri.startswith(f"sip:127.0.0.1:{running.port};")
    assert ";v=" in uri
    assert uri == address_uri(call.final.first("record-route"))
    await call.dialog.bye()


async def test_what_the_edge_need_not_read_leaves_byte_for_byte(field, edge):
    """Unknown headers, their spelling, order and odd spacing, and the body, unchanged."""
    running, destination, carol = await edge_with_one(field, edge)
    received = []
    original = destination.datagram_received
    destination.datagram_received = lambda data, addr: (received.append(data), original(data, addr))
    body = bytes(range(256))
    lines = (("X-Odd", 'a ;;  b="\\"c"'), ("x-odd", "again"), ("Subject", "grüße"), ("Content-Type", "application/x"))
    request = carol.build("MESSAGE", carol.uri_of("1000"), lines, body)
    assert (await carol.send_out(request).final()).status == 200
    data = next(data for data in received if data.startswith(b"MESSAGE"))
    assert parse(data).body == body
    for name, value in lines:
        assert f"\r\n{name}: {value}\r\n".encode() in data
