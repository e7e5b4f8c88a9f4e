"""Load by SIPp: what its statistics say, and, where SIPp is, real calls between its two ends."""

import pytest

pytest.importorskip("benchmarks.generator")
from benchmarks import sipp
from benchmarks.edge import wait_gone
from benchmarks.generate import Load

COLUMNS = (sipp.CREATED, sipp.DONE, sipp.FAILED, sipp.AGAIN, *sipp.SILENT)
needs_sipp = pytest.mark.skipif(sipp.binary() is None, reason="sipp is not installed (apt-get install sip-tester)")


def statistics(*rows):
    return "\n".join(";".join(str(cell) for cell in (*row, "")) for row in (COLUMNS, *rows)) + "\n"


def test_the_last_row_counts_and_what_never_began_has_failed():
    found = sipp.parse(statistics((5, 4, 0, 0, 0, 0), (90, 80, 10, 7, 6, 1)), "", 100)
    assert (found.offered, found.done, found.failed, found.unfinished) == (100, 80, 20, 10)
    assert found.retransmissions == 7 and found.status == {408: 7}


def test_delays_are_quantiles_of_milliseconds():
    times = "Date_ms;response_time_ms;rtd_no\n" + "".join(f"1;{number}.000000;1\n" for number in range(100, 0, -1))
    found = sipp.parse(statistics((1, 1, 0, 0, 0, 0)), times, 1).other_us
    assert (found.p50, found.p99, found.p999, found.most) == (50_000, 99_000, 100_000, 100_000)


def test_no_statistics_are_an_error():
    with pytest.raises(sipp.SippError, match="no statistics"):
        sipp.parse("", "", 1)


def test_a_missing_sipp_is_told(monkeypatch):
    monkeypatch.setattr(sipp.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="expected to be one"):
        sipp.SippField(2)
    with pytest.raises(sipp.SippError, match="sipp is not on PATH"), sipp.SippField():
        pass


@needs_sipp
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_calls_between_its_ends_are_counted(host):
    with sipp.SippField(1, 1, host) as field:
        callee = field._running[0].pid
        port = int(field.destinations[0].rsplit(":", 1)[1])
        result = field.run((host, port), Load("calls", rate=200, seconds=0.2, drain_s=3))
        assert (result.offered, result.done, result.failed, result.status) == (40, 40, 0, {})
        assert result.setup_us.most < 3_000_000 and field.cpu_ns() > 0
    assert wait_gone([callee], 1.0) == []


@needs_sipp
def test_nobody_answers():
    with sipp.SippField(1, 1) as field:
        result = field.run(("127.0.0.1", 9), Load("options", rate=50, seconds=0.1, drain_s=0.1))
    assert (result.offered, result.done, result.failed) == (5, 0, 5)
