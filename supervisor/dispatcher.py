"""The truth about destinations: what the list says, what probes and calls showed, what the operator ordered.

Knows no sockets and no clock: "now" is an argument, every change of a state comes back as an Event for the log.
"""

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from sipcore.algorithms import ALGORITHM_NAMES, STATE_NAMES, STATES, algorithm_of
from sipcore.endpoint import text as endpoint_text
from supervisor.dispatcher_list import (
    DESTINATIONS_MAX,
    FLAG_DISABLED,
    FLAG_INACTIVE,
    FLAG_NO_PING,
    FLAG_TRYING,
    DispatcherList,
    Entry,
    set_settings,
)

ACTIVE, TRYING, INACTIVE, DRAINING, DISABLED = (
    STATES[name] for name in ("active", "trying", "inactive", "draining", "disabled")
)
# columns of the loads (struct Load in sipcore/counters.pxd)
LOAD_STARTED, LOAD_ENDED, LOAD_ATTEMPTS, LOAD_RESPONSES, LOAD_FAILURES = range(5)
NO_LOAD = (0, 0, 0, 0, 0)

# What operators of the peers type: OpenSIPS's a i p, Kamailio's a i t d, each with p (probed) or x (not probed) behind.
STATE_LETTERS = {"a": ACTIVE, "t": TRYING, "i": INACTIVE, "p": INACTIVE, "d": DISABLED, "dr": DRAINING}
PROBING_SUFFIXES = {"p": True, "x": False}


class UnknownDestination(LookupError):
    """No such destination: one sentence with what there is."""


@dataclass(frozen=True)
class Event:
    """A destination changed its state."""

    id: int
    set_id: int
    uri: str
    old: int
    new: int
    why: str

    def __str__(self) -> str:
        return f"set {self.set_id} {self.uri}: {STATE_NAMES[self.old]} -> {STATE_NAMES[self.new]} ({self.why})"


@dataclass(frozen=True)
class Diff:
    """What a list changed, as (set, URI)."""

    added: tuple[tuple[int, str], ...]
    removed: tuple[tuple[int, str], ...]
    changed: tuple[tuple[int, str], ...]

    def __str__(self) -> str:
        return f"+{len(self.added)} -{len(self.removed)} ~{len(self.changed)}"


@dataclass(frozen=True)
class Target:
    """A destination as the prober sees it."""

    id: int
    uri: str
    endpoint: bytes
    interval_s: float
    timeout_ms: int
    jitter: float
    codes: frozenset[int]


@dataclass
class Destination:
    """One destination while it is in the list."""

    entry: Entry
    id: int
    slot: int
    endpoint: bytes
    policy: Mapping[str, Any]  # the [dispatcher] keys as they hold for its set
    state: int
    since_ms: int
    reason: str
    probing: bool = True  # the operator's word, by a state such as "ax"
    probes_failed: int = 0  # in a row
    probes_good: int = 0
    calls_failed: int = 0
    relapsing: bool = False  # put out of use by calls, and none was answered since: one more failure is enough
    seen: tuple[int, int] | None = None  # totals of responses and failures when last observed
    latency_ms: float | None = None
    last_probe: str = ""

    @property
    def probed(self) -> bool:
        wanted = self.probing and self.policy["probe"] and not self.entry.flags & FLAG_NO_PING
        return bool(wanted) and self.state != DISABLED


