"""`python -m workers FD`: one worker, told what it is by the launch document in FD, which a spare has to wait for."""

import faulthandler
import gc
import os
import signal
import sys
import time

from sipcore.counters import Page
from sipcore.dispatcher import DispatcherTable
from sipcore.location import LocationTable
from workers import launch as launches
from workers.control import Control
from workers.logs import Log, unhurried
from workers.loop import WAKE_PYTHON, WAKE_REGISTERS, Engine
from workers.outstanding import Outstanding
from workers.registrar import Registrar
from workers.replica import (
    EVENT_ACKNOWLEDGED,
    EVENT_FAULT,
    EVENT_LIVE,
    EVENT_REFUSED,
    EVENT_SETTINGS,
    Replica,
)

DRAIN_MS = 4_000  # for calls that ring when the edge is told to stop; the arbiter kills after 5 s


def monotonic_ms():
    return time.monotonic_ns() // 1_000_000


class Worker:
    """The composition: the engine, and what Python does between its batches."""

    def __init__(self, launch):
        self.launch = launch
        log_fd = unhurried(sys.stderr.fileno())
        log = launch.settings["log"]
        self.log = Log(f"worker {launch.index}", log["level"], log["format"], log_fd)
        self.page = page = Page(launch.page_fd)
        dispatcher = DispatcherTable(launch.workers, page, launch.index)
        self.table = LocationTable()
        self.engine = Engine(launch, page, dispatcher, self.table, log_fd)
        self.control = Control(launch.control, launch.index)
        self.outstanding = Outstanding(os.getpid())
        self.replica = Replica(launch.index, os.getpid(), self.table, dispatcher, self.outstanding)
        self.registrar = Registrar(self.outstanding)
        self.engine.attach(self.registrar)
        self.serving = False
        self.stop_ms = None  # when to be gone, once told to stop
        self.signals = signal_pipe()
        os.set_blocking(launch.life_fd, False)
        for fd in (self.control.fd, self.signals, launch.life_fd):
            self.engine.watch(fd)

    def run(self):
        """Serves until it is told to stop, or the arbiter is gone."""
        while self.stop_ms is None or (self.engine.unanswered and monotonic_ms() < self.stop_ms):
            flags = self.engine.poll()
            if flags & WAKE_REGISTERS:
                self.outstanding.release()
            if flags & WAKE_PYTHON:
                self._signals()
            self._exchange()
            self.engine.flush()
            self.log.flush()
        self.control.close()

    def _exchange(self):
        """What the log brings and is told, until nothing is left: its descriptor tells of an edge only."""
        while True:
            frames = self.control.receive()
            for frame in frames:
                for event in self.replica.feed(frame):
                    self._event(*event)
            outgoing = self.replica.outgoing(monotonic_ms())
            for frame in outgoing:
                self.control.send(frame)
            if not frames and not outgoing:
                break
        self.page.set_gauge(self.launch.index, "sequence", self.replica.sequence)

    def _event(self, kind, *values):
        if kind == EVENT_ACKNOWLEDGED:
            self.registrar.acknowledged(values[0])
        elif kind == EVENT_REFUSED:
            self.registrar.refused(*values)
        elif kind == EVENT_SETTINGS:
            self._configure(*values)
        elif kind == EVENT_LIVE:
            self.engine.set_live()
            self.log.write("info", "live", sequence=values[0])
        elif kind == EVENT_FAULT:
            self.log.write("error", values[0])

    def _configure(self, settings, key):
        try:
            self.engine.configure(settings, key, self.launch.listeners)
        except ValueError as error:
            self.log.write("error", f"settings refused, the running ones stay: {error}")
            return
        self.log.level = settings["log"]["level"]
        self.registrar.configure(settings)
        if not self.serving:  # it has the key now: dialogs can be relayed, all else waits until it is live
            self.serving = True
            self.engine.open()
            self.launch.ready()

    def _signals(self):
        """TERM and INT drain, USR2 goes at once (its place is taken already), the arbiter's end is ours."""
        got = read_ready(self.signals)
        if signal.SIGUSR2 in got or arbiter_gone(self.launch.life_fd):
            self.stop_ms = 0
        elif self.stop_ms is None and (signal.SIGTERM in got or signal.SIGINT in got):
            self.engine.drain()
            self.stop_ms = monotonic_ms() + DRAIN_MS


def signal_pipe():
    """A descriptor that becomes readable with the numbers of the signals that came."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        signal.signal(number, lambda *_: None)  # the wake-up descriptor does the work
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return reader


def read_ready(fd):
    try:
        return os.read(fd, 64)
    except BlockingIOError:
        return b""


def arbiter_gone(life_fd):
    """The pipe's other end lives in the arbiter alone: an end of file is its end."""
    try:
        return os.read(life_fd, 1) == b""
    except BlockingIOError:
        return False


def main(fd):
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    gc.collect()
    gc.freeze()
    launch = launches.read(fd)
    if launch is None:
        return
    Worker(launch).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
