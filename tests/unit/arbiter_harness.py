"""An arbiter with small children in place of the real ones: `arbiter_harness.py CONFIG PLAN`, PLAN being a JSON file.

The plan says how children behave by their name ("worker 0", "supervisor"): {"exit": code} ends at once, {"deaf": true}
does not end at TERM, {"hang": true} writes no heartbeat, {"mute": true} is never ready. A worker answers every datagram
with its index and pid; the file that the plan names as "hup" gets a line at every HUP of the supervisor; "fault" is
what reloading raises. Given a launch document's number alone, this file is such a child.
"""

import faulthandler
import json
import mmap
import os
import selectors
import signal
import socket
import struct
import sys
import time

HEARTBEAT_AT = 4096     # sipcore/counters.pxd: PAGE_HEADER, then a row of PAGE_COUNTERS counters per worker
HEARTBEAT_STRIDE = 1024
SUPERVISOR_HEARTBEAT_AT = 0
BEAT_S = 0.1


def arbiter(config_path: str, plan_path: str) -> int:
    """Run the arbiter until it is told to end; its exit code."""
    from supervisor import arbiter as module  # noqa: PLC0415  the child below must start without it
    from supervisor import children, config  # noqa: PLC0415

    os.environ["PLAN"] = plan_path
    with open(plan_path) as file:
        plan = json.load(file)
    for name, value in plan.get("constants", {}).items():
        for owner in (module, children):
            if hasattr(owner, name):
                setattr(owner, name, value)

    def reload() -> config.Config:
        if "fault" in plan:
            raise RuntimeError(plan["fault"])
        return config.load(config_path)

    return module.Arbiter(config.load(config_path), reload,
                          lambda role, fd: [sys.executable, "-S", __file__, str(fd)]).run()


def child(launch_fd: int) -> int:
    """One child, as the plan wants it."""
    from workers import launch as module  # noqa: PLC0415

    launch = module.read(launch_fd)
    if launch is None:
        return 0
    name = f"worker {launch.index}" if launch.role == "worker" else launch.role
    with open(os.environ["PLAN"]) as file:
        plan = json.load(file)
    mine = plan.get(name, {})
    faulthandler.register(signal.SIGUSR1)
    if "exit" in mine:
        return mine["exit"]
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: None if mine.get("deaf") else ended.append(0))
    signal.signal(signal.SIGHUP, lambda *_: note(plan["hup"], "hup"))
    if not mine.get("mute"):
        launch.ready()
    page = mmap.mmap(launch.page_fd, 0)
    selector = selectors.DefaultSelector()
    selector.register(launch.life_fd, selectors.EVENT_READ)
    sockets = [socket.socket(fileno=listener.fd) for listener in launch.listeners if listener.fd >= 0]
    for sock in sockets:
        selector.register(sock, selectors.EVENT_READ)
    while not ended:
        if not mine.get("hang"):
            at = HEARTBEAT_AT + launch.index * HEARTBEAT_STRIDE if launch.role == "worker" else SUPERVISOR_HEARTBEAT_AT
            struct.pack_into("Q", page, at, time.monotonic_ns() // 1_000_000)
        for key, _ in selector.select(BEAT_S):
            if key.fileobj == launch.life_fd:
                return 0
            data, peer = key.fileobj.recvfrom(2048)
            key.fileobj.sendto(f"{launch.index} {os.getpid()} {launch.restarts} {data.decode()}".encode(), peer)
    return 0


def note(path: str, line: str) -> None:
    """Append a line for the test to find."""
    with open(path, "a") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    sys.exit(child(int(sys.argv[1])) if len(sys.argv) == 2 else arbiter(sys.argv[1], sys.argv[2]))
