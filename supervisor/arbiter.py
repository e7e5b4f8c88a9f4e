"""The arbiter holds all sockets and the shared page, starts supervisor and workers by exec, and again when they die.

    python -m supervisor.arbiter [-c FILE]

TERM and INT drain and end everything, a second one ends it at once; HUP reloads the configuration; USR2 restarts the
workers one by one. Exit codes: 0 ended as asked, 69 an address or directory cannot be had, 70 a child crashed over and
over, 78 a wrong configuration.
"""

import argparse
import contextlib
import faulthandler
import logging
import math
import os
import resource
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sipcore import counters, steering
from supervisor import config, launch, logs, quarantine, rundir, sockets
from supervisor.children import CRASH_DEATHS, CRASH_WINDOW_MS, EX_CONFIG, Child, Command, spawn
from supervisor.spare import AFTER_MS, GIVEN_UP_MS, Spare

EX_OK, EX_UNAVAILABLE, EX_SOFTWARE = 0, 69, 70  # sysexits.h
ROOT = Path(__file__).resolve().parent.parent   # where our packages stand, installed or not

DRAIN_MS = 5_000      # from TERM to KILL: answers in flight are back by then (RFC 3261's T4); calls outlive workers
START_MAX_MS = 60_000  # from exec to ready; a replica of a million bindings takes 10 s
PROMOTED_MAX_MS = 20_000  # the same for one that had stood by: if it hangs, an ordinary start is tried
HANG_MS = 3_000       # a heartbeat this old: a worker passes its batch boundary five times a second even when idle
DUMP_MS = 500         # from the request for a stack dump to the kill
SUPERVISOR_HANG_MS = 10_000  # it comes round five times a second; a commit may have to wait for a slow disk
TICK_MS = 500         # how often heartbeats are looked at
WORKERS_MAX = 64      # rows of the shared page


def python_command(role: str, launch_fd: int) -> list[str]:
    """How a child of a role is started; it finds its launch document in launch_fd."""
    module = "workers" if role == launch.ROLE_WORKER else "supervisor"
    return [sys.executable, "-m", module, str(launch_fd)]


