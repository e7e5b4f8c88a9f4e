"""The demonstration: off a terminal it ends with its tables, on one it waits for Ctrl-C."""

import json
import os
import pty
import signal
import subprocess
import sys
import time

from benchmarks.edge import ROOT, children_of, wait_gone

LIMIT_S = 40
SMALL = ["--calls", "24", "--rate", "40", "--users", "4", "--port", "0"]


def command(*more):
    return [sys.executable, "-m", "benchmarks.demo", *SMALL, *more]


def test_off_a_terminal_it_ends_after_the_tables(tmp_path):
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        command("--json", str(figures)), cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "24 of 24 calls worked" in done.stdout
    for title in ("answered by", "fs1", "fs2", "registered users", "worker 1"):
        assert title in done.stdout
    assert json.loads(figures.read_text())["failed"] == []


def test_on_a_terminal_it_stays_until_ctrl_c():
    leader, follower = pty.openpty()
    process = subprocess.Popen(command(), cwd=ROOT, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    try:
        read_until(leader, b"Ctrl-C ends everything")
        pids = list(children_of(process.pid))
        assert len(pids) >= 4  # arbiter, supervisor, two workers; spares, once they stand by
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 0
        assert wait_gone(pids, 1) == []
    finally:
        process.kill()
        process.wait()
        os.close(leader)


def read_until(descriptor, text):
    """Reads the terminal until the text has come."""
    seen, deadline = b"", time.monotonic() + LIMIT_S
    while text not in seen:
        assert time.monotonic() < deadline, seen
        seen += os.read(descriptor, 65536)
