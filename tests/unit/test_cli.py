"""The command line: what it prints, what it exits with, which edge it chooses; against a real admin socket."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fake_backend import FakeBackend
from typer.testing import CliRunner

from supervisor.admin.server import AdminServer
from supervisor.cli import client, main, output, ul

ROOT = Path(__file__).resolve().parents[2]
AUTH = '[registrar]\nauth = "none"\n'
LIST = "1 sip:10.0.0.11:5080 0 0 weight=50\n"


class Edge:
    """An admin server with a fake backend on a thread of its own."""

    def __init__(self, path, backend):
        self.path = str(path)
        self.backend = backend
        self.loop = None
        self.ending = asyncio.Event()
        self.started = threading.Event()
        self.thread = threading.Thread(target=asyncio.run, args=[self.serve()])
        self.thread.start()
        assert self.started.wait(5)

    async def serve(self):
        self.loop = asyncio.get_running_loop()
        server = AdminServer(self.backend, self.path)
        await server.start()
        self.started.set()
        await self.ending.wait()
        await server.stop()

    def stop(self):
        self.loop.call_soon_threadsafe(self.ending.set)
        self.thread.join(5)
        assert not self.thread.is_alive()

    def __call__(self, *words):
        return viaduct(*words, "-s", self.path)


@pytest.fixture
def edge(tmp_path):
    running = Edge(tmp_path / "admin.sock", FakeBackend())
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No instance of this machine is chosen by accident."""
    monkeypatch.delenv("VIADUCT_SOCKET", raising=False)
    monkeypatch.setenv("VIADUCT_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.setattr(client, "DEFAULT_SOCKET", str(tmp_path / "none.sock"))
    monkeypatch.setattr(client.tempfile, "gettempdir", lambda: str(tmp_path / "temp"))


def viaduct(*words):
    return CliRunner().invoke(main.app, [str(word) for word in words])


def good(result):
    assert result.exit_code == 0, result.output
    return result.output


def lines(result):
    return [" ".join(line.split()) for line in good(result).splitlines()]


def test_ds_list_is_a_table(edge):
    shown = lines(edge("ds", "list"))
    assert shown[0] == "set destination state weight priority calls attempts failures probe ms why"
    assert "1 sip:10.0.0.11:5080 active 50 0 3 12 1 1.2 -" in shown
    assert "2 sip:[::1]:5090 inactive 0 0 - - - - 3 probes failed" in shown


def test_ds_list_of_one_set_as_json(edge):
    (partition,) = json.loads(good(edge("ds", "list", 2, "--json")))["PARTITIONS"]
    assert [each["id"] for each in partition["SETS"]] == [2]
    assert good(edge("ds", "list", 7)) == "no destinations in set 7\n"


def test_ds_reload_tells_the_difference_and_the_doubts(edge):
    shown = good(edge("ds", "reload"))
    assert shown.startswith("+1 -0 ~2\n") and "dispatcher.list:4: 50 is a priority" in shown
    assert json.loads(good(edge("ds", "reload", "--json")))["changed"] == 2


def test_a_refusal_exits_with_1_and_the_sentence(edge):
    edge.backend.rows = []
    result = edge("ds", "reload")
    assert (result.exit_code, result.output) == (1, 'dispatcher.list:3: found "x", expected the number of a set\n')


def test_ds_set_state(edge):
    assert good(edge("ds", "set-state", 1, "sip:10.0.0.12:5080", "Active")) == "OK\n"
    assert edge.backend.asked == [(1, "sip:10.0.0.12:5080", "active")]
    assert edge("ds", "set-state", 1, "sip:x", "active").exit_code == 1


def test_ul_show_pages_through_all(edge, monkeypatch):
    monkeypatch.setattr(ul, "PAGE", 2)
    shown = lines(edge("ul", "show"))
    assert len(shown) == 5
    assert shown[-1] == "1002@example.com sip:1002@192.168.1.7:5062 557 0.5 sip:203.0.113.9:40122 baresip"
    everything = json.loads(good(edge("ul", "show", "--json")))
    assert len(everything["Domains"][0]["AORs"]) == 3


def test_ul_show_of_one_address(edge):
    assert json.loads(good(edge("ul", "show", "sip:1001@example.com", "--json")))["AOR"] == "1001@example.com"
    assert edge("ul", "show", "nobody").exit_code == 1
    edge.backend.aors = []
    assert good(edge("ul", "show")) == "nobody is registered\n"


def test_what_the_network_says_cannot_steer_the_terminal(edge):
    edge.backend.aors[0]["contacts"][0]["agent"] = "\x1b[31mred\r\n[bold]x"
    shown = good(edge("ul", "show"))
    assert "\x1b" not in shown and "\r" not in shown and "[bold]x" in shown


def test_ul_rm(edge):
    assert good(edge("ul", "rm", "1000@example.com")) == "1 removed\n"
    assert good(edge("ul", "rm", "1000@example.com", "sip:1000@192.168.1.7:5062")) == "1 removed\n"
    result = edge("ul", "rm", "1000@example.com", "sip:x")
    assert (result.exit_code, result.output) == (1, "Contact not found: sip:x of 1000@example.com\n")
    assert edge("ul", "rm", "1000@example.com", "").exit_code == 1


def test_ps_stats_and_log_level(edge):
    shown = lines(edge("ps"))
    assert "supervisor 11 1.5 52.4 MB - 0 1h 06m -" in shown
    assert "worker 0 12 20.0 31.5 MB 123456 1 - -" in shown
    assert json.loads(good(edge("ps", "--json")))["Processes"][1]["pid"] == 12
    assert "calls 7" in lines(edge("stats"))
    assert json.loads(good(edge("stats", "calls_*", "--json"))) == {"calls_answered": 6}
    assert edge("stats", "nothing").exit_code == 1
    assert good(edge("log-level", "debug")) == "debug\n" == good(edge("log-level"))
    assert edge("log-level", "loud").exit_code == 1


def test_mi_calls_any_method(edge):
    assert "ds_list" in json.loads(good(edge("mi", "which")))
    assert json.loads(good(edge("mi", "ds_set_state", "state=a", "group=1", "address=sip:10.0.0.11:5080"))) == "OK"
    assert json.loads(good(edge("mi", "ul_show_contact", "location", "1000@example.com")))["AOR"] == "1000@example.com"
    assert edge("mi", "nothing").exit_code == 1


@pytest.mark.parametrize("words", [["nothing"], ["ds", "list", "x"], ["ds", "set-state", "1"], ["ps", "--nothing"]])
def test_wrong_usage_exits_with_2(words):
    assert viaduct(*words).exit_code == 2


@pytest.mark.parametrize("words", [["ps"], ["ds", "list"], ["ul", "show"], ["stats"], ["mi", "which"]])
def test_no_edge_exits_with_3(words, tmp_path):
    result = viaduct(*words, "-s", tmp_path / "none.sock")
    assert result.exit_code == 3
    assert f"no edge at {tmp_path}/none.sock: there is no such socket" in result.output


def test_something_else_on_the_socket(tmp_path):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "other.sock"))
        assert viaduct("ps", "-s", tmp_path / "other.sock").exit_code == 3  # bound, nobody listens
        other.listen()
        thread = threading.Thread(target=hang_up, args=[other])
        thread.start()
        assert viaduct("ps", "-s", tmp_path / "other.sock").exit_code == 3
        thread.join(5)


