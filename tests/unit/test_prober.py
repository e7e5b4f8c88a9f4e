"""supervisor.prober against real UDP responders on loopback."""

import asyncio
import contextlib
import os
import re
import socket

import pytest

from sipcore.endpoint import pack
from supervisor import prober as prober_module
from supervisor.dispatcher import Target
from supervisor.prober import Prober

INTERVAL_S = 0.02
ENOUGH_S = 5.0  # what a test waits at most for something that takes milliseconds


class Responder(asyncio.DatagramProtocol):
    """Answers OPTIONS by `statuses` in turn, the last one for ever; None is silence."""

    def __init__(self, *statuses):
        self.statuses, self.requests, self.held = list(statuses), [], []

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.requests.append(data)
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status is None:
            self.held.append((self.answer(data, "200 Late"), address))
        else:
            self.transport.sendto(self.answer(data, status), address)

    @staticmethod
    def answer(request, status):
        copied = re.findall(rb"^(?:Via|From|To|Call-ID|CSeq):.*\r\n", request, re.MULTILINE)
        return b"SIP/2.0 %s\r\n%sContent-Length: 0\r\n\r\n" % (status.encode(), b"".join(copied))

    def release(self):
        for data, address in self.held:
            self.transport.sendto(data, address)
        self.held.clear()

    @property
    def endpoint(self):
        host, port = self.transport.get_extra_info("sockname")[:2]
        return pack("udp", host, port, 0)


class Bench:
    """A prober, its responders, and the verdicts it told."""

    def __init__(self, **arguments):
        self.verdicts, self.told = [], asyncio.Event()
        self.prober = Prober(self.result, **{"local_ips": ["127.0.0.1"], "host": "127.0.0.1", **arguments})
        self.transports = []

    def result(self, *verdict):
        self.verdicts.append(verdict)
        self.told.set()

    async def responder(self, *statuses, ip="127.0.0.1"):
        loop = asyncio.get_running_loop()
        transport, responder = await loop.create_datagram_endpoint(lambda: Responder(*statuses), (ip, 0))
        self.transports.append(transport)
        return responder

    async def until(self, condition):
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(deadline(ENOUGH_S))
            while not condition():
                self.told.clear()
                await self.told.wait()

    async def verdict(self, count=1):
        await self.until(lambda: len(self.verdicts) >= count)
        return self.verdicts[count - 1]


@contextlib.asynccontextmanager
async def deadline(seconds):
    """asyncio.timeout for Python 3.10 as well."""
    task = asyncio.current_task()
    handle = asyncio.get_running_loop().call_later(seconds, task.cancel)
    try:
        yield
    finally:
        handle.cancel()


def probing(**arguments):
    """Run an async test with a started Bench, and close everything behind it."""

    def decorate(test):
        def run(monkeypatch):
            async def main():
                bench = Bench(**arguments)
                bench.prober.start()
                try:
                    await test(bench, monkeypatch)
                finally:
                    bench.prober.stop()
                    for transport in bench.transports:
                        transport.close()

            asyncio.run(main())

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return run

    return decorate


def target(endpoint, id=1, codes=(200,), *, timeout_ms=1000, interval_s=INTERVAL_S, jitter=0.1):
    return Target(id, f"sip:d{id}@127.0.0.1", endpoint, interval_s, timeout_ms, jitter, frozenset(codes))


def closed_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return pack("udp", "127.0.0.1", sock.getsockname()[1], 0)


@probing(user_agent="Viaduct", max_forwards=9)
async def test_an_answer_comes_back_with_its_status_and_time(bench, _):
    responder = await bench.responder("100 Trying", "200 OK")
    bench.prober.update([target(responder.endpoint)])
    id, ok, code, latency_ms, reason = await bench.verdict(2)
    assert (id, ok, code, reason) == (1, True, 200, "OK")
    assert 0 <= latency_ms < 1000
    request = responder.requests[-1].decode()
    assert request.startswith("OPTIONS sip:d1@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:")
    for line in (
        ";rport;branch=z9hG4bK", "\r\nMax-Forwards: 9\r\n", "\r\nFrom: <sip:dispatcher@127.0.0.1>;tag=",
        "\r\nTo: <sip:d1@127.0.0.1>\r\n", "\r\nCSeq: 1 OPTIONS\r\n", "\r\nUser-Agent: Viaduct\r\n",
        "\r\nContent-Length: 0\r\n\r\n",
    ):  # fmt: skip
        assert line in request
    branches = [re.search(rb"branch=(\S+)", data)[1] for data in responder.requests[1:]]
    assert len(set(branches)) == len(branches)


@probing()
async def test_each_set_has_its_own_codes(bench, _):
    strict, lenient = await bench.responder("404 Not Found"), await bench.responder("404 Not Found")
    bench.prober.update([target(strict.endpoint, 1), target(lenient.endpoint, 2, codes=(200, 404))])
    await bench.until(lambda: {verdict[0] for verdict in bench.verdicts} == {1, 2})
    assert {verdict[:3] for verdict in bench.verdicts} == {(1, False, 404), (2, True, 404)}


@probing()
async def test_silence_is_a_verdict_after_the_timeout(bench, _):
    responder = await bench.responder(None)
    bench.prober.update([target(responder.endpoint, timeout_ms=40)])
    assert await bench.verdict() == (1, False, None, None, "no answer within 40 ms")


@probing()
async def test_a_lost_datagram_is_no_failure(bench, monkeypatch):
    monkeypatch.setattr(prober_module, "T1_S", 0.01)
    responder = await bench.responder(None, None, "200 OK")
    bench.prober.update([target(responder.endpoint)])
    assert (await bench.verdict())[1:3] == (True, 200)
    assert len(set(responder.requests[:3])) == 1


