"""Who may import whom: supervisor -> sipcore <- workers, zmq in two modules, no clock in sipcore, fast workers."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

# What a package must not import, and why.
FORBIDDEN = {
    "sipcore": {"workers": "sipcore knows no process", "supervisor": "sipcore knows no process", "benchmarks": "",
                "socket": "sipcore is pure", "select": "sipcore is pure", "selectors": "sipcore is pure",
                "asyncio": "sipcore is pure", "threading": "sipcore is pure", "time": "now is an argument",
                "datetime": "now is an argument", "logging": "sipcore returns verdicts", "zmq": "sipcore is pure"},
    "workers": {"supervisor": "the two ends never import each other", "benchmarks": "", "numpy": "slow to start",
                "psutil": "slow to start", "asyncio": "slow to start", "aiohttp": "slow to start",
                "typer": "slow to start", "rich": "slow to start", "logging": "slow to start",
                "sqlite3": "the store is the supervisor's", "tomllib": "settings come in the launch document"},
    "supervisor": {"workers": "the two ends never import each other", "benchmarks": ""},
}
LIBC_FORBIDDEN = {"libc.time", "posix.time", "posix.unistd", "cpython.time"}
ZMQ = {"workers/control.py", "supervisor/control.py"}
# The arbiter lives as long as the service: standard library and ours alone (and tomli before Python 3.11).
ARBITER = ("arbiter.py", "children.py", "config.py", "config_lines.py", "config_schema.py", "config_values.py",
           "launch.py", "logs.py", "rundir.py", "sockets.py")
ARBITER_FORBIDDEN = ("zmq", "numpy", "psutil", "aiohttp", "typer", "rich", "msgpack", "asyncio")


def files(package: str) -> list[Path]:
    return sorted(path for pattern in ("*.py", "*.pyx", "*.pxd") for path in (ROOT / package).rglob(pattern))


def imported(path: Path) -> set[str]:
    """Full names of what a file imports or cimports."""
    if path.suffix == ".py":
        found = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: a relative import"
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        return found
    text = re.sub(r'""".*?"""', "", path.read_text(), flags=re.DOTALL)
    froms = re.findall(r"^\s*from\s+([\w.]+)\s+c?import\s+\(?([\w, .\n]+)", text, re.MULTILINE)
    plain = re.findall(r"^\s*c?import\s+([\w., ]+)", text, re.MULTILINE)
    found = {module for module, _ in froms}
    found |= {f"{module}.{one.split()[0]}" for module, names in froms for one in names.split(",") if one.strip()}
    return found | {one.split()[0] for names in plain for one in names.split(",") if one.strip()}


def roots(path: Path) -> set[str]:
    return {full.split(".")[0] for full in imported(path)}


@pytest.mark.parametrize("path", [path for package in FORBIDDEN for path in files(package)],
                         ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_what_its_package_may(path):
    rules = FORBIDDEN[path.relative_to(ROOT).parts[0]]
    broken = {module: rules[module] for module in roots(path) & set(rules)}
    assert not broken, f"{path.relative_to(ROOT)} imports {broken}"
    if str(path.relative_to(ROOT)) not in ZMQ:
        assert "zmq" not in roots(path), "zmq belongs in the two control modules"


@pytest.mark.parametrize("path", files("sipcore"), ids=lambda path: path.name)
def test_sipcore_reads_no_clock_and_opens_nothing(path):
    broken = imported(path) & LIBC_FORBIDDEN
    assert not broken, f"{path.name} cimports {broken}"
    assert not re.search(r"\b(clock_gettime|gettimeofday|sendto|recvfrom|recvmmsg|sendmmsg)\s*\(", path.read_text())


@pytest.mark.parametrize("file", ARBITER)
def test_the_arbiter_needs_the_standard_library_alone(file):
    path = ROOT / "supervisor" / file
    if path.exists():
        assert not roots(path) & set(ARBITER_FORBIDDEN)


def test_this_test_sees_cimports(tmp_path):
    path = tmp_path / "x.pyx"
    path.write_text('"""from time import sleep"""\nfrom workers.loop cimport (a,\n    b)\n'
                    "cimport numpy as np\nimport zmq, os\n")
    assert roots(path) == {"workers", "numpy", "zmq", "os"}
