"""Names of the dispatcher's algorithms and states, and the numbers by which OpenSIPS and Kamailio know the former."""

# The numbers are the enums of dispatcher.pxd: they cross processes.
ALGORITHMS = {
    "weighted-round-robin": 0,
    "round-robin": 1,
    "random": 2,
    "priority": 3,
    "least-calls": 4,
    "hash-call-id": 5,
    "hash-from": 6,
    "hash-to": 7,
    "hash-request-uri": 8,
    "hash-user": 9,
}
ALGORITHM_NAMES = {number: name for name, number in ALGORITHMS.items()}
STATES = {
    "active": 0,
    "trying": 1,
    "inactive": 2,
    "draining": 3,
    "disabled": 4,
}
STATE_NAMES = {number: name for name, number in STATES.items()}

# The peers' numbers: OpenSIPS's ds_select_dst (o:) and Kamailio's (k:).
PEERS_ALGORITHMS = {
    "o:0": "hash-call-id", "o:1": "hash-from", "o:2": "hash-to", "o:3": "hash-request-uri",
    "o:4": "weighted-round-robin", "o:6": "random", "o:8": "priority",
    "k:0": "hash-call-id", "k:1": "hash-from", "k:2": "hash-to", "k:3": "hash-request-uri",
    "k:4": "round-robin", "k:6": "random", "k:8": "priority",
    "k:9": "weighted-round-robin", "k:10": "least-calls", "k:11": "weighted-round-robin",
}
PEERS_NOT_OFFERED = {  # what it is there, and the nearest of ours
    "o:5": ("a hash of the Authorization user name", "hash-from"),
    "o:7": ("a hash of a script variable", "hash-user"),
    "o:9": ("the lowest value of a script variable", "least-calls"),
    "o:10": ("a score that a script computes", "least-calls"),
    "k:5": ("a hash of the Authorization user name", "hash-from"),
    "k:7": ("a hash of a script variable", "hash-user"),
    "k:12": ("a parallel fork to all", "round-robin"),
    "k:13": ("the lowest latency", "least-calls"),
    "k:14": ("round robin among the same priority", "priority"),
    "k:15": ("priority and weight as in SRV records", "weighted-round-robin"),
    "k:64": ("round robin with overload control", "round-robin"),
}


def algorithm_of(text):
    """The number of an algorithm from its name, or a peer's number: "o:4" (OpenSIPS), "k:9" (Kamailio); ValueError."""
    name = PEERS_ALGORITHMS.get(text, text)
    if name in ALGORITHMS:
        return ALGORITHMS[name]
    if text in PEERS_NOT_OFFERED:
        what, nearest = PEERS_NOT_OFFERED[text]
        raise ValueError(f"algorithm {text} ({what}) is not offered; the nearest is {nearest}")
    if isinstance(text, str) and text.isdigit():
        raise ValueError(
            f"algorithm {text}: a number means one thing in OpenSIPS, another in Kamailio; write o:{text} or k:{text}"
        )
    names = ", ".join(ALGORITHMS)
    raise ValueError(f"algorithm {text!r}: expected one of {names}, or a peer's number such as o:4 or k:9")