class Arbiter:
    """Arbiter(configuration, reload).run() serves until it is told to end and gives the exit code.

    reload() gives the configuration anew or raises config.ConfigError; command says how children are started.
    """

    def __init__(self, configuration: config.Config, reload: Callable[[], config.Config],
                 command: Command = python_command) -> None:
        self.configuration = configuration
        self.reload = reload
        self.command = command
        self.log = logs.configure("arbiter", *_log_settings(configuration))
        edge = configuration.settings["edge"]
        self.cores = sorted(os.sched_getaffinity(0))
        self.workers = worker_count(edge["workers"], len(self.cores))
        self.supervisor = Child(launch.ROLE_SUPERVISOR)
        self.children = [self.supervisor, *(Child(launch.ROLE_WORKER, index) for index in range(self.workers))]
        self.spares = {role: Spare(role) for role in (launch.ROLE_SUPERVISOR, launch.ROLE_WORKER)}
        self.rolling: deque[Child] = deque()
        self.selector = selectors.DefaultSelector()
        self.exit_code: int | None = None  # set: we are ending
        self.was_ready = False
        self.watched_ms = self.grace_ms = now_ms()
        self.started_wall_ms = time.time_ns() // 1_000_000
        self.on_terminal = os.isatty(2)

    def run(self) -> int:
        """Open, serve, end; nothing of ours is left when it returns."""
        with contextlib.ExitStack() as opened:
            try:
                self._open(opened)
            except (sockets.SocketError, rundir.RunDirError) as error:
                self.log.error("%s", error)
                return EX_UNAVAILABLE
            self._banner()
            for child in self.children:
                child.start_at_ms = now_ms()
            while self.exit_code is None or any(child.pid for child in self._everyone()):
                self._on_time(now_ms())
                for key, _ in self.selector.select(self._wait_ms() / 1000):
                    key.data()
            self.log.info("ended")
            return self.exit_code

    # What is opened before the first child and closed after the last

    def _open(self, opened: contextlib.ExitStack) -> None:
        settings = self.configuration.settings
        opened.callback(self.selector.close)
        self.wakeup = opened.enter_context(_catch_signals())
        self.selector.register(self.wakeup, selectors.EVENT_READ, self._on_signals)
        chosen = "edge.run_dir" in self.configuration.given
        self.run_dir = rundir.RunDir(settings["edge"]["run_dir"], chosen, settings["admin"]["socket"])
        opened.callback(self.run_dir.remove)
        self.groups: list[sockets.Group] = []
        self._open_groups(settings["edge"], opened)
        self.inboxes = [sockets.open_inbox() for _ in range(self.workers)]
        for inbox in self.inboxes:
            opened.callback(inbox.receiver.close)
            opened.callback(inbox.sender.close)
        self.page_fd = sockets.open_page(counters.PAGE_SIZE)
        self.page = counters.Page(self.page_fd)
        self.quarantine = quarantine.Quarantine(self.page, self.run_dir.path)
        self.life_read, self.life_write = os.pipe()  # children see its end when we are gone, however that happened
        for fd in (self.page_fd, self.life_read, self.life_write):
            opened.callback(os.close, fd)
        self.environment = _environment()
        opened.callback(self._kill_all)

    def _open_groups(self, edge: dict[str, Any], opened: contextlib.ExitStack) -> None:
        program = steering.pack_program(steering.filter_program(self.workers)) if edge["kernel_filter"] else None
        for address in sockets.expand(edge["listen"], edge["advertise"]):
            group, warning = sockets.open_group(address, self.workers, edge["receive_buffer"], program)
            self.groups.append(group)
            for sock in group.sockets:
                opened.callback(sock.close)
            if warning:
                self.log.warning("%s: %s", group.address, warning)

    def _kill_all(self) -> None:
        """None is left to kill unless we ourselves failed."""
        for child in self._everyone():
            if child.pid is not None:
                child.send(signal.SIGKILL)
                os.waitpid(child.pid, 0)

    def _banner(self) -> None:
        settings = self.configuration.settings
        logs.announce(f"viaduct (pid {os.getpid()}): {self.workers} workers, run directory {self.run_dir.path}")
        if settings["registrar"]["auth"] == "none":
            logs.announce("REGISTER IS NOT AUTHENTICATED: " + config.AUTH_NONE_WARNING, level="warning")
        self._warn()
        logs.announce("Listening on")
        for entry in settings["edge"]["listen"]:
            logs.announce(f"listen={entry}")
        for group in self.groups:
            advertised = f" advertised as {group.address.advertise}" if group.address.advertise else ""
            logs.announce(f"    {group.address}{advertised}")

    def _warn(self) -> None:
        for warning in self.configuration.warnings:
            if warning != config.AUTH_NONE_WARNING:  # said louder at start
                self.log.warning("%s", warning)

    # Children

    def _start(self, child: Child, now: int) -> None:
        try:
            promoted = self._promote(child)
            pid, ready_read = promoted or self._spawn(child)
        except OSError as error:  # no memory, too many processes or descriptors: as if it had died at once
            self.log.error("%s could not be started: %s", child.name, error.strerror)
            self._again(child, now)
            return
        self.selector.register(ready_read, selectors.EVENT_READ, lambda: self._on_ready(child, ready_read))
        child.started(pid, ready_read, now, promoted=promoted is not None)
        self._pin(child)
        if child.restarts:
            self.log.info("%s started again as pid %d", child.name, pid)
        self._status()

    def _spawn(self, child: Child) -> tuple[int, int]:
        """The pid of a new process for the place, and our end of the pipe on which it says that it serves. OSError."""
        with contextlib.ExitStack() as ours:
            ready_read, ready_write = os.pipe()
            kept = ours.enter_context(contextlib.ExitStack())
            kept.callback(os.close, ready_read)
            ours.callback(os.close, ready_write)
            told = self._launch(child, ready_write)
            document = launch.write(told)
            ours.callback(os.close, document)
            pid = spawn(self.command(child.role, document), [document, *told.descriptors()], self.environment)
            kept.pop_all()
        os.set_blocking(ready_read, False)
        return pid, ready_read

    def _promote(self, child: Child) -> tuple[int, int] | None:
        """The spare of its role becomes this child; None where there is none."""
        spare = self.spares[child.role]
        if not spare.waiting:
            return None
        spare.not_before_ms = now_ms() + AFTER_MS
        try:
            return spare.become(self._launch(child, launch.NO_FD))
        except OSError as error:
            self.log.warning("%s (pid %d) cannot become %s: %s", spare.name, spare.pid, child.name, error.strerror)
            return None

    def _keep_spares(self, now: int) -> None:
        """One of each role stands by once all that is wanted serves."""
        if self.rolling or not self.was_ready or not all(child.ready for child in self.children):
            return
        for spare in self.spares.values():
            if spare.pid is None and now >= spare.not_before_ms:
                self._begin(spare, now)

    def _begin(self, spare: Spare, now: int) -> None:
        spare.not_before_ms = now + AFTER_MS
        told = [self._launch(child, launch.NO_FD) for child in self.children if child.role == spare.stands_for]
        try:
            spare.begin(self.command, [fd for one in told for fd in one.descriptors()], self.environment, now)
        except OSError as error:  # the next attempt is a second away
            self.log.warning("%s could not be started: %s", spare.name, error.strerror)
        self._status()

    def _everyone(self) -> list[Child]:
        return [*self.children, *self.spares.values()]

    def _pin(self, child: Child) -> None:
        """Worker i to core i, where every worker can have its own."""
        if child.role != launch.ROLE_WORKER or self.workers > len(self.cores):
            return
        try:
            os.sched_setaffinity(child.pid, {self.cores[child.index]})
        except OSError as error:  # a core taken away meanwhile, or the child is dead already
            self.log.warning("%s is not pinned to core %d: %s", child.name, self.cores[child.index], error.strerror)

    def _launch(self, child: Child, ready_fd: int) -> launch.Launch:
        worker = child.index if child.role == launch.ROLE_WORKER else None
        return launch.Launch(
            role=child.role, index=child.index, workers=self.workers, restarts=child.starts,
            config_path=str(self.configuration.path) if self.configuration.path else None,
            settings=self.configuration.settings, listeners=tuple(group.listener(worker) for group in self.groups),
            inbox_fd=launch.NO_FD if worker is None else self.inboxes[worker].receiver.fileno(),
            inbox_peers=tuple(inbox.sender.fileno() for inbox in self.inboxes),
            page_fd=self.page_fd, ready_fd=ready_fd, life_fd=self.life_read,
            control=self.run_dir.control, run_dir=str(self.run_dir.path))

    def _on_ready(self, child: Child, pipe: int) -> None:
        if child.ready_pipe != pipe:  # its end was reaped in the same round, and the pipe closed with it
            return
        said = os.read(pipe, 16)
        self._forget_pipe(child, pipe)
        if not said:  # it closed the pipe without a word: it is dying, or will be killed when its time to start is over
            return
        child.ready, child.ready_ms = True, now_ms()
        self.log.debug("%s ready after %d ms", child.name, child.ready_ms - child.started_ms)
        if not self.was_ready and all(one.ready for one in self.children):
            self.was_ready = True
            logs.announce(f"viaduct ready: {self.workers} workers, {len(self.groups)} listeners")
            notify(f"READY=1\nSTATUS={self.workers} workers, {len(self.groups)} listeners")
        self._status()

    def _forget_pipe(self, child: Child, pipe: int) -> None:
        self.selector.unregister(pipe)
        os.close(pipe)
        if child.ready_pipe == pipe:
            child.ready_pipe = None

    def _reap(self) -> None:
        """Every process that ended: our children, and as PID 1 of a container whatever was left to us."""
        by_pid = {child.pid: child for child in self.children if child.pid is not None}
        while (ended := _reap_one(os.WNOHANG)) is not None:
            pid, status = ended
            if pid in by_pid:
                self._on_end(by_pid.pop(pid), status, now_ms())
            for spare in self.spares.values():
                if spare.pid == pid:
                    self._on_spare_end(spare, status, now_ms())

    def _on_end(self, child: Child, status: int, now: int) -> None:
        pid, expected = child.pid, child.expected
        if child.ready_pipe is not None:
            self._forget_pipe(child, child.ready_pipe)
        code = child.ended(status)
        if self.exit_code is not None:
            self.log.debug("%s (pid %d) %s", child.name, pid, child.last_end)
        elif expected:
            child.start_at_ms = now
        elif code == EX_CONFIG:
            self.log.error("%s (pid %d) cannot run with this configuration (it said why): ending", child.name, pid)
            self._stop(EX_CONFIG, now)
        else:
            self.log.error("%s (pid %d) %s; it is started again", child.name, pid, child.last_end)
            self._blame(child)
            self._again(child, now)
        self._status()

    def _on_spare_end(self, spare: Spare, status: int, now: int) -> None:
        pid = spare.pid
        spare.ended(status)
        spare.not_before_ms = now + AFTER_MS
        if not spare.expected:
            spare.not_before_ms = now + (AFTER_MS if spare.died(now) is not None else GIVEN_UP_MS)
            self.log.error("%s (pid %d) %s; another one is started", spare.name, pid, spare.last_end)
        self._status()

    def _blame(self, child: Child) -> None:
        """The message that a worker had in hand when it died, if it dies of it once more, is refused from then on."""
        if child.role != launch.ROLE_WORKER:
            return
        try:
            path = self.quarantine.died(child.index)
        except OSError as error:
            self.log.error("a message that killed two workers is refused, but cannot be kept as a file: %s", error)
            return
        if path is not None:
            self.log.critical("two workers died of one message: it is refused from now on, and kept in %s", path)

    def _again(self, child: Child, now: int) -> None:
        wait_ms = child.died(now)
        if wait_ms is not None:
            child.start_at_ms = now + wait_ms
            return
        child.start_at_ms = None
        self.log.critical("%s died %d times within %d s, the last time it %s; a restart does not mend that: ending",
                          child.name, CRASH_DEATHS, CRASH_WINDOW_MS // 1000, child.last_end or "could not be started")
        self._stop(EX_SOFTWARE, now)

    # Time

    def _on_time(self, now: int) -> None:
        for child in self._everyone():
            if child.kill_at_ms is not None and now >= child.kill_at_ms:
                self.log.warning("%s (pid %d) did not end in time: killed", child.name, child.pid)
                child.send(signal.SIGKILL)
                child.kill_at_ms = None
            if child.start_at_ms is not None and now >= child.start_at_ms and self.exit_code is None:
                self._start(child, now)
        if self.exit_code is not None:
            self._end_supervisor(now)
        elif now - self.watched_ms >= TICK_MS:
            self._watch(now)
            self._keep_spares(now)
            logs.flush()
            notify("WATCHDOG=1")
        if self.rolling:
            self._roll(now)

    def _wait_ms(self) -> int:
        now = now_ms()
        due = [at for child in self._everyone() for at in (child.kill_at_ms, child.start_at_ms) if at is not None]
        if self.exit_code is None:
            due.append(self.watched_ms + TICK_MS)
        return max(0, min(due, default=now + TICK_MS) - now)

    def _watch(self, now: int) -> None:
        """Kill what hangs. If we ourselves were held up (a stopped container), everybody gets a new time of grace."""
        if now - self.watched_ms > 4 * TICK_MS:
            self.grace_ms = now
        self.watched_ms = now
        for child in self.children:
            if child.pid is None or child.kill_at_ms is not None:
                continue
            silent_ms = now - max(child.started_ms, self.grace_ms)
            limit_ms = PROMOTED_MAX_MS if child.promoted else START_MAX_MS
            if child.ready:
                beat_ms, limit_ms = self._heartbeat(child)
                silent_ms = now - max(beat_ms, child.ready_ms, self.grace_ms)
            if silent_ms > limit_ms:
                self.log.error("%s (pid %d) gave no sign of life for %d ms: asked for its stacks, then killed",
                               child.name, child.pid, silent_ms)
                child.send(signal.SIGUSR1)  # every child has faulthandler write its stacks on SIGUSR1
                child.kill_at_ms = now + DUMP_MS

    def _heartbeat(self, child: Child) -> tuple[int, int]:
        """When the child last showed that it runs, and how long it may not."""
        if child.role == launch.ROLE_WORKER:
            return self.page.counter(child.index, "heartbeat_ms"), HANG_MS
        return self.page.supervisor_heartbeat_ms, SUPERVISOR_HANG_MS

    # Signals

    def _on_signals(self) -> None:
        for number in os.read(self.wakeup.fileno(), 512):
            if number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGHUP and self.on_terminal and not os.isatty(2):
                self._stop(EX_OK, now_ms())  # the terminal went away, and with it whoever could have meant a reload
            elif number == signal.SIGHUP:
                self._reload()
            elif number == signal.SIGUSR2:
                self._restart_workers()
            else:
                self._stop(EX_OK, now_ms())

    def _reload(self) -> None:
        try:
            fresh = self.reload()
        except config.ConfigError as error:
            self.log.error("the configuration was not reloaded, the running one stays:\n%s", error)
            return
        except Exception:  # a fault of ours in reading a file is no reason to end a running service
            self.log.exception("the configuration was not reloaded, the running one stays")
            return
        for key in config.reload_differences(self.configuration.settings, fresh.settings):
            self.log.warning("%s has changed, which takes effect when the edge is started the next time", key)
        self.configuration = fresh._replace(settings=config.reloaded(self.configuration.settings, fresh.settings))
        logs.set_level(fresh.settings["log"]["level"])
        self._warn()
        self.supervisor.send(signal.SIGHUP)
        self.log.info("configuration read again")

    def _restart_workers(self) -> None:
        if self.rolling:
            self.log.warning("the workers are being restarted already")
            return
        for spare in self.spares.values():  # they have the program in memory as it was
            spare.retire(now_ms() + DRAIN_MS)
        self.rolling.extend(self.children[1:])
        self.log.info("restarting %d workers one by one", self.workers)
        self._ask_to_end(self.rolling[0], now_ms(), signal.SIGUSR2)

    def _roll(self, now: int) -> None:
        """On to the next worker once the one before serves."""
        if not self.rolling[0].ready or self.rolling[0].expected:
            return
        self.rolling.popleft()
        if self.rolling:
            self._ask_to_end(self.rolling[0], now, signal.SIGUSR2)
        else:
            self.log.info("all workers were restarted")

    def _ask_to_end(self, child: Child, now: int, how: signal.Signals = signal.SIGTERM) -> None:
        """TERM: it refuses new calls and drains. USR2: it goes at once, for its place is taken in a moment."""
        if child.pid is None:  # it is being started again anyway
            return
        child.expected = True
        child.kill_at_ms = now + DRAIN_MS
        child.send(how)

    def _stop(self, code: int, now: int) -> None:
        """Workers drain first, while the supervisor still commits what they send. Asked twice: at once."""
        if self.exit_code is not None:
            for child in self._everyone():
                child.send(signal.SIGKILL)
            return
        self.exit_code = code
        self.rolling.clear()
        for spare in self.spares.values():
            spare.retire(now + DRAIN_MS)
        notify("STOPPING=1")
        self.log.info("ending: the workers drain, %d s at most", DRAIN_MS // 1000)
        for child in self.children:
            child.start_at_ms = None
            if child.role == launch.ROLE_WORKER and child.pid is not None:
                self._ask_to_end(child, now)
        self._status()

    def _end_supervisor(self, now: int) -> None:
        if not self.supervisor.expected and not any(worker.pid for worker in self.children[1:]):
            self._ask_to_end(self.supervisor, now)

    def _status(self) -> None:
        status = {
            "pid": os.getpid(), "ready": self.was_ready, "workers": self.workers,
            "config_path": str(self.configuration.path) if self.configuration.path else None,
            "run_dir": str(self.run_dir.path), "control": self.run_dir.control, "admin": str(self.run_dir.admin),
            "started_wall_ms": self.started_wall_ms,
            "listeners": [{"transport": at.transport, "ip": at.ip, "port": at.port, "advertise": at.advertise,
                           "configured": at.configured} for at in (group.address for group in self.groups)],
            "children": [{"role": one.role, "index": one.index, "name": one.name, "pid": one.pid, "ready": one.ready,
                          "restarts": one.restarts, "started_ms": one.started_ms, "last_end": one.last_end}
                         for one in self._everyone()],
        }
        try:
            self.run_dir.write_status(status)
        except OSError as error:  # a full disk: `viaduct ps` shows old pids, calls go on
            self.log.warning("%s/%s could not be written: %s", self.run_dir.path, rundir.STATUS, error.strerror)


def now_ms() -> int:
    """CLOCK_MONOTONIC in milliseconds, as everywhere between our processes."""
    return time.monotonic_ns() // 1_000_000


def worker_count(wanted: str | int, cores: int, quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The number of workers for edge.workers: "auto" is one per core that this process may use, WORKERS_MAX at most.

    A container's share of the machine (`200000 100000`: two cores' worth; `max`: no limit) counts like a lack of cores.
    """
    if wanted != "auto":
        return min(WORKERS_MAX, int(wanted))
    share, _, period = quota.read_text().strip().partition(" ") if quota.exists() else ("max", "", "")
    return min(WORKERS_MAX, cores if share == "max" else min(cores, max(1, math.ceil(int(share) / int(period)))))


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)), if it started us."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.sendto(state.encode(), b"\0" + address[1:].encode() if address.startswith("@") else address)
        except OSError as error:  # systemd is being restarted: the next state reaches it
            logging.getLogger(logs.ROOT).debug("NOTIFY_SOCKET %s: %s", address, error.strerror)


def _reap_one(options: int) -> tuple[int, int] | None:
    """pid and wait status of a child that ended, None where none has (WNOHANG) or none is left."""
    try:
        pid, status = os.waitpid(-1, options)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def _catch_signals() -> socket.socket:
    """Handlers do nothing but wake us: the receiving end of a pair into which Python writes each signal's number."""
    receiver, sender = socket.socketpair()
    receiver.setblocking(False)
    sender.setblocking(False)
    signal.set_wakeup_fd(sender.detach(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    faulthandler.register(signal.SIGUSR1)
    return receiver


def _environment() -> dict[str, str]:
    """Ours, with our packages found first, and without what systemd meant for us alone."""
    environment = {key: value for key, value in os.environ.items()
                   if key not in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID")}
    path = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{path}" if path else str(ROOT)
    environment["PYTHONSAFEPATH"] = "1"  # a directory `workers` where the operator stands is not ours (Python 3.11)
    return environment


def _log_settings(configuration: config.Config) -> tuple[str, str]:
    return configuration.settings["log"]["level"], configuration.settings["log"]["format"]


def _prepare_process() -> None:
    """Descriptors 0 to 2 open, so that none of ours gets their numbers, and as many as the system lets us have."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(fd)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main(arguments: list[str] | None = None) -> int:
    """Read the configuration, print every mistake in it or serve; the exit code."""
    parser = argparse.ArgumentParser(prog="viaduct run", description="SIP load balancer, proxy and registrar")
    parser.add_argument("-c", dest="path", metavar="FILE", help="configuration; conf/viaduct.toml explains every key")
    path = parser.parse_args(arguments).path
    path = os.path.abspath(path) if path else None
    try:
        configuration = config.load(path)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return EX_CONFIG
    _prepare_process()
    return Arbiter(configuration, lambda: config.load(path)).run()


if __name__ == "__main__":
    sys.exit(main())
