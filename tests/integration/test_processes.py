"""What happens to calls and bindings while processes die, reload and end."""

import asyncio
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from benchmarks.edge import EdgeError, wait_gone
from benchmarks.load import place_calls
from benchmarks.transactions import eventually

RATE = 60
CALLS = 180  # three seconds of them


def pairs(phones, count=CALLS):
    return [(phones[index % len(phones)], f"{1000 + index}") for index in range(count)]


async def busy(field, edge, **sections):
    """(edge with two destinations, four clients, the destinations)."""
    destinations = [await field.destination("one"), await field.destination("two")]
    running = await edge(destinations, **sections)
    return running, [await field.phone(f"c{number}", running) for number in range(4)], destinations


async def during(report, action, every_s, times):
    """Runs a blocking action several times while calls go on; the calls' report."""
    load = asyncio.ensure_future(report)
    for _ in range(times):
        await asyncio.sleep(every_s)
        await asyncio.to_thread(action)
    return await load


async def test_reload_while_calls_run(field, edge):
    running, phones, destinations = await busy(field, edge)
    third = await field.destination("three")
    turn = iter(range(100))

    def reload():
        running.write_list(destinations if next(turn) % 2 else [*destinations, third])
        running.admin("ds_reload")

    report = await during(place_calls(pairs(phones), RATE), reload, 0.25, 9)
    assert report.failures == []
    assert third.seen["INVITE"] > 0


async def test_hup_reloads_the_list(field, edge):
    running, phones, _ = await busy(field, edge)
    third = await field.destination("three")
    running.write_list([third])
    running.signal(signal.SIGHUP)
    await eventually(lambda: [row["URI"] for row in running.destinations()] == [third.uri] and running.replicated(), 5)
    await phones[0].call("1000")
    assert third.seen["INVITE"] == 1


@pytest.mark.parametrize("text", ["1 not-a-uri\n", "1 sip:127.0.0.1:5080 0 0 weight=-3\n", "x sip:127.0.0.1\n"])
async def test_a_bad_list_is_refused_whole(field, edge, text):
    running, phones, destinations = await busy(field, edge)
    running.list.write_text(f"1 {destinations[0].uri}\n{text}")
    with pytest.raises(EdgeError, match="2"):  # the line
        await asyncio.to_thread(running.admin, "ds_reload")
    assert len(await asyncio.to_thread(running.destinations)) == 2
    await phones[0].call("1000")


async def test_a_bad_config_leaves_the_running_one_alone(field, edge):
    running, phones, _ = await busy(field, edge)
    before = len(running.text())
    running.write_config("[edge]\nlistn = 5\n")
    running.signal(signal.SIGHUP)
    await asyncio.to_thread(running.wait_text, r"listn", 5, before)
    report = await place_calls(pairs(phones, 20), RATE)
    assert report.failures == []
    assert len(running.workers()) == 2


async def test_a_bad_list_leaves_the_configuration_alone_too(field, edge):
    running, phones, _ = await busy(field, edge)
    running.sections["dispatcher"]["list"] = str(running.list.with_name("bad.list"))
    running.sections["edge"]["user_agent"] = "changed"
    Path(running.sections["dispatcher"]["list"]).write_text("1 nothing\n")
    running.write_config()
    before = len(running.text())
    running.signal(signal.SIGHUP)
    await asyncio.to_thread(running.wait_text, r"reload refused.*bad\.list:1", 5, before)
    for phone in phones:
        await phone.register()  # its 200 comes by the log, behind the settings that must not come
    assert (await phones[0].ask("OPTIONS")).all("Server") == []


async def test_a_reload_leaves_alone_what_needs_a_restart(field, edge):
    running, phones, _ = await busy(field, edge)
    running.sections["log"] = {"format": "json"}
    running.write_config()
    for _ in range(2):  # told at each reload, not at the first alone
        before = len(running.text())
        running.signal(signal.SIGHUP)
        await asyncio.to_thread(running.wait_text, r"supervisor\[\d+\]: log.format changed", 5, before)
    before = len(running.text())
    await phones[0].call("1000")
    await asyncio.to_thread(running.wait_text, r" call status=200 ", 5, before)


async def test_a_killed_worker_costs_no_call(field, edge):
    running, phones, _ = await busy(field, edge)

    def kill():
        os.kill(running.workers()[0], signal.SIGKILL)

    report = await during(place_calls(pairs(phones), RATE), kill, 0.8, 2)
    assert report.failures == []
    assert len(running.workers()) == 2


