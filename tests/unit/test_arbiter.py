"""The arbiter with small children (arbiter_harness.py): what it starts, starts again, gives up on, leaves behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from supervisor import arbiter, launch
from supervisor.children import BACKOFF_FIRST_MS, BACKOFF_MAX_MS, CRASH_DEATHS, CRASH_WINDOW_MS, SETTLED_MS, Child

HARNESS = Path(__file__).with_name("arbiter_harness.py")
ROOT = HARNESS.parent.parent.parent
PATIENCE_S = 15  # for one step of a test on a busy machine

CONFIG = """
[edge]
listen = ["udp:127.0.0.1:0"]
workers = {workers}
run_dir = "{run_dir}"
kernel_filter = false
[registrar]
auth = "none"
[store]
url = "memory:"
"""


class Running:
    """An arbiter in a process of its own, its standard error in a file."""

    def __init__(self, directory: Path, plan: dict, workers: int, environment: dict[str, str]) -> None:
        self.run_dir = directory / "run"
        self.config = directory / "viaduct.toml"
        self.config.write_text(CONFIG.format(workers=workers, run_dir=self.run_dir))
        self.plan = directory / "plan.json"
        self.hups = directory / "hups"
        self.plan.write_text(json.dumps({"hup": str(self.hups), **plan}))
        self.log = directory / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(HARNESS), str(self.config), str(self.plan)], stderr=log, stdin=subprocess.DEVNULL,
                cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **environment})
        self.seen: set[int] = set()

    def until(self, true, what: str):
        """Wait for true() and give its value."""
        end = time.monotonic() + PATIENCE_S
        while not (value := true()):
            assert time.monotonic() < end, f"{what}: not within {PATIENCE_S} s; log:\n{self.text()}"
            time.sleep(0.01)
        return value

    def text(self) -> str:
        return self.log.read_text()

    def says(self, words: str) -> None:
        self.until(lambda: words in self.text(), words)

    def status(self) -> dict:
        status = json.loads((self.run_dir / "arbiter.json").read_text())
        self.seen |= {child["pid"] for child in status["children"] if child["pid"]}
        return status

    def child(self, name: str) -> dict:
        return next(child for child in self.status()["children"] if child["name"] == name)

    def fresh(self, name: str, old_pid: int) -> dict:
        """The place once another process serves in it."""
        return self.until(lambda: (one := self.child(name))["ready"] and one["pid"] != old_pid and one, f"a new {name}")

    def ended(self) -> int:
        code = self.process.wait(PATIENCE_S)
        left = [pid for pid in self.seen if runs(pid)]
        assert not left, f"processes left: {left}"
        return code


def runs(pid: int) -> bool:
    """Whether the process is there and more than a zombie that its new parent has not reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def start(tmp_path):
    """start(plan, workers) -> Running that is ready (ready=False: just started)."""
    running = []

    def make(plan=None, workers=2, ready=True, environment=None):
        one = Running(tmp_path, plan or {}, workers, environment or {})
        running.append(one)
        if ready:
            one.says("viaduct ready")
            one.status()
        return one

    yield make
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
        one.until(lambda pids=one.seen: not any(map(runs, pids)), "children gone")