def hang_up(listening):
    listening.accept()[0].close()


def test_the_instance_is_chosen_by_environment_or_file(edge, tmp_path, monkeypatch):
    file = tmp_path / "viaduct.toml"
    file.write_text(AUTH + f'[admin]\nsocket = "{edge.path}"\n')
    assert viaduct("ps", "-c", file).exit_code == 0
    file.write_text(AUTH + '[edge]\nrun_dir = "."\n')
    assert viaduct("ps", "-c", file).exit_code == 0
    file.write_text("[edge]\nworkers = 0\n")
    assert viaduct("ps", "-c", file).exit_code == 1
    monkeypatch.setenv("VIADUCT_SOCKET", edge.path)
    assert viaduct("ps").exit_code == 0


def test_the_only_edge_in_a_private_directory_is_found(tmp_path):
    directory = tmp_path / "temp" / "viaduct-abc"
    directory.mkdir(parents=True)
    assert viaduct("ps").exit_code == 3
    first = Edge(directory / "admin.sock", FakeBackend())
    try:
        assert viaduct("ps").exit_code == 0
        (tmp_path / "temp" / "viaduct-def").mkdir()
        second = Edge(tmp_path / "temp" / "viaduct-def" / "admin.sock", FakeBackend())
        try:
            result = viaduct("ps")
            assert result.exit_code == 3 and "choose one with -s" in result.output
            for each in (first, second):  # -s chooses; once it has answered, the look that was taken at it is over too
                assert each("ps").exit_code == 0
        finally:
            second.stop()
    finally:
        first.stop()


def configuration(tmp_path, text=AUTH, destinations=LIST):
    (tmp_path / "viaduct.toml").write_text(text)
    (tmp_path / "dispatcher.list").write_text(destinations)
    return tmp_path / "viaduct.toml"


def test_check_says_what_is_good_and_warns(tmp_path):
    shown = good(viaduct("check", "-c", configuration(tmp_path)))
    assert f"{tmp_path}/viaduct.toml: good, 1 destinations\n" in shown
    assert 'registrar.auth = "none": anyone who reaches the port' in shown
    assert "no destination in set 1" in good(
        viaduct("check", "-c", configuration(tmp_path, AUTH, LIST.replace("1", "3", 1)))
    )


