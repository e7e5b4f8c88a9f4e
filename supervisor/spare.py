"""A spare process of a role: it has everything imported, and waits for the launch document of one that died."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterable

from supervisor import launch
from supervisor.children import Child, Command, spawn

AFTER_MS = 1_000  # from the last change: what had to be done at once is done
GIVEN_UP_MS = 60_000  # until the next one, where spares die as fast as they are started


class Spare(Child):
    """The place of a spare. It inherits what any child of the role could need, for which one is not known yet."""

    def __init__(self, role: str) -> None:
        super().__init__(launch.ROLE_SPARE)
        self.stands_for = role
        self.not_before_ms = 0
        self._document: int | None = None      # our end of the pipe that brings its launch document
        self._its_ready = launch.NO_FD         # the number that the other end of ready_pipe has in the process

    def begin(self, command: Command, descriptors: Iterable[int], environment: dict[str, str], now_ms: int) -> None:
        """Start the process. OSError: it could not be."""
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as kept:
            ready_read, ready_write = os.pipe()
            kept.callback(os.close, ready_read)
            ours.callback(os.close, ready_write)
            document_read, document_write = os.pipe()
            kept.callback(os.close, document_write)
            ours.callback(os.close, document_read)
            with contextlib.suppress(OSError):  # where pipes must be small, a document of some KB still fits
                fcntl.fcntl(document_write, fcntl.F_SETPIPE_SZ, launch.DOCUMENT_MAX)
            inherited = sorted({document_read, ready_write, *descriptors})
            pid = spawn(command(self.stands_for, document_read), inherited, environment)
            kept.pop_all()
        os.set_blocking(ready_read, False)
        os.set_blocking(document_write, False)
        self.started(pid, ready_read, now_ms)
        self._document, self._its_ready = document_write, ready_write

    def become(self, told: launch.Launch) -> tuple[int, int]:
        """Tell the process what it is; its pid and our end of its ready pipe, which are no longer the spare's.

        OSError: it is of no use, and ends.
        """
        assert self.pid is not None and self._document is not None and self.ready_pipe is not None
        text = launch.encode(told.with_ready(self._its_ready))
        pid, ready_pipe, self.ready_pipe = self.pid, self.ready_pipe, None
        try:
            if os.write(self._document, text) < len(text):
                raise OSError(errno.EMSGSIZE, "the launch document does not fit into a pipe")
        except OSError:
            os.close(ready_pipe)
            raise
        else:
            self.pid = None
        finally:
            self._close()
        return pid, ready_pipe

    def retire(self, kill_at_ms: int) -> None:
        """It is not needed any more: without a document it ends, or is killed then."""
        self.expected = True
        self.kill_at_ms = kill_at_ms if self.pid is not None else None
        self._close()

    def ended(self, status: int) -> int | None:
        if self.ready_pipe is not None:
            os.close(self.ready_pipe)
            self.ready_pipe = None
        self._close()
        return super().ended(status)

    def _close(self) -> None:
        if self._document is not None:
            os.close(self._document)
            self._document = None

    @property
    def name(self) -> str:
        return f"spare {self.stands_for}"

    @property
    def waiting(self) -> bool:
        """There is one, and it can be told."""
        return self.pid is not None and self._document is not None
