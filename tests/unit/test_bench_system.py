"""The whole-system benchmark on its smallest peers, and what it makes of the figures."""

import json

import pytest

pytest.importorskip("benchmarks.generator")
from benchmarks import __main__ as bench
from benchmarks import compare
from benchmarks.edge import wait_gone
from benchmarks.generate import Field, Load, Result
from benchmarks.peer_configs import write_opensips
from benchmarks.peers import PEERS, Kamailio, PeerError, Server
from benchmarks.system import Point, Row, run_point

CALLS = 60
POINT = Point("calls", 300, 0.2, workers=2, sources=8)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("name", ["relay", "floor"])
def test_a_relay_carries_every_call_and_is_measured(name, host):
    row = run_point(name, Point("calls", 300, 0.2, sources=8, host=host))
    assert row.failure == ""
    assert (row.result.offered, row.result.done, row.result.failed, row.result.misrouted) == (CALLS, CALLS, 0, 0)
    assert row.result.status == {} and row.result.stray == row.dropped == row.result.lost == 0
    assert 1 < row.cpu_us < 5000 and row.pss > 1 << 20 and row.messages_s > 0


def test_a_stopped_peer_leaves_nothing_behind():
    with Field(1, 2) as field, PEERS["relay"](field.destinations, 3) as peer:
        pids = peer.pids()
        assert len(pids) == 3
    assert wait_gone(pids, 1.0) == []
    assert not peer.directory.exists()


def test_any_port_of_a_callee_will_do():
    braces = "sip:127.0.0.1:31611"  # 0x7B7B
    with PEERS["relay"]([braces], 1) as peer:
        assert len(peer.pids()) == 1


@pytest.mark.skipif(Kamailio.version() is None, reason="kamailio is not installed (apt-get install kamailio)")
def test_kamailio_does_what_is_measured():
    with Field(4, 2) as field, Kamailio(field.destinations, 2) as peer:
        for scenario in ("calls", "register", "options"):
            result = field.run(peer.address, Load(scenario, 300, 0.2, drain_s=3, aors=7))
            assert (result.done, result.failed, result.misrouted) == (CALLS, 0, 0), (scenario, result.status)
        pids = peer.pids()
        assert len(pids) > 2
    assert wait_gone(pids, 2.0) == []


class Broken(Server):
    name = "broken"

    @classmethod
    def version(cls):
        return "1"

    def command(self):
        return ["/bin/sh", "-c", "echo no such thing >&2; exit 3"]


def test_a_peer_that_does_not_start_is_told_in_its_words(monkeypatch):
    with pytest.raises(PeerError, match=r"broken ended with 3:\nno such thing"), Broken(["sip:127.0.0.1:9"]):
        pass
    monkeypatch.setitem(PEERS, "broken", Broken)
    assert "no such thing" in run_point("broken", POINT).failure


def test_the_configuration_of_opensips_names_what_is_asked(tmp_path):
    destinations = ["sip:127.0.0.1:6001", "sip:127.0.0.1:6002"]
    path = write_opensips(tmp_path, ("127.0.0.1", 5070), 3, destinations, modules="/m/", version=(3, 6))
    text = path.read_text()
    assert "udp_workers=3" in text and "socket=udp:127.0.0.1:5070" in text and 'mpath="/m/"' in text
    rows = (tmp_path / "dispatcher").read_text().splitlines()
    assert len(rows) == 3 and rows[1].startswith("1:1:sip\\:127.0.0.1\\:6001:")


def report(cpu_us, relay_us, p99=1000):
    result = Result(offered=10, done=10)
    result.setup_us.p99 = p99
    rows = [Row(name, "1", POINT, result, cpu_us=cpu) for name, cpu in (("viaduct", cpu_us), ("relay", relay_us))]
    machine = {"cpu": "x", "cores": 2, "kernel": "6"}
    micro = [{"name": "parse", "ns": cpu_us, "least": 1.0, "most": 2.0}]
    found = {"machine": machine, "commit": "c", "started": "s", "micro": micro, "rows": [row.as_json() for row in rows]}
    return json.loads(json.dumps(found))


def test_a_slower_machine_is_no_slower_proxy():
    change = compare.changes(report(100, 20), report(200, 40, p99=500))[0]
    assert (change["cpu"], change["relative"], change["p99"]) == (2.0, 1.0, 0.5)


def test_two_reports_are_compared_and_shown(tmp_path, capsys):
    for name, cpu in (("a", 100), ("b", 150)):
        (tmp_path / name).write_text(json.dumps(report(cpu, 20)))
    assert compare.main([str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "1.50" in capsys.readouterr().out
    (tmp_path / "b").write_text("{")
    assert compare.main([str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    assert "cannot read a report" in capsys.readouterr().out


def test_a_run_writes_its_report(tmp_path, monkeypatch, capsys):
    path = tmp_path / "out.json"
    arguments = "--only calls --peers relay,floor --rates 200 --seconds 0.1 --sources 4 --json"
    assert bench.main([*arguments.split(), str(path)]) == 0
    found = json.loads(path.read_text())
    assert [row["proxy"] for row in found["rows"]] == ["relay", "floor"]
    assert found["rows"][0]["result"]["done"] == 20 and found["machine"]["cores"] >= 1 and found["commit"]
    assert "calls at 200/s" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--rates", "0"], ["--only", "calls,none"], ["--peers", "asterisk"]])
def test_what_is_not_known_is_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        bench.parse(arguments)
    assert "expected" in capsys.readouterr().err


def test_a_sweep_is_every_step_at_every_rate():
    options = bench.parse(["--rates", "10,20", "--sweep", "destinations"])
    found = [(point.rate, point.destinations) for point in bench.points("calls", options)]
    assert found == [(rate, count) for rate in (10, 20) for count in (2, 20, 200)]
    options = bench.parse(["--sweep", "bindings", "--full", "--rates", "10"])
    assert [point.bindings for point in bench.points("register", options)] == [100, 10_000, 1_000_000]
    assert [point.workers for point in bench.points("calls", bench.parse(["--rates", "10"]))] == [2]


def test_sipp_offers_what_it_can(monkeypatch, capsys):
    monkeypatch.setattr(bench, "binary", lambda: "/usr/bin/sipp")
    assert bench.parse(["--load", "sipp"]).only == ("calls", "register", "options")
    for arguments in (["--only", "micro"], []):
        if not arguments:
            monkeypatch.setattr(bench, "binary", lambda: None)
        with pytest.raises(SystemExit):
            bench.parse(["--load", "sipp", *arguments])
        assert "--load sipp: found no" in capsys.readouterr().err


def test_an_older_report_compares_with_a_newer():
    row = report(100, 20)["rows"][0]
    key = compare.key(row)
    del row["point"]["load"]
    assert compare.key(row) == key
