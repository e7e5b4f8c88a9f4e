"""The run directory: who holds it, the sockets in it, and arbiter.json, from which `viaduct ps` has pids and restarts.

arbiter.json is one object, replaced whole at each change: pid, ready, workers, config_path, run_dir, control, admin,
started_wall_ms, listeners [{transport, ip, port, advertise, configured}], children [{role, index, name, pid (null
between two lives), ready, restarts, started_ms (monotonic), last_end (how the previous one ended, null at first)}].
"""

import fcntl
import json
import os
import tempfile
from pathlib import Path
from typing import Any

STATUS = "arbiter.json"
LAST_GOOD = "dispatcher.last"     # the list as it was last accepted, for a supervisor that finds the file bad
STATES = "destinations.json"      # what operator and probes said of destinations, for the next supervisor of this edge
SUN_PATH_MAX = 107        # octets of a Unix socket's path, <sys/un.h>


class RunDirError(Exception):
    """The directory cannot be used: one sentence that says why and what to change."""


class RunDir:
    """The directory, held by a lock as long as this object's process lives.

    Where it cannot be written, and the operator did not choose it, a private one takes its place. admin: the admin
    socket's path if it is not in the directory.
    """

    def __init__(self, wanted: str, chosen: bool, admin: str = "") -> None:
        self.path, self.ours = _prepare(wanted, chosen)
        self.control_path = self.path / "control.sock"
        self.admin = Path(admin) if admin else self.path / "admin.sock"
        for sock in (self.control_path, self.admin):
            if len(os.fsencode(sock)) > SUN_PATH_MAX:
                raise RunDirError(f"{sock}: a Unix socket's path has at most {SUN_PATH_MAX} octets; shorten it")
        self._lock = _lock(self.path)

    @property
    def control(self) -> str:
        """ZeroMQ's address of the log."""
        return f"ipc://{self.control_path}"

    def write_status(self, status: dict[str, Any]) -> None:
        """Replace arbiter.json: a reader sees the old one or the new one, never a part."""
        fresh = self.path / (STATUS + ".new")
        fresh.write_text(json.dumps(status, indent=1) + "\n")
        fresh.replace(self.path / STATUS)

    def remove(self) -> None:
        """Take our files away, and the directory if we made it and nothing of others is in it."""
        ours = (STATUS, LAST_GOOD, STATES, "lock")
        for path in (self.control_path, self.admin, *(self.path / name for name in ours)):
            path.unlink(missing_ok=True)
        os.close(self._lock)
        if self.ours and not any(self.path.iterdir()):
            self.path.rmdir()


def _prepare(wanted: str, chosen: bool) -> tuple[Path, bool]:
    """The directory and whether we made it."""
    path = Path(wanted)
    try:
        made = not path.exists()
        path.mkdir(mode=0o750, parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
        return path, made
    except OSError as error:
        if chosen:
            raise RunDirError(f"edge.run_dir {wanted}: {error.strerror}; expected a directory to write in") from error
        return Path(tempfile.mkdtemp(prefix="viaduct-")), True


def _lock(path: Path) -> int:
    fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
        os.close(fd)
        raise RunDirError(f"edge.run_dir {path}: another viaduct (pid {holder or 'unknown'}) runs there; "
                          "end it or set another directory") from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd
