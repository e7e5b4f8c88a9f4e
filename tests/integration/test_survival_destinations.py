"""Destinations that die, keep silent, lie, flap or plead overload under load: every call finds one that works.

The broken one shares the set with two that work. A call that it had answered before it died has lost its media server;
only those are spared.
"""

import time

import pytest
from media import ANSWER, BUSY, DEAD, PROBES_ONLY, SILENT, MediaServer
from survival import LONGER, loaded, steady

from benchmarks.generate import Field

QUICK = {"probe_interval_s": 1, "probe_timeout_ms": 500, "first_response_ms": 500, "down_after": 2}
STEADY_WEIGHT = 9  # of each of the two that work: the breakable one is Python, and gets a nineteenth of the calls
FLAPS = round(6 * LONGER)


@pytest.fixture
def field():
    with Field(sources=32, callees=2) as sockets:
        yield sockets


@pytest.fixture
def media():
    with MediaServer() as server:
        yield server


def state(running, media):
    return next(row["state"] for row in running.destinations() if row["URI"] == media.uri)


@pytest.mark.parametrize("mode", [DEAD, SILENT])
async def test_a_destination_that_dies(edge, field, media, mode):
    running = await edge([*steady(field, STEADY_WEIGHT), media], dispatcher=QUICK)
    with loaded(running, field, 5) as load:
        time.sleep(1.5)
        media.mode = mode
        time.sleep(0.1)
        cut_off = len(media.open)
        time.sleep(3)
        before = media.invites
        assert state(running, media) == "Probing"  # OpenSIPS's word for inactive and probed
    print(f"{cut_off} calls lost their media server")
    load.survived(spared=cut_off)
    assert media.invites == before


async def test_one_that_answers_probes_but_drops_calls(edge, field, media):
    running = await edge([*steady(field, STEADY_WEIGHT), media], dispatcher=QUICK)
    with loaded(running, field, 6) as load:
        time.sleep(1)
        media.mode = PROBES_ONLY
        time.sleep(0.1)
        cut_off = len(media.open)
    calls, _ = load.survived(spared=cut_off)
    print(f"{media.invites} INVITEs for it, {calls.offered} calls; {cut_off} lost their media server")
    assert "failures in a row without an answer" in running.text()


async def test_one_that_flaps(edge, field, media):
    running = await edge([*steady(field, STEADY_WEIGHT), media], dispatcher=QUICK)
    cut_off = 0
    with loaded(running, field, FLAPS + 1) as load:
        for turn in range(FLAPS):
            time.sleep(1)
            media.mode = (DEAD, ANSWER)[turn % 2]
            if media.mode == DEAD:
                time.sleep(0.1)
                cut_off += len(media.open)
                media.open.clear()
    print(f"{cut_off} calls lost their media server")
    load.survived(spared=cut_off)


async def test_one_that_pleads_overload(edge, field, media):
    """503 with Retry-After: its calls go elsewhere at once, and no more come until the time is over, or the cap."""
    running = await edge([*steady(field, STEADY_WEIGHT), media], dispatcher={**QUICK, "retry_after_cap_s": 2})
    with loaded(running, field, 6) as load:
        time.sleep(1)
        media.mode = BUSY
        time.sleep(0.5)
        before = media.invites
        time.sleep(1)
        assert media.invites - before == 0
        media.mode = ANSWER
        time.sleep(3)
        assert media.invites > before
    load.survived()
