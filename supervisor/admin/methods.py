"""The methods of the admin API, in the names and shapes that OpenSIPS's tools know; `full` adds what is ours."""

import time
from fnmatch import fnmatchcase
from typing import Any

from supervisor.admin.backend import AdminError, AorRow, Backend, BindingRow, DestinationRow
from supervisor.admin.jsonrpc import Methods

PAGE_DEFAULT = 1000  # AORs of one ul_dump: about 400 KB of JSON, built in a few milliseconds
PAGE_MAX = 10000  # above it the answer would hold the supervisor's loop for too long
TABLE = "location"  # the one table of registrations
PARTITION = "default"  # the one partition of sets

# Our states in the three words that the peers' tools know: inactive comes back by a probe, the admin's do not.
PEER_STATES = {
    "active": "Active",
    "trying": "Active",
    "inactive": "Probing",
    "draining": "Inactive",
    "disabled": "Inactive",
}
LEVELS = ("debug", "info", "warning", "error")
PEER_LEVELS = {"-3": "error", "-2": "error", "-1": "error", "1": "warning", "2": "info", "3": "info", "4": "debug"}


def standard(backend: Backend) -> Methods:
    """The registry with every method below."""
    methods = Methods()
    for each in (DispatcherMethods(backend), LocationMethods(backend), ProcessMethods(backend)):
        for name in each.NAMES:
            methods.register(name, getattr(each, name))

    async def which(command: str = "") -> Any:
        """All methods, or the parameters of one."""
        return [methods.parameters(command)] if command else methods.names()

    methods.register("which", which)
    return methods


class DispatcherMethods:
    """ds_*: the sets of destinations."""

    NAMES = ("ds_list", "ds_reload", "ds_set_state")

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    async def ds_list(self, full: bool = False, partition: str = PARTITION) -> Any:
        expect_partition(partition)
        sets: dict[int, list[dict[str, Any]]] = {}
        for row in await self.backend.destinations():
            sets.setdefault(row["set"], []).append(destination_shape(row, full))
        listed = [{"id": set_id, "Destinations": sets[set_id]} for set_id in sorted(sets)]
        return {"PARTITIONS": [{"name": PARTITION, "SETS": listed}]}

    async def ds_reload(self, partition: str = PARTITION, inherit_state: str = "y", full: bool = False) -> Any:
        """State and counters always stay with (set, URI), whatever inherit_state says; full=1 tells what changed."""
        expect_partition(partition)
        if inherit_state.lower() not in ("y", "yes", "1", "true"):
            raise AdminError(400, "inherit_state: destinations that stay always keep their state; use ds_set_state")
        difference = await self.backend.reload_destinations()
        return difference if full else "OK"

    async def ds_set_state(self, state: str, group: int, address: str, partition: str = PARTITION) -> Any:
        expect_partition(partition)
        await self.backend.set_state(group, address, state.lower())
        return "OK"


class LocationMethods:
    """ul_*: who is registered."""

    NAMES = ("ul_dump", "ul_show_contact", "ul_rm", "ul_rm_contact")

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    async def ul_dump(self, brief: bool = False, offset: int = 0, limit: int = PAGE_DEFAULT, full: bool = False) -> Any:
        """One page of all AORs; Total tells how many there are."""
        if not 0 < limit <= PAGE_MAX:
            raise AdminError(400, f"limit: found {limit}, expected 1 to {PAGE_MAX}; ask for the next page with offset")
        page = await self.backend.bindings(None, offset, limit)
        aors = [brief_shape(row) if brief else aor_shape(row, full) for row in page["aors"]]
        domain = {"name": TABLE, "hash_size": page["total"], "AORs": aors}
        return {"Domains": [domain], "Total": page["total"], "Offset": offset, "Limit": limit}

    async def ul_show_contact(self, table_name: str = TABLE, aor: str = "", full: bool = False) -> Any:
        expect_table(table_name, aor)
        page = await self.backend.bindings(aor, 0, 1)
        if not page["aors"]:
            raise AdminError(404, f"AOR not found: {aor}")
        return aor_shape(page["aors"][0], full)

    async def ul_rm(self, table_name: str = TABLE, aor: str = "", full: bool = False) -> Any:
        expect_table(table_name, aor)
        return await self.removed(aor, None, full)

    async def ul_rm_contact(self, table_name: str = TABLE, aor: str = "", contact: str = "", full: bool = False) -> Any:
        expect_table(table_name, aor)
        if not contact:
            raise AdminError(400, "contact: found nothing, expected the URI of the contact; ul_rm removes them all")
        return await self.removed(aor, contact, full)

    async def removed(self, aor: str, contact: str | None, full: bool) -> Any:
        count = await self.backend.remove_bindings(aor, contact)
        if not count:
            raise AdminError(
                404, f"AOR not found: {aor}" if contact is None else f"Contact not found: {contact} of {aor}"
            )
        return {"removed": count} if full else "OK"


