"""What an operator changes, and what the machine lacks, under load: no failed call, no lost binding."""

import signal
import time

import pytest
from survival import LONGER, loaded, steady, until

from benchmarks.edge import EdgeError
from benchmarks.generate import Field

RELOADS = round(100 * LONGER)
RELOAD_EVERY_S = 0.08


@pytest.fixture
def field():
    with Field(sources=32, callees=3) as sockets:
        yield sockets


async def test_reloads_half_of_them_broken(edge, field):
    """Lists and configurations in turn: good, bad list, good, bad configuration."""
    running = await edge(steady(field))
    good = running.config.read_text()
    refused = 0
    with loaded(running, field, RELOADS * RELOAD_EVERY_S + 1) as load:
        for turn in range(RELOADS):
            time.sleep(RELOAD_EVERY_S)
            if turn % 4 == 1:
                running.list.write_text(running.list.read_text() + "1 not-a-uri\n")
                with pytest.raises(EdgeError):
                    running.admin("ds_reload")
                refused += 1
            elif turn % 4 == 3:
                running.write_config(good + "\n[edge]\nlistn = 5\n")
                running.signal(signal.SIGHUP)
                refused += 1
            else:
                running.write_config(good)
                running.write_list(steady(field)[:2 + turn // 2 % 2])
                if turn % 8 < 4:
                    running.admin("ds_reload")
                else:
                    running.signal(signal.SIGHUP)
    load.survived()
    assert refused == RELOADS // 2
    running.write_config(good)
    running.write_list(steady(field))
    running.signal(signal.SIGHUP)
    until(lambda: len(running.destinations()) == 3, "the last list in force")


async def test_without_the_kernel_filter(edge, field):
    """What reaches the wrong worker goes to its owner through the inbox."""
    running = await edge(steady(field), edge={"kernel_filter": False})
    with loaded(running, field, 4) as load:
        time.sleep(0)
    calls, _ = load.survived()
    statistics = running.admin("get_statistics", statistics=["inbox_in", "inbox_dropped"])
    assert statistics["inbox_in"] > calls.done
    assert statistics["inbox_dropped"] == 0
