"""Logs of the arbiter and the supervisor: text or JSON lines on standard error, the level changeable at run time.

Workers write the same lines without the logging module (workers/logs.py); a test holds the two equal.
"""

import contextlib
import json
import logging
import os
import socket
import stat
from collections import deque
from datetime import datetime
from typing import Any, TextIO

FORMATS = ("text", "json")
LINES_MAX = 10_000  # kept for a slow reader of the log: more than a busy hour says
NOTICE = 25  # between warning and info, as syslog has it
ROOT = "viaduct"

# Names, and the numbers that OpenSIPS and Kamailio give their levels (log_level, debug): -3 alert ... 4 debug.
LEVELS = {"critical": logging.CRITICAL, "error": logging.ERROR, "warning": logging.WARNING, "notice": NOTICE,
          "info": logging.INFO, "debug": logging.DEBUG}
ALIASES = {"alert": "critical", "crit": "critical", "err": "error", "warn": "warning", "dbg": "debug"}
NUMBERS = {-3: "critical", -2: "critical", -1: "error", 0: "warning", 1: "warning", 2: "notice", 3: "info", 4: "debug"}
NAMES = {number: name for name, number in LEVELS.items()}


def level_name(level: str | int) -> str:
    """The canonical name of a level given by name or number (-3..4); ValueError with a sentence for anything else."""
    text = str(level).strip().lower()
    name = ALIASES.get(text, text)
    if name in LEVELS:
        return name
    try:
        return NUMBERS[int(text)]
    except (ValueError, KeyError):
        raise ValueError(f"log level {level!r}: expected one of {', '.join(LEVELS)}, or -3 to 4") from None


def configure(process: str, level: str | int = "info", style: str = "text",
              stream: TextIO | None = None) -> logging.Logger:
    """Send everything under the product's logger to stream (standard error) as lines of process; the logger."""
    if style not in FORMATS:
        raise ValueError(f"log format {style!r}: expected one of {', '.join(FORMATS)}")
    handler = Unhurried() if stream is None else logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(process) if style == "json" else TextLines(process))
    logger = logging.getLogger(ROOT)
    logger.handlers[:] = [handler]
    logger.propagate = False
    logging.raiseExceptions = False  # a reader of our standard error that went away must not end the edge
    set_level(level)
    return logger


def set_level(level: str | int) -> str:
    """Change the level of this process now; its canonical name."""
    name = level_name(level)
    logging.getLogger(ROOT).setLevel(LEVELS[name])
    return name


def announce(message: str, level: str = "notice", **values: Any) -> None:
    """A line that is written whatever the level in force: what an operator must see at start."""
    logger = logging.getLogger(ROOT)
    logger.handle(logger.makeRecord(ROOT, LEVELS[level], "", 0, message, (), None, extra={"fields": values}))


class Unhurried(logging.Handler):
    """Lines to a descriptor, without ever waiting for its reader: what he does not take is kept, up to LINES_MAX lines.

    A pipe is opened again for this process alone, because O_NONBLOCK holds for all that share an open file.
    """

    def __init__(self, fd: int = 2) -> None:
        super().__init__()
        self.lines: deque[bytes] = deque()
        self.dropped = 0
        self._fd, self._send = fd, os.write
        mode = os.fstat(fd).st_mode
        if stat.S_ISFIFO(mode):
            with contextlib.suppress(OSError):  # another user's pipe: a full one holds us up then
                self._fd = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        elif stat.S_ISSOCK(mode):
            self._fd = os.dup(fd)
            self._send = send_at_once
        self._ours = self._fd != fd

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.lines) >= LINES_MAX:
            self.dropped += 1
            return
        self.lines.append((self.format(record) + "\n").encode("utf-8", "backslashreplace"))
        self.flush()

    def flush(self) -> None:
        """Hand on what the reader takes now."""
        while self.lines:
            try:
                taken = self._send(self._fd, self.lines[0])
            except BlockingIOError:
                return
            except OSError:  # the reader is gone, or the disk is full: nobody is left to tell
                self.dropped += 1
                taken = len(self.lines[0])
            if taken < len(self.lines[0]):
                self.lines[0] = self.lines[0][taken:]
            else:
                self.lines.popleft()

    def close(self) -> None:
        if self._ours:
            os.close(self._fd)
            self._ours = False
        super().close()


def send_at_once(fd: int, octets: bytes) -> int:
    """What a socket takes without waiting; the descriptor stays open."""
    sock = socket.socket(fileno=fd)
    try:
        return sock.send(octets, socket.MSG_DONTWAIT)
    finally:
        sock.detach()


def flush() -> None:
    """Hand on what is kept; for every turn of a loop, so that the last lines do not wait for another one."""
    for handler in logging.getLogger(ROOT).handlers:
        handler.flush()


class TextLines(logging.Formatter):
    """`2026-05-04T03:02:01.123+02:00 info worker 0[123]: message key=value`."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self.process = process

    def format(self, record: logging.LogRecord) -> str:
        values = "".join(f" {key}={value}" for key, value in getattr(record, "fields", {}).items())
        trace = "\n" + self.formatException(record.exc_info) if record.exc_info else ""
        head = f"{timestamp(record.created)} {_name(record)} {self.process}[{os.getpid()}]"
        return f"{head}: {record.getMessage()}{values}{trace}"


class JsonLines(logging.Formatter):
    """The same as one JSON object a line; a record's fields stand beside time, level, process, pid and message."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self.process = process

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": timestamp(record.created), "level": _name(record), "process": self.process, "pid": os.getpid(),
                "message": record.getMessage(), **getattr(record, "fields", {})}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def timestamp(seconds: float) -> str:
    """Wall-clock seconds as local time with milliseconds and the offset from UTC."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="milliseconds")


def _name(record: logging.LogRecord) -> str:
    return NAMES.get(record.levelno, str(record.levelno))
