"""sipcore.dispatcher: who is chosen, in which order, and whose packet it is."""

import collections
import ipaddress
import struct

import pytest

from sipcore.algorithms import PEERS_ALGORITHMS
from sipcore.counters import Page
from sipcore.dispatcher import (
    ALGORITHM_NAMES,
    ALGORITHMS,
    MAX_DESTINATIONS,
    MAX_URI,
    MAX_WEIGHT,
    STATES,
    DispatcherTable,
    algorithm_of,
)
from supervisor import config_schema

MIX = 0x9E3779B97F4A7C15
WORD = 2**64


def endpoint(ip="10.0.0.1", port=5060, transport=0, listener=0):
    address = ipaddress.ip_address(ip)
    return struct.pack("=BBHHH16s", address.version, transport, listener, port, 0, address.packed)


def destination(id, weight=1, priority=0, state="active", slot=None, **where):
    slot = id if slot is None else slot
    return [id, slot, b"sip:d%d" % id, endpoint(**where), priority, weight, 2000, STATES[state]]


def table_of(algorithm, destinations, **arguments):
    table = DispatcherTable(**arguments)
    table.replace(1, [[1, ALGORITHMS[algorithm], destinations]])
    return table


def choices(table, rounds, **arguments):
    return [table.choose(1, key=i * MIX % WORD, random=i * MIX % WORD, **arguments) for i in range(rounds)]


def shares(table, rounds, **arguments):
    return collections.Counter(choices(table, rounds, **arguments))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
class TestEveryAlgorithm:
    def test_chooses_none_of_an_empty_set_or_of_no_set(self, algorithm):
        table = table_of(algorithm, [])
        assert table.choose(1) is None
        assert table.choose(2) is None
        assert DispatcherTable().choose(1) is None

    @pytest.mark.parametrize("state", ["inactive", "draining", "disabled"])
    def test_passes_over_what_is_not_up(self, algorithm, state):
        table = table_of(algorithm, [destination(1, state=state), destination(2, state="trying")])
        assert set(choices(table, 20)) == {2}

    def test_never_repeats_what_was_tried(self, algorithm):
        table = table_of(algorithm, [destination(i, weight=i) for i in range(1, 6)])
        for start in range(20):
            tried = []
            for _ in range(5):
                tried.append(table.choose(1, key=start * MIX % WORD, random=start * MIX % WORD, tried=tried))
            assert sorted(tried) == [1, 2, 3, 4, 5]
            assert table.choose(1, key=start, tried=tried) is None

    def test_an_unknown_id_among_the_tried_is_no_matter(self, algorithm):
        assert table_of(algorithm, [destination(1)]).choose(1, tried=[99]) == 1

    def test_honours_retry_after_and_answers_none_when_all_wait(self, algorithm):
        table = table_of(algorithm, [destination(1), destination(2)])
        assert table.set_retry_at(1, 5000)
        assert set(choices(table, 10, now_ms=4999)) == {2}
        table.set_retry_at(2, 6000)
        assert table.choose(1, now_ms=4999) is None
        assert table.choose(1, now_ms=5000) == 1
        assert not table.set_retry_at(3, 1)

    def test_honours_the_retry_after_that_another_worker_saw(self, algorithm):
        page = Page.anonymous()
        table = table_of(algorithm, [destination(1), destination(2)], workers=2, page=page)
        page.set_load(1, 1, "busy_until_ms", 5000)
        assert set(choices(table, 10, now_ms=4999)) == {2}
        page.set_load(0, 2, "busy_until_ms", 5000)
        assert table.choose(1, now_ms=4999) is None
        assert set(choices(table, 30, now_ms=5000)) == ({1} if algorithm == "priority" else {1, 2})

    def test_weight_0_counts_for_weighted_algorithms_alone(self, algorithm):
        table = table_of(algorithm, [destination(1, weight=0, priority=9), destination(2)])
        chosen = set(choices(table, 20))
        assert chosen == {"round-robin": {1, 2}, "priority": {1}}.get(algorithm, {2})

    def test_a_full_table(self, algorithm):
        table = table_of(algorithm, [destination(i + 1, slot=i, weight=MAX_WEIGHT) for i in range(MAX_DESTINATIONS)])
        assert all(1 <= id <= MAX_DESTINATIONS for id in choices(table, 50))
        tried = list(range(1, MAX_DESTINATIONS))
        assert table.choose(1, key=7, random=WORD - 1, tried=tried) == MAX_DESTINATIONS


def test_smooth_weighted_round_robin_interleaves():
    table = table_of("weighted-round-robin", [destination(1, weight=5), destination(2), destination(3)])
    assert choices(table, 7) == [1, 1, 2, 1, 3, 1, 1]
    assert shares(table, 700) == {1: 500, 2: 100, 3: 100}