def test_check_prints_every_mistake_and_exits_with_1(tmp_path):
    file = configuration(tmp_path, "[edge]\nworkers = 0\nlissen = 1\n")
    result = viaduct("check", "-c", file)
    assert result.exit_code == 1
    assert [line.split(": ")[1] for line in result.output.splitlines()] == [
        "edge.workers",
        "edge.lissen",
        "registrar.auth",
    ]
    found = json.loads(viaduct("check", "-c", file, "--json").output)
    assert (found["ok"], len(found["mistakes"])) == (False, 3)


def test_check_prints_the_mistakes_of_configuration_and_list_together(tmp_path):
    file = configuration(tmp_path, AUTH + "[edge]\nworkers = 0\n", LIST + "x y\n")
    result = viaduct("check", "-c", file)
    assert result.exit_code == 1
    assert "edge.workers: found 0" in result.stderr and "setid 'x'" in result.stderr
    file = configuration(tmp_path, AUTH + "[dispatcher]\nlist = 5\n", LIST + "x y\n")
    assert "setid" not in viaduct("check", "-c", file).stderr  # which list is meant nobody knows


def test_check_reads_the_list_of_destinations(tmp_path):
    result = viaduct("check", "-c", configuration(tmp_path, AUTH, LIST + "x y\n2 nothing\n"))
    assert result.exit_code == 1
    assert f"{tmp_path}/dispatcher.list:2: " in result.output and f"{tmp_path}/dispatcher.list:3: " in result.output


def test_check_refuses_what_a_start_would_refuse(tmp_path):
    result = viaduct("check", "-c", configuration(tmp_path, AUTH, LIST + "1 sip:10.0.0.12;transport=tcp\n"))
    assert result.exit_code == 1
    assert f"{tmp_path}/dispatcher.list:2: " in result.stderr and "good" not in result.output


def test_run_hands_over_to_the_arbiter(tmp_path, monkeypatch):
    handed = []
    monkeypatch.setattr(main.os, "execv", lambda program, words: handed.append((program, words)))
    file = configuration(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert viaduct("run", "-c", "viaduct.toml").exit_code == 0
    assert handed == [(sys.executable, [sys.executable, "-m", "supervisor.arbiter", "-c", str(file)])]


def test_run_does_not_start_with_mistakes(tmp_path, monkeypatch):
    monkeypatch.setattr(main.os, "execv", lambda *_: pytest.fail("started"))
    result = viaduct("run", "-c", configuration(tmp_path, "[edge]\nworkers = 0\n"))
    assert result.exit_code == 1 and "viaduct.toml:2:1: edge.workers: found 0" in result.output
    result = viaduct("run")
    assert result.exit_code == 1 and "name one with -c" in result.output


def test_durations_and_octets():
    assert [output.duration(s) for s in (None, 0, 59, 69, 7500, 273600)] == [
        "-",
        "0s",
        "59s",
        "1m 09s",
        "2h 05m",
        "3d 04h",
    ]
    assert output.octets(12_340_000) == "12.3 MB"


def test_parameters_are_named_only_when_all_are():
    assert main.parameters(["a=1", "b=2"]) == {"a": "1", "b": "2"}
    assert main.parameters(["1", "sip:a;x=y"]) == ["1", "sip:a;x=y"]
    assert main.parameters([]) == []


def process(*words, **environment):
    return subprocess.run(
        [sys.executable, "-m", "supervisor.cli.main", *words],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip


def test_a_real_process_with_the_peers_word(edge):
    done = process("ds_list", "--json", VIADUCT_SOCKET=edge.path)
    assert done.returncode == 0
    assert done.stderr == "viaduct: ds_list is `viaduct ds list` here\n"
    assert json.loads(done.stdout)["PARTITIONS"][0]["SETS"][0]["id"] == 1


def test_version_and_completion():
    assert good(viaduct("version")).startswith("Viaduct ")
    assert json.loads(good(viaduct("version", "--json")))["version"]
    done = process(_VIADUCT_COMPLETE="complete_bash", COMP_WORDS="viaduct ds r", COMP_CWORD="2")
    assert (done.returncode, done.stdout.split()) == (0, ["reload"])


def test_documentation_names_every_command():
    text = (ROOT / "docs/cli.md").read_text()
    help_text = good(viaduct("--help"))
    commands = [
        line.split()[0]
        for line in help_text.partition("Commands:")[2].splitlines()
        if line.startswith("  ") and line[2] != " "
    ]
    assert len(commands) > 8
    for command in commands:
        assert f"viaduct {command}" in text
    for group in ("ds", "ul"):
        for line in good(viaduct(group, "--help")).partition("Commands:")[2].splitlines():
            if line.startswith("  ") and line[2] != " ":
                assert f"viaduct {group} {line.split()[0]}" in text