async def test_a_killed_worker_knows_the_bindings_again(field, edge):
    running, _, destinations = await busy(field, edge)
    phones = [await field.phone(f"user{number}", running) for number in range(10)]
    for phone in phones:
        await phone.register()
    for pid in running.workers():
        os.kill(pid, signal.SIGKILL)
    for index, phone in enumerate(phones):
        await destinations[index % 2].call(phone.name)
        assert phone.seen["INVITE"] == 1


async def test_a_killed_supervisor_holds_up_registrations_only(field, edge):
    running, phones, destinations = await busy(field, edge)
    alice = await field.phone("alice", running)
    await alice.register()
    await eventually(running.replicated)
    supervisor = next(pid for pid, command in running.children().items() if "-m supervisor " in f"{command} ")
    os.kill(supervisor, signal.SIGKILL)
    calls = asyncio.ensure_future(place_calls(pairs(phones, 60), RATE))
    await destinations[0].call("alice")
    assert (await alice.register(300)).status == 200
    await eventually(running.replicated)
    assert 290 <= (await alice.bindings())[alice.contact] <= 300
    assert (await calls).failures == []


async def test_kill_of_everything_keeps_the_bindings(field, edge):
    running, _, destinations = await busy(field, edge)
    phones = [await field.phone(f"user{number}", running) for number in range(20)]
    await asyncio.gather(*(phone.register(600) for phone in phones))
    await asyncio.to_thread(running.kill_all)
    await asyncio.to_thread(running.start)
    for phone in phones:
        assert 560 <= (await phone.bindings())[phone.contact] <= 600
    await destinations[0].call("user7")
    assert phones[7].seen["INVITE"] == 1


async def test_a_call_outlives_a_restart_of_everything(field, edge):
    """What a dialog needs is in its cookie, and the key is in the store."""
    running, phones, _ = await busy(field, edge)
    call = await phones[0].answered(phones[0].invite("1000"))
    await asyncio.to_thread(running.kill_all)
    await asyncio.to_thread(running.start)
    assert (await call.dialog.request("INFO")).status == 200
    assert (await call.dialog.bye()).status == 200


async def test_usr2_restarts_the_workers_one_by_one(field, edge):
    running, phones, _ = await busy(field, edge)
    before = set(running.workers())
    report = await during(place_calls(pairs(phones), RATE), lambda: running.signal(signal.SIGUSR2), 0.5, 1)
    await eventually(lambda: len(running.workers()) == 2 and not before & set(running.workers()), 10)
    assert report.failures == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_end_leaves_nothing(field, edge, number):
    running, phones, _ = await busy(field, edge)
    await phones[0].call("1000")
    await asyncio.to_thread(running.wait_settled)
    pids = list(running.children())
    assert len(pids) == 5  # the supervisor, two workers, a spare of each role
    running.signal(number)
    assert await asyncio.to_thread(running.process.wait, 10) == 0
    assert wait_gone(pids, 1) == []
    assert not (running.run_dir / "admin.sock").exists()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(running.address)


async def test_children_follow_a_killed_arbiter(edge):
    running = await edge([])
    pids = list(running.children())
    running.signal(signal.SIGKILL)
    assert wait_gone(pids, 5) == []
    running.process.wait(5)
    running.process = None


async def test_the_banner_names_the_sockets(edge):
    running = await edge([])
    assert "Listening on" in running.text()
    assert f"listen=udp:127.0.0.1:{running.port}" in running.text()
    assert running.wait_text(r"auth")  # the loud warning of a registrar without authentication


async def test_ps_and_statistics_are_true(field, edge):
    running, phones, _ = await busy(field, edge)
    await place_calls(pairs(phones, 20), RATE)
    started = time.monotonic()
    rows = await asyncio.to_thread(running.admin, "ps")
    assert time.monotonic() - started < 2
    assert set(running.workers()) <= {row["PID"] for row in rows["Processes"]}
    assert sum(row["messages"] for row in rows["Processes"] if row["name"].startswith("worker")) >= 20 * 12
    statistics = await asyncio.to_thread(running.admin, "get_statistics")
    assert isinstance(statistics, dict)


async def test_each_call_is_one_line_of_the_log(field, edge):
    running, phones, destinations = await busy(field, edge)
    call = await phones[0].call("4711")
    call_id = call.transaction.request.first("call-id")
    line = (await asyncio.to_thread(running.wait_text, rf".*{call_id}.*", 3)).group()
    assert any(destination.uri in line or str(destination.address[1]) in line for destination in destinations)
    assert "200" in line


async def test_a_port_in_use_is_one_clear_sentence(edge):
    first = await edge([])
    with pytest.raises(EdgeError, match=str(first.port)) as error:
        await edge([], edge={"listen": [f"udp:127.0.0.1:{first.port}"]})
    assert "Traceback" not in str(error.value)
    edge.edges.pop().process.wait(5)