def test_weighted_round_robin_shares_what_a_dead_one_leaves_by_weight():
    rows = [destination(1, weight=2), destination(2, weight=3), destination(3, weight=1)]
    table = table_of("weighted-round-robin", rows)
    table.set_state(2, STATES["inactive"])
    assert shares(table, 300) == {1: 200, 3: 100}


def test_round_robin_goes_round_in_list_order_and_no_neighbour_doubles_for_a_dead_one():
    table = table_of("round-robin", [destination(i) for i in (3, 1, 2)])
    assert choices(table, 4) == [3, 1, 2, 3]
    table.set_state(1, STATES["inactive"])
    assert shares(table, 100) == {3: 50, 2: 50}


def test_random_follows_the_weights():
    table = table_of("random", [destination(1, weight=1), destination(2, weight=3)])
    got = shares(table, 8000)
    assert abs(got[2] / 8000 - 0.75) < 0.02
    assert table.choose(1, random=0) == 1
    assert table.choose(1, random=WORD - 1) == 2


def test_priority_is_serial_highest_first_then_list_order():
    rows = [destination(1, priority=1), destination(2, priority=9), destination(3, priority=9)]
    table = table_of("priority", rows)
    assert choices(table, 3) == [2, 2, 2]
    assert table.choose(1, tried=[2]) == 3
    assert table.choose(1, tried=[2, 3]) == 1


def test_least_calls_sums_over_all_workers_and_divides_by_weight():
    page = Page.anonymous()
    rows = [destination(1), destination(2, weight=2)]
    table = table_of("least-calls", rows, workers=3, page=page)
    page.set_load(0, 1, "started", 4)
    page.set_load(2, 1, "ended", 3)  # the worker that ended a call need not be the one that started it
    page.set_load(1, 2, "started", 4)
    assert table.calls(1) == 1
    assert table.calls(2) == 4
    assert set(choices(table, 5)) == {1}
    page.set_load(0, 1, "started", 6)
    assert set(choices(table, 5)) == {2}


def test_least_calls_among_equals_takes_turns():
    table = table_of("least-calls", [destination(i) for i in (1, 2, 3)])
    assert shares(table, 300) == {1: 100, 2: 100, 3: 100}
    assert len(set(choices(table, 3))) == 3


def test_least_calls_of_a_sum_read_too_early_is_none_not_huge():
    page = Page.anonymous()
    table = table_of("least-calls", [destination(1), destination(2)], page=page)
    page.set_load(0, 1, "ended", 1)
    page.set_load(0, 2, "started", 1)
    assert table.calls(1) == 0
    assert table.choose(1) == 1


def test_a_worker_that_does_not_exist_is_not_read():
    page = Page.anonymous()
    table = table_of("round-robin", [destination(1)], workers=2, page=page)
    page.set_load(2, 1, "started", 9)
    assert table.calls(1) == 0


def test_workers_start_a_set_at_different_places():
    rows = [destination(i) for i in (1, 2, 3)]
    for algorithm in ("weighted-round-robin", "round-robin", "least-calls"):
        firsts = [table_of(algorithm, rows, workers=3, worker=i).choose(1) for i in range(3)]
        assert sorted(firsts) == [1, 2, 3], algorithm


