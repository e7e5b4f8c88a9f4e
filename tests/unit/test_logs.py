"""Log lines: one shape on both sides, levels by name and by number, and a worker that never waits for its reader."""

import contextlib
import io
import json
import logging
import os
import re
import socket

import pytest

from supervisor import logs
from workers import logs as worker_logs


@pytest.fixture
def stream():
    """Where the product's log goes; put back as it was afterwards."""
    logger = logging.getLogger(logs.ROOT)
    before = logger.handlers[:], logger.level, logger.propagate
    yield io.StringIO()
    logger.handlers[:], logger.level, logger.propagate = before


def test_a_text_line_has_time_with_offset_level_process_and_pid(stream):
    logs.configure("arbiter", stream=stream).warning("%d of %d", 1, 2, extra={"fields": {"set": 1}})
    time_with_offset = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d"
    assert re.fullmatch(rf"{time_with_offset} warning arbiter\[{os.getpid()}\]: 1 of 2 set=1\n", stream.getvalue())


def test_a_json_line_is_one_object_with_the_fields_beside_the_message(stream):
    logger = logs.configure("supervisor", style="json", stream=stream)
    logger.info("two\nlines", extra={"fields": {"set": 1, "delay_ms": 7}})
    line = json.loads(stream.getvalue())
    assert stream.getvalue().count("\n") == 1
    assert line["message"] == "two\nlines" and line["level"] == "info" and line["process"] == "supervisor"
    assert line["pid"] == os.getpid() and line["set"] == 1 and line["delay_ms"] == 7


@pytest.mark.parametrize("style", logs.FORMATS)
def test_an_exception_keeps_its_traceback(stream, style):
    logger = logs.configure("supervisor", style=style, stream=stream)
    try:
        raise KeyError("gone")
    except KeyError:
        logger.exception("failed")
    assert "KeyError: 'gone'" in stream.getvalue() and "Traceback" in stream.getvalue()


@pytest.mark.parametrize(("given", "name"), [
    ("info", "info"), ("DEBUG", "debug"), ("warn", "warning"), ("dbg", "debug"), (-3, "critical"), (-1, "error"),
    (0, "warning"), (2, "notice"), (3, "info"), ("4", "debug"), (" 3 ", "info"),
])
def test_levels_by_name_and_by_number(given, name):
    assert logs.level_name(given) == name


@pytest.mark.parametrize("given", ["loud", 5, -4, "", "3.5"])
def test_an_unknown_level_is_refused_with_what_is_expected(given):
    with pytest.raises(ValueError, match="expected one of critical, error, warning, notice, info, debug, or -3 to 4"):
        logs.level_name(given)


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match="expected one of text, json"):
        logs.configure("arbiter", style="xml")


def test_the_level_changes_at_run_time_and_announcements_pass_it(stream):
    logger = logs.configure("arbiter", level="error", stream=stream)
    logger.info("unheard")
    logs.announce("Listening on")
    assert logs.set_level(4) == "debug"
    logger.debug("heard")
    assert "unheard" not in stream.getvalue()
    assert "notice arbiter" in stream.getvalue() and "debug arbiter" in stream.getvalue()


@pytest.mark.parametrize("style", logs.FORMATS)
@pytest.mark.parametrize("message", ["routed", "ümlaut €", "with \"quotes\""])
@pytest.mark.parametrize("wall_ms", [1_750_000_000_007, 1_735_689_599_999])
def test_a_worker_writes_the_same_lines(stream, style, message, wall_ms):
    formatter = logs.JsonLines("worker 3") if style == "json" else logs.TextLines("worker 3")
    record = logging.LogRecord(logs.ROOT, logging.INFO, "", 0, message, (), None)
    record.created = wall_ms / 1000
    record.fields = {"set": 1, "result": 200}
    log = worker_logs.Log("worker 3", "info", style)
    assert log.line(wall_ms, "info", message, record.fields).decode() == formatter.format(record) + "\n"


def test_both_sides_know_the_same_levels():
    assert worker_logs.LEVELS == logs.LEVELS


