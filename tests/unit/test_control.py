"""The two ends of the log's stream over a real ipc path: connection, restart of either side, full queues."""

import asyncio
import select
import time

import pytest

from sipcore.location import LocationTable
from supervisor.control import IDENTITIES, WORKERS, ControlError
from supervisor.control import Control as SupervisorControl
from supervisor.location import Registrations
from supervisor.log import Log, monotonic_ms
from supervisor.stores.sqlite import SqliteStore
from workers.control import Control as WorkerControl
from workers.outstanding import Outstanding
from workers.replica import EVENT_ACKNOWLEDGED, Replica

PATIENCE_S = 5


class Supervisor:
    """Collects frames."""

    def __init__(self, path):
        self.frames = []
        self.drained = 0
        self.control = SupervisorControl(path, self.on_frame, self.on_drained)

    def on_frame(self, worker, frame):
        self.frames.append((worker, frame))

    def on_drained(self):
        self.drained += 1


@pytest.fixture
def path(tmp_path):
    return f"ipc://{tmp_path}/control.sock"


async def until(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.002)


async def received(control, count):
    frames = []
    await until(lambda: frames.extend(control.receive()) or len(frames) >= count)
    return frames


async def connected(worker):
    """The supervisor's end greets every connection with an empty frame."""
    assert await received(worker, 1) == [b""]


def test_a_connection_is_announced_and_frames_pass_both_ways(path):
    async def main():
        worker = WorkerControl(path, 3)
        assert worker.send(b"too early") is False
        supervisor = Supervisor(path)
        await connected(worker)
        for n in range(500):
            assert worker.send(b"%d" % n)
        await until(lambda: len(supervisor.frames) == 500)
        assert supervisor.frames == [(3, b"%d" % n) for n in range(500)]
        assert 1 <= supervisor.drained <= 500
        assert supervisor.control.send(3, b"answer")
        assert await received(worker, 1) == [b"answer"]
        worker.close()
        supervisor.control.close()

    asyncio.run(main())


def test_the_worker_end_wakes_an_epoll(path):
    async def main():
        supervisor = Supervisor(path)
        worker = WorkerControl(path, 0)
        await connected(worker)
        assert worker.send(b"hello")
        await until(lambda: supervisor.frames)
        worker.receive()
        epoll = select.epoll()
        epoll.register(worker.fd, select.EPOLLIN)
        for n in range(3):
            assert supervisor.control.send(0, b"%d" % n)
            frames = []
            while not frames:  # the edge of the connection itself may come first
                assert epoll.poll(PATIENCE_S)
                frames = worker.receive()
            assert frames == [b"%d" % n]
        epoll.close()
        worker.close()
        supervisor.control.close()

    asyncio.run(main())


def test_nobody_there_is_an_answer(path):
    async def main():
        supervisor = Supervisor(path)
        assert supervisor.control.send(1, b"x") is False
        supervisor.control.close()

    asyncio.run(main())


def test_a_worker_that_does_not_read_fills_its_queue_and_no_more(path):
    async def main():
        supervisor = Supervisor(path)
        worker = WorkerControl(path, 0)
        await connected(worker)
        assert worker.send(b"hello")
        await until(lambda: supervisor.frames)
        sent = 0
        while supervisor.control.send(0, bytes(1000)):
            sent += 1
            assert sent < 100_000
        assert sent >= 10_000
        worker.close()
        supervisor.control.close()

    asyncio.run(main())


def test_a_restarted_supervisor_greets_every_worker(path):
    async def main():
        first = Supervisor(path)
        workers = [WorkerControl(path, n) for n in range(3)]
        for worker in workers:
            await connected(worker)
        first.control.close()
        await until(lambda: not workers[0].send(b"to nobody"))
        second = Supervisor(path)
        for worker in workers:
            await connected(worker)
            assert worker.send(b"hello")
        await until(lambda: sorted(second.frames) == [(0, b"hello"), (1, b"hello"), (2, b"hello")])
        assert second.control.send(2, b"answer")
        assert await received(workers[2], 1) == [b"answer"]
        for worker in workers:
            worker.close()
        second.control.close()

    asyncio.run(main())


SETTINGS = {"registrar": {"max_contacts": 5, "remember_offline_s": 60}}


class Node:
    """A whole supervisor side on a real path and a real file."""

    def __init__(self, path, file):
        self.control = None
        self.log = Log(SqliteStore(file), Registrations(LocationTable(), SETTINGS), self.send)
        self.log.publish_settings(SETTINGS)
        self.log.publish_destinations(1, [])
        self.control = SupervisorControl(path, self.log.on_frame, self.log.flush)

    def send(self, worker, frame):
        return self.control.send(worker, frame)

    def close(self):
        self.control.close()
        self.log.close()


class Destinations:
    def replace(self, generation, sets):
        self.generation = generation


def test_a_registration_waits_for_the_next_supervisor_and_is_acknowledged_once(path, tmp_path):
    async def main():
        events = []

        def exchange(control, replica):
            for frame in control.receive():
                events.extend(replica.feed(frame))
            for frame in replica.outgoing(monotonic_ms()):
                control.send(frame)

        node = Node(path, str(tmp_path / "v.sqlite"))
        control, replica = WorkerControl(path, 0), Replica(0, 4711, LocationTable(), Destinations(), Outstanding(4711))
        await until(lambda: exchange(control, replica) or replica.live)
        node.close()
        op_id = replica.outstanding.add(
            [b"a@x", b"call", 1, False, [[b"sip:a@h", 60, 1000, b"", 0]], bytes(24), b"", b""], monotonic_ms())
        exchange(control, replica)
        node = Node(path, str(tmp_path / "v.sqlite"))
        await until(lambda: exchange(control, replica) or replica.sequence == node.log.journal.sequence == 5)
        acknowledged = [event for event in events if event[0] == EVENT_ACKNOWLEDGED]
        assert [event[1] for event in acknowledged] == [[op_id]]
        assert replica.table.digest() == node.log.registrations.table.digest() != 0
        control.close()
        node.close()

    asyncio.run(main())


def test_the_heir_of_a_worker_has_its_name(path):
    async def main():
        supervisor = Supervisor(path)
        old = WorkerControl(path, 1)
        await connected(old)
        assert old.send(b"old")
        await until(lambda: len(supervisor.frames) == 1)
        heir = WorkerControl(path, 1)  # while the old one still hangs there
        await connected(heir)
        assert heir.send(b"heir")
        await until(lambda: len(supervisor.frames) == 2)
        assert supervisor.control.send(1, b"answer")
        assert await received(heir, 1) == [b"answer"]
        assert b"answer" not in old.receive()
        old.close()
        heir.close()
        supervisor.control.close()

    asyncio.run(main())


def test_a_path_that_cannot_be_bound_is_one_sentence():
    async def main():
        with pytest.raises(ControlError, match="cannot be bound"):
            Supervisor("ipc:///nowhere/at/all/control.sock")

    asyncio.run(main())


def test_names():
    assert [WORKERS[IDENTITIES[n]] for n in (0, 63)] == [0, 63]
    assert not any(name in WORKERS for name in (b"", b"w", b"w64", b"w-1", b"x1", b"w100", b"\x00abc"))