class ProcessMethods:
    """The processes, their numbers and their log."""

    NAMES = ("ps", "get_statistics", "uptime", "version", "log_level")

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    async def ps(self) -> Any:
        rows = await self.backend.processes()
        return {"Processes": [{"ID": i, "PID": row["pid"], "Type": row["name"], **row} for i, row in enumerate(rows)]}

    async def get_statistics(self, statistics: list[str] = ("all",)) -> Any:  # noqa: B006  a tuple is no trap
        """Those that a name, a pattern ("calls*"), a group ("core:") or "all" names."""
        values = await self.backend.statistics()
        chosen: dict[str, int] = {}
        for wanted in statistics:
            pattern = "*" if wanted in ("all", "") else wanted + "*" if wanted.endswith(":") else wanted
            found = {name: value for name, value in values.items() if fnmatchcase(name, pattern)}
            if not found and values:
                raise AdminError(404, f'no statistic {wanted!r}; "all" lists them')
            chosen.update(found)
        return chosen

    async def uptime(self) -> Any:
        up_s = int((await self.backend.info())["uptime_s"])
        now = time.time()
        since = time.ctime(now - up_s)
        return {"Now": time.ctime(now), "Up since": since, "Up time": f"{up_s} [sec]", "uptime_s": up_s}

    async def version(self) -> Any:
        info = await self.backend.info()
        return {"Server": f"Viaduct {info['version']}", **info}

    async def log_level(self, level: str = "") -> Any:
        """Sets the level of the supervisor and the workers (a name, or OpenSIPS's number); without one, tells it."""
        if not level:
            return {"log_level": (await self.backend.info()).get("log_level", "")}
        name = PEER_LEVELS.get(level, level.lower())
        if name not in LEVELS:
            raise AdminError(400, f"level: found {level!r}, expected one of {', '.join(LEVELS)}")
        await self.backend.set_log_level(name)
        return {"log_level": name}


def expect_partition(partition: str) -> None:
    if partition != PARTITION:
        raise AdminError(404, f"partition {partition!r} not found: there is one, {PARTITION!r}")


def expect_table(table_name: str, aor: str) -> None:
    if table_name != TABLE:
        raise AdminError(404, f"table {table_name!r} not found: there is one, {TABLE!r}")
    if not aor:
        raise AdminError(400, "aor: found nothing, expected an address-of-record such as 1000@example.com")


def destination_shape(row: DestinationRow, full: bool) -> dict[str, Any]:
    """A destination as ds_list has it."""
    shape: dict[str, Any] = {
        "URI": row["uri"],
        "state": PEER_STATES.get(row["state"], row["state"]),
        "first_hit_counter": row.get("attempts", 0),
        "socket": row.get("socket", ""),
        "attr": row.get("attrs", ""),
        "script_attr": "",
    }
    if full:
        shape |= {
            "weight": row.get("weight", 0),
            "priority": row.get("priority", 0),
            "description": "",
            "resolved_addresses": row.get("addresses", []),
            "status": row["state"],
        }
        shape |= {name: value for name, value in row.items() if name not in ("uri", "state", "attrs", "set")}
    return shape


def aor_shape(row: AorRow, full: bool) -> dict[str, Any]:
    return {"AOR": row["aor"], "Contacts": [contact_shape(contact, full) for contact in row["contacts"]]}


def brief_shape(row: AorRow) -> dict[str, Any]:
    return {"AOR": row["aor"], "count": len(row["contacts"])}


def contact_shape(row: BindingRow, full: bool) -> dict[str, Any]:
    """A binding as ul_dump has it; what the peers keep and we do not is at its empty value."""
    shape = {
        "Contact": row["contact"],
        "ContactID": "",
        "Expires": row["expires_s"],
        "Q": f"{row['q'] / 1000:g}" if "q" in row else "",
        "Callid": row.get("call_id", ""),
        "Cseq": row.get("cseq", 0),
        "User-agent": row.get("agent", ""),
        "Received": row.get("received", ""),
        "Path": row.get("path", ""),
        "State": "CS_SYNC",
        "Flags": 0,
        "Cflags": "",
        "Socket": row.get("socket", ""),
        "Methods": 4294967295,
        "Attr": "",
        "SIP_instance": row.get("instance", ""),
    }
    return shape | {"binding": dict(row)} if full else shape
