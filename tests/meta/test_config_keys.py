"""Every key of conf/viaduct.toml is read by a process: one that nobody reads would be a promise."""

import ast
import re
from pathlib import Path

import pytest

from supervisor import config_schema

ROOT = Path(__file__).resolve().parent.parent.parent
DECLARES = {"config_schema.py", "config_docs.py"}  # they name every key, and read none


def names_read() -> set[str]:
    """Every text that is a subscript or the first argument of get() in the code of workers/ and supervisor/."""
    found: set[str] = set()
    for package in ("workers", "supervisor"):
        for path in (ROOT / package).rglob("*.py"):
            if path.name not in DECLARES:
                found |= subscripts(ast.parse(path.read_text()))
        for path in (ROOT / package).rglob("*.pyx"):  # Cython is not Python: its subscripts by their look
            found |= set(re.findall(r'\["(\w+)"\]', path.read_text()))
    return found


def subscripts(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        key = None
        if isinstance(node, ast.Subscript):
            key = node.slice
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            key = node.args[0] if node.args else None
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            found.add(key.value)
    return found


READ = names_read()


@pytest.mark.parametrize("key", config_schema.KEYS, ids=lambda key: key.path)
def test_a_key_is_read(key):
    assert key.name in READ, f"{key.path} is read nowhere in workers/ or supervisor/"


def engine_settings() -> list[str]:
    """The fields of workers/edge.pxd's Settings."""
    struct = re.search(r"cdef struct Settings:\n((?:    .*\n)+)", (ROOT / "workers" / "edge.pxd").read_text())
    return re.findall(r"^    \w+ (\w+)", struct[1], re.MULTILINE)


@pytest.mark.parametrize("field", engine_settings())
def test_what_the_engine_takes_over_is_used(field):
    """loop.pyx only copies the settings; whoever acts on one stands elsewhere."""
    users = [path.name for path in (ROOT / "workers").glob("*.pyx") if path.name != "loop.pyx"
             and re.search(rf"settings\.{field}\b", path.read_text())]
    assert users, f"Settings.{field} is copied from the configuration and used nowhere"


def test_the_file_that_we_ship_names_the_same_keys():
    text = (ROOT / "conf" / "viaduct.toml").read_text()
    shipped, section = set(), ""
    for line in text.splitlines():
        if heading := re.match(r"\[(\w+)\]$", line):
            section = heading[1]
        elif not re.match(r"#?\[", line) and (key := re.match(r"#?(\w+) = ", line)) and section:
            shipped.add(f"{section}.{key[1]}")
    assert shipped == {key.path for key in config_schema.KEYS}
