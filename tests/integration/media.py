"""A destination that can be broken: a stateless SIP answerer in a thread, which does as its mode says."""

from __future__ import annotations

import re
import socket
import threading

TICK_S = 0.05
COPIED = re.compile(rb"^(?:Via|Record-Route|From|Call-ID|CSeq):[^\r]*\r\n", re.MULTILINE | re.IGNORECASE)
TO = re.compile(rb"^To:[^\r]*", re.MULTILINE | re.IGNORECASE)
CALL_ID = re.compile(rb"^Call-ID:[ \t]*([^\r]*)", re.MULTILINE | re.IGNORECASE)

ANSWER, SILENT, PROBES_ONLY, BUSY, DEAD = "answer", "silent", "probes-only", "busy", "dead"


class MediaServer:
    """Answers calls (180, 200) and probes. SILENT: nothing. PROBES_ONLY: OPTIONS alone. BUSY: 503, Retry-After: 300.

    DEAD: its port is closed, so that the kernel refuses for it. `open` are the calls answered and not ended yet.
    """

    def __init__(self) -> None:
        self.mode = ANSWER
        self.invites = 0
        self.open: set[bytes] = set()
        self._socket: socket.socket | None = self._bound(0)
        self.port = self._socket.getsockname()[1]
        self.uri = f"sip:127.0.0.1:{self.port}"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> MediaServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._socket is not None:
            self._socket.close()

    def _bound(self, port: int) -> socket.socket:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.settimeout(TICK_S)
        opened.bind(("127.0.0.1", port))
        return opened

    def _serve(self) -> None:
        while not self._ended.is_set():
            if self.mode == DEAD:
                if self._socket is not None:
                    self._socket.close()
                    self._socket = None
                self._ended.wait(TICK_S)
                continue
            if self._socket is None:
                self._socket = self._bound(self.port)
            try:
                data, source = self._socket.recvfrom(65535)
            except TimeoutError:
                continue
            for answer in self._answers(data):
                self._socket.sendto(answer, source)

    def _answers(self, data: bytes) -> list[bytes]:
        method = data.split(b" ", 1)[0]
        self.invites += method == b"INVITE"
        if self.mode in (SILENT, DEAD) or method == b"ACK" or (self.mode == PROBES_ONLY and method != b"OPTIONS"):
            return []
        if method != b"INVITE":
            self.open.discard(CALL_ID.search(data)[1])
            return [self._response(data, b"200 OK")]
        if self.mode == BUSY:
            return [self._response(data, b"503 Busy", b"Retry-After: 300\r\n")]
        self.open.add(CALL_ID.search(data)[1])
        return [self._response(data, b"180 Ringing"), self._response(data, b"200 OK")]

    def _response(self, data: bytes, status: bytes, more: bytes = b"") -> bytes:
        to = TO.search(data)[0]
        tag = b"" if b";tag=" in to else b";tag=m"
        contact = b"Contact: <%s>\r\n" % self.uri.encode()
        return (b"SIP/2.0 " + status + b"\r\n" + b"".join(COPIED.findall(data)) + to + tag + b"\r\n" + contact + more
                + b"Content-Length: 0\r\n\r\n")
