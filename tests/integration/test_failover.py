"""Destinations that refuse, keep silent or fail, draining ones, and none at all."""

import asyncio
import socket

import pytest

from benchmarks.agents import Behaviour
from benchmarks.edge import EdgeError, free_port
from benchmarks.load import place_calls
from benchmarks.transactions import eventually

QUICK = {"first_response_ms": 300, "probe": False}  # failing over within a test's patience, by calls alone
SERIAL = {**QUICK, "algorithm": "priority"}  # list order: the first destination is always asked first


def refused_uri():
    """A URI at whose port nothing listens: the kernel answers with port unreachable."""
    return f"sip:127.0.0.1:{free_port()}"


async def test_a_refused_destination_is_passed_over_at_once(field, edge):
    good = await field.destination()
    carol = await field.phone(
        "carol", await edge([refused_uri(), good], dispatcher=SERIAL | {"first_response_ms": 2000})
    )
    call = await carol.call("1000")
    assert call.post_dial_delay_s < 0.5  # the error queue tells, not the timeout
    assert carol.sent["again"] <= 1
    assert good.seen["INVITE"] == 1


async def test_a_silent_destination_is_passed_over(field, edge):
    silent, good = await field.destination("silent"), await field.destination()
    silent.deaf = True
    carol = await field.phone("carol", await edge([silent, good], dispatcher=SERIAL))
    call = await carol.call("1000")
    assert 0.25 < call.post_dial_delay_s < 2
    assert good.seen["INVITE"] == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_failing_destination_is_passed_over(field, edge, status):
    bad, good = await field.destination("bad"), await field.destination()
    bad.behaviour = Behaviour(status=status)
    carol = await field.phone("carol", await edge([bad, good], dispatcher=SERIAL))
    call = await carol.call("1000")
    assert status not in call.statuses
    assert bad.seen["INVITE"] == bad.seen["ACK"] == 1
    assert good.seen["INVITE"] == 1


@pytest.mark.parametrize("status", [486, 487, 488, 404, 603])
async def test_an_answer_of_the_user_is_final(field, edge, status):
    bad, good = await field.destination("bad"), await field.destination()
    bad.behaviour = Behaviour(status=status)
    carol = await field.phone("carol", await edge([bad, good], dispatcher=SERIAL))
    assert (await carol.answered(carol.invite("1000"))).status == status
    assert good.seen["INVITE"] == 0


async def test_a_ringing_destination_is_waited_for(field, edge):
    """The first-response timeout ends with the first response."""
    slow, other = await field.destination("slow"), await field.destination()
    slow.behaviour = Behaviour(answer_after_s=1.0)
    carol = await field.phone("carol", await edge([slow, other], dispatcher=SERIAL))
    call = await carol.call("1000")
    assert slow.seen["BYE"] == 1
    assert other.seen["INVITE"] == 0
    assert call.status == 200


async def test_at_most_three_destinations_are_tried(field, edge):
    bad = [await field.destination(f"bad{number}") for number in range(4)]
    for destination in bad:
        destination.behaviour = Behaviour(status=503)
    carol = await field.phone("carol", await edge(bad, dispatcher=SERIAL))
    call = await carol.answered(carol.invite("1000"))
    assert call.status >= 500
    assert sum(destination.seen["INVITE"] for destination in bad) == 3


@pytest.mark.parametrize("kind", ["empty list", "all refuse"])
async def test_no_destination_left_says_so(field, edge, kind):
    destinations = [] if kind == "empty list" else [refused_uri(), refused_uri()]
    carol = await field.phone("carol", await edge(destinations, dispatcher=SERIAL))
    call = await carol.answered(carol.invite("1000"))
    assert call.final.start == "SIP/2.0 500 No FS Destinations"


async def test_the_refusal_is_configurable(field, edge):
    words = {"refuse_code": 503, "refuse_text": "Come Back Later"}
    carol = await field.phone("carol", await edge([], dispatcher=words))
    assert (await carol.answered(carol.invite("1000"))).final.start == "SIP/2.0 503 Come Back Later"


async def test_retry_after_is_honoured(field, edge):
    bad, good = await field.destination("bad"), await field.destination()
    bad.behaviour = Behaviour(status=503, headers=(("Retry-After", "20"),))
    running = await edge([bad, good], dispatcher=SERIAL)
    carol = await field.phone("carol", running)
    for _ in range(12):
        await carol.call("1000")
    assert good.seen["BYE"] == 12
    assert bad.seen["INVITE"] <= 2  # once in each worker: the time is that worker's knowledge


