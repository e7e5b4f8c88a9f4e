"""supervisor.metrics: what the page says, summed."""

import pytest

from sipcore.counters import COUNTER_NAMES, LOAD_FIELDS, Page
from supervisor import dispatcher
from supervisor.metrics import Metrics


def test_totals_are_sums_over_the_workers_there_are():
    page = Page.anonymous()
    metrics = Metrics(page, 2)
    for worker, count in enumerate((3, 4, 100)):
        page.add(worker, "calls", count)
    page.set_gauge(1, "transactions", 5)
    page.set_gauge(1, "heartbeat_ms", 99)
    totals = metrics.totals()
    assert (totals["calls"], totals["transactions"], totals["refused"]) == (7, 5, 0)
    assert "heartbeat_ms" not in totals
    assert "pid" not in totals
    assert all(type(value) is int for value in totals.values())


def test_workers_are_rows_with_their_gauges():
    page = Page.anonymous()
    page.set_gauge(1, "pid", 4242)
    rows = Metrics(page, 2).workers()
    assert [row["pid"] for row in rows] == [0, 4242]
    assert tuple(rows[0]) == COUNTER_NAMES


def test_the_view_is_live():
    page = Page.anonymous()
    metrics = Metrics(page, 1)
    page.add(0, "log_dropped", 2**40)
    assert metrics.totals()["log_dropped"] == 2**40


def test_loads_are_sums_over_workers_and_the_latest_busy_time():
    page = Page.anonymous()
    metrics = Metrics(page, 2)
    for worker, values in enumerate([(4, 0, 9, 8, 1, 700), (1, 3, 5, 5, 0, 600)]):
        for field, value in zip(LOAD_FIELDS, values, strict=True):
            page.set_load(worker, 1023, field, value)
    page.set_load(2, 1023, "started", 100)
    assert metrics.load(1023) == {
        "started": 5, "ended": 3, "attempts": 14, "responses": 13, "failures": 1, "busy_until_ms": 700, "calls": 2
    }  # fmt: skip
    assert metrics.loads()[1023].tolist() == [5, 3, 14, 13, 1, 700]
    assert metrics.loads().shape == (1024, 6)
    page.set_load(1, 1023, "ended", 6)
    assert metrics.load(1023)["calls"] == 0


def test_columns_are_those_the_dispatcher_reads():
    columns = (dispatcher.LOAD_STARTED, dispatcher.LOAD_ENDED, dispatcher.LOAD_ATTEMPTS, dispatcher.LOAD_RESPONSES)
    assert [LOAD_FIELDS[column] for column in columns] == ["started", "ended", "attempts", "responses"]
    assert LOAD_FIELDS[dispatcher.LOAD_FAILURES] == "failures"


def test_what_is_not_there():
    with pytest.raises(ValueError, match="0 workers: expected 1 to 64"):
        Metrics(Page.anonymous(), 0)
    with pytest.raises(ValueError, match="65 workers"):
        Metrics(Page.anonymous(), 65)
    with pytest.raises(IndexError, match="destination slot 1024: expected 0 to 1023"):
        Metrics(Page.anonymous(), 1).load(1024)
