"""One place for a child process: how it is started by exec, how it ended, and when it may be started again."""

import os
import signal
from collections import deque
from collections.abc import Callable, Sequence

from supervisor import launch

EX_CONFIG = 78          # sysexits.h: the child cannot run with this configuration; starting it again would not help
CRASH_DEATHS = 10       # so many unexpected ends ...
CRASH_WINDOW_MS = 10_000  # ... within this time are a crash loop: nothing that a further start would mend
SETTLED_MS = 1_000      # a process that lived this long is replaced at once: what killed it is not its start
BACKOFF_FIRST_MS = 50   # else the first restart is immediate, the second waits this long, the third twice, ...
BACKOFF_MAX_MS = 500    # ... up to this, so that a loop still shows itself within CRASH_WINDOW_MS

# How a child of a role is started that finds its launch document in a descriptor.
Command = Callable[[str, int], list[str]]


class Child:
    """A place (worker 0, worker 1, ..., the supervisor) and the process that fills it now."""

    def __init__(self, role: str, index: int = 0) -> None:
        self.role = role
        self.index = index
        self.pid: int | None = None
        self.ready = False
        self.ready_pipe: int | None = None   # the arbiter's end
        self.starts = 0
        self.started_ms = 0
        self.ready_ms = 0
        self.start_at_ms: int | None = None  # due to be started
        self.kill_at_ms: int | None = None   # was asked to end; SIGKILL then
        self.expected = False                # its end was asked for, and is no crash
        self.promoted = False                # the process had stood by as a spare
        self.last_end: str | None = None
        self.deaths: deque[int] = deque(maxlen=CRASH_DEATHS)

    @property
    def name(self) -> str:
        """As logs and `viaduct ps` call it."""
        return f"worker {self.index}" if self.role == launch.ROLE_WORKER else self.role

    @property
    def restarts(self) -> int:
        """How often the place was filled again."""
        return max(0, self.starts - 1)

    def started(self, pid: int, ready_pipe: int, now_ms: int, *, promoted: bool = False) -> None:
        """A process fills the place; it writes to the other end of ready_pipe when it serves."""
        self.pid, self.ready_pipe, self.started_ms = pid, ready_pipe, now_ms
        self.ready, self.ready_ms, self.start_at_ms, self.kill_at_ms, self.expected = False, 0, None, None, False
        self.promoted = promoted
        self.starts += 1

    def ended(self, status: int) -> int | None:
        """The process was reaped with this wait status; its exit code, None if a signal ended it."""
        self.pid, self.ready, self.kill_at_ms = None, False, None
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            self.last_end = f"was ended by signal {number} ({signal.strsignal(number)})"
            return None
        self.last_end = f"ended with exit code {os.WEXITSTATUS(status)}"
        return os.WEXITSTATUS(status)

    def died(self, now_ms: int) -> int | None:
        """Count an unexpected end; how long to wait before the next start, None in a crash loop."""
        self.deaths.append(now_ms)
        recent = sum(now_ms - death < CRASH_WINDOW_MS for death in self.deaths)
        if recent >= CRASH_DEATHS:
            return None
        if recent == 1 or now_ms - self.started_ms >= SETTLED_MS:
            return 0
        return min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS << (recent - 2))

    def send(self, number: int) -> None:
        """A signal to the process, if there is one; it is reaped only by us, so the pid is still its own."""
        if self.pid is not None:
            os.kill(self.pid, number)


def spawn(argv: Sequence[str], descriptors: Sequence[int], environment: dict[str, str]) -> int:
    """Start argv by exec with these descriptors under the same numbers; the pid. OSError: it could not be started.

    The child has a session of its own, so that a terminal's Ctrl-C is the arbiter's alone.
    """
    nothing = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    kept = [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in descriptors]  # onto itself: close-on-exec off, in the child
    return os.posix_spawn(argv[0], argv, environment, file_actions=[nothing, *kept], setsid=True, setsigmask=[],
                          setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])