def test_a_worker_keeps_lines_until_the_flush():
    read_end, write_end = os.pipe()
    log = worker_logs.Log("worker 0", "info", "text", write_end)
    log.write("debug", "unwanted")
    log.write("info", "first", set=1)
    log.level = "debug"
    log.write("debug", "second")
    assert len(log.lines) == 2
    log.flush()
    assert re.findall(rb"(\w+) worker 0\[\d+\]: ([^\n]*)\n", os.read(read_end, 1000)) == [
        (b"info", b"first set=1"), (b"debug", b"second")]
    os.close(read_end)
    os.close(write_end)


def test_a_worker_never_waits_for_its_reader():
    read_end, write_end = os.pipe()
    log = worker_logs.Log("worker 0", "info", "text", write_end)
    for _ in range(worker_logs.LINES_MAX):
        log.write("info", "x" * 80)
    log.flush()  # the pipe holds 64 KB, these are 1.2 MB
    assert 0 < len(log.lines) < worker_logs.LINES_MAX and log.dropped == 0
    kept = len(log.lines)
    for _ in range(worker_logs.LINES_MAX - kept + 3):
        log.write("info", "y")
    assert log.dropped == 3
    data = os.read(read_end, 1 << 20)
    assert data.endswith(b"\n") and {line[-80:] for line in data.splitlines()} == {b"x" * 80}
    os.close(read_end)
    os.close(write_end)


def test_a_reader_that_went_away_costs_lines_and_nothing_else():
    read_end, write_end = os.pipe()
    log = worker_logs.Log("worker 0", "info", "text", write_end)
    os.close(read_end)
    for _ in range(5):
        log.write("info", "unread")
    log.flush()
    assert len(log.lines) + log.dropped == 5
    os.close(write_end)


def test_a_line_fits_what_a_pipe_takes_whole():
    log = worker_logs.Log("worker 0")
    assert len(log.line(0, "info", "€" * 5000, {})) <= worker_logs.CHUNK_MAX


@pytest.fixture(params=["pipe", "socket"])
def slow_reader(request):
    """(an end that reads, the descriptor to write to), of what a log may be written to."""
    if request.param == "pipe":
        reader, writer = os.pipe()
        ends = os.fdopen(reader, "rb", buffering=0), os.fdopen(writer, "wb", buffering=0)
    else:
        ends = socket.socketpair()
    yield ends[0].fileno(), ends[1].fileno()
    for end in ends:
        end.close()


def test_the_arbiter_and_the_supervisor_do_not_wait_for_a_reader(slow_reader):
    reader, writer = slow_reader
    handler = logs.Unhurried(writer)
    lines = [f"line {number} {'x' * 200}" for number in range(3_000)]
    for line in lines:
        handler.emit(logging.makeLogRecord({"msg": line}))
    assert handler.lines and handler.dropped == 0  # more than it holds: it would have waited
    assert os.get_blocking(writer), "others share the descriptor: the workers, a shell"
    heard = b""
    while handler.lines:
        heard += os.read(reader, 1 << 20)
        handler.flush()
    handler.close()
    os.set_blocking(reader, False)
    with contextlib.suppress(BlockingIOError):
        while more := os.read(reader, 1 << 20):
            heard += more
    assert heard.decode().splitlines() == lines


def test_the_arbiters_full_log_loses_lines_and_counts_them(slow_reader, monkeypatch):
    monkeypatch.setattr(logs, "LINES_MAX", 10)
    handler = logs.Unhurried(slow_reader[1])
    for _ in range(3_000):
        handler.emit(logging.makeLogRecord({"msg": "x" * 200}))
    handler.close()
    assert len(handler.lines) == 10 and handler.dropped > 0


def test_the_arbiter_outlives_the_reader_of_its_log(slow_reader):
    handler = logs.Unhurried(slow_reader[1])
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), slow_reader[0])
    handler.emit(logging.makeLogRecord({"msg": "to nobody"}))
    handler.close()
    assert not handler.lines and handler.dropped == 1


def test_a_workers_log_to_a_pipe_never_waits():
    reader, writer = os.pipe()
    fd = worker_logs.unhurried(writer)
    try:
        assert os.get_blocking(writer)  # others who write to it are left as they are
        with pytest.raises(BlockingIOError):
            while True:
                os.write(fd, 65536 * b"x")
    finally:
        for one in {reader, writer, fd}:
            os.close(one)


def test_a_workers_log_to_a_file_stays_what_it_is(tmp_path):
    with open(tmp_path / "log", "wb") as file:
        assert worker_logs.unhurried(file.fileno()) == file.fileno()
