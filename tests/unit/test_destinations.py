"""supervisor.dispatcher: what becomes of destinations when lists, probes, calls and operators speak."""

import asyncio
import socket
from types import SimpleNamespace

import pytest

from sipcore.dispatcher import DispatcherTable
from sipcore.endpoint import unpack
from supervisor import config, dispatcher_addresses
from supervisor.dispatcher import Destinations, UnknownDestination
from supervisor.dispatcher_addresses import resolve
from supervisor.dispatcher_list import DESTINATIONS_MAX, ListError, parse

A, B, C = ("sip:127.0.0.1:7001", "sip:127.0.0.1:7002", "sip:127.0.0.1:7003")
LOOPBACK = [SimpleNamespace(transport="udp", ip="127.0.0.1")]


def settings_of(**changes):
    return {**config.defaults("")["dispatcher"], **changes}


def resolved(text, listeners=LOOPBACK):
    parsed = parse(text, settings_of())
    return parsed, asyncio.run(resolve(parsed, listeners))


class Bench:
    """Destinations with a clock that the test moves, and the loads of their calls."""

    def __init__(self, text=f"1 {A}\n1 {B}\n", **changes):
        self.destinations, self.now_ms, self.changes = Destinations(), 1_000_000, changes
        self.loads = [[0] * 6 for _ in range(DESTINATIONS_MAX)]
        self.diff = self.apply(text)
        self.observe()

    def apply(self, text, **changes):
        self.changes.update(changes)
        parsed, endpoints = resolved(text)
        return self.destinations.apply_list(parsed, settings_of(**self.changes), endpoints, self.now_ms)

    def row(self, uri):
        return next(row for row in self.destinations.rows(self.loads, self.now_ms, 0) if row["uri"] == uri)

    def state(self, uri):
        return self.row(uri)["state"]

    def wire(self, uri):
        return next(row for _, _, rows in self.destinations.entries() for row in rows if row[2] == uri.encode())

    def probe(self, uri, *oks):
        events = []
        for ok in oks:
            events += self.destinations.probe_result(
                self.wire(uri)[0], ok, 200 if ok else None, 1.5 if ok else None, now_ms=self.now_ms
            )
        return events

    def calls(self, uri, responses=0, failures=0):
        row = self.loads[self.wire(uri)[1]]
        row[2] += responses + failures
        row[3] += responses
        row[4] += failures
        return self.observe()

    def observe(self, after_ms=200):
        self.now_ms += after_ms
        return self.destinations.observe(self.loads, self.now_ms)

    def order(self, uri, state):
        return self.destinations.set_state(1, uri, state, self.now_ms)


def test_no_state_without_an_exit_by_probes():
    bench = Bench()
    assert bench.state(A) == "active"
    (event,) = bench.probe(A, False)
    assert str(event) == f"set 1 {A}: active -> trying (probe: no answer)"
    assert bench.probe(A, False) == []
    (event,) = bench.probe(A, False)
    assert str(event) == f"set 1 {A}: trying -> inactive (3 failed probes in a row: no answer)"
    assert bench.wire(A)[-1] == 2
    assert bench.probe(A, True) == []
    (event,) = bench.probe(A, True)
    assert str(event) == f"set 1 {A}: inactive -> active (2 good probes in a row: 200)"
    assert bench.state(B) == "active"


def test_a_flapping_destination_stays_down():
    bench = Bench()
    bench.probe(A, False, False, False)
    assert bench.probe(A, *[True, False] * 20) == []
    assert bench.state(A) == "inactive"


def test_a_good_probe_ends_trying_and_forgets_the_failures():
    bench = Bench()
    bench.probe(A, False, False, True)
    assert bench.state(A) == "active"
    bench.probe(A, False, False)
    assert bench.state(A) == "trying"


def test_thresholds_of_1_act_at_once():
    bench = Bench(down_after=1, up_after=1)
    assert [event.new for event in bench.probe(A, False, True)] == [2, 0]


def test_calls_that_fail_in_a_row_take_a_destination_out():
    bench = Bench()
    assert bench.calls(A, failures=4) == []
    assert bench.calls(A, responses=1) == []
    assert bench.calls(A, failures=4) == []
    (event,) = bench.calls(A, failures=1)
    assert str(event) == f"set 1 {A}: active -> inactive (5 failures in a row without an answer)"
    bench.probe(A, True, True)
    assert bench.state(A) == "active"
    assert bench.observe() == []


