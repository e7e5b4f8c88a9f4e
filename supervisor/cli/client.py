"""The command line's way to a running edge: which socket it is, and JSON-RPC over it. Standard library only."""

import http.client
import json
import os
import socket
import tempfile
from glob import escape, glob
from typing import Any

DEFAULT_SOCKET = "/run/viaduct/admin.sock"
SOCKET_NAME = "admin.sock"
SOCKET_VARIABLE = "VIADUCT_SOCKET"
TIMEOUT_S = 30  # a reload that resolves names takes the longest
ANSWER_MAX = 256 << 20  # octets; a page of bindings is far below


class Unreachable(Exception):
    """No edge answers there; str() is a sentence."""


class Refused(Exception):
    """The edge answered with an error; str() is its sentence."""


def find_socket(socket_path: str | None, config_path: str | None) -> str:
    """The admin socket of the instance that is meant.

    -s, else that of -c's file, $VIADUCT_SOCKET, that of the default file, the default one, or the only one that this
    user runs in a private directory. ConfigError when the file has mistakes, Unreachable when there are several.
    """
    if socket_path:
        return socket_path
    if not config_path and os.environ.get(SOCKET_VARIABLE):
        return os.environ[SOCKET_VARIABLE]
    from supervisor import config  # noqa: PLC0415  not needed when the socket is named

    default = config.default_path()
    if config_path or os.path.exists(default):
        configuration = config.load(config_path or default)
        settings = configuration.settings
        if settings["admin"]["socket"]:
            return settings["admin"]["socket"]
        if "edge.run_dir" in configuration.given:
            return os.path.join(settings["edge"]["run_dir"], SOCKET_NAME)
    return DEFAULT_SOCKET if os.path.exists(DEFAULT_SOCKET) else private_socket()


def private_socket() -> str:
    """The socket of an edge that this user started without a run directory; DEFAULT_SOCKET when there is none."""
    found = []
    for path in glob(os.path.join(escape(tempfile.gettempdir()), "viaduct-*", SOCKET_NAME)):
        try:
            ours = os.stat(path).st_uid == os.geteuid() == os.stat(os.path.dirname(path)).st_uid
        except OSError:
            continue  # it has just ended
        if ours and answers(path):
            found.append(path)
    if len(found) > 1:
        raise Unreachable(f"several edges run here: {', '.join(sorted(found))}; choose one with -s")
    return found[0] if found else DEFAULT_SOCKET


def answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex(path) == 0


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self.path)


class Client:
    """JSON-RPC calls to one edge. Raises Unreachable and Refused."""

    def __init__(self, path: str) -> None:
        self.path = path

    def call(self, method: str, params: dict[str, Any] | list[Any] | None = None) -> Any:
        """The result of one method."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}
        answer = self.post(json.dumps(request).encode())
        if "error" in answer:
            raise Refused(str(answer["error"].get("message", answer["error"])))
        return answer.get("result")

    def post(self, body: bytes) -> dict[str, Any]:
        connection = UnixConnection(self.path)
        try:
            connection.request("POST", "/mi", body, {"Content-Type": "application/json", "Connection": "close"})
            response = connection.getresponse()
            raw = response.read(ANSWER_MAX)
        except TimeoutError:
            raise Unreachable(f"the edge at {self.path} does not answer within {TIMEOUT_S} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(self.why(error)) from None
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise Refused(f"{self.path}: HTTP {response.status} {raw[:200].decode(errors='replace').strip()}")
        try:
            answer = json.loads(raw)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Refused(f"{self.path}: the answer is not that of a Viaduct edge")
        return answer

    def why(self, error: Exception) -> str:
        if isinstance(error, FileNotFoundError):
            reason = "there is no such socket"
        elif isinstance(error, ConnectionRefusedError):
            reason = "nobody listens there"
        else:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return f"no edge at {self.path}: {reason} (start one with `viaduct run`, or choose another with -s or -c)"
