"""Prints what pyproject.toml asks for, the `test` extra included, one requirement a line: `pip install -r` takes it.

Runs in a fresh environment: before Python 3.11 the TOML parser is the one inside pip.
"""

import sys
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:
    from pip._vendor import tomli as tomllib

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def requirements() -> list[str]:
    """Every run-time and test requirement, as written."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["test"]]


if __name__ == "__main__":
    sys.stdout.write("\n".join(requirements()) + "\n")