def ask(port: int) -> tuple[int, int, int]:
    """A datagram to the group from a new port: the worker that answers, its pid, how often its place was refilled."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE_S)
        sock.sendto(b"?", ("127.0.0.1", port))
        index, pid, restarts, _ = sock.recv(100).split()
        return int(index), int(pid), int(restarts)


def test_it_starts_everything_says_so_and_ends_clean(start):
    edge = start()
    status = edge.status()
    assert [child["name"] for child in status["children"]] == [
        "supervisor", "worker 0", "worker 1", "spare supervisor", "spare worker"]
    assert status["pid"] == edge.process.pid and status["ready"]
    port = status["listeners"][0]["port"]
    assert ask(port)[1] in edge.seen
    lines = edge.text()
    assert "Listening on" in lines and "listen=udp:127.0.0.1:0" in lines and f"udp:127.0.0.1:{port}" in lines
    assert "REGISTER IS NOT AUTHENTICATED" in lines
    assert "viaduct ready: 2 workers, 1 listeners" in lines
    edge.process.send_signal(signal.SIGTERM)
    assert edge.ended() == 0
    assert not edge.run_dir.exists()


def test_a_killed_worker_is_replaced_on_the_same_sockets(start):
    edge = start(workers=1)
    before = edge.child("worker 0")
    port = edge.status()["listeners"][0]["port"]
    os.kill(before["pid"], signal.SIGSTOP)  # what arrives from here on can only wait in the socket
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE_S)
        sock.sendto(b"kept", ("127.0.0.1", port))
        os.kill(before["pid"], signal.SIGKILL)
        index, pid, restarts, data = sock.recv(100).split()
    after = edge.fresh("worker 0", before["pid"])
    assert (int(index), int(pid), int(restarts), data) == (0, after["pid"], 1, b"kept")
    assert after["restarts"] == 1 and "signal 9" in after["last_end"]


def spare(edge: Running, role: str = "worker") -> int:
    """The pid of the role's spare, once it stands by."""
    return edge.until(lambda: edge.child(f"spare {role}")["pid"], f"a spare {role}")


def test_the_spare_takes_a_dead_workers_place_and_another_stands_by(start):
    edge = start()
    ready = spare(edge)
    old = edge.child("worker 1")["pid"]
    os.kill(old, signal.SIGKILL)
    after = edge.fresh("worker 1", old)
    assert (after["pid"], after["restarts"]) == (ready, 1)
    assert os.sched_getaffinity(ready) != os.sched_getaffinity(0) or len(os.sched_getaffinity(0)) < 2
    assert spare(edge) not in (ready, old)
    edge.process.send_signal(signal.SIGTERM)
    assert edge.ended() == 0


def test_a_spare_that_dies_is_replaced(start):
    edge = start()
    first = spare(edge)
    os.kill(first, signal.SIGKILL)
    edge.until(lambda: edge.child("spare worker")["pid"] not in (None, first), "another spare")
    assert f"spare worker (pid {first}) was ended by signal 9" in edge.text()
    assert edge.child("worker 0")["restarts"] == edge.child("worker 1")["restarts"] == 0


def test_a_spare_that_does_not_end_is_killed(start):
    edge = start({"constants": {"DRAIN_MS": 300}})
    os.kill(spare(edge), signal.SIGSTOP)
    edge.process.send_signal(signal.SIGTERM)
    assert edge.ended() == 0
    assert "spare worker" in edge.text() and "did not end in time" in edge.text()


def test_a_spare_that_hangs_does_not_keep_a_place_empty(start):
    edge = start({"constants": {"PROMOTED_MAX_MS": 500, "DUMP_MS": 100}})
    ready = spare(edge)
    old = edge.child("worker 1")["pid"]
    os.kill(ready, signal.SIGSTOP)
    os.kill(old, signal.SIGKILL)
    edge.until(lambda: edge.child("worker 1")["pid"] == ready, "the spare in its place")
    assert edge.fresh("worker 1", ready)["pid"] != old


def test_no_descriptor_is_lost_with_a_promotion(start):
    edge = start()
    counts = []
    for _ in range(3):
        spare(edge), spare(edge, "supervisor")
        counts.append(len(os.listdir(f"/proc/{edge.process.pid}/fd")))
        for name in ("worker 0", "supervisor"):
            old = edge.child(name)["pid"]
            os.kill(old, signal.SIGKILL)
            edge.fresh(name, old)
    assert counts[0] == counts[1] == counts[2]


def test_spares_that_die_at_once_are_given_up_for_a_while(start):
    edge = start({"constants": {"AFTER_MS": 0, "GIVEN_UP_MS": 3_600_000, "CRASH_DEATHS": 3}})
    for _ in range(3):
        dying = spare(edge)
        os.kill(dying, signal.SIGKILL)
        edge.says(f"spare worker (pid {dying})")
    edge.until(lambda: edge.child("spare worker")["pid"] is None, "none")
    time.sleep(1.2)  # two looks
    assert edge.child("spare worker")["pid"] is None
    assert edge.child("worker 0")["ready"]


