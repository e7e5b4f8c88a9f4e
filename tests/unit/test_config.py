"""The configuration: defaults, every kind of mistake with its line, and the files written from the schema."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor import config, config_docs, config_lines
from supervisor.config import ConfigError, load
from supervisor.config_schema import ALGORITHM_NUMBERS, ALGORITHMS, KEYS, REQUIRED

ROOT = Path(__file__).resolve().parents[2]
AUTH = '[registrar]\nauth = "none"\n'


def mistakes(text):
    with pytest.raises(ConfigError) as caught:
        load("viaduct.toml", text)
    return caught.value.mistakes


def one(text):
    (mistake,) = mistakes(text)
    return mistake


def ok(text):
    return load("viaduct.toml", AUTH + text).settings


def test_defaults_fill_every_key():
    loaded = ok("")
    for key in KEYS:
        if key.default is not REQUIRED and key.kind != "path":
            assert loaded[key.section][key.name] == key.default
    assert loaded["dispatcher"]["sets"] == {}
    assert loaded["dispatcher"]["list"] == os.path.abspath("dispatcher.list")
    json.dumps(loaded)  # what the launch document carries


def test_defaults_are_accepted_by_their_own_checks():
    text = config.to_toml({**config.defaults("/base"), "registrar": {"auth": "none"}})
    expected = load("/base/viaduct.toml", AUTH).settings
    assert load(None, text).settings == expected


def test_loading_does_not_change_the_defaults():
    ok("")["edge"]["listen"].append("x")
    assert ok("")["edge"]["listen"] == ["udp:0.0.0.0:5060"]


def test_given_tells_what_the_file_sets():
    loaded = load(None, AUTH + '[edge]\nrun_dir = "/tmp/x"\n')
    assert loaded.given == {"registrar.auth", "edge.run_dir"}


def test_settings_written_as_toml_load_back_the_same():
    first = ok(
        '[dispatcher]\nrefuse_text = "a \\"quoted\\" word"\n'
        '[dispatcher.sets.2]\nalgorithm = "o:8"\nprobe_codes=[200,404]\n'
    )
    assert load(None, config.to_toml(first)).settings == first


def test_embedded_needs_no_file():
    loaded = load()
    assert loaded.settings["registrar"]["auth"] == "none"
    assert loaded.settings["store"]["url"] == "memory:"
    assert loaded.path is None


def test_missing_auth_names_both_values_and_their_meaning():
    mistake = one("[edge]\nworkers = 2\n[registrar]\nmax_contacts = 5\n")
    assert (mistake.key, mistake.line) == ("registrar.auth", 3)
    assert '"none" (anyone' in mistake.expected and '"digest" (users prove a password' in mistake.expected


def test_missing_auth_without_its_section_has_no_line():
    assert str(one("")).startswith("viaduct.toml: registrar.auth: found nothing, expected ")


def test_digest_is_refused_as_not_available():
    mistake = one('[registrar]\nauth = "digest"\n')
    assert mistake.line == 2 and "not available in this version" in mistake.expected


def test_all_mistakes_at_once_in_order_of_lines():
    found = mistakes(
        '[edge]\nworkers = "many"\nlissen = []\n[dispatcher]\nalgorithm = 4\n'
        '[registrar]\nauth = "maybe"\n[tomers]\nt1_ms = 1\n'
    )
    assert [mistake.line for mistake in found] == [2, 3, 5, 7, 8]
    assert [mistake.key for mistake in found] == [
        "edge.workers",
        "edge.lissen",
        "dispatcher.algorithm",
        "registrar.auth",
        "tomers",
    ]
    assert (
        str(found[0]) == 'viaduct.toml:2:1: edge.workers: found "many", expected "auto" or a whole number from 1 to 64'
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[edge]\nworkrs = 2", "workers"),
        ("[edge]\nmin_expires = 2", "min_expires in [registrar]"),
        ("[edge]\nchildren = 4", "workers in [edge]"),
        ("[dispatcher]\nds_ping_interval = 4", "probe_interval_s in [dispatcher]"),
        ("[edge]\nzzz = 2", "one of listen, advertise"),
        ("[dispacher]\nset = 2", "[dispatcher]"),
        ("[qqqq]\nset = 2", "one of [edge], [dispatcher]"),
        ("\nworkers = 2", "workers in [edge]"),
        ("\nworkrs = 2", "workers in [edge]"),
        ("\nqqqq = 2", "keys under [section]"),
        ("\nstore = 2", "a section, [store] with its keys below"),
        ("[dispatcher.sets.2]\nalgoritm = 1", "algorithm"),
        ("[dispatcher.sets.2]\nmax_attempts = 1", "it in [dispatcher]"),
        ("[dispatcher.sets.two]\nprobe = false", "the number of a set"),
        ("[dispatcher]\nsets = 2", "tables such as [dispatcher.sets.2]"),
        ("[dispatcher.sets]\n2 = 2", "a table, [dispatcher.sets.2]"),
    ],
)
def test_what_is_unknown_is_a_mistake_with_the_nearest_name(text, expected):
    # What stands outside any section must come before the first one.
    whole = text + "\n" + AUTH if text[0] == "\n" else AUTH + text
    mistake = one(whole)
    assert expected in mistake.expected, str(mistake)
    wanted = 2 if text[0] == "\n" else 3 if mistake.key in ("dispacher", "qqqq", "dispatcher.sets.two") else 4
    assert mistake.line == wanted


@pytest.mark.parametrize(
    ("section", "line", "expected"),
    [
        ("edge", 'listen = "udp:0.0.0.0:5060"', "a list of addresses"),
        ("edge", "listen = []", "1 to 16 elements, not 0"),
        ("edge", 'listen = ["tcp:0.0.0.0:5060"]', "tcp is not available in this version"),
        ("edge", 'listen = ["WSS:0.0.0.0:7443"]', "WSS is not available in this version"),
        ("edge", 'listen = ["udp:sip.example.com:5060"]', "an address, not a host name"),
        ("edge", 'listen = ["udp:0.0.0.0"]', "the port is missing"),
        ("edge", 'listen = ["udp:::1:5060"]', "in brackets"),
        ("edge", 'listen = ["udp:[::1:5060"]', '"[::1]:5060"'),
        ("edge", 'listen = ["udp:0.0.0.0:65536"]', "a port from 0 to 65535"),
        ("edge", 'listen = ["0.0.0.0:5060"]', '"udp:IP:PORT"'),
        ("edge", "listen = [5060]", '"udp:IP:PORT"'),
        ("edge", 'advertise = "1.2.3.4:0"', '"host:port"'),
        ("edge", 'advertise = "a b"', '"host:port"'),
        ("edge", 'advertise = "0.0.0.0"', '"host:port"'),
        ("edge", 'advertise = "sip:a.example"', "a port from 0 to 65535"),
        ("edge", "advertise = 1", '"host:port"'),
        ("edge", 'domains = ["sip:a.example"]', "a domain such as"),
        ("edge", 'domains = "a.example"', "a list of domains"),
        ("edge", "workers = 0", "from 1 to 64"),
        ("edge", "workers = 65", "from 1 to 64"),
        ("edge", "workers = true", "from 1 to 64"),
        ("edge", "workers = 2.0", "from 1 to 64"),
        ("edge", 'run_dir = ""', "the path of a directory"),
        ("edge", f'run_dir = "/{"x" * 90}"', "at most 90 octets"),
        ("edge", 'initial = "lookup"', 'one of "dispatch", "lookup-first"'),
        ("edge", "kernel_filter = 1", "true or false"),
        ("edge", 'kernel_filter = "yes"', "true or false"),
        ("edge", "receive_buffer = 1", "from 65536 to 1073741824"),
        ("edge", 'user_agent = "a\\r\\nVia: x"', "no control characters"),
        ("edge", "max_transactions = 0", "from "),
        ("edge", "max_transactions = 2026-01-01", "from "),
        ("dispatcher", "list = 5", "the path of a file"),
        ("dispatcher", "set = -1", "from 0 to"),
        ("dispatcher", 'algorithm = "o:7"', "of OpenSIPS's numbers it has o:0"),
        ("dispatcher", 'algorithm = "k:12"', "of Kamailio's numbers it has k:0"),
        ("dispatcher", "algorithm = 4", '"o:4" as in OpenSIPS, "k:4" as in Kamailio'),
        ("dispatcher", 'algorithm = "best"', 'one of "weighted-round-robin"'),
        ("dispatcher", "failover_codes = [500, 486]", "the callee's word"),
        ("dispatcher", "failover_codes = [600]", "from 400 to 599"),
        ("dispatcher", "failover_codes = 500", "a list of status codes"),
        ("dispatcher", 'probe_codes = ["200"]', "from 200 to 699"),
        ("dispatcher", f"probe_codes = {[200] * 65}", "0 to 64 elements, not 65"),
        ("dispatcher", "probe_jitter = 1.5", "a number from 0 to 0.9"),
        ("dispatcher", "probe_interval_s = nan", "a number from 0.05 to 3600"),
        ("dispatcher", "probe_interval_s = true", "a number from 0.05 to 3600"),
        ("dispatcher", 'refuse_text = ""', "one line of 1 to 127 octets"),
        ("store", 'url = "postgresql://h/d"', "postgresql is not available in this version"),
        ("store", 'url = "redis://h"', "redis is not available in this version"),
        ("store", 'url = "sqlite://file"', "three slashes"),
        ("store", 'url = "sqlite:"', '"memory:"'),
        ("store", 'url = "/var/lib/x"', '"sqlite:///absolute/path"'),
        ("store", "url = 1", '"sqlite:///absolute/path"'),
        ("admin", 'listen = "0.0.0.0:8888"', "asks for no password"),
        ("admin", 'listen = "127.0.0.1"', '"127.0.0.1:8888"'),
        ("admin", 'listen = "edge:8888"', '"127.0.0.1:8888"'),
        ("admin", f'socket = "/{"x" * 107}"', "at most 107 octets"),
        ("log", 'level = "trace"', 'one of "debug", "info", "warning", "error"'),
        ("timers", "t1_ms = 5", "from 10 to 10000"),
    ],
)
def test_each_wrong_value_names_its_line(section, line, expected):
    mistake = one(f"{AUTH}# before\n[{section}]\n\n{line}\n")
    assert mistake.line == 6
    assert mistake.key == f"{section}.{line.split()[0]}"
    assert expected in mistake.expected


def test_the_element_of_a_long_list_has_its_own_line():
    mistake = one(AUTH + '[edge]\nlisten = [ # ] "\n  "udp:0.0.0.0:5060",\n\n  "tcp:0.0.0.0:5060", # [\n]\n')
    assert (mistake.line, mistake.column) == (7, 3)
    assert mistake.found == '"tcp:0.0.0.0:5060"'


def test_an_address_twice_is_a_mistake():
    mistake = one(AUTH + '[edge]\nlisten = ["udp:[::1]:5060", "udp:*:5060", "udp:[0:0::1]:5060"]\n')
    assert "already element 1" in mistake.expected and mistake.column == 43
    assert "already element 1" in one(AUTH + '[edge]\nlisten = ["udp:*:5060", "udp:0.0.0.0:5060"]').expected


def test_port_0_may_stand_twice():
    assert ok('[edge]\nlisten = ["udp:127.0.0.1:0", "udp:127.0.0.1:0"]\n')["edge"]["listen"] == ["udp:127.0.0.1:0"] * 2


def test_values_have_one_spelling(tmp_path):
    file = tmp_path / "viaduct.toml"
    file.write_text(
        AUTH + '[edge]\nlisten = ["UDP:[0::1]:5060"]\ndomains = ["Example.COM"]\nrun_dir = "run"\n'
        '[dispatcher]\nlist = "../lists/a"\n'
        '[store]\nurl = "sqlite:v.sqlite"\n[admin]\nlisten = "localhost:8888"\nsocket = "a.sock"\n'
    )
    loaded = load(file).settings
    assert (
        loaded["edge"] | {"listen": ["udp:[::1]:5060"], "domains": ["example.com"], "run_dir": str(tmp_path / "run")}
        == loaded["edge"]
    )
    assert loaded["dispatcher"]["list"] == str(tmp_path.parent / "lists" / "a")
    assert loaded["store"]["url"] == f"sqlite://{tmp_path}/v.sqlite"
    assert loaded["admin"] == {"listen": "127.0.0.1:8888", "socket": str(tmp_path / "a.sock")}


@pytest.mark.parametrize("url", ["sqlite:///a/b.sqlite", "sqlite:////a/b.sqlite"])
def test_three_and_four_slashes_mean_the_same(url):
    assert ok(f'[store]\nurl = "{url}"\n')["store"]["url"] == "sqlite:///a/b.sqlite"


@pytest.mark.parametrize(("number", "name"), ALGORITHM_NUMBERS.items())
def test_the_peers_numbers_become_names(number, name):
    assert ok(f'[dispatcher]\nalgorithm = "{number}"\n')["dispatcher"]["algorithm"] == name


def test_the_algorithms_are_those_of_the_dispatcher():
    dispatcher = pytest.importorskip("sipcore.dispatcher", reason="not built: python setup.py build_ext --inplace")
    assert list(ALGORITHMS) == sorted(dispatcher.ALGORITHMS, key=dispatcher.ALGORITHMS.get)
    for number, name in ALGORITHM_NUMBERS.items():
        assert dispatcher.algorithm_of(number) == dispatcher.ALGORITHMS[name]


def test_one_set_overrides_the_section():
    loaded = ok('[dispatcher]\ndown_after = 7\n[dispatcher.sets.02]\nalgorithm = "k:8"\nprobe_codes = [200, 404]\n')
    assert loaded["dispatcher"]["sets"] == {"2": {"algorithm": "priority", "probe_codes": [200, 404]}}


def test_a_wrong_override_names_its_line():
    mistake = one(AUTH + '[dispatcher]\nsets = {1 = {probe = true}, 2 = {"down_after" = 0}}\n')
    assert mistake.key == "dispatcher.sets.2.down_after" and (mistake.line, mistake.column) == (4, 34)


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        (
            "[registrar]\nauth='none'\nmin_expires = 700",
            "registrar.min_expires",
            "at most default_expires, which is 600",
        ),
        (
            "[registrar]\nauth='none'\nmax_expires = 500",
            "registrar.max_expires",
            "at least default_expires, which is 600",
        ),
        (
            "[registrar]\nauth='none'\ndefault_expires = 30",
            "registrar.default_expires",
            "at least min_expires, which is 60",
        ),
        ("[registrar]\nauth='none'\n[timers]\nt1_ms = 5000", "timers.t1_ms", "at most t2_ms, which is 4000"),
        (
            "registrar.auth='none'\n[dispatcher]\n#\nmax_time_ms = 600",
            "dispatcher.max_time_ms",
            "at least first_response_ms",
        ),
    ],
)
def test_keys_that_contradict_each_other(text, key, expected):
    mistake = one(text)
    assert (mistake.key, mistake.line) == (key, len(text.splitlines()))
    assert expected in mistake.expected


def test_a_contradiction_is_told_beside_other_mistakes():
    found = mistakes(
        '[edge]\nworkers = 0\n[registrar]\nauth = "none"\nmin_expires = 4000\ndefault_expires = "x"\n'
        "[timers]\nt1_ms = 5000\ntimer_c_ms = []\n[dispatcher]\nmax_time_ms = 600\n"
    )
    assert [mistake.key for mistake in found] == [
        "edge.workers",
        "registrar.default_expires",  # min_expires is compared with nothing that is wrong itself
        "timers.t1_ms",
        "timers.timer_c_ms",
        "dispatcher.max_time_ms",
    ]


def test_warnings_do_not_stop():
    loaded = load("v.toml", AUTH + "[timers]\ntimer_c_ms = 1000\n[dispatcher]\nprobe_interval_s = 0.5\n")
    assert [warning.split(": ")[:2] for warning in loaded.warnings] == [
        ["v.toml:4", "timers.timer_c_ms"],
        ["v.toml:5", "dispatcher.probe_timeout_ms"],
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[edge]\nworkers = \n", 2),
        ("[edge]\nlisten = [\n", 0),
        ("[edge]\nworkers = 1\nworkers = 2\n", 3),
        ("a\tb\n", 1),
    ],
)
def test_what_is_not_toml_names_its_line(text, line):
    mistake = one(text)
    assert mistake.line in (line, line + 1)  # tomllib stands before or behind the end of the line
    assert "not TOML" in mistake.found


def test_files_that_cannot_be_read(tmp_path):
    for path, found in ((tmp_path / "none.toml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=f"{path}: found {found}"):
            load(path)
    (tmp_path / "latin.toml").write_bytes(b"[edge]\n# \xe9\n")
    with pytest.raises(ConfigError, match="latin.toml:2: found the octet 0xe9, expected UTF-8"):
        load(tmp_path / "latin.toml")
    (tmp_path / "huge.toml").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ConfigError, match="more than 1048576 octets"):
        load(tmp_path / "huge.toml")


def test_reload_differences_names_what_needs_a_restart():
    old = ok("")
    new = ok('[edge]\nworkers = 2\ndomains = ["a.example"]\n[store]\nurl = "memory:"\n[dispatcher]\nset = 2\n')
    assert config.reload_differences(old, new) == ["edge.workers", "store.url"]
    assert config.reload_differences(old, old) == []


def test_a_reload_keeps_what_needs_a_restart():
    old = ok("")
    new = ok('[edge]\nworkers = 2\ndomains = ["a.example"]\n[log]\nformat = "json"\nlevel = "debug"\n')
    merged = config.reloaded(old, new)
    assert config.reload_differences(old, merged) == []
    assert (merged["edge"]["domains"], merged["log"]["level"]) == (["a.example"], "debug")
    assert config.reload_differences(merged, new) == ["edge.workers", "log.format"]  # told again at the next reload


NAMES = st.sampled_from(["a", "b-c", '"d e"', "'f.g'", "2", '"h\\"i"'])
LEAVES = st.sampled_from(
    ["1", '"]"', "'}'", '"""x\n"]"""', "'''\n#'''", "true", "2026-01-01", '"\\""', "1.5e3", '""', '""""a"""']
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[ # ]\n" + ", # x\n ".join(items) + "\n]")
        | st.lists(inner, min_size=1, max_size=2).map(
            lambda items: "{" + ", ".join(f"k{i} = {v}" for i, v in enumerate(items)) + "}"
        )
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(NAMES, NAMES, VALUES), max_size=5))
def test_every_key_of_any_document_has_the_line_it_stands_on(entries):
    lines, expected = [], []
    for index, (table, name, value) in enumerate(entries):
        lines += [f"[t{index}.{table}] # [x]", ""]
        expected.append((sum(line.count("\n") + 1 for line in lines) + 1, index))
        lines.append(f" {name}\t= {value} # = ")
    text = "\n".join(lines)
    document = config.tomllib.loads(text)
    found = config_lines.places(text)
    for line, index in expected:
        ((table, keys),) = document[f"t{index}"].items()
        (name,) = keys
        plain = {'h\\"i': 'h"i'}
        back = {plain.get(part, part): part for part in ('h\\"i',)}
        assert found[(f"t{index}", back.get(table, table), back.get(name, name))] == (line, 2)