async def test_calls_are_spread_evenly(field, edge):
    destinations = [await field.destination(f"fs{number}") for number in range(3)]
    carol = await field.phone("carol", await edge(destinations))
    report = await place_calls([(carol, f"{number}") for number in range(60)], rate=200, hold_s=0.05)
    assert report.failures == []
    for destination in destinations:
        assert 16 <= destination.seen["INVITE"] <= 24


async def test_weights_are_followed(field, edge):
    light, heavy = await field.destination("light"), await field.destination("heavy")
    lines = [f"1 {light.uri} 0 0 weight=1", f"1 {heavy.uri} 0 0 weight=3"]
    carol = await field.phone("carol", await edge(lines))
    report = await place_calls([(carol, f"{number}") for number in range(80)], rate=200, hold_s=0.05)
    assert report.failures == []
    assert 17 <= light.seen["INVITE"] <= 23


async def test_draining_takes_no_new_calls_and_keeps_the_old(field, edge):
    first, second = await field.destination("first"), await field.destination("second")
    running = await edge([first, second], dispatcher=SERIAL)
    carol = await field.phone("carol", running)
    before = await carol.answered(carol.invite("1000"))
    assert first.seen["INVITE"] == 1
    await asyncio.to_thread(running.set_state, 1, first.uri, "draining")
    await eventually(running.replicated)
    for _ in range(6):
        await carol.call("1000")
    assert first.seen["INVITE"] == 1
    assert second.seen["INVITE"] == 6
    assert (await before.dialog.request("INFO")).status == 200
    assert (await before.dialog.bye()).status == 200
    assert first.seen["BYE"] == 1
    await asyncio.to_thread(running.set_state, 1, first.uri, "active")
    await chosen_again(carol, first)


async def chosen_again(caller, destination):
    """Calls until the destination gets one: the workers learn of a state a moment after the admin API has answered."""
    before, deadline = destination.seen["INVITE"], asyncio.get_running_loop().time() + 2
    while destination.seen["INVITE"] == before:
        assert asyncio.get_running_loop().time() < deadline
        await caller.call("1000")


async def test_disabled_takes_none_and_an_unknown_uri_is_an_error(field, edge):
    first, second = await field.destination("first"), await field.destination("second")
    running = await edge([first, second], dispatcher=SERIAL)
    carol = await field.phone("carol", running)
    await asyncio.to_thread(running.set_state, 1, first.uri, "disabled")
    await eventually(running.replicated)
    await carol.call("1000")
    assert first.seen["INVITE"] == 0
    with pytest.raises(EdgeError):
        await asyncio.to_thread(running.set_state, 1, "sip:127.0.0.1:1", "active")


async def test_probing_takes_a_dead_destination_out_and_brings_it_back(field, edge):
    first, second = await field.destination("first"), await field.destination("second")
    probing = {"probe_interval_s": 1, "probe_timeout_ms": 300, "down_after": 2, "up_after": 1, "algorithm": "priority"}
    running = await edge([first, second], dispatcher=probing | {"first_response_ms": 300})
    carol = await field.phone("carol", running)
    await eventually(lambda: first.seen["OPTIONS"] > 0, 5)
    first.behaviour = Behaviour(options=503)
    await eventually(lambda: state_of(running, first) == "inactive", 10)
    await eventually(running.replicated)
    await carol.call("1000")
    assert first.seen["INVITE"] == 0
    first.behaviour = Behaviour()
    await eventually(lambda: state_of(running, first) == "active", 10)
    await carol.call("1000")
    assert first.seen["INVITE"] == 1


def state_of(running, destination):
    return next(row["status"] for row in running.destinations() if row["URI"] == destination.uri)


async def test_passive_failures_take_a_destination_out(field, edge):
    dead, good = await field.destination("dead"), await field.destination()
    dead.deaf = True
    running = await edge([dead, good], dispatcher=SERIAL | {"passive_failures": 3, "first_response_ms": 200})
    carol = await field.phone("carol", running)
    for _ in range(4):
        await carol.call("1000")
    await eventually(lambda: state_of(running, dead) == "inactive", 3)
    call = await carol.call("1000")
    assert call.post_dial_delay_s < 0.15


async def test_a_port_that_comes_alive_serves(field, edge):
    """A destination that refused is asked again by the probes and comes back by itself."""
    port = free_port()
    good = await field.destination()
    probing = {"probe_interval_s": 1, "probe_timeout_ms": 300, "down_after": 1, "up_after": 1, "algorithm": "priority"}
    running = await edge([f"sip:127.0.0.1:{port}", good], dispatcher=probing)
    carol = await field.phone("carol", running)
    await carol.call("1000")
    assert good.seen["INVITE"] == 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", port))  # still free
    late = await field.destination("late", port=port)
    await eventually(lambda: state_of(running, late) == "active", 10)
    await carol.call("1000")
    assert late.seen["INVITE"] == 1