def test_one_that_answers_probes_and_drops_calls_is_on_trial_until_it_answers_one():
    bench = Bench()
    bench.calls(A, failures=5)
    bench.probe(A, True, True)
    (event,) = bench.calls(A, failures=1)
    assert event.new == 2
    bench.probe(A, True, True)
    bench.calls(A, responses=1)
    assert bench.calls(A, failures=4) == []
    assert bench.calls(A, failures=1)


def test_failures_among_answers_do_not_count():
    bench = Bench()
    assert bench.calls(A, responses=1, failures=99) == []


def test_calls_do_not_count_when_the_limit_is_0():
    bench = Bench(passive_failures=0)
    assert bench.calls(A, failures=99) == []


def test_counters_that_start_anew_are_no_failures():
    bench = Bench()
    bench.calls(A, responses=10, failures=4)
    bench.loads[bench.wire(A)[1]][:] = [0] * 6
    assert bench.observe() == []
    assert bench.calls(A, failures=5)


def test_loads_from_before_are_no_failures():
    bench = Bench()
    bench.destinations = Destinations()  # as after a restart of the supervisor: the page lived on
    for row in bench.loads:
        row[4] = 1000
    bench.apply(f"1 {A}\n")
    assert bench.observe() == []
    assert bench.state(A) == "active"


@pytest.mark.parametrize(("text", "changes"), [(f"1 {A} 32", {}), (f"1 {A}", {"probe": False})])
def test_without_probes_time_is_the_way_out(text, changes):
    bench = Bench(text, hold_s=30, **changes)
    assert bench.destinations.targets() == []
    bench.calls(A, failures=5)
    assert bench.observe(after_ms=29_999 - 200) == []
    (event,) = bench.observe(after_ms=201)
    assert str(event) == f"set 1 {A}: inactive -> trying (held for 30 s and not probed: calls try it)"
    (event,) = bench.calls(A, failures=1)
    assert event.new == 2
    bench.observe(after_ms=30_000)
    (event,) = bench.calls(A, responses=1)
    assert str(event) == f"set 1 {A}: trying -> active (it answered)"
    bench.calls(A, failures=5)
    bench.observe(after_ms=30_000)
    (event,) = bench.observe(after_ms=30_000)
    assert str(event) == f"set 1 {A}: trying -> active (no failure for 30 s)"


def test_flags_of_the_list_are_the_first_states():
    bench = Bench(f"1 {A} 1\n1 {B} 2\n1 {C} 4\n")
    assert [bench.state(uri) for uri in (A, B, C)] == ["inactive", "trying", "disabled"]
    assert [target.uri for target in bench.destinations.targets()] == [A, B]
    bench.probe(B, True)
    assert bench.state(B) == "active"
    assert bench.probe(C, True, True, True) == []


@pytest.mark.parametrize(
    ("text", "state", "probed"),
    [
        ("draining", "draining", True), ("dr", "draining", True),
        ("disabled", "disabled", False), ("D", "disabled", False),
        ("a", "active", True), ("ap", "active", True), ("ax", "active", False), ("t", "trying", True),
        ("i", "inactive", True), ("p", "inactive", True), ("ix", "inactive", False),
    ],
)  # fmt: skip
def test_the_operator_orders_by_name_or_letters(text, state, probed):
    bench = Bench()
    events = bench.order(A, text)
    assert [str(event) for event in events] == (
        [] if state == "active" else [f"set 1 {A}: active -> {state} (ordered by the operator)"]
    )
    assert bench.state(A) == state
    assert bench.row(A)["probed"] == probed


def test_the_operators_word_outlasts_probes_and_calls():
    bench = Bench()
    for state in ("draining", "disabled"):
        bench.order(A, state)
        assert bench.probe(A, *[True] * 9, *[False] * 9) == []
        assert bench.calls(A, failures=99) == []
        assert bench.observe(after_ms=10**9) == []
        assert bench.state(A) == state
    (event,) = bench.order(A, "active")
    assert event.new == 0
    assert bench.probe(A, False, False)[-1].new == 1


