"""The log's stream from the supervisor: a DEALER that never blocks, for an epoll loop."""

import zmq

from sipcore import wire

EVENTS, POLLIN, NOBLOCK = int(zmq.EVENTS), int(zmq.POLLIN), int(zmq.NOBLOCK)  # enums cost more than the call

RECEIVE_HIGH_WATER = 10_000  # frames: above the log's window, which counts entries
SEND_HIGH_WATER = 1_000     # frames that wait for a busy supervisor; the replica sends again what did not fit
RECEIVE_MAX = 64            # frames to a batch boundary; a DELTA of 1,000 entries takes a millisecond
RECONNECT_MS = 50           # after the supervisor died; its heir needs longer to start
RECONNECT_MOST_MS = 500


class Control:
    """path: "ipc:///..."; nothing needs to listen there yet.

    `fd` becomes readable on an edge only, and sending may take the edge: call receive() after each wake of it and at
    each batch boundary behind a send, until it returns an empty list.

    At every connection the supervisor's end sends an empty frame by itself; the replica answers it with HELLO, so a
    supervisor that was restarted knows us at once, and nothing needs to watch the connection.
    """

    def __init__(self, path, worker):
        self.context = zmq.Context(io_threads=1)
        self.socket = self.context.socket(zmq.DEALER)
        for option, value in (
            (zmq.ROUTING_ID, b"w%d" % worker),
            (zmq.LINGER, 0),
            (zmq.SNDHWM, SEND_HIGH_WATER),
            (zmq.RCVHWM, RECEIVE_HIGH_WATER),
            (zmq.MAXMSGSIZE, wire.FRAME_MAX),
            (zmq.IMMEDIATE, 1),  # without a supervisor a send fails: what it had queued would reach its heir too late
            (zmq.RECONNECT_IVL, RECONNECT_MS),
            (zmq.RECONNECT_IVL_MAX, RECONNECT_MOST_MS),
        ):
            self.socket.setsockopt(option, value)
        self.socket.connect(path)
        self.fd = self.socket.getsockopt(zmq.FD)

    def receive(self):
        """Up to RECEIVE_MAX frames that are there."""
        frames = []
        # asking first: half the price of a refused recv, and every batch boundary meets the end of what is there
        while len(frames) < RECEIVE_MAX and self.socket.getsockopt(EVENTS) & POLLIN:
            frames.append(self.socket.recv(NOBLOCK))
        return frames

    def send(self, frame):
        """False: no supervisor, or its queue is full; the replica sends again what matters."""
        try:
            self.socket.send(frame, NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self):
        self.context.destroy(linger=0)