@probing()
async def test_a_refusal_counts_at_once_and_harms_nobody_else(bench, _):
    responder = await bench.responder("200 OK")
    bench.prober.update([target(closed_port(), 1, timeout_ms=60_000), target(responder.endpoint, 2)])
    await bench.until(lambda: sum(id == 1 for id, *_ in bench.verdicts) >= 3)
    await bench.until(lambda: sum(id == 2 for id, *_ in bench.verdicts) >= 3)
    assert {verdict for verdict in bench.verdicts if verdict[0] == 1} == {(1, False, None, None, "Connection refused")}
    assert {verdict[:3] for verdict in bench.verdicts if verdict[0] == 2} == {(2, True, 200)}


@probing()
async def test_a_send_that_fails_is_the_verdict(bench, monkeypatch):
    endpoint = pack("udp", "127.0.0.1", 9, 0)
    monkeypatch.setattr(Prober, "_options", lambda *_: b"x" * 70_000)  # more than a datagram holds
    bench.prober.update([target(endpoint)])
    assert await bench.verdict() == (1, False, None, None, os.strerror(90))


@probing()
async def test_a_family_without_a_socket_is_told(bench, _):
    bench.prober.update([target(pack("udp", "::1", 5060, 0))])
    assert await bench.verdict() == (1, False, None, None, "no local address of its family to probe from")


@probing(local_ips=["127.0.0.1", "::1"], host="::1")
async def test_ipv6(bench, _):
    responder = await bench.responder("200 OK", ip="::1")
    bench.prober.update([target(responder.endpoint)])
    assert (await bench.verdict())[:3] == (1, True, 200)
    assert b"Via: SIP/2.0/UDP [::1]:" in responder.requests[0]


@probing()
async def test_a_late_answer_after_a_reload_says_nothing(bench, _):
    silent, other = await bench.responder(None), await bench.responder(None, "200 OK")
    bench.prober.update([target(silent.endpoint, 1), target(other.endpoint, 2, timeout_ms=30)])
    await bench.verdict()
    await bench.until(lambda: silent.held)
    bench.prober.update([target(other.endpoint, 2, timeout_ms=30)])
    silent.release()
    await bench.until(lambda: bench.prober.strays)
    assert {id for id, *_ in bench.verdicts} == {2}


@probing()
async def test_who_stays_the_same_keeps_its_probe(bench, _):
    responder = await bench.responder(None)
    bench.prober.update([target(responder.endpoint)])
    while not responder.held:
        await asyncio.sleep(0)
    bench.prober.update([target(responder.endpoint), target(closed_port(), 2, interval_s=60)])
    responder.release()
    await bench.until(lambda: any(verdict[:3] == (1, True, 200) for verdict in bench.verdicts))


@probing()
async def test_noise_is_counted_and_passed_over(bench, _):
    responder = await bench.responder("200 OK")
    responder.answer = lambda *_: b"\x00\xff garbage"
    bench.prober.update([target(responder.endpoint, timeout_ms=50)])
    assert (await bench.verdict())[1] is False
    assert bench.prober.strays


@probing()
async def test_folded_and_short_headers_are_understood(bench, _):
    responder = await bench.responder("200")
    fold = Responder.answer
    responder.answer = lambda *given: fold(*given).replace(b"Via: SIP/2.0/UDP ", b"v:\r\n\tSIP/2.0/UDP ")
    bench.prober.update([target(responder.endpoint)])
    assert (await bench.verdict())[:3] == (1, True, 200)


@probing()
async def test_the_rhythm_has_its_jitter(bench, monkeypatch):
    monkeypatch.setattr(prober_module, "FIRST_PROBE_MAX_S", 0.01)
    responder, spans = await bench.responder("200 OK"), []
    tell = bench.prober._result

    def measure(id, *verdict):
        probed = bench.prober._probed[id]
        spans.append(probed.timer.when() - probed.sent_s)
        tell(id, *verdict)

    bench.prober._result = measure
    bench.prober.update([target(responder.endpoint, id, interval_s=60, jitter=0.5) for id in range(1, 41)])
    await bench.verdict(40)
    assert all(29.9 <= span <= 90.1 for span in spans)
    assert max(spans) - min(spans) > 20  # of 60; 40 draws within 20 of each other are as likely as (1/3)^39


def test_stop_closes_all_and_may_be_said_twice():
    async def main():
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            bench = Bench(local_ips=["127.0.0.1", "::1"])
            bench.prober.start()
            bench.prober.update([target(closed_port(), id) for id in range(1, 6)])
            await bench.verdict()
            bench.prober.stop()
            bench.prober.stop()
            told = len(bench.verdicts)
            await asyncio.sleep(2 * INTERVAL_S)
            assert len(bench.verdicts) == told
        assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(main())


def test_a_result_that_stops_the_prober_is_the_last():
    async def main():
        bench = Bench()
        bench.prober.start()
        tell = bench.prober._result
        bench.prober._result = lambda *verdict: (tell(*verdict), bench.prober.stop())
        port = closed_port()  # the first refusal of it speaks for all five
        bench.prober.update([target(port, id, interval_s=0.001) for id in range(1, 6)])
        assert (await bench.verdict())[1] is False
        await asyncio.sleep(2 * INTERVAL_S)
        assert len(bench.verdicts) == 1

    asyncio.run(main())


def test_an_address_that_is_not_ours_is_an_error_and_leaves_nothing_open():
    async def main():
        bench = Bench(local_ips=["127.0.0.1", "2001:db8::1"])
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(OSError, match="assign requested address"):
            bench.prober.start()
        assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(main())