def test_a_worker_is_replaced_where_its_spare_died_with_it(start):
    edge = start(workers=1)
    first = spare(edge)
    old = edge.child("worker 0")["pid"]
    os.kill(edge.process.pid, signal.SIGSTOP)  # so that the arbiter learns of both at once
    os.kill(first, signal.SIGKILL)
    os.kill(old, signal.SIGKILL)
    os.kill(edge.process.pid, signal.SIGCONT)
    assert edge.fresh("worker 0", old)["pid"] != first


def test_a_killed_supervisor_is_replaced_and_workers_stay(start):
    edge = start()
    workers = [edge.child("worker 0")["pid"], edge.child("worker 1")["pid"]]
    old, ready = edge.child("supervisor")["pid"], spare(edge, "supervisor")
    os.kill(old, signal.SIGKILL)
    assert edge.fresh("supervisor", old)["pid"] == ready
    assert [edge.child("worker 0")["pid"], edge.child("worker 1")["pid"]] == workers


def test_a_crash_loop_ends_with_a_clear_line(start):
    edge = start({"worker 1": {"exit": 3}, "constants": {"CRASH_DEATHS": 4}}, ready=False)
    assert edge.ended() == arbiter.EX_SOFTWARE
    assert "worker 1 died 4 times" in edge.text() and "exit code 3" in edge.text()


def test_a_child_that_cannot_use_the_configuration_is_not_started_again(start):
    edge = start({"supervisor": {"exit": 78}}, ready=False)
    assert edge.ended() == 78
    assert "supervisor" in edge.text() and "cannot run with this configuration" in edge.text()
    assert "started again" not in edge.text()


@pytest.mark.parametrize(("hangs", "limit"), [("worker 0", "HANG_MS"), ("supervisor", "SUPERVISOR_HANG_MS")])
def test_a_child_that_hangs_is_dumped_then_replaced(start, hangs, limit):
    edge = start({hangs: {"hang": True}, "constants": {limit: 700, "DUMP_MS": 300, "TICK_MS": 100}})
    old = edge.child(hangs)["pid"]
    edge.until(lambda: edge.child(hangs)["restarts"] > 0, "replaced")
    assert all(edge.child(name)["restarts"] == 0 for name in ("worker 0", "worker 1", "supervisor") if name != hangs)
    assert f"{hangs} (pid {old}) gave no sign of life" in edge.text()
    assert "most recent call first" in edge.text()  # faulthandler's words


def test_a_child_that_never_gets_ready_is_replaced(start):
    edge = start({"worker 0": {"mute": True}, "constants": {"START_MAX_MS": 300, "DUMP_MS": 100, "TICK_MS": 100}},
                 ready=False)
    edge.says("worker 0 started again")
    assert "viaduct ready" not in edge.text()


def test_one_that_does_not_end_is_killed(start):
    edge = start({"worker 0": {"deaf": True}, "constants": {"DRAIN_MS": 300}})
    edge.process.send_signal(signal.SIGTERM)
    assert edge.ended() == 0
    assert "did not end in time" in edge.text()


def test_asked_twice_it_ends_at_once(start):
    edge = start({"worker 0": {"deaf": True}})
    begun = time.monotonic()
    edge.process.send_signal(signal.SIGINT)
    edge.says("ending: the workers drain")
    edge.process.send_signal(signal.SIGINT)
    assert edge.ended() == 0
    assert time.monotonic() - begun < arbiter.DRAIN_MS / 1000


def test_a_bad_reload_leaves_everything_and_a_good_one_reaches_the_supervisor(start):
    edge = start()
    good = edge.config.read_text()
    edge.config.write_text(good.replace("auth", "autj"))
    edge.process.send_signal(signal.SIGHUP)
    edge.says("the configuration was not reloaded")
    assert "autj" in edge.text() and not edge.hups.exists()
    edge.config.write_text(good)
    edge.process.send_signal(signal.SIGHUP)
    edge.until(edge.hups.exists, "HUP at the supervisor")
    assert edge.child("worker 0")["restarts"] == 0


def test_a_fault_in_reloading_does_not_end_the_service(start):
    edge = start({"fault": "unforeseen"})
    edge.process.send_signal(signal.SIGHUP)
    edge.says("RuntimeError: unforeseen")
    assert ask(edge.status()["listeners"][0]["port"])[1] in edge.seen


