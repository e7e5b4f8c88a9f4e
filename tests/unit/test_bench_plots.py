"""Figures of a report: what is drawn along which axis, and that a PNG comes of it where matplotlib is."""

import json
from dataclasses import replace

import pytest

pytest.importorskip("benchmarks.generator")
from benchmarks import plots
from benchmarks.generate import Result
from benchmarks.system import Point, Row

POINT = Point("calls", 1000, 2)


def row(name, cpu, p99_us=2000, **point):
    result = Result(offered=10, done=10)
    result.setup_us.p99 = p99_us
    return Row(name, "1.2", replace(POINT, **point), result, cpu_us=cpu)


def report(*rows):
    machine = {"cpu": "x", "cores": 2, "kernel": "6.1"}
    return json.loads(json.dumps({
        "machine": machine, "commit": "abc", "started": "now", "rows": [each.as_json() for each in rows]
    }))  # fmt: skip


BY_RATE = report(row("viaduct", 50, rate=3000), row("viaduct", 70), row("kamailio", 200, p99_us=5000))
BY_WORKERS = report(*(row("viaduct", 50 + workers, workers=workers, rate=rate)
                      for workers in (1, 2) for rate in (100, 200)))  # fmt: skip


def test_curves_are_in_order_of_the_rate():
    (found,) = plots.groups(BY_RATE["rows"])
    assert found[:2] == ("calls", "rate")
    assert plots.curves(found[2], "rate", "cpu") == {"viaduct": [(1000, 70), (3000, 50)], "kamailio": [(1000, 200)]}
    assert plots.curves(found[2], "rate", "p99")["kamailio"] == [(1000, 5.0)]


def test_a_sweep_is_its_own_axis_with_a_curve_a_rate():
    (found,) = plots.groups(BY_WORKERS["rows"])
    assert found[:2] == ("calls", "workers")
    lines = plots.curves(found[2], "workers", "cpu")
    assert lines == {"viaduct, 100/s": [(1, 51), (2, 52)], "viaduct, 200/s": [(1, 51), (2, 52)]}


def test_what_failed_is_not_drawn():
    broken = row("viaduct", 1)
    broken.failure = "no"
    assert list(plots.groups(report(broken)["rows"])) == []


def test_a_rate_that_was_too_much_is_not_drawn():
    collapsed = row("kamailio", 4000, rate=8000)
    collapsed.result.done = 5
    (found,) = plots.groups(report(row("kamailio", 200), collapsed)["rows"])
    assert plots.curves(found[2], "rate", "cpu") == {"kamailio": [(1000, 200)]}


def test_a_caption_names_machine_commit_and_versions():
    words = plots.caption(BY_RATE, BY_RATE["rows"], "workers")
    assert "64 sources" in words and "2 workers" not in words  # these are the axis
    assert "2 x x, Linux 6.1, commit abc, now" in words and words.endswith("viaduct 1.2, kamailio 1.2")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_figures_are_written(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")
    path = tmp_path / "report.json"
    path.write_text(json.dumps(BY_RATE))
    assert plots.main([str(path), "--out", str(tmp_path / "figures")]) == 0
    names = sorted(each.name for each in (tmp_path / "figures").iterdir())
    assert names == ["calls-rate-cpu.png", "calls-rate-p99.png"]
    assert all((tmp_path / "figures" / name).read_bytes()[:4] == b"\x89PNG" for name in names)


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise ImportError

    path = tmp_path / "report.json"
    path.write_text(json.dumps(BY_RATE))
    monkeypatch.setattr(plots, "draw_all", fail)
    assert plots.main([str(path)]) == 1
    assert "viaduct-sip[plots]" in capsys.readouterr().err
    assert plots.main([str(tmp_path / "none.json")]) == 1
