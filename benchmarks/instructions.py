"""Instructions an operation, counted by callgrind: the same on every machine and whatever else it does.

`python -m benchmarks.instructions NAME TIMES` repeats one operation of benchmarks.micro; that runs under callgrind.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

from benchmarks import micro
from benchmarks.edge import ROOT

FEW, MANY = 1000, 3000  # the difference leaves out what starting Python takes
LIMIT_S = 120.0


def count(name: str) -> float:
    """Instructions of one time of an operation; RuntimeError without valgrind, or where it does not say."""
    few, many = (collected("benchmarks.instructions", name, str(times)) for times in (FEW, MANY))
    return (many - few) / (MANY - FEW) / _operation(name)[1]


def collected(module: str, *arguments: str, within: str = "") -> int:
    """What callgrind counts of a module's run, or only within functions of a pattern. RuntimeError without valgrind."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise RuntimeError("valgrind is not on PATH (apt-get install valgrind)")
    tool = [valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    tool += [f"--toggle-collect={within}"] if within else []
    done = subprocess.run(
        [*tool, sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},  # or Python's own start differs from run to run
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise RuntimeError(f"callgrind of {module} {arguments} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return int(found[1])


def _operation(name: str):
    for found, work, each in micro.hot_path():
        if found == name:
            return work, each
    raise RuntimeError(f"no operation {name!r}")


if __name__ == "__main__":
    _operation(sys.argv[1])[0](int(sys.argv[2]))