class Destinations:
    """All destinations of one deployment, by (set, URI)."""

    def __init__(self) -> None:
        self.generation = 0
        self._by_key: dict[tuple[int, str], Destination] = {}
        self._by_id: dict[int, Destination] = {}
        self._algorithms: dict[int, int] = {}
        self._slot_owners: dict[int, int] = {}  # slot -> id, of the removed too: their counters are still there

    def __len__(self) -> int:
        return len(self._by_key)

    # -- the list ------------------------------------------------------------------------------------------------------

    def apply_list(
        self,
        parsed: DispatcherList,
        settings: Mapping[str, Any],
        endpoints: Mapping[tuple[int, str], bytes],
        now_ms: int,
    ) -> Diff:
        """Take a list (endpoints from dispatcher_addresses.resolve; settings: the [dispatcher] section) as the truth.

        States, counters and slots stay by (set, URI); a state yields to the list where its flags column changed.
        """
        before = self._by_key
        keys = {entry.key for entry in parsed.entries}
        taken = {self._by_key[key].id for key in keys if key in before}
        slots = {self._by_key[key].slot for key in keys if key in before}
        self._by_key, changed = {}, []
        for entry in parsed.entries:
            policy = set_settings(settings, entry.set_id)
            old = before.get(entry.key)
            if old is None:
                id = identity(entry.set_id, entry.uri, taken)
                slot = self._free_slot(id, slots)
                taken.add(id)
                slots.add(slot)
                state = state_of_flags(entry.flags)
                new = Destination(entry, id, slot, endpoints[entry.key], policy, state, now_ms, "added")
            else:
                new = old
                if differs(old, entry, endpoints[entry.key]):
                    changed.append(entry.key)
                update(old, entry, endpoints[entry.key], policy, now_ms)
            self._by_key[entry.key] = new
            self._slot_owners[new.slot] = new.id
        self._by_id = {destination.id: destination for destination in self._by_key.values()}
        self._algorithms = {
            set_id: algorithm_of(set_settings(settings, set_id)["algorithm"]) for set_id, _ in self._by_key
        }
        self.generation += 1
        added = tuple(entry.key for entry in parsed.entries if entry.key not in before)
        return Diff(added, tuple(key for key in before if key not in keys), tuple(changed))

    def _free_slot(self, id: int, taken: set[int]) -> int:
        """A row of the load page: its own from before, else one that nobody had, else any.

        The first guess comes from the id, so that a supervisor that starts again gives out the same rows.
        """
        order = [(id + step) % DESTINATIONS_MAX for step in range(DESTINATIONS_MAX)]
        fresh = (slot for slot in order if slot not in taken and self._slot_owners.get(slot, id) == id)
        used = (slot for slot in order if slot not in taken)
        return next(itertools.chain(fresh, used))

    # -- what happens to them ------------------------------------------------------------------------------------------

    def set_state(self, set_id: int, uri: str, state: str, now_ms: int) -> list[Event]:
        """The operator's order, by name or letters. ValueError for the state, UnknownDestination for the rest."""
        new, probing = state_from_text(state)
        destination = self._by_key.get((set_id, uri))
        if destination is None:
            have = [have_uri for have_set, have_uri in self._by_key if have_set == set_id]
            there = f"it has {', '.join(have[:8])}{' ...' if len(have) > 8 else ''}" if have else "there is no such set"
            raise UnknownDestination(f"set {set_id} has no destination {uri}; {there}")
        if probing is not None:
            destination.probing = probing
        return self._move(destination, new, "ordered by the operator", now_ms)

    def probe_result(
        self, id: int, ok: bool, code: int | None, latency_ms: float | None, *, now_ms: int, reason: str = ""
    ) -> list[Event]:
        """What a probe found: code None for silence or a transport error, which `reason` then tells."""
        destination = self._by_id.get(id)
        if destination is None or not destination.probed:
            return []  # removed or disabled while the probe was under way
        what = f"{code} {reason}".strip() if code else reason or "no answer"
        destination.last_probe = what
        if code is not None:
            destination.latency_ms = latency_ms
        if ok:
            return self._probe_good(destination, what, now_ms)
        return self._probe_failed(destination, what, now_ms)

    def _probe_good(self, destination: Destination, what: str, now_ms: int) -> list[Event]:
        destination.probes_failed = 0
        destination.probes_good += 1
        good, needed = destination.probes_good, destination.policy["up_after"]
        if destination.state == TRYING:
            return self._move(destination, ACTIVE, f"probe: {what}", now_ms)
        if destination.state == INACTIVE and good >= needed:
            events = self._move(destination, ACTIVE, f"{good} good probes in a row: {what}", now_ms)
            if destination.relapsing:
                self._on_trial(destination)
            return events
        return []

    def _probe_failed(self, destination: Destination, what: str, now_ms: int) -> list[Event]:
        destination.probes_good = 0
        destination.probes_failed += 1
        failed, limit = destination.probes_failed, destination.policy["down_after"]
        if destination.state not in (ACTIVE, TRYING):
            return []
        if failed >= limit:
            return self._move(destination, INACTIVE, f"{failed} failed probes in a row: {what}", now_ms)
        if destination.state == ACTIVE:
            return self._move(destination, TRYING, f"probe: {what}", now_ms)
        return []

    def observe(self, loads: Sequence[Sequence[int]], now_ms: int) -> list[Event]:
        """What calls showed since the last time; loads[slot] are sums over all workers in the columns LOAD_*.

        To be called every 200 ms or so: it also ends the time for which unprobed destinations are held.
        """
        events = []
        for destination in self._by_key.values():
            row = loads[destination.slot]
            responses, failures = int(row[LOAD_RESPONSES]), int(row[LOAD_FAILURES])
            seen = destination.seen
            destination.seen = (responses, failures)
            if seen is not None and responses >= seen[0] and failures >= seen[1]:
                events += self._calls_seen(destination, responses - seen[0], failures - seen[1], now_ms)
            if not destination.probed:
                events += self._held(destination, now_ms)
        return events

    def _calls_seen(self, destination: Destination, responses: int, failures: int, now_ms: int) -> list[Event]:
        limit = destination.policy["passive_failures"]
        if destination.state not in (ACTIVE, TRYING) or not limit:
            return []
        if responses:  # which came first within one look is not known: any answer speaks for it
            destination.calls_failed = 0
            destination.relapsing = False
            if destination.state == TRYING and not destination.probed:
                return self._move(destination, ACTIVE, "it answered", now_ms)
            return []
        destination.calls_failed += failures
        if failures and destination.calls_failed >= limit:
            why = f"{destination.calls_failed} failures in a row without an answer"
            destination.relapsing = True
            return self._move(destination, INACTIVE, why, now_ms)
        return []

    def _on_trial(self, destination: Destination) -> None:
        """One more failure puts it out of use again."""
        destination.calls_failed = max(0, destination.policy["passive_failures"] - 1)

    def _held(self, destination: Destination, now_ms: int) -> list[Event]:
        """Nothing probes it, so time is the way out: after hold_s calls try it, and one more failure ends the trial."""
        hold_s = destination.policy["hold_s"]
        if now_ms - destination.since_ms < hold_s * 1000:
            return []
        if destination.state == INACTIVE:
            events = self._move(destination, TRYING, f"held for {hold_s:g} s and not probed: calls try it", now_ms)
            self._on_trial(destination)
            return events
        if destination.state == TRYING:
            return self._move(destination, ACTIVE, f"no failure for {hold_s:g} s", now_ms)
        return []

    def _move(self, destination: Destination, state: int, why: str, now_ms: int) -> list[Event]:
        old = destination.state
        destination.probes_good = 0
        if state != TRYING or old != ACTIVE:
            destination.probes_failed = 0
        destination.calls_failed = 0
        destination.reason = why
        if state == old:
            return []
        destination.state, destination.since_ms = state, now_ms
        return [Event(destination.id, *destination.entry.key, old, state, why)]

    # -- to keep over a restart ----------------------------------------------------------------------------------------

    def orders(self) -> list[list[Any]]:
        """[set, URI, state] of all that is not as the list says, for the store."""
        return [
            [*key, destination.state]
            for key, destination in self._by_key.items()
            if destination.state != state_of_flags(destination.entry.flags)
        ]

    def restore(self, orders: Iterable[Sequence[Any]], now_ms: int) -> list[Event]:
        """Bring back what `orders` gave; what the list no longer has is passed over."""
        events = []
        for set_id, uri, state in orders:
            destination = self._by_key.get((set_id, uri))
            if destination is not None and state in STATE_NAMES:
                events += self._move(destination, state, "as before the restart", now_ms)
        return events

    # -- to others -----------------------------------------------------------------------------------------------------

    def entries(self) -> list[list[Any]]:
        """The sets in the wire's shape (ENTRY_DESTINATIONS in sipcore/wire.py)."""
        sets: dict[int, list[Any]] = {set_id: [] for set_id in sorted(self._algorithms)}
        for (set_id, uri), one in self._by_key.items():
            silence_ms = one.policy["first_response_ms"]
            row = [one.id, one.slot, uri.encode(), one.endpoint, one.entry.priority, one.entry.weight, silence_ms]
            sets[set_id].append([*row, one.state])
        return [[set_id, self._algorithms[set_id], rows] for set_id, rows in sets.items()]

    def targets(self) -> list[Target]:
        """Whom to probe now, and how."""
        return [
            Target(
                one.id,
                one.entry.uri,
                one.endpoint,
                one.policy["probe_interval_s"],
                one.policy["probe_timeout_ms"],
                one.policy["probe_jitter"],
                frozenset(one.policy["probe_codes"]),
            )
            for one in self._by_key.values()
            if one.probed
        ]

    def rows(self, loads: Sequence[Sequence[int]] | None, now_ms: int, wall_ms: int) -> list[dict[str, Any]]:
        """One dict a destination for `ds list`, in the list's order; since: UTC, ISO 8601; latency_ms may be None."""
        rows = []
        for (set_id, uri), one in self._by_key.items():
            load = NO_LOAD if loads is None else [int(value) for value in loads[one.slot]]
            since = datetime.fromtimestamp((wall_ms - now_ms + one.since_ms) / 1000, timezone.utc)
            rows.append(
                {
                    "set": set_id,
                    "algorithm": ALGORITHM_NAMES[self._algorithms[set_id]],
                    "uri": uri,
                    "state": STATE_NAMES[one.state],
                    "since": since.isoformat(timespec="seconds"),
                    "reason": one.reason,
                    "probed": one.probed,
                    "priority": one.entry.priority,
                    "weight": one.entry.weight,
                    "attrs": one.entry.attrs,
                    "addresses": [endpoint_text(one.endpoint)],
                    "calls": max(0, load[LOAD_STARTED] - load[LOAD_ENDED]),
                    "attempts": load[LOAD_ATTEMPTS],
                    "responses": load[LOAD_RESPONSES],
                    "failures": load[LOAD_FAILURES],
                    "latency_ms": one.latency_ms,
                    "last_probe": one.last_probe,
                }
            )
        return rows


