"""What processes cost, measured on our own process and on a child."""

import os
import subprocess
import sys
import threading
import time

from benchmarks.measure import cost, cpu_ns, family, pss

BUSY_S = 0.05


def spin():
    while time.thread_time() < BUSY_S:
        sum(range(1000))


def test_cpu_counts_every_thread():
    done, begin, before = threading.Event(), time.process_time_ns(), cpu_ns([os.getpid()])

    def work():
        spin()
        done.wait(2)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 5
    while time.process_time_ns() - begin < 2 * BUSY_S * 1e9 and time.monotonic() < deadline:
        time.sleep(0.005)
    spent, by_clock = cpu_ns([os.getpid()]) - before, time.process_time_ns() - begin
    done.set()
    for thread in threads:
        thread.join()
    assert spent >= 0.9 * 2 * BUSY_S * 1e9
    assert abs(spent - by_clock) < 0.2 * by_clock


def test_memory_grows_with_what_is_touched():
    before = pss([os.getpid()])
    block = bytearray(os.urandom(1024)) * (64 << 10)  # more than the C library ever takes from its heap
    assert 60 << 20 < pss([os.getpid()]) - before < 72 << 20
    del block


def test_a_family_is_a_process_and_all_below_it():
    inner = "import sys; print(1, flush=True); sys.stdin.read()"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with subprocess.Popen([sys.executable, "-c", nested], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()  # the grandchild runs
        found = family(child.pid)
        assert found[0] == child.pid and len(found) == 2
        assert cost(found).cpu_ns > 0 and cost(found).pss > 0
        child.stdin.close()
    assert cost([child.pid]).cpu_ns == 0
