"""The documents say what is there: ARCHITECTURE.md's map, links between documents, the targets that README names."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("sipcore", "workers", "supervisor", "benchmarks")
SUFFIXES = (".py", ".pyx", ".pxd")


def tracked(pattern: str) -> list[Path]:
    """Files under version control, or new and not ignored; without git, those that stand there."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "--", pattern],
                            capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).exists()]
    return [path for path in ROOT.rglob(pattern) if ".venv" not in path.parts]


def mapped(text: str) -> list[str]:
    """The files of the code map: `### DIRECTORY/: ...`, then lines `name.pxd .pyx   what it is` in a code block."""
    found = []
    code_map = text.partition("\n## Code map\n")[2].partition("\n## ")[0]
    for directory, block in re.findall(r"^### (\w+)/:[^\n]*\n+```\n(.*?)^```", code_map, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            first, *others = re.split(r"\s{2,}", line)[0].split()
            stem = first.rpartition(".")[0]
            found += [f"{directory}/{name}" for name in (first, *(stem + suffix for suffix in others))]
    return found


def anchors(path: Path) -> set[str]:
    """The names by which headings are linked: lower case, blanks to dashes, other signs left out."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


DOCUMENTS = sorted(tracked("*.md"))
MAP = mapped((ROOT / "ARCHITECTURE.md").read_text())


def test_the_map_is_read():
    assert "sipcore/message.pyx" in MAP
    assert "supervisor/admin/server.py" in MAP


def test_every_file_of_the_map_exists_and_stands_there_once():
    assert [name for name in MAP if not (ROOT / name).is_file()] == []
    assert len(MAP) == len(set(MAP))


def test_every_source_file_is_in_the_map():
    """A package's own `__init__` is described by its directory's heading."""
    sources = {str(path.relative_to(ROOT)) for package in PACKAGES for path in tracked(package + "/*")
               if path.suffix in SUFFIXES and path.stem != "__init__"}
    assert sources - set(MAP) == set(), "add a line to ARCHITECTURE.md's code map"


def test_every_test_that_guards_an_invariant_exists():
    text = (ROOT / "ARCHITECTURE.md").read_text() + "".join(path.read_text() for path in tracked("docs/decisions/*.md"))
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", text))
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_resolves(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        there = (path.parent / target).resolve() if target else path
        assert there.exists(), f"{path.name}: {link}"
        if anchor:
            assert anchor in anchors(there), f"{path.name}: {link}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_target_that_is_named_exists(path):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^ {4}|^\$ )make ([a-z]+)", path.read_text(), re.MULTILINE))
    assert named <= targets


def test_readme_names_the_two_commands():
    text = (ROOT / "README.md").read_text()
    assert "make demo" in text
    assert "make test" in text
