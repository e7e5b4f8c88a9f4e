"""The log's stream to the workers: a ROUTER on an ipc path, inside asyncio."""

import asyncio

import zmq

from sipcore import wire

HIGH_WATER = 10_000     # frames queued for one worker: above the log's window, which counts entries
WAKE_FRAMES = 2_000     # frames taken before the loop sees to others
WORKERS_MAX = 64        # == sipcore/steering's
EVENTS, POLLIN, NOBLOCK = int(zmq.EVENTS), int(zmq.POLLIN), int(zmq.NOBLOCK)  # enums cost more than the call

# the workers' names on the socket (the first octet of one must not be 0), and whose they are
IDENTITIES = [b"w%d" % worker for worker in range(WORKERS_MAX)]
WORKERS = {name: worker for worker, name in enumerate(IDENTITIES)}


class ControlError(Exception):
    """The path cannot be bound; the text is one sentence for the operator."""


class Control:
    """Call inside a running asyncio loop. path: "ipc:///..."; a file that is left there from before is replaced.

    on_frame(worker, frame) for every frame; on_drained() once after all the frames of a wake. Whoever connects is sent
    an empty frame by the socket itself.
    """

    def __init__(self, path, on_frame, on_drained):
        self.on_frame = on_frame
        self.on_drained = on_drained
        self.loop = asyncio.get_running_loop()
        self.context = zmq.Context(io_threads=1)
        self.socket = self.context.socket(zmq.ROUTER)
        self.scheduled = False
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.SNDHWM, HIGH_WATER),
            (zmq.RCVHWM, HIGH_WATER),
            (zmq.MAXMSGSIZE, wire.FRAME_MAX),
            (zmq.ROUTER_MANDATORY, 1),  # a frame for nobody is an answer, not a loss
            (zmq.ROUTER_HANDOVER, 1),   # the heir of a dead worker has its name
            (zmq.PROBE_ROUTER, 1),      # an empty frame to whoever connects: say HELLO
        ):
            self.socket.setsockopt(option, value)
        try:
            self.socket.bind(path)
        except zmq.ZMQError as error:
            self.context.destroy(linger=0)
            raise ControlError(f"the log's socket {path} cannot be bound: {error}") from error
        self.fd = self.socket.getsockopt(zmq.FD)
        self.loop.add_reader(self.fd, self._drain)
        self._schedule()

    def send(self, worker, frame):
        """False: that worker is not connected, or its queue is full."""
        try:
            self.socket.send_multipart((IDENTITIES[worker], frame), NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return False
            raise
        self._schedule()
        return True

    def close(self):
        self.loop.remove_reader(self.fd)
        self.context.destroy(linger=0)

    def _schedule(self):
        # the descriptor is edge-triggered and a send may take the edge: look once more in the next round
        if not self.scheduled:
            self.scheduled = True
            self.loop.call_soon(self._drain)

    def _drain(self):
        self.scheduled = False
        if self.socket.closed:
            return
        frames = 0
        while frames < WAKE_FRAMES and self.socket.getsockopt(EVENTS) & POLLIN:
            parts = self.socket.recv_multipart(NOBLOCK)
            frames += 1
            worker = WORKERS.get(parts[0])
            if worker is not None and len(parts) == 2:
                self.on_frame(worker, parts[1])
        if frames:
            self.on_drained()
            self._schedule()

