"""The call whose instructions are counted is a whole one."""

from benchmarks import route


def test_each_call_is_six_datagrams_for_the_edge():
    assert route.calls(3) == 3 * route.RECEIVED


def test_callgrind_is_asked_for_the_router_alone(monkeypatch):
    asked = []

    def collected(module, times, within):
        asked.append((module, within))
        return int(times) * 60_000 + 5_000

    monkeypatch.setattr(route, "collected", collected)
    assert route.instructions() == 10_000
    assert asked == [("benchmarks.route", "*router_datagram*")] * 2
