"""The log's measurements do real work: every entry is committed, sent, applied and read back."""

import pytest

from benchmarks import log_scaling, scaling
from sipcore.location import LocationTable
from workers.outstanding import Outstanding
from workers.replica import Replica

ENTRIES = 60


@pytest.mark.parametrize("batch", [1, 50])
def test_every_follower_gets_every_entry(batch):
    bench = log_scaling.Bench(workers=3)
    sent = bench.sent
    bench.register(0, ENTRIES, batch)
    assert bench.sent - sent == 3 * -(-ENTRIES // batch)
    assert bench.log.registrations.table.counts()["bindings"] == ENTRIES
    assert all(peer.sent == bench.log.journal.sequence for peer in bench.log.fanout.peers.values())


def test_a_replica_follows_to_the_end():
    bench, replica = log_scaling.Bench(), Replica(1, 1, LocationTable(), log_scaling.Nobody(), Outstanding(1))
    bench.register(0, 450, 50)
    meter = log_scaling.Meter()
    assert log_scaling.follow(bench, replica, meter) >= 1 + 1 + 3 + 1  # begin, head, parts of 200, end
    assert replica.table.digest() == bench.log.registrations.table.digest()
    assert set(meter.us) == {"supervisor", "worker"}


def test_costs_are_measured_with_both_stores(tmp_path):
    for url in ("memory:", f"sqlite:///{tmp_path}/store"):
        entry, fold = log_scaling.entry_us(url, 2, 20, ENTRIES)
        assert entry > 0 and fold >= 0
    assert log_scaling.apply_us(20, ENTRIES) > 0


def test_frames_reach_workers_over_a_socket():
    assert log_scaling.send_us(2, 10, 20) > 0


def test_sums_grow_with_workers():
    rows = log_scaling.total_rows([50, 9.0, 10.0, 5.0, 0.1, 0.2, 2.0], (1, 2))
    assert rows == [["1", "15.2 us", "65,789", "13 %", "17.2 us"], ["2", "15.5 us", "64,516", "13 %", "19.5 us"]]


def test_growth_reads_back_what_it_wrote():
    rows = log_scaling.growth_rows(300)
    assert len(rows) == 6 and all(row[1].endswith(" s") for row in rows)


def test_the_page_has_a_place_for_each_table():
    page = scaling.PAGE.read_text()
    for name in ("log machine", "log costs", "log totals", "log growth"):
        assert scaling.put(page, {name: "x"}) != page