class TestReplace:
    def test_keeps_the_turn_and_the_waiting_by_id(self):
        table = table_of("weighted-round-robin", [destination(1, weight=5), destination(2), destination(3)])
        assert choices(table, 3) == [1, 1, 2]
        table.set_retry_at(3, 100)
        rows = [destination(3), destination(1, weight=5), destination(2)]
        table.replace(2, [[1, ALGORITHMS["weighted-round-robin"], rows]])
        assert table.generation == 2
        assert table.choose(1, tried=[1, 2], now_ms=99) is None
        assert choices(table, 4, now_ms=100) == [1, 3, 1, 1]

    def test_keeps_the_place_of_round_robin(self):
        rows = [destination(i) for i in (1, 2, 3)]
        table = table_of("round-robin", rows)
        assert choices(table, 2) == [1, 2]
        table.replace(2, [[1, ALGORITHMS["round-robin"], rows]])
        assert table.choose(1) == 3

    def test_a_debt_from_heavier_times_does_not_starve(self):
        table = table_of("weighted-round-robin", [destination(1, weight=60000), destination(2, weight=60000)])
        table.choose(1)
        table.replace(2, [[1, 0, [destination(1), destination(2)]]])
        assert set(choices(table, 6)) == {1, 2}

    def test_takes_states_from_the_log_and_gives_back_what_it_was_given(self):
        sets = [
            [7, ALGORITHMS["random"], [destination(9, ip="2001:db8::9", state="draining")]],
            [1, ALGORITHMS["priority"], [destination(1, weight=3, priority=4), destination(2)]],
        ]
        table = DispatcherTable()
        table.replace(3, sets)
        assert table.snapshot() == sorted(sets)
        assert len(table) == 3
        assert table.by_id(9) == sets[0][2][0]
        assert table.by_id(5) is None
        assert table.set_state(9, STATES["active"])
        assert table.snapshot()[1][2][0][-1] == STATES["active"]
        assert not table.set_state(5, STATES["active"])

    @pytest.mark.parametrize(
        ("sets", "says"),
        [
            ([[1, 99, []]], "no algorithm has the number 99"),
            ([[1, 0, []], [1, 0, []]], "set 1 stands twice"),
            ([[1, 0, [destination(1), destination(1)]]], "two destinations have one id"),
            ([[1, 0, [destination(0)]]], "an id is a 32-bit number and not 0"),
            ([[1, 0, [destination(1, slot=MAX_DESTINATIONS)]]], "slot 1024, expected 0 to 1023"),
            ([[1, 0, [destination(1, weight=MAX_WEIGHT + 1)]]], "weight 65536"),
            ([[1, 0, [[1, 1, b"x" * (MAX_URI + 1), endpoint(), 0, 1, 0, 0]]]], "a URI of 256 octets, at most 255"),
            ([[1, 0, [[1, 1, b"", b"short", 0, 1, 0, 0]]]], "an endpoint of 5 octets, expected 24"),
            ([[1, 0, [[1, 1, b"", endpoint(), 0, 1, 0, 5]]]], "no state has the number 5"),
            ([[1, 0, [destination(i + 1, slot=0) for i in range(MAX_DESTINATIONS + 1)]]], "1025 destinations"),
        ],
    )
    def test_refuses_what_it_could_not_hold_and_keeps_what_it_has(self, sets, says):
        table = table_of("priority", [destination(4)])
        with pytest.raises(ValueError, match=says):
            table.replace(2, sets)
        assert table.choose(1) == 4
        assert table.generation == 1


class TestSource:
    def test_is_known_by_address_and_port_or_by_address(self):
        table = table_of(
            "random", [destination(1, ip="10.0.0.1", port=5080, state="disabled"), destination(2, ip="2001:db8::1")]
        )
        assert table.source(endpoint("10.0.0.1", 5080, listener=3)) == 1
        assert table.source(endpoint("10.0.0.1", 5081)) is None
        assert table.source(endpoint("10.0.0.1", 5080, transport=1)) is None
        assert table.source(endpoint("10.0.0.1", 5081), any_port=True) == 1
        assert table.source(endpoint("2001:db8::1")) == 2
        assert table.source(endpoint("2001:db8::2"), any_port=True) is None
        assert DispatcherTable().source(endpoint()) is None

    def test_in_several_sets_is_the_lowest_sets(self):
        table = DispatcherTable()
        table.replace(1, [[2, 0, [destination(5)]], [1, 0, [destination(6), destination(7)]]])
        assert table.source(endpoint()) == 6
        assert table.source(endpoint(), any_port=True) == 6

    def test_finds_each_of_many(self):
        rows = [destination(i + 1, slot=i, ip=f"10.0.{i // 8}.1", port=5060 + i % 8) for i in range(MAX_DESTINATIONS)]
        table = table_of("random", rows)
        for row in rows:
            assert table.source(row[3]) == row[0]
            assert (table.source(row[3], any_port=True) - 1) // 8 == (row[0] - 1) // 8


class TestNames:
    def test_peers_numbers(self):
        expected = {
            "o:0": "hash-call-id", "o:4": "weighted-round-robin", "o:8": "priority", "k:4": "round-robin",
            "k:8": "priority", "k:9": "weighted-round-robin", "k:10": "least-calls", "hash-user": "hash-user",
        }  # fmt: skip
        assert {text: ALGORITHM_NAMES[algorithm_of(text)] for text in expected} == expected

    def test_the_configuration_knows_the_same_names_and_numbers(self):
        assert list(config_schema.ALGORITHMS) == list(ALGORITHMS)
        assert config_schema.ALGORITHM_NUMBERS == PEERS_ALGORITHMS

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("k:12", "a parallel fork to all.*not offered; the nearest is round-robin"),
            ("o:10", "a score that a script computes.*least-calls"),
            ("4", "write o:4 or k:4"),
            ("rr", "expected one of weighted-round-robin, "),
            (4, "expected one of"),
        ],
    )
    def test_says_what_is_not_offered(self, text, says):
        with pytest.raises(ValueError, match=says):
            algorithm_of(text)


def test_refuses_a_worker_out_of_range():
    for arguments in ({"workers": 0}, {"workers": 65}, {"workers": 2, "worker": 2}):
        with pytest.raises(ValueError, match="expected 0 to 63"):
            DispatcherTable(**arguments)