# -- private -----------------------------------------------------------------------------------------------------------


def identity(set_id: int, uri: str, taken: set[int]) -> int:
    """32 bits that name (set, URI) in cookies, the same on every node and after every restart; never 0."""
    salt = 0
    while True:
        text = f"{set_id} {uri}" + (f" {salt}" if salt else "")
        id = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")
        if id and id not in taken:
            return id
        salt += 1


def state_of_flags(flags: int) -> int:
    if flags & FLAG_DISABLED:
        return DISABLED
    if flags & FLAG_INACTIVE:
        return INACTIVE
    return TRYING if flags & FLAG_TRYING else ACTIVE


def state_from_text(text: str) -> tuple[int, bool | None]:
    """A state and whether to probe (None: as it is), from a name or the peers' letters. ValueError."""
    lowered = text.lower()
    if lowered in STATES:
        return STATES[lowered], None
    if lowered in STATE_LETTERS:
        return STATE_LETTERS[lowered], None
    if len(lowered) == 2 and lowered[0] in "atid" and lowered[1] in PROBING_SUFFIXES:
        return STATE_LETTERS[lowered[0]], PROBING_SUFFIXES[lowered[1]]
    raise ValueError(
        f"state {text!r}: expected {', '.join(STATES)}, or a letter: a, t, i (p is i), dr, d; "
        "p or x behind a, t, i, d turns its probes on or off"
    )


def differs(old: Destination, entry: Entry, endpoint: bytes) -> bool:
    was = old.entry
    return (was.flags, was.priority, was.weight, was.attrs, old.endpoint) != (
        entry.flags, entry.priority, entry.weight, entry.attrs, endpoint
    )  # fmt: skip


def update(old: Destination, entry: Entry, endpoint: bytes, policy: Mapping[str, Any], now_ms: int) -> None:
    if entry.flags != old.entry.flags and old.state != state_of_flags(entry.flags):
        old.state, old.since_ms, old.reason = state_of_flags(entry.flags), now_ms, "the list says so"
        old.probes_failed = old.probes_good = old.calls_failed = 0
    old.entry, old.endpoint, old.policy = entry, endpoint, policy
