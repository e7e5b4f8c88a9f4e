"""The log's front: workers' frames and the supervisor's own changes in, committed batches out. No sockets."""

import logging
import time

from sipcore import wire
from supervisor.fanout import Fanout
from supervisor.journal import Journal
from supervisor.stores import StoreError

BATCH_ENTRIES = wire.ENTRIES_MAX  # proposals after which a wake commits without waiting for its end
SWEEP_SLOTS = 4_000               # of the table to a sweep: 0.2 ms; at 5 a second 1,000,000 AORs in two minutes
WHO_MS = 1_000                    # between two questions to a worker that does not say HELLO

STORE_FAILED = (503, b"Store Unavailable")
logger = logging.getLogger("viaduct.log")


def monotonic_ms():
    return time.monotonic_ns() // 1_000_000


class Log:
    """The composition of journal, fanout and registrations; settings is the whole configuration.

    on_frame for every frame that a wake brings, then flush once: one transaction, one DELTA frame a worker.
    """

    def __init__(self, store, registrations, send, clock=monotonic_ms):
        """Loads the store (StoreError). send(worker, frame) -> bool."""
        self.store = store
        self.registrations = registrations
        self.clock = clock
        self.send = send
        self.journal = Journal(store, registrations.table)
        self.fanout = Fanout(self.journal, send)
        self.refused = {}    # worker -> [[op_id, status, phrase], ...] of this wake
        self.asked = {}      # worker -> when it was asked who it is
        self.store_failing = False

    def on_frame(self, worker, frame):
        """One frame of a worker."""
        try:
            value = wire.decode_from_worker(frame)
        except wire.WireError as error:
            logger.warning("worker %d sent what the log does not know: %s", worker, error)
            return
        kind = value[0]
        if kind == wire.HELLO:
            self.fanout.hello(worker, *value[2:])
        elif worker not in self.fanout.peers:
            self._who(worker)
        elif kind == wire.OPS:
            self._evaluate(worker, value[1])
        elif kind == wire.SNAPSHOT_REQUEST:
            self.fanout.request(worker, *value[1:])
        else:
            self.fanout.applied(worker, *value[1:])

    def unsettled(self):
        """Whether there is something to flush."""
        return bool(self.journal.pending or self.refused)

    def flush(self):
        """Commits what the wake brought and sends it out. Where the store fails, the operations are refused."""
        proposed = self.journal.pending
        try:
            self.journal.commit()
            if proposed and self.store_failing:
                self.store_failing = False
                logger.warning("the store works again")
        except StoreError as error:
            for entry in map(wire.decode_entry, proposed):
                if entry[0] == wire.ENTRY_BINDINGS and entry[2] != wire.ORIGIN_SUPERVISOR:
                    self._refuse(entry[2], [[entry[3], *STORE_FAILED]])
            self._store_failed(error)
        self.registrations.settle()
        self.fanout.pump()
        for worker, refusals in self.refused.items():
            self.send(worker, wire.encode([wire.REFUSED, refusals]))
        self.refused = {}

    def publish_settings(self, settings):
        """Raises StoreError where it could not be committed; nothing changed then. The same for all publish_*."""
        self.registrations.configure(settings)
        self._publish([wire.ENTRY_SETTINGS, 0, settings, self.journal.key])

    def publish_destinations(self, generation, sets):
        self._publish([wire.ENTRY_DESTINATIONS, 0, generation, sets])

    def publish_state(self, destination_id, state):
        self._publish([wire.ENTRY_STATE, 0, destination_id, state])

    def remove(self, aor, contact=None):
        """Takes one contact, or all, of an AOR away by the operator's hand; whether there was one. StoreError."""
        self.flush()
        entry = self.registrations.remove(aor, self.clock(), contact)
        if entry is not None:
            self._publish(entry)
        return entry is not None

    def sweep(self, now_ms):
        """A bounded step of housekeeping: removes what expired, keeps the store small. Call five times a second."""
        self.flush()
        for entry in self.registrations.sweep(now_ms, SWEEP_SLOTS):
            self.journal.propose(entry)
        self.flush()
        try:
            self.store.keep(self.registrations.table, self.journal.sequence)
        except StoreError as error:
            self._store_failed(error)

    def stats(self):
        peers = {worker: {"pid": peer.pid, "sent": peer.sent, "applied": peer.applied,
                          "snapshotting": peer.snapshotting() or peer.needs_snapshot}
                 for worker, peer in self.fanout.peers.items()}
        return {"epoch": self.journal.epoch, "sequence": self.journal.sequence, "workers": peers,
                **self.registrations.table.counts()}

    def close(self):
        self.store.close()

    def _who(self, worker):
        """Asks once a second: what a worker had queued for the last supervisor comes all at once."""
        now_ms = self.clock()
        if now_ms - self.asked.get(worker, -WHO_MS) >= WHO_MS:
            self.asked[worker] = now_ms
            self.send(worker, wire.encode([wire.WHO]))

    def _evaluate(self, worker, ops):
        sequence = self.journal.next_sequence()
        entries, refused = self.registrations.evaluate(ops, worker, self.clock(), sequence)
        self.journal.propose_bindings(entries)
        if refused:
            self._refuse(worker, refused)
        if len(self.journal.pending) >= BATCH_ENTRIES:
            self.flush()

    def _publish(self, entry):
        self.flush()
        self.journal.propose(entry)
        try:
            self.journal.commit()
        finally:
            self.registrations.settle()
        self.fanout.pump()

    def _refuse(self, worker, refused):
        self.refused.setdefault(worker, []).extend(refused)

    def _store_failed(self, error):
        if not self.store_failing:  # one line for an outage, not one a batch
            self.store_failing = True
            logger.error("%s; registrations are refused until it works again", error)