def test_orders_that_cannot_be_followed():
    bench = Bench()
    with pytest.raises(ValueError, match="state 'down': expected active, .*, disabled, or a letter"):
        bench.order(A, "down")
    with pytest.raises(UnknownDestination, match=f"set 1 has no destination sip:x; it has {A}, {B}"):
        bench.order("sip:x", "active")
    with pytest.raises(UnknownDestination, match="set 9 has no destination sip:x; there is no such set"):
        bench.destinations.set_state(9, "sip:x", "active", 0)


class TestReload:
    def test_keeps_state_slot_and_id_and_says_what_changed(self):
        bench = Bench()
        assert str(bench.diff) == "+2 -0 ~0"
        bench.probe(A, False, False, False)
        before = bench.wire(A)
        diff = bench.apply(f"1 {C}\n1 {A} 0 0 weight=7\n2 {A}\n")
        assert str(diff) == "+2 -1 ~1"
        assert (diff.added, diff.removed, diff.changed) == (((1, C), (2, A)), ((1, B),), ((1, A),))
        after = bench.destinations.entries()[0][2][1]
        assert after == [*before[:5], 7, *before[6:]]
        assert bench.destinations.generation == 2
        assert str(bench.apply(f"1 {C}\n1 {A} 0 0 weight=7\n2 {A}\n")) == "+0 -0 ~0"

    def test_counters_stay_and_a_slot_is_its_owners_again(self):
        bench = Bench()
        bench.calls(A, responses=3)
        slot = bench.wire(A)[1]
        bench.apply(f"1 {B}\n")
        bench.apply(f"1 {A}\n1 {B}\n")
        assert bench.wire(A)[1] == slot
        assert bench.row(A)["attempts"] == 3

    def test_slots_are_unique_and_the_same_after_a_restart(self):
        text = "".join(f"1 sip:127.0.{i // 250}.{i % 250 + 1}:7000\n" for i in range(DESTINATIONS_MAX))
        parsed = parse(text)
        endpoints = dict.fromkeys((entry.key for entry in parsed.entries), bytes(24))
        slots = []
        for _ in range(2):
            destinations = Destinations()
            destinations.apply_list(parsed, settings_of(), endpoints, 0)
            slots.append([row[1] for row in destinations.entries()[0][2]])
        assert sorted(slots[0]) == list(range(DESTINATIONS_MAX))
        assert slots[0] == slots[1]

    def test_the_flags_column_wins_where_it_changed_alone(self):
        bench = Bench()
        bench.order(A, "draining")
        bench.apply(f"1 {A} 0 9\n1 {B} 4\n")
        assert (bench.state(A), bench.state(B)) == ("draining", "disabled")
        bench.apply(f"1 {A}\n1 {B}\n")
        assert (bench.state(A), bench.state(B)) == ("draining", "active")

    def test_a_probe_that_was_under_way_does_not_revive_the_removed(self):
        bench = Bench()
        gone = bench.wire(B)[0]
        bench.apply(f"1 {A}\n")
        assert bench.destinations.probe_result(gone, True, 200, 1.0, now_ms=bench.now_ms) == []
        assert len(bench.destinations) == 1

    def test_settings_of_one_set_are_its_own(self):
        bench = Bench(
            f"1 {A}\n2 {B}\n",
            sets={"2": {"algorithm": "k:8", "probe_codes": [200, 404], "down_after": 1, "first_response_ms": 700}},
        )
        assert [(set_id, algorithm) for set_id, algorithm, _ in bench.destinations.entries()] == [(1, 0), (2, 3)]
        assert [row[6] for _, _, rows in bench.destinations.entries() for row in rows] == [2000, 700]
        assert [target.codes for target in bench.destinations.targets()] == [{200}, {200, 404}]
        assert bench.probe(B, False)[0].new == 2

    def test_what_was_ordered_and_learned_survives_a_restart(self):
        bench = Bench()
        bench.order(A, "disabled")
        saved = bench.destinations.orders()
        assert saved == [[1, A, 4]]
        again = Bench()
        (event,) = again.destinations.restore([*saved, [1, "sip:gone", 4], [1, B, 99]], again.now_ms)
        assert event.new == 4
        assert again.state(B) == "active"


def test_workers_take_the_entries_as_they_are():
    bench = Bench(f"1 {A} 0 0 weight=2\n2 {B}\n")
    table = DispatcherTable()
    table.replace(bench.destinations.generation, bench.destinations.entries())
    assert table.snapshot() == bench.destinations.entries()
    assert table.choose(2) == bench.wire(B)[0]
    assert table.source(bench.wire(A)[3]) == bench.wire(A)[0]


