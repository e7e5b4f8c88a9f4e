"""A worker's log: the lines of supervisor/logs.py without the logging module, kept until the batch boundary.

write() formats and keeps a line; flush() hands the kept lines to standard error as its reader takes them.
A full log drops lines and counts them: a slow reader of the log must not delay a call.
"""

import json
import os
import select
import stat
import time
from collections import deque
from typing import Any

LEVELS = {"critical": 50, "error": 40, "warning": 30, "notice": 25, "info": 20, "debug": 10}
LINES_MAX = 10_000  # kept lines; about 2 MB, a second of call lines at the highest rate
CHUNK_MAX = 4096    # PIPE_BUF: a pipe that polls writable takes this much at once and whole


def unhurried(fd: int) -> int:
    """A descriptor of the same log whose writes never wait, where it is a pipe: others who write to it (the other
    workers) may fill it between our look and our write. Anything else is given back as it is."""
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        return fd
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # a pipe of another user's, or no /proc: then as before
        return fd


class Log:
    """Log("worker 0", level, style, fd): style is "text" or "json"; .level, a name of LEVELS, may be assigned to."""

    def __init__(self, process: str, level: str = "info", style: str = "text", fd: int = 2) -> None:
        self.process = process
        self.json = style == "json"
        self.fd = fd
        self.pid = os.getpid()
        self.lines: deque[bytes] = deque()
        self.dropped = 0  # since the start; the caller keeps it in the counters page
        self.level = level
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._second = -1
        self._second_text = ("", "")

    @property
    def level(self) -> str:
        """The least level that is written."""
        return self._level

    @level.setter
    def level(self, name: str) -> None:
        self.threshold = LEVELS[name]
        self._level = name

    def write(self, level: str, message: str, **values: Any) -> None:
        """Keep one line, if its level is wanted and there is room."""
        if LEVELS[level] < self.threshold:
            return
        if len(self.lines) >= LINES_MAX:
            self.dropped += 1
            return
        self.lines.append(self.line(time.time_ns() // 1_000_000, level, message, values))

    def line(self, wall_ms: int, level: str, message: str, values: dict[str, Any]) -> bytes:
        """One line with its line end; CHUNK_MAX octets at most."""
        if self.json:
            text = json.dumps({"time": self._timestamp(wall_ms), "level": level, "process": self.process,
                               "pid": self.pid, "message": message, **values}, default=str)
        else:
            pairs = "".join([f" {key}={value}" for key, value in values.items()])
            text = f"{self._timestamp(wall_ms)} {level} {self.process}[{self.pid}]: {message}{pairs}"
        return text.encode("utf-8", "backslashreplace")[:CHUNK_MAX - 1] + b"\n"

    def flush(self) -> None:
        """Write what the reader takes without waiting; the rest stays for the next batch boundary."""
        while self.lines:
            ready = self._poll.poll(0)
            if not ready or not ready[0][1] & select.POLLOUT:
                return
            chunk = self.lines.popleft()
            while self.lines and len(chunk) + len(self.lines[0]) <= CHUNK_MAX:
                chunk += self.lines.popleft()
            try:
                os.write(self.fd, chunk)
            except OSError:  # the reader is gone: nobody is left to tell
                self.dropped += chunk.count(b"\n")
                return

    def _timestamp(self, wall_ms: int) -> str:
        second, ms = divmod(wall_ms, 1000)
        if second != self._second:  # strftime costs more than the rest of a line
            local = time.localtime(second)
            offset = time.strftime("%z", local)
            self._second = second
            self._second_text = (time.strftime("%Y-%m-%dT%H:%M:%S", local), f"{offset[:3]}:{offset[3:]}")
        return f"{self._second_text[0]}.{ms:03d}{self._second_text[1]}"
