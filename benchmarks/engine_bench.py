"""One worker's engine in this process, on real sockets of loopback: phones, destinations and the texts they exchange.

Nothing runs by itself: `step()` is one turn of the engine's loop, and agents turn it while they wait for a message.
"""

import itertools
import os
import re
import select
import socket
import time
from contextlib import suppress
from types import SimpleNamespace

from sipcore import endpoint, wire
from sipcore.counters import Page
from sipcore.dispatcher import ALGORITHMS, STATES, DispatcherTable
from sipcore.location import LocationTable
from sipcore.steering import branch_hash
from supervisor import config_schema, sockets
from workers.loop import Engine
from workers.outstanding import Outstanding
from workers.registrar import Registrar

KEY = b"0123456789abcdef"
HOST = "127.0.0.1"
WAIT_S = 2.0        # for what must come
QUIET_S = 0.06      # for what must not come: many turns of the loop
RECEIVE_BUFFER = 1 << 20
OUR_BRANCH = re.compile(rb"z9hG4bKV[A-P]{2}[0-9a-f]{24}")
_numbers = itertools.count(1)


def settings(**sections):
    """Every key with its default, and those of `sections` (section={key: value}) in their place."""
    found = {section: {} for section in config_schema.SECTIONS}
    for key in config_schema.KEYS:
        found[key.section][key.name] = key.default
    for section, values in sections.items():
        assert not values.keys() - found[section].keys(), f"{section}: {values}"
        found[section].update(values)
    return found


class Message:
    """A datagram cut at its lines; header names as they were written."""

    def __init__(self, octets):
        self.octets = octets
        head, _, self.body = octets.partition(b"\r\n\r\n")
        self.start, *self.lines = head.split(b"\r\n")

    @property
    def status(self):
        return int(self.start.split()[1])

    @property
    def method(self):
        return self.start.split()[0]

    def all(self, name):
        """The values of every line of this name."""
        prefix = name.encode().lower() + b":"
        return [line[len(prefix):].strip() for line in self.lines if line.lower().startswith(prefix)]

    def get(self, name):
        values = self.all(name)
        assert len(values) == 1, f"{name}: {values} in {self.octets!r}"
        return values[0]

    def branch(self):
        """Of the topmost Via."""
        return re.search(rb"branch=([^;,\s]+)", self.all("Via")[0])[1]


class Agent:
    """A UDP socket of loopback that speaks by hand."""

    def __init__(self, bench):
        self.bench = bench
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((HOST, 0))
        self.socket.setblocking(False)
        self.port = self.socket.getsockname()[1]
        self.address = f"{HOST}:{self.port}".encode()

    def endpoint(self, listener=0):
        return endpoint.pack("udp", HOST, self.port, listener)

    def send(self, octets, listener=0):
        """One datagram to the edge, and one turn of its loop."""
        self.socket.sendto(octets, (HOST, self.bench.ports[listener]))
        self.bench.step()

    def get(self, within_s=WAIT_S):
        """The next message; the engine turns until it is there."""
        octets = self.bench.wait(self, within_s)
        assert octets is not None, f"nothing came within {within_s} s"
        return Message(octets)

    def expect(self, *what):
        """The next messages, each a status or a method, as a list."""
        return [self._expected(one) for one in what]

    def _expected(self, what):
        message = self.get()
        wanted = b"SIP/2.0 %d " % what if isinstance(what, int) else what.encode() + b" "
        assert message.start.startswith(wanted), f"expected {what}, got {message.start!r}"
        return message

    def quiet(self, within_s=QUIET_S):
        """Nothing comes."""
        octets = self.bench.wait(self, within_s)
        assert octets is None, octets

    def forget(self):
        """Drops what has come already."""
        while self.bench.wait(self, 0) is not None:
            continue

    def close(self):
        self.socket.close()

    def request(self, method="INVITE", uri=b"sip:1000@edge.example", *, cseq=1, branch=None, call_id=None,
                from_tag=b"f1", to_tag=b"", headers=b"", body=b"", forwards=b"70", rport=b";rport",
                to=b"<sip:1000@edge.example>"):
        """A request of this agent; the branch and Call-ID are new ones where none is given."""
        branch = branch if branch is not None else b"z9hG4bK-%d" % next(_numbers)
        call_id = call_id or b"call-%d@%s" % (next(_numbers), self.address)
        return b"".join((
            b"%s %s SIP/2.0\r\n" % (method.encode(), uri),
            b"Via: SIP/2.0/UDP %s%s;branch=%s\r\n" % (self.address, rport, branch),
            b"Max-Forwards: %s\r\n" % forwards if forwards is not None else b"",
            b"From: <sip:caller@edge.example>;tag=%s\r\n" % from_tag,
            b"To: %s%s\r\n" % (to, b";tag=" + to_tag if to_tag else b""),
            b"Call-ID: %s\r\nCSeq: %d %s\r\n" % (call_id, cseq, method.encode()),
            b"Contact: <sip:caller@%s>\r\n" % self.address, headers,
            b"Content-Length: %d\r\n\r\n" % len(body), body))


