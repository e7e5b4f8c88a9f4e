"""The shared page: layout, names, and that every mapping of it sees the same."""

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from sipcore import counters

PXD = Path(counters.__file__).with_name("counters.pxd")


@pytest.fixture
def page_fd():
    fd = os.memfd_create("viaduct-test")
    os.ftruncate(fd, counters.PAGE_SIZE)
    yield fd
    os.close(fd)


def test_the_layout():
    assert counters.COUNTERS_OFFSET == 4096
    assert counters.LOADS_OFFSET == 4096 + 64 * 128 * 8
    quarantine = counters.LOADS_OFFSET + 64 * 1024 * 6 * 8
    in_hand = quarantine + 8 + 64 * 8
    assert in_hand == counters.IN_HAND_OFFSET
    assert counters.PAGE_SIZE == counters.IN_HAND_OFFSET + 64 * (8 + 65536)


def test_names_stand_in_the_order_of_the_enum():
    columns = re.findall(r"^    COUNT_(\w+) = (\d+)", PXD.read_text(), re.MULTILINE)
    assert [int(column) for _, column in columns] == list(range(len(counters.COUNTER_NAMES)))
    assert tuple(name.lower() for name, _ in columns) == counters.COUNTER_NAMES
    assert set(counters.COUNTER_NAMES) >= counters.GAUGES


def test_load_fields_stand_in_the_order_of_the_struct():
    struct = PXD.read_text().split("cdef struct Load:")[1].split("cdef struct")[0]
    assert tuple(re.findall(r"^    uint64_t (\w+)", struct, re.MULTILINE)) == counters.LOAD_FIELDS


def test_numpy_and_every_mapping_see_what_one_writes(page_fd):
    writer, reader = counters.Page(page_fd), counters.Page(page_fd)
    seen = np.ndarray(counters.COUNTERS_SHAPE, np.uint64, reader.buffer, counters.COUNTERS_OFFSET)
    loads = np.ndarray(counters.LOADS_SHAPE, np.uint64, reader.buffer, counters.LOADS_OFFSET)
    for column, name in enumerate(counters.COUNTER_NAMES):
        writer.add(63, name, column + 1)
        writer.add(63, name)
        assert reader.counter(63, name) == seen[63, column] == column + 2
    assert seen.sum() == seen[63].sum()
    for field, name in enumerate(counters.LOAD_FIELDS):
        writer.set_load(2, 1023, name, 2**64 - 1 - field)
        assert reader.load(2, 1023)[name] == loads[2, 1023, field] == 2**64 - 1 - field
    assert np.count_nonzero(loads) == len(counters.LOAD_FIELDS)
    loads[0, 0, 0] = 7
    assert writer.load(0, 0) == {name: 7 if name == "started" else 0 for name in counters.LOAD_FIELDS}


def test_a_gauge_is_set_and_a_counter_is_not():
    page = counters.Page.anonymous()
    page.set_gauge(0, "pid", 42)
    page.set_gauge(0, "pid", 43)
    assert page.counter(0, "pid") == 43
    with pytest.raises(ValueError, match="requests is no gauge"):
        page.set_gauge(0, "requests", 1)


def test_the_supervisors_heartbeat_stands_in_the_header(page_fd):
    one, other = counters.Page(page_fd), counters.Page(page_fd)
    assert one.supervisor_heartbeat_ms == 0
    one.supervisor_heartbeat_ms = 1 << 40
    assert other.supervisor_heartbeat_ms == 1 << 40
    assert int.from_bytes(other.buffer[:8], sys.byteorder) == 1 << 40  # where the arbiter's own test writes it
    assert not any(other.buffer[8:counters.COUNTERS_OFFSET])


def test_anonymous_pages_are_private():
    one, other = counters.Page.anonymous(), counters.Page.anonymous()
    one.add(0, "requests")
    assert (one.counter(0, "requests"), other.counter(0, "requests")) == (1, 0)


def test_the_buffer_outlives_the_page():
    page = counters.Page.anonymous()
    page.add(0, "requests", 9)
    buffer = page.buffer
    del page
    column = counters.COUNTER_NAMES.index("requests")
    assert buffer[counters.COUNTERS_OFFSET + column * 8] == 9


def test_a_descriptor_that_holds_no_page(page_fd):
    os.ftruncate(page_fd, 100)
    with pytest.raises(ValueError, match=f"descriptor {page_fd}: cannot map a counters page"):
        counters.Page(page_fd)


def test_numbers_and_names_that_are_not_there():
    page = counters.Page.anonymous()
    for worker in (-1, 64):
        with pytest.raises(IndexError, match="expected 0 to 63"):
            page.counter(worker, "requests")
        with pytest.raises(IndexError, match="expected 0 to 63"):
            page.add(worker, "requests")
    with pytest.raises(IndexError, match="expected 0 to 1023"):
        page.load(0, 1024)
    with pytest.raises(KeyError, match="no counter named speed"):
        page.counter(0, "speed")
    with pytest.raises(KeyError, match="no load field named speed"):
        page.set_load(0, 0, "speed", 1)
