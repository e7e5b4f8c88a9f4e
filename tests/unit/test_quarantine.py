"""supervisor.quarantine: which message is to blame for a worker's death, and what happens to it."""

import pytest

from benchmarks.engine_bench import Bench
from sipcore.counters import IN_HAND_OFFSET, IN_HAND_SIZE, Page
from supervisor.quarantine import DEATHS, Quarantine


@pytest.fixture
def bench():
    made = Bench(1)
    yield made
    made.close()


def hand(page, worker, octets):
    """Leaves a datagram in a worker's hand, as one that dies does."""
    start = IN_HAND_OFFSET + worker * IN_HAND_SIZE
    page.buffer[start:start + 8] = len(octets).to_bytes(8, "little")
    page.buffer[start + 8:start + 8 + len(octets)] = octets


def test_the_second_death_keeps_the_message_and_refuses_it(tmp_path):
    page = Page.anonymous()
    quarantine = Quarantine(page, tmp_path)
    hand(page, 0, b"poison")
    assert quarantine.died(0) is None
    assert page.in_hand(0) == b""
    hand(page, 1, b"poison")
    path = quarantine.died(1)
    assert path.read_bytes() == b"poison"
    assert DEATHS == 2


def test_a_death_with_empty_hands_blames_nobody(tmp_path):
    quarantine = Quarantine(Page.anonymous(), tmp_path)
    assert [quarantine.died(0) for _ in range(3)] == [None] * 3
    assert list(tmp_path.iterdir()) == []


def test_deaths_of_different_messages_do_not_add_up(tmp_path):
    page = Page.anonymous()
    quarantine = Quarantine(page, tmp_path)
    for number in range(600):
        hand(page, 0, b"message %d" % number)
        assert quarantine.died(0) is None
    assert len(quarantine.deaths) <= 257


def test_a_worker_refuses_what_is_quarantined_and_nothing_else(bench):
    phone = bench.agent()
    poison = phone.request("OPTIONS", b"sip:" + bench.edge)
    phone.send(poison)
    phone.expect(200)
    bench.page.quarantine(poison)
    phone.send(poison)
    phone.quiet()
    phone.send(phone.request("OPTIONS", b"sip:" + bench.edge))
    phone.expect(200)
    assert bench.count("quarantined") == 1


def test_between_two_datagrams_hands_are_empty(bench):
    phone = bench.agent()
    phone.send(phone.request("OPTIONS", b"sip:" + bench.edge))
    phone.expect(200)
    assert bench.page.in_hand(0) == b""


def test_beyond_its_size_the_oldest_gives_way(bench):
    phone = bench.agent()
    first = phone.request("OPTIONS", b"sip:" + bench.edge)
    bench.page.quarantine(first)
    for number in range(64):
        bench.page.quarantine(b"other %d" % number)
    phone.send(first)
    phone.expect(200)
