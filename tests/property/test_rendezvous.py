"""Weighted rendezvous hashing: a set's change moves only the share it must."""

import math
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from sipcore.dispatcher import ALGORITHMS, DispatcherTable

KEYS = [i * 0x9E3779B97F4A7C15 % 2**64 for i in range(1, 2001)]
IDS = st.integers(1, 2**32 - 1)


def table_of(weights, algorithm="hash-call-id"):
    """weights: id -> weight."""
    table = DispatcherTable()
    endpoint = struct.pack("=BBHHH16s", 4, 0, 0, 5060, 0, bytes(16))
    rows = [[id, slot, b"sip:d", endpoint, 0, weight, 2000, 0] for slot, (id, weight) in enumerate(weights.items())]
    table.replace(1, [[1, ALGORITHMS[algorithm], rows]])
    return table


def owners(table):
    return [table.choose(1, key=key) for key in KEYS]


@settings(max_examples=60, deadline=None)
@given(weights=st.dictionaries(IDS, st.integers(1, 65535), min_size=2, max_size=12), data=st.data())
def test_removing_one_moves_its_keys_alone_and_adding_it_again_brings_them_back(weights, data):
    gone = data.draw(st.sampled_from(sorted(weights)))
    before = owners(table_of(weights))
    after = owners(table_of({id: weight for id, weight in weights.items() if id != gone}))
    for old, new in zip(before, after, strict=True):
        assert old in (new, gone)
        assert new != gone


@settings(max_examples=60, deadline=None)
@given(weights=st.dictionaries(IDS, st.integers(1, 100), min_size=2, max_size=12), data=st.data())
def test_a_greater_weight_only_draws_keys(weights, data):
    heavier = data.draw(st.sampled_from(sorted(weights)))
    before = owners(table_of(weights))
    after = owners(table_of({**weights, heavier: weights[heavier] * 2}))
    for old, new in zip(before, after, strict=True):
        assert new in (old, heavier)


@settings(max_examples=60, deadline=None)
@given(weights=st.dictionaries(IDS, st.integers(1, 20), min_size=1, max_size=10))
def test_shares_follow_the_weights(weights):
    rounds, total = len(KEYS), sum(weights.values())
    got = owners(table_of(weights))
    for id, weight in weights.items():
        share = weight / total
        error = 5 * math.sqrt(rounds * share * (1 - share)) + 1  # five standard deviations: one in two million
        assert abs(got.count(id) - rounds * share) <= error


@settings(max_examples=40, deadline=None)
@given(weights=st.dictionaries(IDS, st.integers(1, 100), min_size=2, max_size=12), order=st.randoms())
def test_neither_the_order_nor_the_worker_matters(weights, order):
    shuffled = list(weights.items())
    order.shuffle(shuffled)
    first, second = table_of(weights), table_of(dict(shuffled))
    owners(second)  # whatever was chosen before
    assert owners(first) == owners(second)


def test_a_destination_that_fails_leaves_its_keys_as_if_it_were_gone():
    weights = {id * 7919: 1 for id in range(1, 9)}
    table = table_of(weights)
    before = owners(table)
    table.set_state(7919, 2)
    moved = owners(table)
    assert moved == owners(table_of({id: weight for id, weight in weights.items() if id != 7919}))
    assert abs(sum(a != b for a, b in zip(before, moved, strict=True)) / len(KEYS) - 1 / 8) < 0.04
    table.set_state(7919, 0)
    assert owners(table) == before


def test_the_score_is_the_weighted_rendezvous_score():
    """The oracle in floating point: the greatest -weight / ln(u)."""

    def oracle(key, weights):
        def score(id):
            h = (key ^ id * 0x9E3779B97F4A7C15) % 2**64
            for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
                h = (h ^ h >> 33) * factor % 2**64
            h = (h ^ h >> 33) | 1
            return -weights[id] / math.log(h / 2**64)

        return max(weights, key=score)

    weights = {101: 1, 202: 2, 303: 5, 404: 50}
    got = owners(table_of(weights))
    differ = sum(owner != oracle(key, weights) for owner, key in zip(got, KEYS, strict=True))
    assert differ <= 2  # the logarithm is read from a table, good to 3e-6
