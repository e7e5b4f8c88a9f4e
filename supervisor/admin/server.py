"""The admin API over HTTP: POST /mi (JSON-RPC 2.0), GET /healthz, /readyz; on a Unix socket and perhaps on loopback."""

import asyncio
import contextlib
import errno
import os
import socket
import stat

from aiohttp import web

from supervisor.admin.backend import AdminError, Backend
from supervisor.admin.methods import standard

BODY_MAX = 65536  # octets of a request: a full batch of the longest AORs
READ_TIMEOUT_S = 10  # for a whole body: the client is on this machine
LINGER_S = 1  # for the rest of a body that was refused, so that the client reads why
KEEPALIVE_S = 30  # an idle connection
CONNECTIONS_MAX = 64  # when one more comes, the oldest goes: clients that hang cannot lock the operator out
STOP_TIMEOUT_S = 1  # for requests under way when we stop
ACCEPT_TURNS = 3  # of the loop, until a connection accepted in this one is known (accept, task, connection_made)
SOCKET_MASK = 0o117  # the socket is for its owner and its group (0660)
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
UNKNOWN_HOST = "Host: expected localhost, 127.0.0.1 or [::1]\n"


class AdminServer:
    """Serves one backend. start() raises OSError with a sentence when an address cannot be had; stop() ends all."""

    def __init__(self, backend: Backend, socket_path: str, listen: str = "") -> None:
        self.backend = backend
        self.methods = standard(backend)
        self.socket_path = socket_path
        self.listen = listen
        self.runner: web.AppRunner | None = None
        self.servers: list[asyncio.AbstractServer] = []

    async def start(self) -> None:
        app = web.Application(client_max_size=BODY_MAX, middlewares=[guard])
        app.router.add_post("/mi", self.mi)
        app.router.add_get("/healthz", self.healthz)
        app.router.add_get("/readyz", self.readyz)
        self.runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=LINGER_S,
            shutdown_timeout=STOP_TIMEOUT_S,
        )
        await self.runner.setup()
        try:
            await self.serve(unix_socket(self.socket_path))
            if self.listen:
                await self.serve(loopback_socket(self.listen))
        except OSError:
            await self.stop()
            raise

    async def serve(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        if listening.family == socket.AF_UNIX:
            self.servers.append(await loop.create_unix_server(self.connection, sock=listening))
        else:
            self.servers.append(await loop.create_server(self.connection, sock=listening))

    def connection(self) -> asyncio.Protocol:
        """A new connection's protocol; makes room for it first."""
        server = self.runner.server
        if len(server.connections) >= CONNECTIONS_MAX:
            server.connections[0].force_close()
        return server()

    @property
    def port(self) -> int:
        """The TCP port that is served, 0 when there is none."""
        ports = [
            each.getsockname()[1] for server in self.servers for each in server.sockets if each.family != socket.AF_UNIX
        ]
        return next(iter(ports), 0)

    async def stop(self) -> None:
        """Ends all connections and removes the socket."""
        bound = bool(self.servers)
        for server in self.servers:
            server.close()
        self.servers.clear()
        for _ in range(ACCEPT_TURNS):
            await asyncio.sleep(0)
        if self.runner is not None:
            await self.runner.cleanup()
            self.runner = None
        if bound:
            with contextlib.suppress(FileNotFoundError):  # Python 3.13 has removed it already
                os.unlink(self.socket_path)

    async def mi(self, request: web.Request) -> web.Response:
        try:
            body = await asyncio.wait_for(request.read(), READ_TIMEOUT_S)
        except asyncio.TimeoutError:
            raise web.HTTPRequestTimeout(text=f"the body did not come within {READ_TIMEOUT_S} s\n") from None
        answer = await self.methods.answer(body)
        if answer is None:
            return web.Response(status=204)
        return web.Response(body=answer, content_type="application/json")

    async def healthz(self, _request: web.Request) -> web.Response:
        """200 as long as the supervisor's loop turns."""
        return web.Response(text="ok\n")

    async def readyz(self, _request: web.Request) -> web.Response:
        """200 once calls can be served, 503 before."""
        try:
            ready = (await self.backend.info()).get("ready", True)
        except AdminError as error:
            return web.Response(status=503, text=f"{error.text}\n")
        return web.Response(text="ready\n") if ready else web.Response(status=503, text="not ready\n")


@web.middleware
async def guard(request: web.Request, handler) -> web.StreamResponse:
    """On TCP, keep web pages out: a browser on this machine must not be a way in (DNS rebinding, cross-site posts)."""
    if request.transport is None or request.transport.get_extra_info("socket").family == socket.AF_UNIX:
        return await handler(request)
    if (request.url.host or "") not in LOCAL_NAMES:
        raise web.HTTPForbidden(text=UNKNOWN_HOST)
    if "Origin" in request.headers:
        raise web.HTTPForbidden(text="Origin: requests of web pages are refused\n")
    if request.method == "POST" and request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="Content-Type: expected application/json\n")
    return await handler(request)


def unix_socket(path: str) -> socket.socket:
    """A bound Unix socket; one that a dead process left is replaced, a live one is not."""
    try:
        left = os.stat(path).st_mode
    except FileNotFoundError:
        left = None
    if left is not None and not stat.S_ISSOCK(left):
        raise OSError(errno.EEXIST, f"admin.socket {path}: found a file that is no socket, expected a free path")
    if left is not None:
        if answers(path):
            raise OSError(
                errno.EADDRINUSE, f"admin.socket {path}: another process serves there; stop it or choose another"
            )
        os.unlink(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    mask = os.umask(SOCKET_MASK)
    try:
        listening.bind(path)
    except OSError as error:
        listening.close()
        raise OSError(error.errno, f"admin.socket {path}: {error.strerror or error}") from None
    finally:
        os.umask(mask)
    return listening


def answers(path: str) -> bool:
    """Whether somebody listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True  # a full backlog, a timeout: somebody is there
        return True


def loopback_socket(listen: str) -> socket.socket:
    """A bound TCP socket for "IP:PORT" or "[IP]:PORT" as the configuration has it."""
    host, _, port = listen.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host.strip("[]"), int(port)))
    except OSError as error:
        listening.close()
        raise OSError(error.errno, f"admin.listen {listen}: {error.strerror or error}") from None
    return listening
