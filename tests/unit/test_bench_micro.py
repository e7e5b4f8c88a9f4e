"""The micro benchmarks measure what they say: every operation works, and the messages are good ones."""

import pytest

pytest.importorskip("benchmarks.pieces")
from benchmarks import instructions, micro, pieces
from sipcore import endpoint, message


def test_the_messages_are_accepted():
    assert message.parse(micro.INVITE).reason == message.parse(micro.ANSWER).reason == 0


def test_every_operation_can_be_repeated():
    names = [name for name, work, each in micro.operations() if work(2) is not NotImplemented and each > 0]
    assert len(names) == len(set(names)) > 10


def test_the_edited_messages_have_the_length_of_the_real_ones():
    source = endpoint.pack("udp", "192.0.2.7", 5062)
    written = pieces.forward_request(micro.INVITE, source, micro.VIA, micro.ROUTE, 2)
    added = len(b"Via: " + micro.VIA + b"\r\nRecord-Route: " + micro.ROUTE + b"\r\n=5062;received=192.0.2.7")
    assert written == len(micro.INVITE) + added
    top = micro.ANSWER.split(b"\r\n")[1]
    assert pieces.forward_response(micro.ANSWER, 2) == len(micro.ANSWER) - len(top) - 2


def test_lookups_find_what_is_there():
    table, aors = micro.table_with(10)
    assert pieces.find_aors(table, aors, 25) == 25
    assert pieces.find_aors(table, [b"sip:nobody@example.com"], 5) == 0


def test_transactions_are_found_and_small():
    assert pieces.keep_transactions(10, 25) == 70
    assert pieces.WAITING_OCTETS <= 256


def test_runs_come_sorted(monkeypatch):
    monkeypatch.setattr(micro, "RUN_NS", 100_000)
    runs = micro.measure(lambda times: sum(range(times)))
    assert runs == sorted(runs) and len(runs) == micro.RUNS and runs[0] > 0


def test_instructions_need_a_known_operation_and_valgrind(monkeypatch):
    with pytest.raises(RuntimeError, match="no operation 'nothing'"):
        instructions._operation("nothing")
    monkeypatch.setattr(instructions.shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match="valgrind is not on PATH"):
        instructions.count("steer INVITE")


def test_a_table_shows_what_was_counted():
    plain = {"ns": 1.0, "least": 1.0, "most": 1.0}
    rows = [{"name": "a", **plain, "instructions": 7.0}, {"name": "b", **plain}]
    headers = [column.header for column in micro.table(rows).columns]
    assert headers == ["operation", "ns", "least", "most", "instructions"]
