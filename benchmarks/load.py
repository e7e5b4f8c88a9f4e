"""Calls at a steady rate through the edge, and what became of each: for the demonstration and the tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.agents import Agent, Timeout, Unexpected
from benchmarks.sip import Malformed


@dataclass
class Outcome:
    """One call: who took it ("" where nobody did), what went wrong ("" where nothing did)."""

    answerer: str = ""
    failure: str = ""
    post_dial_delay_s: float = 0.0
    swapped: bool = False


@dataclass
class Report:
    """What became of all calls."""

    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        return [outcome.failure for outcome in self.outcomes if outcome.failure]

    @property
    def swapped(self) -> int:
        return sum(outcome.swapped for outcome in self.outcomes)

    def by_answerer(self) -> dict[str, list[Outcome]]:
        table: dict[str, list[Outcome]] = {}
        for outcome in self.outcomes:
            table.setdefault(outcome.answerer, []).append(outcome)
        return table


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which that share of them lies; 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


async def one_call(caller: Agent, user: str, intended: float, hold_s: float) -> Outcome:
    """One call from INVITE to BYE, never raising for what the network did."""
    call = caller.invite(user, intended)
    outcome = Outcome()
    try:
        await caller.answered(call)
        outcome.post_dial_delay_s = call.post_dial_delay_s or 0.0
        if call.dialog is None:
            raise Unexpected(call.final.start if call.final else "no answer")
        outcome.answerer = call.dialog.target
        await asyncio.sleep(hold_s)
        ended = await call.dialog.bye()
        if ended.status != 200:
            raise Unexpected(f"BYE: {ended.start}")
        outcome.swapped = call.swapped
    except (Unexpected, Timeout, Malformed) as error:
        outcome.failure = f"{user}: {error}"
    return outcome


async def place_calls(
    pairs: Sequence[tuple[Agent, str]],
    rate: float,
    hold_s: float = 0.1,
    done: Callable[[Outcome], None] = lambda outcome: None,
) -> Report:
    """Places one call for each (caller, user), `rate` a second; each is sent at its intended moment or as soon after
    as can be, and its delay counts from that moment, so that a stall shows in every call that it held up."""
    loop = asyncio.get_running_loop()
    start, report, running = loop.time(), Report(), []

    async def follow(caller: Agent, user: str, intended: float) -> None:
        outcome = await one_call(caller, user, intended, hold_s)
        report.outcomes.append(outcome)
        done(outcome)

    for index, (caller, user) in enumerate(pairs):
        intended = start + index / rate
        await asyncio.sleep(max(0.0, intended - loop.time()))
        running.append(asyncio.ensure_future(follow(caller, user, intended)))
    await asyncio.gather(*running)
    return report