def same(octets, method, to=None):
    """The CANCEL or ACK that belongs to a request, with the answer's To for an ACK."""
    message = Message(octets)
    lines = [method.encode() + message.start[message.start.index(b" "):]]
    for line in message.lines:
        if line.startswith(b"CSeq"):
            lines.append(b"CSeq: " + line.split()[1] + b" " + method.encode())
        elif line.startswith(b"To:") and to is not None:
            lines.append(b"To: " + to)
        else:
            lines.append(line)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def answer(request, status, phrase=b"Whatever", *, tag=b"t1", headers=b"", body=b""):
    """A response as a user agent builds it: Via, From, To, Call-ID, CSeq and Record-Route of the request."""
    lines = [b"SIP/2.0 %d %s" % (status, phrase)]
    for name in (b"Via", b"Record-Route", b"From", b"To", b"Call-ID", b"CSeq"):
        for value in request.all(name.decode()):
            mark = b";tag=" + tag if name == b"To" and status > 100 and b";tag=" not in value else b""
            lines.append(name + b": " + value + mark)
    return b"\r\n".join(lines) + b"\r\n" + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Bench:
    """An engine with `destinations` in set 1 (each an Agent) and its tables; sections override the settings.

    destinations: how many, or a list of dicts of what differs (weight, priority, first_response_ms, state, port).
    groups, inboxes: the sockets of a bench before, where two workers share one edge or one takes the other's place.
    """

    def __init__(self, destinations=1, *, algorithm="priority", listeners=1, index=0, workers=1, live=True, page=None,
                 groups=None, inboxes=None, log_fd=None, **sections):
        self.agents = []
        self.settings = settings(**sections)
        self.page = page or Page.anonymous()
        self.index = index
        self.groups = groups or [
            sockets.open_group(sockets.Address("udp", HOST, 0, "udp:127.0.0.1:0"), workers, RECEIVE_BUFFER, None)[0]
            for _ in range(listeners)]
        self.inboxes = inboxes or [sockets.open_inbox() for _ in range(workers)]
        self.ports = [group.address.port for group in self.groups]
        self.edge = f"{HOST}:{self.ports[0]}".encode()
        self.listeners = tuple(group.listener(index) for group in self.groups)
        self.log_fd = os.open(os.devnull, os.O_WRONLY) if log_fd is None else os.dup(log_fd)
        launch = SimpleNamespace(index=index, workers=workers, settings=self.settings, listeners=self.listeners,
                                 inbox_fd=self.inboxes[index].receiver.fileno(),
                                 inbox_peers=tuple(inbox.sender.fileno() for inbox in self.inboxes))
        self.dispatcher = DispatcherTable(workers, self.page, index)
        self.location = LocationTable()
        self.destinations = self._destinations(destinations, algorithm)
        self.engine = Engine(launch, self.page, self.dispatcher, self.location, self.log_fd)
        self.engine.configure(self.settings, KEY, self.listeners)
        self.outstanding = Outstanding(1)
        self.registrar = Registrar(self.outstanding)
        self.engine.attach(self.registrar)
        self.registrar.configure(self.settings)
        self.always_ready, self.writer = os.pipe()
        os.write(self.writer, b"1")
        self.engine.watch(self.always_ready)  # so that poll() is one turn, and never waits
        self.engine.open()
        if live:
            self.engine.set_live()

    def _destinations(self, wanted, algorithm):
        wanted = [{} for _ in range(wanted)] if isinstance(wanted, int) else wanted
        found, rows = [], []
        for number, fields in enumerate(wanted, 1):
            agent = self.agent()
            found.append(agent)
            rows.append([number, number - 1, b"sip:d%d@%s" % (number, agent.address), agent.endpoint(),
                         fields.get("priority", 100 - number), fields.get("weight", 1),
                         fields.get("first_response_ms", 5000), STATES[fields.get("state", "active")]])
        self.destination_set = [1, ALGORITHMS[algorithm], rows]
        self.dispatcher.replace(1, [self.destination_set])
        return found

    def agent(self):
        self.agents.append(Agent(self))
        return self.agents[-1]

    def register(self, aor, *bindings):
        """Puts bindings into the table: (agent, contact) or (agent, contact, q), q in thousandths."""
        expires_ms = time.monotonic_ns() // 1_000_000 + 600_000
        puts = [[contact, b"reg", 1, q[0] if q else 1000, expires_ms, agent.endpoint(), b"", b"", b"", number]
                for number, (agent, contact, *q) in enumerate(bindings)]
        entry = wire.encode([wire.ENTRY_BINDINGS, 1, 255, 0, aor, puts, [], expires_ms])
        self.location.apply(wire.decode_entries(wire.encode_entries([entry])))

    def step(self):
        """One turn of the loop: what came, what is due, what goes."""
        return self.engine.poll()

    def wait(self, agent, within_s):
        """The agent's next datagram, or None once within_s has passed."""
        end = time.monotonic() + within_s
        while True:
            with suppress(BlockingIOError):
                return agent.socket.recv(65535)
            left_s = end - time.monotonic()
            if left_s <= 0:
                return None
            ours = [group.sockets[self.index] for group in self.groups]
            select.select([agent.socket, *ours, self.inboxes[self.index].receiver], [], [], min(left_s, 0.005))
            self.step()

    def until(self, condition, within_s=WAIT_S):
        """Turns the loop until the condition holds; whether it did."""
        end = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > end:
                return False
            select.select([group.sockets[self.index] for group in self.groups], [], [], 0.005)
            self.step()
        return True

    def count(self, name):
        return self.page.counter(self.index, name)

    def place(self, phone, *, invite=None, **more):
        """An answered call to the first destination: (the INVITE sent, as it arrived, the 200 as the phone got it)."""
        invite = invite or phone.request(**more)
        phone.send(invite)
        phone.expect(100)
        arrived, = self.destinations[0].expect("INVITE")
        contact = b"Contact: <sip:fs@%s>\r\n" % self.destinations[0].address
        self.destinations[0].send(answer(arrived, 200, b"OK", headers=contact))
        ok, = phone.expect(200)
        return invite, arrived, ok

    def close(self):
        for agent in self.agents:
            agent.close()
        for shared in (*(one for group in self.groups for one in group.sockets),
                       *(end for inbox in self.inboxes for end in (inbox.receiver, inbox.sender))):
            shared.close()
        for fd in (self.always_ready, self.writer, self.log_fd):
            with suppress(OSError):
                os.close(fd)


def foreign_name(workers, owner):
    """A branch of a caller's that steers to this worker."""
    return next(name for name in (b"z9hG4bK-o%d" % n for n in range(1000)) if branch_hash(name) % workers == owner)
