"""A backend of the admin API with two sets and some registrations, for the tests of the API and of the command line."""

from supervisor.admin.backend import AdminError


def aor_rows(count):
    return [
        {
            "aor": f"{1000 + i}@example.com",
            "contacts": [
                {
                    "contact": f"sip:{1000 + i}@192.168.1.7:5062",
                    "expires_s": 557,
                    "q": 500,
                    "call_id": "a84b",
                    "cseq": 2,
                    "received": "sip:203.0.113.9:40122",
                    "socket": "udp:10.0.0.5:5060",
                    "agent": "baresip",
                }
            ],
        }
        for i in range(count)
    ]


class FakeBackend:
    """Answers from lists; `asked` records what was asked for."""

    def __init__(self, aors=3):
        self.rows = [
            {"set": 2, "uri": "sip:[::1]:5090", "state": "inactive", "reason": "3 probes failed"},
            {
                "set": 1, "uri": "sip:10.0.0.11:5080", "state": "active", "weight": 50, "priority": 0,
                "attrs": "weight=50", "attempts": 12, "failures": 1, "calls": 3, "latency_ms": 1.25,
                "addresses": ["10.0.0.11:5080"],
            },
            {"set": 1, "uri": "sip:10.0.0.12:5080", "state": "draining"},
        ]  # fmt: skip
        self.aors = aor_rows(aors)
        self.asked = []
        self.ready = True
        self.level = "info"

    async def destinations(self):
        return self.rows

    async def reload_destinations(self):
        self.asked.append("reload")
        if not self.rows:
            raise AdminError(500, 'dispatcher.list:3: found "x", expected the number of a set')
        return {"added": 1, "removed": 0, "changed": 2, "warnings": ["dispatcher.list:4: 50 is a priority"]}

    async def set_state(self, set_id, uri, state):
        self.asked.append((set_id, uri, state))
        for row in self.rows:
            if (row["set"], row["uri"]) == (set_id, uri):
                row["state"] = state
                return
        raise AdminError(404, f"set {set_id} has no destination {uri}")

    async def bindings(self, aor, offset, limit):
        if aor is None:
            return {"total": len(self.aors), "aors": self.aors[offset : offset + limit]}
        found = [row for row in self.aors if row["aor"] == aor]
        return {"total": len(found), "aors": found}

    async def remove_bindings(self, aor, contact):
        self.asked.append((aor, contact))
        found = [row for row in self.aors if row["aor"] == aor]
        return sum(contact in (None, each["contact"]) for row in found for each in row["contacts"])

    async def processes(self):
        return [
            {"name": "supervisor", "pid": 11, "cpu_percent": 1.5, "rss": 50 << 20, "restarts": 0, "uptime_s": 4000},
            {"name": "worker 0", "pid": 12, "cpu_percent": 20.0, "rss": 30 << 20, "messages": 123456, "restarts": 1},
        ]

    async def statistics(self):
        return {"calls": 7, "calls_answered": 6, "core:rcv_requests": 99}

    async def set_log_level(self, level):
        self.level = level

    async def info(self):
        if self.ready is None:
            raise RuntimeError("a bug")
        return {"version": "0.1.0", "uptime_s": 65.4, "epoch": 5, "sequence": 9, "workers": 2, "ready": self.ready,
                "log_level": self.level}  # fmt: skip
