"""Who gets what of the log: for each worker what was sent and what it applied, so that no queue outgrows its window.

A worker is sent the entries behind `sent` while it has applied all but WINDOW_ENTRIES of them; one that falls out of
the journal's ring, or has nothing yet, gets a snapshot. A snapshot is a walk over a table that goes on changing: its
parts and the entries since its beginning converge whatever their order (entries say what a binding is, not how it
changed), so it may end once the walk is over and the newest entry is sent.
"""

from sipcore import wire

WINDOW_ENTRIES = 8_000    # sent and not yet applied: about 2 MB in a worker's queue
WINDOW_PARTS = 8          # snapshot parts the same: a worker is never idle, its queue below 1 MB
PART_ENTRIES = 200        # of a snapshot part: 0.5 ms of a worker's time between two batches of datagrams
STALLED_REPORTS = 3       # reports (one a second) without progress before what is missing is sent again


class Peer:
    """One worker as the supervisor sees it, from its HELLO on."""

    def __init__(self, pid, sent):
        self.pid = pid
        self.sent = sent        # the last sequence number sent to it
        self.applied = sent     # the last it says it has
        self.needs_snapshot = False
        self.walk = None        # the snapshot under way: iterator of parts
        self.parts_sent = 0
        self.parts_applied = 0
        self.report = None      # epoch, sequence and parts of its last APPLIED
        self.reports = 0        # in a row without progress

    def snapshotting(self):
        return self.walk is not None


class Fanout:
    """send(worker, frame) -> bool: False where the worker cannot take it; it is then forgotten until it says HELLO."""

    def __init__(self, journal, send):
        self.journal = journal
        self.send = send
        self.peers = {}   # worker index -> Peer
        self.encoded = (0, 0, b"")  # first sequence, count and octets of the last DELTA: most workers need the same

    def hello(self, worker, pid, epoch, sequence):
        """A worker is there (again), with the log up to `sequence` of `epoch`."""
        self.peers[worker] = Peer(pid, sequence)
        self.request(worker, epoch, sequence)

    def request(self, worker, epoch, sequence):
        """The worker missed something behind `sequence` of `epoch`; zeros: everything."""
        peer = self.peers[worker]
        peer.walk = None
        peer.sent = peer.applied = sequence
        if epoch != self.journal.epoch or self.journal.since(sequence, 0) is None:
            peer.needs_snapshot = True
        elif not self._send(worker, wire.encode_delta(epoch, sequence + 1, [])):  # says "go on from there"
            return
        self.pump_one(worker)

    def applied(self, worker, epoch, sequence, parts):
        peer = self.peers[worker]
        progress = (epoch, sequence, parts) != peer.report
        peer.report = (epoch, sequence, parts)
        if epoch == self.journal.epoch:
            peer.applied = min(max(sequence, peer.applied), peer.sent)
            if peer.snapshotting():
                peer.parts_applied = min(parts, peer.parts_sent)
        elif not peer.needs_snapshot:
            progress = False  # the snapshot that brings our epoch is still on its way, or lost
        if progress or (sequence == peer.sent and parts >= peer.parts_sent):
            peer.reports = 0
        else:
            peer.reports += 1
        if peer.reports >= STALLED_REPORTS:
            self._start_over(peer, epoch, sequence)
        self.pump_one(worker)

    def gone(self, worker):
        self.peers.pop(worker, None)

    def pump(self):
        """Sends everybody what its window has room for."""
        for worker in list(self.peers):
            self.pump_one(worker)

    def pump_one(self, worker):
        peer = self.peers.get(worker)
        if peer is None:
            return
        if peer.needs_snapshot and not self._begin(worker, peer):
            return
        if not self._send_entries(worker, peer):
            return
        if peer.snapshotting():
            self._send_parts(worker, peer)

    def _start_over(self, peer, epoch, sequence):
        """What was sent got lost (the transport drops at a reconnection): go on from what the worker has."""
        peer.reports = 0
        if peer.snapshotting() or epoch != self.journal.epoch:
            peer.needs_snapshot = True
            peer.walk = None
        else:
            peer.sent = peer.applied = min(sequence, peer.sent)

    def _begin(self, worker, peer):
        journal = self.journal
        begin = wire.encode([wire.SNAPSHOT_BEGIN, journal.epoch, journal.sequence])
        if not journal.ready() or not self._send(worker, begin):
            return False
        peer.needs_snapshot = False
        peer.sent = peer.applied = journal.sequence
        peer.parts_sent, peer.parts_applied, peer.reports = 1, 0, 0
        peer.walk = journal.table.snapshot(PART_ENTRIES)
        return self._send(worker, wire.encode_part(0, journal.head()))

    def _send_entries(self, worker, peer):
        """Whether the worker has been sent the newest entry."""
        journal = self.journal
        while peer.sent < journal.sequence:
            room = min(WINDOW_ENTRIES - (peer.sent - peer.applied), wire.ENTRIES_MAX)
            if room <= 0:
                return False
            entries = journal.since(peer.sent, room)
            if entries is None:
                peer.needs_snapshot = True
                peer.walk = None
                if not self._begin(worker, peer):
                    return False
                continue
            if not self._send(worker, self._delta(peer.sent + 1, entries)):
                return False
            peer.sent += len(entries)
        return True

    def _send_parts(self, worker, peer):
        while peer.parts_sent - peer.parts_applied < WINDOW_PARTS:
            entries = next(peer.walk, None)
            if entries is None:
                peer.walk = None
                place = (self.journal.epoch, self.journal.sequence, peer.parts_sent)
                self._send(worker, wire.encode([wire.SNAPSHOT_END, *place]))
                return
            if not self._send(worker, wire.encode_part(peer.parts_sent, entries)):
                return
            peer.parts_sent += 1

    def _delta(self, first, entries):
        known_first, count, frame = self.encoded
        if (known_first, count) != (first, len(entries)):
            frame = wire.encode_delta(self.journal.epoch, first, entries)
            self.encoded = (first, len(entries), frame)
        return frame

    def _send(self, worker, frame):
        if self.send(worker, frame):
            return True
        self.gone(worker)
        return False
