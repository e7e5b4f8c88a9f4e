"""workers.calllog through the engine: one line for each call, whatever the caller wrote."""

import fcntl
import json
import os
import select

import pytest

from benchmarks.engine_bench import Bench, answer

F_SETPIPE_SZ = 1031


class Log:
    """A pipe that the engine writes its lines to."""

    def __init__(self):
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)

    def lines(self):
        octets = os.read(self.reader, 1 << 20)
        assert octets.endswith(b"\n"), octets
        return octets.decode("ascii").splitlines()


@pytest.fixture
def log():
    made = Log()
    yield made
    os.close(made.reader)
    os.close(made.writer)


@pytest.fixture
def make(log):
    made = []

    def one(destinations=1, *, form="json", calls=True, level="info", **sections):
        settings = {"format": form, "calls": calls, "level": level}
        made.append(Bench(destinations, log_fd=log.writer, log=settings, **sections))
        return made[-1]

    yield one
    for bench in made:
        bench.close()


def test_json_says_what_became_of_the_call(make, log):
    bench = make()
    bench.place(bench.agent(), call_id=b"the-call")
    line, = log.lines()
    fields = json.loads(line)
    assert fields.pop("time")[:2] == "20"
    assert fields.pop("pid") == os.getpid()
    assert 0 <= fields.pop("final_ms") < 2000
    assert fields == {
        "level": "info", "process": "worker 0", "message": "call", "status": 200, "from": "sip:caller@edge.example",
        "to": "sip:1000@edge.example", "call_id": "the-call", "set": 1, "algorithm": "priority",
        "destination": f"sip:d1@127.0.0.1:{bench.destinations[0].port}", "attempts": 1}


def test_text_says_the_same_in_one_line(make, log):
    bench = make(2, form="text")
    phone = bench.agent()
    phone.send(phone.request(call_id=b"c"))
    phone.expect(100)
    bench.destinations[0].send(answer(bench.destinations[0].expect("INVITE")[0], 503))
    ringing, = bench.destinations[1].expect("INVITE")
    bench.destinations[1].send(answer(ringing, 180))
    bench.destinations[1].send(answer(ringing, 486))
    line, = log.lines()
    stamp, level, *rest = line.split(" ")
    assert (stamp[:2], level, rest[0]) == ("20", "info", "worker")
    fields = dict(part.split("=", 1) for part in rest[3:])
    assert int(fields.pop("ringing_ms")) <= int(fields.pop("final_ms"))
    assert fields == {
        "status": "486", "from": "sip:caller@edge.example", "to": "sip:1000@edge.example", "call_id": "c", "set": "1",
        "algorithm": "priority", "destination": f"sip:d2@127.0.0.1:{bench.destinations[1].port}", "attempts": "2"}


def test_a_call_to_a_contact_shows_where_it_rang(make, log):
    bench = make()
    gateway, phone = bench.destinations[0], bench.agent()
    bench.register(b"1000@edge.example", (phone, b"sip:1000@10.0.0.1"))
    gateway.send(gateway.request())
    phone.send(answer(phone.expect("INVITE")[0], 200))
    fields = json.loads(log.lines()[0])
    assert fields["destination"] == phone.address.decode()
    assert "set" not in fields


def test_a_refused_call_has_its_line_too(make, log):
    bench = make(0)
    phone = bench.agent()
    phone.send(phone.request())
    phone.expect(100, 500)
    fields = json.loads(log.lines()[0])
    assert (fields["status"], fields["attempts"]) == (500, 0)
    assert "destination" not in fields


HOSTILE = {
    "quotes and backslashes": b'sip:a"\\"}@edge.example',
    "octets beyond ASCII": b"sip:\xff\xfe\xc3\xa4\x80@edge.example",
    "control characters": b"sip:a\x01\x1b[31m\x7f@edge.example",
    "blanks and a forged field": b"sip:a status=200@edge.example",
    "braces": b"sip:{}[],:@edge.example",
    "very long": b"sip:" + 2000 * b"a" + b"@edge.example",
    "an escape": b"sip:\\u0022@edge.example",
}


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_caller_can_break_a_line(make, log, hostile, form):
    bench = make(0, form=form)
    phone = bench.agent()
    uri = HOSTILE[hostile]
    phone.send(phone.request(call_id=b"plain").replace(b"<sip:caller@edge.example>", b"<%s>" % uri))
    if bench.count("calls") == 0:
        assert phone.get().status == 400  # refused as malformed: no line either
        return
    line, = log.lines()
    if form == "text":
        assert len(line.split(" status=")) == 2
        assert all(32 <= ord(one) < 127 for one in line)
    else:
        fields = json.loads(line)
        assert fields["call_id"] == "plain"
        assert fields["from"] == uri[:256].decode("latin-1")


def test_without_calls_there_are_no_lines(make, log):
    bench = make(0, calls=False)
    phone = bench.agent()
    phone.send(phone.request())
    phone.expect(100, 500)
    with pytest.raises(BlockingIOError):
        os.read(log.reader, 1)


@pytest.mark.parametrize(("level", "lines"), [("debug", 1), ("info", 1), ("notice", 0), ("error", 0)])
def test_a_line_is_info(make, log, level, lines):
    bench = make(1, level=level)
    phone = bench.agent()
    bench.place(phone)
    assert (select.select([log.reader], [], [], 0)[0] != []) == bool(lines)



def test_a_reader_that_is_too_slow_holds_nobody_up(make, log):
    fcntl.fcntl(log.writer, F_SETPIPE_SZ, 4096)
    bench = make(0)
    phone = bench.agent()
    for n in range(40):
        phone.send(phone.request(call_id=b"slow%d" % n))
    assert bench.count("calls_failed") == 40
    assert bench.count("log_dropped") > 0
    assert all(json.loads(line)["message"] == "call" for line in log.lines())


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_line_of_escapes_alone_ends_as_a_line(make, log, form):
    bench = make(0, form=form)
    phone = bench.agent()
    bad = b"sip:" + 300 * b"\xff" + b"@edge.example"
    phone.send(phone.request(uri=bad, call_id=300 * b'"').replace(b"<sip:caller@edge.example>", b"<%s>" % bad))
    line, = log.lines()
    if form == "json":
        assert json.loads(line)["message"] == "call"
    else:
        assert " call status=500 " in line
