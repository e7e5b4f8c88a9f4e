"""Every key of the configuration: what it is, its default, what it may be, and why.

The one table that the loader, conf/viaduct.toml and docs/configuration.md come from.
"""

from typing import Any, NamedTuple

# Limits, each with its reason.
FILE_MAX = 1 << 20  # octets of viaduct.toml: a thousand times the file with every key
LISTEN_MAX = 16  # sockets per worker: Endpoint.listener is small, and 64 workers must stay far below 1,024 descriptors
WORKERS_MAX = 64  # rows of the shared page; two characters of a branch name the worker
LIST_MAX = 64  # elements of any other list: longer than every list of status codes that makes sense
DOMAINS_MAX = 200  # compared per request, so bounded; with the listeners' names below workers/edge.pxd NAMES_MAX
TEXT_MAX = 256  # octets of a text that ends up in a header or a log line
PATH_MAX = 4096  # PATH_MAX of Linux
SOCKET_PATH_MAX = 107  # sun_path of Linux without its final NUL
RUN_DIR_MAX = 90  # leaves room for "/control.sock" and the like within SOCKET_PATH_MAX
SETS_MAX = 256  # overridden sets

AUTO = "auto"
REQUIRED = None  # the default of a key that has none: the operator must set it


class Key(NamedTuple):
    """One key. `kind` names a check of config_values; `values` maps the allowed words to their meaning."""

    section: str
    name: str
    kind: str
    default: Any
    why: str
    low: float | None = None
    high: float | None = None
    values: dict[str, str] | None = None
    restart: bool = False  # changing it takes effect at the next start only
    per_set: bool = False  # may be overridden in [dispatcher.sets.N]

    @property
    def path(self) -> str:
        return f"{self.section}.{self.name}"


SECTIONS = {
    "edge": "Where the edge listens and how it runs.",
    "dispatcher": "The sets of destinations (media servers) and how one is chosen, given up and probed.",
    "registrar": "Who may register, and for how long (RFC 3261 10.3).",
    "store": "Where registrations and destination states outlive a restart.",
    "admin": "The admin API that `viaduct ds`, `ul`, `ps` and `stats` talk to.",
    "log": "What is written to standard error.",
    "timers": "The timers of RFC 3261; change them only with a reason.",
}

ALGORITHMS = {
    "weighted-round-robin": "smooth: the shares of the weights, interleaved",
    "round-robin": "each in turn, weights ignored",
    "random": "at random by weight",
    "priority": "the highest priority that is up, in list order among equals",
    "least-calls": "fewest calls in progress by weight, over all workers",
    "hash-call-id": "rendezvous hash of the Call-ID by weight",
    "hash-from": "rendezvous hash of the From URI",
    "hash-to": "rendezvous hash of the To URI",
    "hash-request-uri": "rendezvous hash of the request URI",
    "hash-user": "rendezvous hash of the user part of the request URI",
}

# The peers' numbers (OpenSIPS `o:N`, Kamailio `k:N`) to our names.
ALGORITHM_NUMBERS = {
    "o:0": "hash-call-id",
    "o:1": "hash-from",
    "o:2": "hash-to",
    "o:3": "hash-request-uri",
    "o:4": "weighted-round-robin",
    "o:6": "random",
    "o:8": "priority",
    "k:0": "hash-call-id",
    "k:1": "hash-from",
    "k:2": "hash-to",
    "k:3": "hash-request-uri",
    "k:4": "round-robin",
    "k:6": "random",
    "k:8": "priority",
    "k:9": "weighted-round-robin",
    "k:10": "least-calls",
    "k:11": "weighted-round-robin",
}

# What users of the peers type, and where it lives here.
ELSEWHERE = {
    "children": "edge.workers",
    "udp_workers": "edge.workers",
    "socket_workers": "edge.workers",
    "alias": "edge.domains",
    "advertised_address": "edge.advertise",
    "server_signature": "edge.user_agent",
    "list_file": "dispatcher.list",
    "ds_ping_interval": "dispatcher.probe_interval_s",
    "ds_probing_threshold": "dispatcher.down_after",
    "ds_inactive_threshold": "dispatcher.up_after",
    "ds_ping_reply_codes": "dispatcher.probe_codes",
    "options_reply_codes": "dispatcher.probe_codes",
    "fr_timeout": "dispatcher.first_response_ms",
    "fr_timer": "dispatcher.first_response_ms",
    "fr_inv_timeout": "timers.timer_c_ms",
    "db_url": "store.url",
    "log_level": "log.level",
    "debug": "log.level",
}

