"""The log between a supervisor and several workers, through lost, doubled and late frames and restarts of either side.

What must hold: a replica that follows at sequence S holds what the truth held at S; no acknowledged binding is lost;
once the network is quiet everybody is equal.
"""

import random
from collections import deque

import pytest

from sipcore import wire
from sipcore.location import LocationTable
from supervisor import fanout, journal
from supervisor.location import Registrations
from supervisor.log import Log
from supervisor.stores.memory import MemoryStore
from supervisor.stores.sqlite import SqliteStore
from workers import replica as replicas
from workers.outstanding import Outstanding

WORKERS = 3
CLIENTS = 40
STEPS = 800
SETTINGS = {"registrar": {"max_contacts": 100, "remember_offline_s": 60}}
SETS = [[1, 0, [[n, n, b"sip:d%d@127.0.0.1" % n, bytes(24), 0, 1, 2000, 0] for n in (7, 8)]]]


class Destinations:
    """A DispatcherTable's place in the replica."""

    def __init__(self):
        self.generation = 0
        self.states = {}

    def replace(self, generation, sets):
        self.generation = generation
        self.states = {row[0]: row[7] for _, _, rows in sets for row in rows}

    def set_state(self, destination, state):
        self.states[destination] = state


class Client:
    """One phone: its contact, and what the log may hold of it."""

    def __init__(self, number):
        self.aor = b"u%d@x" % (number % (CLIENTS // 2))
        self.contact = b"sip:c%d@h" % number
        self.call_id = b"call%d" % number
        self.cseq = 0
        self.waiting = None     # (worker, op_id) of the operation under way
        # (CSeq, when it expires) of its binding, None: not bound; what was acknowledged, then what may have come since
        self.possible = [None]


class World:
    def __init__(self, seed, open_store, restartable):
        self.random = random.Random(seed)
        self.open_store = open_store
        self.restartable = restartable
        self.now_ms = 1_000_000
        self.pids = 100
        self.clients = [Client(n) for n in range(CLIENTS)]
        self.up = [deque() for _ in range(WORKERS)]     # worker -> supervisor
        self.down = [deque() for _ in range(WORKERS)]
        self.replicas = [None] * WORKERS
        self.digests = {}
        self.noise = True
        self.log = None
        self.checked = 0
        self.start_supervisor()
        for worker in range(WORKERS):
            self.start_worker(worker)

    # the two sides

    def start_supervisor(self):
        self.store = self.open_store()
        self.registrations = Registrations(LocationTable(), SETTINGS)
        self.log = Log(self.store, self.registrations, self.send, clock=lambda: self.now_ms)
        self.note()
        self.log.publish_settings(SETTINGS)
        self.log.publish_destinations(1, SETS)
        self.note()
        for worker in range(WORKERS):
            self.reconnect(worker)

    def restart_supervisor(self):
        self.log.close()
        self.log = None
        self.start_supervisor()

    def start_worker(self, worker):
        self.pids += 1
        for client in self.clients:
            if client.waiting and client.waiting[0] == worker:
                client.waiting = None  # its transaction died with the worker; the change may have happened
        self.up[worker].clear()
        self.down[worker].clear()
        self.replicas[worker] = replicas.Replica(worker, self.pids, LocationTable(), Destinations(),
                                                  Outstanding(self.pids))
        self.reconnect(worker)

    def reconnect(self, worker):
        """What was on its way down is lost from some point on; what was on its way up may come late, among the new."""
        for _ in range(self.random.randint(0, len(self.down[worker]))):
            self.down[worker].pop()
        late = deque(frame for frame in self.up[worker] if self.random.random() < 0.5)
        self.up[worker] = deque()
        self.down[worker].append(b"")
        while late:
            self.up[worker].insert(self.random.randint(0, len(self.up[worker])), late.popleft())

    # the network

    def send(self, worker, frame):
        if self.noise and (len(self.down[worker]) >= 30 or self.random.random() < 0.01):
            return False
        self._put(self.down[worker], frame)
        return True

    def _put(self, queue, frame):
        chance = self.random.random() if self.noise else 1
        if chance >= 0.01:
            queue.append(frame)
        if 0.01 <= chance < 0.02:
            queue.append(frame)

    def note(self):
        self.digests[self.log.journal.epoch, self.log.journal.sequence] = self.registrations.table.digest()

    # steps

    def supervisor_wakes(self):
        for worker in range(WORKERS):
            for _ in range(self.random.randint(0, len(self.up[worker]))):
                self.log.on_frame(worker, self.up[worker].popleft())
        self.log.flush()
        self.note()

    def worker_wakes(self, worker):
        replica = self.replicas[worker]
        for _ in range(self.random.randint(0, len(self.down[worker]))):
            for event in replica.feed(self.down[worker].popleft()):
                self.event(worker, event)
            self.check(replica)
        for frame in replica.outgoing(self.now_ms):
            if len(self.up[worker]) < 200:
                self._put(self.up[worker], frame)

    def check(self, replica):
        if replica.state == replicas.FOLLOWING and (replica.epoch, replica.sequence) in self.digests:
            assert replica.table.digest() == self.digests[replica.epoch, replica.sequence]
            self.checked += 1

    def event(self, worker, event):
        assert event[0] != replicas.EVENT_FAULT, event
        if event[0] not in (replicas.EVENT_ACKNOWLEDGED, replicas.EVENT_REFUSED):
            return
        for op_id in event[1] if event[0] == replicas.EVENT_ACKNOWLEDGED else [event[1]]:
            self.replicas[worker].outstanding.forget(op_id)
            for client in self.clients:
                if client.waiting == (worker, op_id):
                    client.waiting = None
                    assert event[0] == replicas.EVENT_ACKNOWLEDGED, event
                    client.possible = client.possible[-1:]

    def register(self):
        client = self.random.choice(self.clients)
        if client.waiting:
            return
        worker = self.random.randrange(WORKERS)
        client.cseq += 1
        expires_s = self.random.choice([0, 60, 3600])
        contacts = [[client.contact, expires_s, 1000, b"", 0]]
        operation = [client.aor, client.call_id, client.cseq, False, contacts, bytes(24), b"", b""]
        op_id = self.replicas[worker].outstanding.add(operation, self.now_ms)
        client.waiting = (worker, op_id)
        client.possible.append((client.cseq, self.now_ms + expires_s * 1000) if expires_s else None)

    def step(self):
        chance = self.random.random()
        self.now_ms += self.random.choice([1, 10, 300])
        if chance < 0.35:
            self.register()
        elif chance < 0.6:
            self.supervisor_wakes()
        elif chance < 0.9:
            self.worker_wakes(self.random.randrange(WORKERS))
        elif chance < 0.94:
            self.reconnect(self.random.randrange(WORKERS))
        elif chance < 0.96:
            self.start_worker(self.random.randrange(WORKERS))
        elif chance < 0.98:
            self.log.publish_state(self.random.choice([7, 8]), self.random.randrange(5))
            self.note()
        elif chance < 0.99:
            self.log.sweep(self.now_ms)
            self.note()
        elif self.restartable:
            self.restart_supervisor()

    def quiet(self):
        """No noise any more: within ten seconds everybody has everything."""
        self.noise = False
        for _ in range(150):
            self.now_ms += 100
            for _ in range(3):
                self.supervisor_wakes()
                for worker in range(WORKERS):
                    self.worker_wakes(worker)

    def check_all(self):
        truth = self.registrations.table
        for replica in self.replicas:
            assert replica.live
            assert replica.state == replicas.FOLLOWING
            assert replica.sequence == self.log.journal.sequence
            assert replica.table.digest() == truth.digest()
            assert not replica.outstanding
            assert replica.dispatcher.states == {row[0]: row[7] for row in self.log.journal.states.values()}
        for client in self.clients:
            assert client.waiting is None
            held = [put for put in truth.bindings(client.aor) or () if put[0] == client.contact]
            found = held[0][2] if held else None
            # a binding may have been evaluated later than it was asked for, and have expired since
            allowed = {one and one[0] for one in client.possible}
            if any(one and one[1] <= self.now_ms for one in client.possible):
                allowed.add(None)
            assert found in allowed, (client.aor, client.contact, found, client.possible)


@pytest.fixture
def small(monkeypatch):
    """Limits that a short run meets."""
    monkeypatch.setattr(fanout, "WINDOW_ENTRIES", 20)
    monkeypatch.setattr(fanout, "WINDOW_PARTS", 2)
    monkeypatch.setattr(fanout, "PART_ENTRIES", 3)
    monkeypatch.setattr(journal, "RING_ENTRIES", 40)
    monkeypatch.setattr(journal, "RING_MARGIN", 5)
    monkeypatch.setattr(wire, "ENTRIES_MAX", 7)
    monkeypatch.setattr(replicas, "REPORT_ENTRIES", 5)


def run(world):
    for _ in range(STEPS):
        world.step()
    world.quiet()
    world.check_all()
    assert world.checked > 0


@pytest.mark.parametrize("seed", range(12))
def test_replicas_of_a_memory_store_follow_the_truth(seed, small):
    run(World(seed, MemoryStore, restartable=False))


@pytest.mark.parametrize("seed", range(12))
def test_replicas_of_a_stored_log_follow_the_truth_through_restarts(seed, small, tmp_path):
    world = World(seed, lambda: SqliteStore(str(tmp_path / "v.sqlite")), restartable=True)
    run(world)
    world.log.close()
