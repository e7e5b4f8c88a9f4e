"""The launch document as a worker reads it: what it is, its settings, and the descriptors that it inherited.

supervisor/launch.py writes it and documents the fields; a test holds the two shapes equal.
"""

import json
import os
from dataclasses import dataclass, fields
from typing import Any

DOCUMENT_MAX = 1 << 20  # octets, as on the writing side


class LaunchError(Exception):
    """The document cannot be read: one sentence that says what was found and what was expected."""


@dataclass(frozen=True)
class Listener:
    """One concrete local address and this worker's socket of its group."""

    fd: int
    transport: str
    ip: str
    port: int
    advertise: str | None
    configured: str


@dataclass(frozen=True)
class Launch:
    """What this worker is. restarts > 0: an heir, whose forerunner's transactions may still get responses."""

    role: str
    index: int
    workers: int
    restarts: int
    config_path: str | None
    settings: dict[str, Any]
    listeners: tuple[Listener, ...]
    inbox_fd: int
    inbox_peers: tuple[int, ...]
    page_fd: int
    ready_fd: int
    life_fd: int
    control: str
    run_dir: str

    def ready(self) -> None:
        """Tell the arbiter that this worker serves; may be said once."""
        os.write(self.ready_fd, b"1")
        os.close(self.ready_fd)


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