# fmt: off
KEYS = (
    Key("edge", "listen", "listen", ["udp:0.0.0.0:5060"],
        "Addresses to listen on, \"udp:IP:PORT\" each (\"udp:[::1]:5060\" for IPv6, \"udp:*:5060\" for every "
        "address).", restart=True),
    Key("edge", "advertise", "advertise", "",
        "\"host\" or \"host:port\" to write into Via and Record-Route when clients see another address than we "
        "listen on; empty: the listening one.", restart=True),
    Key("edge", "domains", "domains", [], "Domains that are ours besides the listening addresses."),
    Key("edge", "workers", "workers", AUTO,
        "Worker processes; \"auto\" is one per core.", 1, WORKERS_MAX, restart=True),
    Key("edge", "run_dir", "run-dir", "/run/viaduct",
        "Where sockets and pids live; when not set and not writable, a private temporary directory.", restart=True),
    Key("edge", "initial", "choice", "dispatch", "Where a client's first INVITE goes.", values={
        "dispatch": "to the set",
        "lookup-first": "to a registered contact if there is one, else to the set",
    }),
    Key("edge", "kernel_filter", "switch", True,
        "Let the kernel steer each datagram to the worker that owns it; without it workers pass strays on.",
        restart=True),
    Key("edge", "receive_buffer", "whole", 8388608,
        "Octets of each socket's receive buffer: what waits there while a worker is restarted.",
        65536, 1 << 30, restart=True),
    Key("edge", "coalesce_us", "whole", 500,
        "How long a busy worker lets datagrams come together before it takes them, in microseconds (as rx-usecs of "
        "ethtool does for a network card): fewer wake-ups, less CPU. A worker with little to do never waits, one "
        "to which REGISTERs alone come waits up to 4 ms. 0: none ever does.",
        0, 5000),
    Key("edge", "max_transactions", "whole", 1000000,
        "Transactions per worker (2.5 KB each while alive, then 256 octets for 32 s); above it new requests get 503.",
        1000, 10_000_000, restart=True),
    Key("edge", "user_agent", "text", "",
        "Server header of our own answers; empty: none, which tells scanners nothing.", 0, 127),

    Key("dispatcher", "list", "path", "dispatcher.list", "The list of destinations, relative to this file."),
    Key("dispatcher", "set", "whole", 1, "The set that calls from clients go to.", 0, 2**31 - 1),
    Key("dispatcher", "algorithm", "algorithm", "weighted-round-robin",
        "How one of a set is chosen; also the peers' numbers, \"o:4\" (OpenSIPS) or \"k:9\" (Kamailio).",
        values=ALGORITHMS, per_set=True),
    Key("dispatcher", "priority_is_weight", "switch", False,
        "Read the list's priority column as the weight, for lists that were written that way.", per_set=True),
    Key("dispatcher", "match_source", "choice", "address-and-port",
        "When a request counts as coming from a destination.", values={
        "address-and-port": "both are a destination's",
        "address": "the address is a destination's, whatever the port",
    }),
    Key("dispatcher", "first_response_ms", "whole", 2000,
        "How long a destination may stay silent before the next one is tried.", 100, 60000, per_set=True),
    Key("dispatcher", "max_attempts", "whole", 3, "Destinations tried for one request.", 1, 8),
    Key("dispatcher", "max_time_ms", "whole", 20000, "Time after which no further destination is tried.", 500, 180000),
    Key("dispatcher", "failover_codes", "failover-codes", [408, 500, 502, 503, 504],
        "Answers after which the next destination is tried; 486 487 488 and 6xx are the callee's word and never are.",
        400, 599),
    Key("dispatcher", "retry_after_cap_s", "whole", 30,
        "The longest Retry-After of a 503 that is honoured, so that one bad header cannot empty a set.", 0, 3600),
    Key("dispatcher", "refuse_code", "whole", 500, "The answer when no destination is left.", 400, 699),
    Key("dispatcher", "refuse_text", "text", "No FS Destinations", "Its reason phrase.", 1, 127),
    Key("dispatcher", "probe", "switch", True,
        "Send OPTIONS to destinations, so that dead ones are known before a call meets them.", per_set=True),
    Key("dispatcher", "probe_interval_s", "number", 10,
        "Between two probes of one destination.", 0.05, 3600, per_set=True),
    Key("dispatcher", "probe_timeout_ms", "whole", 2000,
        "A probe without an answer for so long has failed.", 20, 60000, per_set=True),
    Key("dispatcher", "probe_jitter", "number", 0.1,
        "Share of the interval by which probes are spread at random, so that they do not come in step.",
        0, 0.9, per_set=True),
    Key("dispatcher", "probe_codes", "codes", [200], "Answers to a probe that count as up.", 200, 699, per_set=True),
    Key("dispatcher", "down_after", "whole", 3,
        "Failed probes in a row until a destination is inactive.", 1, 100, per_set=True),
    Key("dispatcher", "up_after", "whole", 2, "Good probes in a row until it is active again.", 1, 100, per_set=True),
    Key("dispatcher", "passive_failures", "whole", 5,
        "Failed calls in a row, without an answer between, until a destination is inactive; 0: calls do not count.",
        0, 1000, per_set=True),
    Key("dispatcher", "hold_s", "number", 30,
        "How long a destination without probes stays inactive before calls try it again.", 0.1, 86400, per_set=True),

    Key("registrar", "auth", "auth", REQUIRED, "Who may register. Has no default: the operator decides.", values={
        "none": "anyone who reaches the port may register any address",
        "digest": "users prove a password (not available yet)",
    }),
    Key("registrar", "default_expires", "whole", 600,
        "Seconds a binding lives when the REGISTER names no time.", 1, 2592000),
    Key("registrar", "min_expires", "whole", 60, "Shorter wishes are refused with 423 and Min-Expires.", 1, 2592000),
    Key("registrar", "max_expires", "whole", 3600, "Longer wishes are shortened to this.", 1, 2592000),
    Key("registrar", "max_contacts", "whole", 10, "Contacts per address-of-record; more are refused with 503.", 1, 32),
    Key("registrar", "remember_offline_s", "whole", 86400,
        "How long an address whose bindings have gone is answered 480 (known, offline) instead of 404.", 0, 31536000),
    Key("registrar", "use_domain", "switch", True,
        "1000@a and 1000@b are two addresses; false: only the user part counts."),

    Key("store", "url", "store", "sqlite:///var/lib/viaduct/viaduct.sqlite",
        "\"sqlite:///absolute/path\" (or \"sqlite:relative\", to this file), or \"memory:\" to forget all at a "
        "restart.", restart=True),

    Key("admin", "socket", "socket", "",
        "The Unix socket of the admin API; empty: admin.sock in run_dir.", restart=True),
    Key("admin", "listen", "admin-listen", "",
        "\"127.0.0.1:8888\" for HTTP as well; loopback only, because the API asks for no password. Empty: none.",
        restart=True),

    Key("log", "level", "choice", "info",
        "The least that is written; `viaduct log-level` changes it at run time.", values={
        "debug": "everything",
        "info": "calls, registrations refused, changes of state",
        "warning": "what may need a person",
        "error": "what does need one",
    }),
    Key("log", "format", "choice", "text",
        "How a line looks.", values={"text": "for people", "json": "for programs"}, restart=True),
    Key("log", "calls", "switch", True, "One line a routed call: set, algorithm, destination, result, delays."),

    Key("timers", "t1_ms", "whole", 500, "T1, the estimate of a round trip (RFC 3261 17.1.1.1).", 10, 10000),
    Key("timers", "t2_ms", "whole", 4000, "T2, the longest interval between retransmissions.", 10, 60000),
    Key("timers", "t4_ms", "whole", 5000, "T4, the longest life of a message in the network.", 10, 60000),
    Key("timers", "timer_c_ms", "whole", 180000,
        "Timer C: how long a call may ring without a new provisional answer (RFC 3261 16.6 step 11).", 1000, 3600000),
)
# fmt: on

BY_PATH = {key.path: key for key in KEYS}
PER_SET = {key.name: key for key in KEYS if key.per_set}


def keys_of(section: str) -> dict[str, Key]:
    """The keys of one section, name -> Key, in order."""
    return {key.name: key for key in KEYS if key.section == section}
