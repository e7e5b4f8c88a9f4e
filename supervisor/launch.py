"""The launch document: all that the arbiter tells a child, as JSON in a descriptor whose number is its only argument.

workers/launch.py is the reading end for workers, which never import this package; a test holds the two equal.
"""

import json
import os
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

ROLE_WORKER = "worker"
ROLE_SUPERVISOR = "supervisor"
ROLE_SPARE = "spare"    # of a place, never in a document: that is still to come
DOCUMENT_MAX = 1 << 20  # octets, as much as a pipe may hold; settings are a few KB, so more than this is not ours
NO_FD = -1              # a descriptor that this role does not get


class LaunchError(Exception):
    """The document cannot be read: one sentence that says what was found and what was expected."""


@dataclass(frozen=True)
class Listener:
    """One concrete local address. Its place in Launch.listeners is the number that endpoints carry everywhere."""

    fd: int                # the worker's own socket of this address's group; NO_FD in the supervisor
    transport: str         # "udp"
    ip: str                # numeric, IPv6 without brackets
    port: int
    advertise: str | None  # "host:port" for Via and Record-Route where the address itself is not what peers reach
    configured: str        # as the operator wrote it


@dataclass(frozen=True)
class Launch:
    """What one child is, and the descriptors that it inherits under the same numbers."""

    role: str              # ROLE_WORKER | ROLE_SUPERVISOR
    index: int             # the worker's number, 0 for the supervisor
    workers: int           # how many there are
    restarts: int          # how often this place was filled before: a worker with restarts > 0 is an heir
    config_path: str | None
    settings: dict[str, Any]
    listeners: tuple[Listener, ...]
    inbox_fd: int          # the receiving end of the worker's inbox; NO_FD in the supervisor
    inbox_peers: tuple[int, ...]  # the sending end towards worker 0, 1, ...
    page_fd: int           # the shared counters page
    ready_fd: int          # write b"1" here when serving
    life_fd: int           # readable (end of file) once the arbiter is gone: the child must end
    control: str           # ZeroMQ address of the log
    run_dir: str

    def ready(self) -> None:
        """Tell the arbiter that this process serves; may be said once."""
        os.write(self.ready_fd, b"1")
        os.close(self.ready_fd)

    def with_ready(self, fd: int) -> "Launch":
        """The same with another ready_fd."""
        return replace(self, ready_fd=fd)

    def descriptors(self) -> list[int]:
        """The descriptors named in the document, which the child must inherit."""
        named = [listener.fd for listener in self.listeners]
        named += [self.inbox_fd, *self.inbox_peers, self.page_fd, self.ready_fd, self.life_fd]
        return sorted({fd for fd in named if fd != NO_FD})


def encode(launch: Launch) -> bytes:
    return json.dumps(asdict(launch)).encode()


def write(launch: Launch) -> int:
    """A memfd (close-on-exec) that holds the document; the caller closes it after the child was started."""
    fd = os.memfd_create(f"viaduct-launch-{launch.role}-{launch.index}")
    os.write(fd, encode(launch))
    return fd


def read(fd: int) -> Launch | None:
    """The document in fd, which is closed. Unknown keys are passed over, a missing one is an error (LaunchError).

    A spare waits here: its document comes through a pipe when its place is known. None: it is not needed.
    """
    with os.fdopen(fd, "rb") as file:
        if file.seekable():
            file.seek(0)
        data = file.read(DOCUMENT_MAX)
    if not data:
        return None
    try:
        document = json.loads(data)
        listeners = tuple(_build(Listener, listener) for listener in document["listeners"])
        return _build(Launch, {**document, "listeners": listeners, "inbox_peers": tuple(document["inbox_peers"])})
    except (ValueError, KeyError, TypeError) as error:
        raise LaunchError(f"launch document in descriptor {fd}: {error!r}; expected what the arbiter writes") from error


def _build(shape: type, document: dict[str, Any]) -> Any:
    return shape(**{field.name: document[field.name] for field in fields(shape)})
