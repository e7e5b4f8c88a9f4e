"""Rules about files: what stands at the top, how long one may be, what is packaged, and whose `workers` is found."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TOP = {  # fixed by the owner, and the usual ones beside
    "setup.py", "pyproject.toml", "sipcore", "workers", "supervisor", "benchmarks", "tests", "conf",
    "README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", "MANIFEST.in",
    "Makefile", "docs", "packaging",
}
LINES_MAX = 600
PACKAGES = ("sipcore", "workers", "supervisor")
FOR_PEOPLE = ("benchmarks/", "packaging/", "tests/", "supervisor/cli/", "setup.py")  # these may print


def tracked(*patterns: str) -> list[Path]:
    """Files under version control; without git, those that stand there."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "--", *patterns],
                            capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).exists()]
    return sorted(path for pattern in patterns for path in ROOT.rglob(pattern) if ".venv" not in path.parts)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


CODE = tracked("*.py", "*.pyx", "*.pxd")


def test_the_top_level_is_the_owners():
    found = {name(path).split("/")[0] for path in tracked("*")}
    assert {entry for entry in found if not entry.startswith(".")} <= TOP


@pytest.mark.parametrize("path", CODE, ids=name)
def test_a_file_is_not_too_long(path):
    assert len(path.read_text().splitlines()) <= LINES_MAX, f"{name(path)}: split it, one concept a file"


@pytest.mark.parametrize("path", [path for path in CODE if path.read_text().strip()], ids=name)
def test_a_file_says_what_it_is(path):
    assert re.match(r'(#![^\n]*\n|# (cython|distutils):[^\n]*\n)*(cdef |""")', path.read_text().lstrip()), name(path)


@pytest.mark.parametrize("path", [path for path in CODE if path.suffix == ".py"], ids=name)
def test_a_file_is_python_3_10(path):
    ast.parse(path.read_text(), name(path), feature_version=(3, 10))


@pytest.mark.parametrize("path", [path for path in CODE if not name(path).startswith(FOR_PEOPLE)], ids=name)
def test_only_what_talks_to_people_prints(path):
    prints = re.findall(r"^\s*print\(.*", path.read_text(), re.MULTILINE)
    assert all("file=sys.std" in line for line in prints), f"{name(path)}: {prints}"


@pytest.mark.parametrize("path", [path for path in CODE if not name(path).startswith("tests/")], ids=name)
def test_no_error_is_passed_over_in_silence(path):
    assert not re.search(r"except[^\n]*:\s*(#[^\n]*\n\s*)?pass\b", path.read_text()), name(path)


def test_every_package_is_listed():
    listed = set(re.findall(r'"([\w.]+)"', re.search(r"^packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(),
                                                     re.MULTILINE | re.DOTALL)[1]))
    found = {name(path.parent).replace("/", ".") for path in tracked("*/__init__.py")}
    assert {package for package in found if not package.startswith("tests")} <= listed


@pytest.mark.parametrize("package", PACKAGES)
def test_our_packages_are_the_ones_found(package):
    where = subprocess.run([sys.executable, "-c", f"import {package}; print({package}.__file__)"], cwd=ROOT,
                           capture_output=True, text=True, check=True)
    assert Path(where.stdout.strip()).resolve() == ROOT / package / "__init__.py"