def test_viaduct_toml_is_written_from_the_schema():
    assert (ROOT / "conf/viaduct.toml").read_text() == config_docs.toml(), (
        "run: python -m supervisor.config toml > conf/viaduct.toml"
    )


def test_viaduct_toml_holds_every_key_with_its_default_and_why():
    text = (ROOT / "conf/viaduct.toml").read_text()
    for key in KEYS:
        value = '"none"' if key.default is REQUIRED else config.show_whole(key.default)
        assert re.search(rf"^# .*\n#?{re.escape(key.name)} = {re.escape(value)}$", text, re.M), key.path
    loaded = load(ROOT / "conf/viaduct.toml")
    uncommented = re.sub(r"^#(?=[a-z_0-9]+ = |\[)", "", text, flags=re.M)
    everything = load(ROOT / "conf/viaduct.toml", uncommented)
    assert everything.given == {key.path for key in KEYS}
    assert everything.settings["dispatcher"].pop("sets") == {"2": {"algorithm": "priority"}}
    assert loaded.settings["dispatcher"].pop("sets") == {}
    assert everything.settings == loaded.settings
    assert not loaded.warnings


def test_the_documentation_is_written_from_the_schema():
    written = subprocess.run(
        [sys.executable, "-m", "supervisor.config"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=20
    ).stdout
    assert (ROOT / "docs/configuration.md").read_text() == written, (
        "run: python -m supervisor.config > docs/configuration.md"
    )


def test_importing_needs_only_the_standard_library():
    code = "import sys; before = set(sys.modules); import supervisor.config; print(*(set(sys.modules) - before))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=20
    ).stdout.split()
    roots = {name.partition(".")[0] for name in loaded}
    assert roots <= set(sys.stdlib_module_names) | {"supervisor", "tomli"}
