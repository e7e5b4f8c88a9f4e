"""The supervisor: the only writer of truth. Puts log, destinations, prober and admin API together on one event loop."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import time
from pathlib import Path

from sipcore.counters import Page
from sipcore.location import LocationTable
from supervisor import config, dispatcher_addresses, dispatcher_list, logs
from supervisor.admin.server import AdminServer
from supervisor.backend import SupervisorBackend
from supervisor.control import Control
from supervisor.dispatcher import Destinations
from supervisor.location import Registrations
from supervisor.log import Log
from supervisor.metrics import Metrics
from supervisor.prober import Prober
from supervisor.rundir import LAST_GOOD, STATES
from supervisor.stores import StoreError, open_store

GATHER_S = 0.002                  # from a worker's operations to their commit: all workers send at the same moments
TICK_S = 0.2                      # between two looks at the loads and two sweeps of the tables
UNSPECIFIED = {4: "0.0.0.0", 6: "::"}
logger = logging.getLogger("viaduct.supervisor")


class Supervisor:
    """One life of the supervisor. launch: its launch document."""

    def __init__(self, launch):
        self.launch = launch
        self.settings = launch.settings
        self.run_dir = Path(launch.run_dir)
        self.started = time.monotonic()
        self.stopping = asyncio.Event()
        self.reloading = asyncio.Lock()  # one reload at a time: names are resolved in the middle of it
        self.table = LocationTable()
        self.log = Log(open_store(self.settings["store"]["url"]), Registrations(self.table, self.settings), self._send)
        self.destinations = Destinations()
        self.untold = {}  # destination id -> state, of what could not be committed
        self.page = Page(launch.page_fd)
        self.metrics = Metrics(self.page, launch.workers)
        self.control = None
        self.gathering = None  # the timer of the next commit
        self.prober = Prober(self._probed, probe_addresses(launch.listeners), host_of(launch.listeners),
                             user_agent=self.settings["edge"]["user_agent"])
        admin = self.settings["admin"]
        self.admin = AdminServer(SupervisorBackend(self), admin["socket"] or str(self.run_dir / "admin.sock"),
                                 admin["listen"])

    async def run(self):
        """Until TERM, INT or the arbiter's end. ListError, StoreError and OSError where it cannot begin."""
        self.log.publish_settings(self.settings)
        self.prober.start()
        await self._first_list()
        self.control = Control(self.launch.control, self.log.on_frame, self._drained)
        await self.admin.start()
        self._watch()
        self.launch.ready()
        logger.info("serving %d destinations, %d AORs", len(self.destinations), self.table.counts()["aors"])
        try:
            while not self.stopping.is_set():
                self._tick()
                with contextlib.suppress(asyncio.TimeoutError):  # the built-in TimeoutError only from Python 3.11
                    await asyncio.wait_for(self.stopping.wait(), TICK_S)
        finally:
            await self._close()

    def _watch(self):
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: loop.create_task(self.reload()))
        loop.add_reader(self.launch.life_fd, self.stopping.set)  # its end of file is the arbiter's end

    async def _close(self):
        asyncio.get_running_loop().remove_reader(self.launch.life_fd)
        self.prober.stop()
        await self.admin.stop()
        self.log.flush()
        self.control.close()
        self.log.close()

    def _send(self, worker, frame):
        return self.control is not None and self.control.send(worker, frame)

    def _drained(self):
        """The frames that were there are taken; what they want committed waits for those of the other workers."""
        if self.log.unsettled() and self.gathering is None:
            self.gathering = asyncio.get_running_loop().call_later(GATHER_S, self._gathered)

    def _gathered(self):
        self.gathering = None
        self.log.flush()

    def _tick(self):
        self.page.supervisor_heartbeat_ms = now_ms = monotonic_ms()
        self._changed(self.destinations.observe(self.metrics.loads(), now_ms))
        self.log.sweep(now_ms)
        self._tell()
        logs.flush()

    # -- destinations --------------------------------------------------------------------------------------------------

    async def _first_list(self):
        """The list file; a supervisor that comes back while the file is bad goes on with what was good."""
        try:
            await self.load_list()
        except (dispatcher_list.ListError, OSError) as error:
            if not self.launch.restarts or not (self.run_dir / LAST_GOOD).exists():
                raise
            logger.error("the list is refused, the last good one stays: %s", error)
            parsed = dispatcher_list.read(str(self.run_dir / LAST_GOOD), self.settings["dispatcher"])
            self._take_list(parsed, await dispatcher_addresses.resolve(parsed, self.launch.listeners))
        if not self.launch.restarts:
            return  # a new edge begins as its list says
        with contextlib.suppress(FileNotFoundError):
            orders = json.loads((self.run_dir / STATES).read_text())
            self._changed(self.destinations.restore(orders, monotonic_ms()))

    async def load_list(self):
        """Reads the list and takes it, whole or not at all (ListError, OSError); (Diff, warnings)."""
        async with self.reloading:
            return self._take_new_list(*await self._read_list(self.settings))

    async def _read_list(self, settings):
        """(the list that these settings name, its addresses), without taking it. ListError, OSError."""
        path = settings["dispatcher"]["list"]
        parsed = dispatcher_list.read(path, settings["dispatcher"])
        if not parsed.entries and len(self.destinations):
            text = f"no destination, while {len(self.destinations)} are in use; to take calls off them, drain them"
            raise dispatcher_list.ListError([dispatcher_list.Problem(path, 0, text)])
        return parsed, await dispatcher_addresses.resolve(parsed, self.launch.listeners)

    def _take_new_list(self, parsed, endpoints):
        path = Path(self.settings["dispatcher"]["list"])
        diff = self._take_list(parsed, endpoints)
        self._keep(LAST_GOOD, path.read_bytes())
        for warning in parsed.warnings:
            logger.warning("%s", warning)
        logger.info("%s: %s, %d destinations", path, diff, len(self.destinations))
        return diff, parsed.warnings

    def _take_list(self, parsed, endpoints):
        diff = self.destinations.apply_list(parsed, self.settings["dispatcher"], endpoints, monotonic_ms())
        self.log.publish_destinations(self.destinations.generation, self.destinations.entries())
        self.prober.update(self.destinations.targets())
        return diff

    def _tell(self):
        """Publishes the states that the workers do not know of; while the store fails they stay untold."""
        with contextlib.suppress(StoreError):  # the log says so, once an outage
            for destination, state in list(self.untold.items()):
                self.log.publish_state(destination, state)
                del self.untold[destination]

    def _probed(self, destination, ok, code, latency_ms, reason):
        now_ms = monotonic_ms()
        self._changed(self.destinations.probe_result(destination, ok, code, latency_ms, now_ms=now_ms, reason=reason))

    def set_state(self, set_id, uri, state):
        """ValueError, UnknownDestination."""
        self._changed(self.destinations.set_state(set_id, uri, state, monotonic_ms()))
        self.prober.update(self.destinations.targets())

    def _changed(self, events):
        for event in events:
            logger.warning("%s", event)
            self.untold[event.id] = event.new
        if events:
            self.prober.update(self.destinations.targets())
            self._tell()
            if self.untold:
                logger.error("the workers learn of it once the store works again")
            self._keep(STATES, json.dumps(self.destinations.orders()).encode())

    def _keep(self, name, octets):
        """Writes what a restart begins with; on a full disk it begins with what was written last."""
        try:
            replace(self.run_dir / name, octets)
        except OSError as error:
            logger.error("%s cannot be written: %s", self.run_dir / name, error.strerror)

    # -- settings ------------------------------------------------------------------------------------------------------

    async def reload(self):
        """HUP: the configuration and the list again, both or neither."""
        async with self.reloading:
            await self._reload()

    async def _reload(self):
        try:
            fresh = config.load(self.launch.config_path)
            settings = config.reloaded(self.settings, fresh.settings)
            parsed, endpoints = await self._read_list(settings)
            for key in config.reload_differences(self.settings, fresh.settings):
                logger.warning("%s changed: it takes effect at the next start", key)
            self.settings = settings
            logs.set_level(self.settings["log"]["level"])
            self.log.publish_settings(self.settings)
            self._take_new_list(parsed, endpoints)
        except (config.ConfigError, dispatcher_list.ListError, OSError, StoreError) as error:
            logger.error("reload refused, the running configuration stays: %s", error)

    def set_log_level(self, level):
        self.settings["log"]["level"] = logs.set_level(level)
        self.log.publish_settings(self.settings)


def monotonic_ms():
    return time.monotonic_ns() // 1_000_000


def replace(path, octets):
    """Writes a file so that a reader sees the old one or the new one."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(octets)
    os.replace(fresh, path)


def probe_addresses(listeners):
    """The address to probe from, one a family: the listener's where there is one, any where there are several."""
    found = {}
    for listener in listeners:
        family = 6 if ":" in listener.ip else 4
        found[family] = UNSPECIFIED[family] if family in found else listener.ip
    return tuple(found.values())


def host_of(listeners):
    """What probes name as their host: the first advertised name, or the first address."""
    for listener in listeners:
        if listener.advertise:
            return listener.advertise.rpartition(":")[0] or listener.advertise
    return listeners[0].ip if listeners else "localhost"