def test_usr2_replaces_the_workers_one_by_one(start):
    edge = start()
    old = {name: edge.child(name)["pid"] for name in ("worker 0", "worker 1", "supervisor")}
    stale = spare(edge)  # an upgrade must not bring the program back that it has in memory
    edge.process.send_signal(signal.SIGUSR2)
    edge.says("all workers were restarted")
    assert edge.child("supervisor")["pid"] == old["supervisor"]
    assert all(edge.child(name)["pid"] != old[name] and edge.child(name)["ready"] for name in ("worker 0", "worker 1"))
    assert stale not in (edge.child("worker 0")["pid"], edge.child("worker 1")["pid"], spare(edge))
    assert "died" not in edge.text() and "ended by" not in edge.text()


def test_children_end_when_the_arbiter_is_killed(start):
    edge = start()
    edge.process.kill()
    edge.until(lambda: not any(map(runs, edge.seen)), "children gone")


def test_ctrl_c_of_a_terminal_reaches_the_arbiter_alone(start):
    edge = start()
    assert all(os.getsid(pid) == pid for pid in edge.seen)


def test_workers_are_pinned_each_to_a_core(start):
    cores = sorted(os.sched_getaffinity(0))
    edge = start(workers=1)
    assert os.sched_getaffinity(edge.child("worker 0")["pid"]) == {cores[0]}


def test_systemd_is_told(start, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(PATIENCE_S)
        edge = start(workers=1, environment={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        heard = {sock.recv(100)}
        edge.process.send_signal(signal.SIGTERM)
        while b"STOPPING=1" not in heard:
            heard.add(sock.recv(100))
    assert b"READY=1\nSTATUS=1 workers, 1 listeners" in heard
    assert edge.ended() == 0


def test_a_second_arbiter_in_the_same_run_directory_is_refused(start):
    edge = start()
    second = subprocess.run(
        [sys.executable, str(HARNESS), str(edge.config), str(edge.plan)], cwd=ROOT, check=False, capture_output=True,
        text=True, timeout=PATIENCE_S, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert second.returncode == arbiter.EX_UNAVAILABLE
    assert f"another viaduct (pid {edge.process.pid})" in second.stderr
    assert edge.status()["pid"] == edge.process.pid


def test_mistakes_in_the_configuration_are_printed_and_end_it(tmp_path):
    path = tmp_path / "viaduct.toml"
    path.write_text("[edge]\nlisten = 5\nworkesr = 2\n")
    done = subprocess.run([sys.executable, "-m", "supervisor.arbiter", "-c", str(path)], cwd=ROOT, check=False,
                          capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 78
    assert "listen" in done.stderr and "workesr" in done.stderr


def test_deaths_wait_longer_and_longer_until_they_are_a_loop():
    child = Child(launch.ROLE_WORKER, 1)
    waits = [child.died(at) for at in range(CRASH_DEATHS)]
    assert waits[:3] == [0, BACKOFF_FIRST_MS, 2 * BACKOFF_FIRST_MS]
    assert waits[-2] == BACKOFF_MAX_MS and waits[-1] is None
    assert child.died(CRASH_DEATHS + CRASH_WINDOW_MS) == 0


def test_one_that_had_settled_is_replaced_at_once():
    child = Child(launch.ROLE_WORKER, 1)
    assert [child.died(at) for at in (0, 1, SETTLED_MS)] == [0, BACKOFF_FIRST_MS, 0]


def test_a_crash_loop_shows_itself_although_restarts_wait():
    waits_ms = sum(min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS << n) for n in range(CRASH_DEATHS - 2))
    assert waits_ms < CRASH_WINDOW_MS / 2


@pytest.mark.parametrize(("wanted", "quota", "workers"), [
    ("auto", "max 100000\n", 8), ("auto", "150000 100000\n", 2), ("auto", "10000 100000\n", 1),
    (3, "100000 100000\n", 3), ("auto", None, 8), (100, None, arbiter.WORKERS_MAX),
])
def test_how_many_workers(tmp_path, wanted, quota, workers):
    path = tmp_path / "cpu.max"
    if quota is not None:
        path.write_text(quota)
    assert arbiter.worker_count(wanted, 8, path) == workers