def test_rows_say_what_an_operator_wants_to_know():
    bench = Bench(f"1 {A} 0 5 weight=2;duid=x\n")
    bench.probe(A, True)
    bench.calls(A, responses=3, failures=1)
    bench.loads[bench.wire(A)[1]][0:2] = [5, 3]
    assert bench.destinations.rows(bench.loads, 1_000_000, 60_000) == [
        {
            "set": 1, "algorithm": "weighted-round-robin", "uri": A, "state": "active",
            "since": "1970-01-01T00:01:00+00:00", "reason": "added", "probed": True, "priority": 5, "weight": 2,
            "attrs": "weight=2;duid=x", "addresses": ["127.0.0.1:7001"], "calls": 2, "attempts": 4, "responses": 3,
            "failures": 1, "latency_ms": 1.5, "last_probe": "200",
        }
    ]  # fmt: skip
    assert bench.destinations.rows(None, 0, 0)[0]["calls"] == 0


class TestAddresses:
    def test_names_are_resolved_and_each_gets_the_listener_that_reaches_it(self):
        listeners = [
            SimpleNamespace(transport="tcp", ip="127.0.0.1"),
            SimpleNamespace(transport="udp", ip="::1"),
            SimpleNamespace(transport="udp", ip="203.0.113.1"),
            SimpleNamespace(transport="udp", ip="0.0.0.0"),
            SimpleNamespace(transport="udp", ip="127.0.0.1"),
        ]
        parsed, endpoints = resolved("1 sip:127.0.0.1:7001\n1 sip:[::1]\n", listeners)
        assert [unpack(endpoints[entry.key]) for entry in parsed.entries] == [
            ("udp", "127.0.0.1", 7001, 4),
            ("udp", "::1", 5060, 1),
        ]
        _, endpoints = resolved("1 sip:127.0.0.1:7001\n", listeners[:4])
        assert unpack(endpoints[1, "sip:127.0.0.1:7001"])[3] == 3

    def test_localhost_is_an_address_of_the_listeners_family(self):
        _, endpoints = resolved("1 sip:localhost:7001\n")
        assert unpack(endpoints[1, "sip:localhost:7001"]) == ("udp", "127.0.0.1", 7001, 0)

    def test_all_that_cannot_be_used_is_named_at_once(self, monkeypatch):
        async def nothing(names):
            return dict.fromkeys(names, "Name or service not known")

        monkeypatch.setattr(dispatcher_addresses, "addresses_of", nothing)
        with pytest.raises(ListError) as error:
            resolved("1 sip:fs.invalid\n1 sip:127.0.0.1;transport=tls\n1 sip:[::1]\n1 sip:10.0.0.1\n1 sip:127.0.0.1\n")
        assert str(error.value).splitlines() == [
            "dispatcher.list:1: fs.invalid cannot be resolved: Name or service not known",
            "dispatcher.list:2: sip:127.0.0.1;transport=tls wants TLS, which destinations cannot use yet; "
            "expected ;transport=udp or none",
            "dispatcher.list:3: no udp address of [edge] listen reaches ::1: another family or loopback only",
            "dispatcher.list:4: no udp address of [edge] listen reaches 10.0.0.1: another family or loopback only",
        ]

    def test_a_resolver_that_is_silent_is_not_waited_for(self, monkeypatch):
        async def look_up():
            loop = asyncio.get_running_loop()
            silent = loop.create_future()
            monkeypatch.setattr(loop, "getaddrinfo", lambda *_, **__: silent)
            return await dispatcher_addresses.addresses_of({"fs.invalid"})

        monkeypatch.setattr(dispatcher_addresses, "RESOLVE_TIMEOUT_S", 0.01)
        assert asyncio.run(look_up()) == {"fs.invalid": "no answer within 0.01 s"}

    def test_a_resolver_that_refuses_is_quoted(self, monkeypatch):
        async def look_up():
            async def refuse(*_, **__):
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", refuse)
            return await dispatcher_addresses.addresses_of({"fs.invalid"})

        assert asyncio.run(look_up()) == {"fs.invalid": "Name or service not known"}
