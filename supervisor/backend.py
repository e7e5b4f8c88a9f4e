"""What the admin API shows and changes, answered by the supervisor."""

import itertools
import json
import time

import psutil

from sipcore import endpoint, wire
from supervisor.admin.backend import AdminError
from supervisor.dispatcher import UnknownDestination
from supervisor.dispatcher_list import ListError
from supervisor.rundir import STATUS
from supervisor.stores import StoreError
from supervisor.version import installed_version

PAGE_ENTRIES = 1000  # AORs that the table hands out at a time while a page is looked for


class SupervisorBackend:
    """supervisor.admin.backend.Backend over one Supervisor."""

    def __init__(self, supervisor):
        self.supervisor = supervisor
        self.processes_seen = {}  # pid -> psutil.Process, kept: cpu_percent tells of the time since the last look

    async def destinations(self):
        now_ms = time.monotonic_ns() // 1_000_000
        return self.supervisor.destinations.rows(self.supervisor.metrics.loads(), now_ms, time.time_ns() // 1_000_000)

    async def reload_destinations(self):
        try:
            diff, warnings = await self.supervisor.load_list()
        except (ListError, OSError, StoreError) as error:
            raise AdminError(500, str(error)) from error
        return {"added": len(diff.added), "removed": len(diff.removed), "changed": len(diff.changed),
                "warnings": [str(warning) for warning in warnings]}

    async def set_state(self, set_id, uri, state):
        try:
            self.supervisor.set_state(set_id, uri, state)
        except ValueError as error:
            raise AdminError(400, str(error)) from error
        except UnknownDestination as error:
            raise AdminError(404, str(error)) from error

    async def bindings(self, aor, offset, limit):
        table = self.supervisor.table
        now_ms = time.monotonic_ns() // 1_000_000
        if aor is not None:
            puts = table.find(aor.encode())
            rows = [] if puts is None else [{"aor": aor, "contacts": self._contacts(puts, now_ms)}]
            return {"total": len(rows), "aors": rows}
        entries = itertools.chain.from_iterable(table.snapshot(PAGE_ENTRIES))
        page = itertools.islice(entries, offset, offset + limit)
        rows = [{"aor": shown(aor), "contacts": self._contacts(table.find(aor) or (), now_ms)}
                for aor in (wire.decode_entry(entry)[4] for entry in page)]
        return {"total": table.counts()["aors"], "aors": rows}

    def _contacts(self, puts, now_ms):
        listeners = self.supervisor.launch.listeners
        rows = []
        for put in puts:
            transport, host, port, listener = endpoint.unpack(put["flow"])
            ours = listeners[listener] if listener < len(listeners) else None
            rows.append({
                "contact": shown(put["contact"]), "q": put["q"],
                "expires_s": max(0, (put["expires_ms"] - now_ms + 999) // 1000),
                "call_id": shown(put["call_id"]), "cseq": put["cseq"],
                "received": f"sip:{bracketed(host)}:{port};transport={transport}",
                "socket": f"{ours.transport}:{bracketed(ours.ip)}:{ours.port}" if ours else "",
                "path": shown(put["path"]), "agent": shown(put["agent"]), "instance": shown(put["instance"]),
            })
        return rows

    async def remove_bindings(self, aor, contact):
        found = self.supervisor.table.find(aor.encode()) or []
        wanted = [put for put in found if contact is None or put["contact"] == contact.encode()]
        if not wanted:
            return 0
        try:
            self.supervisor.log.remove(aor.encode(), None if contact is None else contact.encode())
        except StoreError as error:
            raise AdminError(500, str(error)) from error
        return len(wanted)

    async def processes(self):
        """The arbiter, the supervisor and the workers, from the arbiter's own account and the system's."""
        status = json.loads((self.supervisor.run_dir / STATUS).read_text())
        rows = [self._process("arbiter", status["pid"], 0, None)]
        for child in status["children"]:
            if child["pid"] is not None:
                worker = child["index"] if child["role"] == "worker" else None
                rows.append(self._process(child["name"], child["pid"], child["restarts"], worker))
        pids = {row["pid"] for row in rows}
        self.processes_seen = {pid: process for pid, process in self.processes_seen.items() if pid in pids}
        return rows

    def _process(self, name, pid, restarts, worker):
        row = {"name": name, "pid": pid, "restarts": restarts}
        try:
            process = self.processes_seen.setdefault(pid, psutil.Process(pid))
            times = process.cpu_times()
            row |= {"cpu_percent": process.cpu_percent(), "cpu_s": times.user + times.system,
                    "rss": process.memory_info().rss, "uptime_s": max(0.0, time.time() - process.create_time())}
        except psutil.NoSuchProcess:
            row["state"] = "gone"
        if worker is not None:
            counters = self.supervisor.metrics.workers()[worker]
            row |= {"messages": counters["datagrams_in"] + counters["datagrams_out"],
                    "state": "serving" if counters["live"] else "loading"}
        return row

    async def statistics(self):
        counts = self.supervisor.table.counts()
        return {**self.supervisor.metrics.totals(), "registered_users": counts["aors"], "contacts": counts["bindings"]}

    async def set_log_level(self, level):
        try:
            self.supervisor.set_log_level(level)
        except StoreError as error:
            raise AdminError(500, str(error)) from error

    async def info(self):
        supervisor = self.supervisor
        stats = supervisor.log.stats()
        workers = supervisor.metrics.workers()
        live = sum(counters["live"] for counters in workers)
        return {"version": installed_version(), "uptime_s": time.monotonic() - supervisor.started,
                "epoch": stats["epoch"], "sequence": stats["sequence"],
                "applied": min(counters["sequence"] for counters in workers),
                "workers": supervisor.launch.workers, "live": live,
                "ready": len(supervisor.destinations) > 0 and live > 0,
                "log_level": supervisor.settings["log"]["level"]}


def shown(octets):
    return octets.decode("utf-8", "backslashreplace")


def bracketed(host):
    return f"[{host}]" if ":" in host else host
