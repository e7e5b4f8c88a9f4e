"""One worker's copy of the log: frames in, events out, operations and their answers between. No sockets, no clock.

A gap, another epoch or a frame that does not decode is no reason to exit: the replica asks for what it misses and goes
on serving what it has. Old bindings stay until a snapshot's end, so a worker that was live once stays live.
"""

from sipcore import wire

REPORT_MS = 1_000          # between two APPLIED where nothing happens
REPORT_ENTRIES = 1_000     # entries applied before it is said at once: the sender's window (8,000) never runs empty
RETRY_MS = 2_000           # without an answer: ask again
SWEEP_SLOTS = 4_000        # of the table to a report: forgets AORs that were long offline; 0.2 ms

# events of feed(), the first element of a tuple
EVENT_SETTINGS = "settings"          # (.., settings, key)
EVENT_DESTINATIONS = "destinations"  # (.., generation)
EVENT_ACKNOWLEDGED = "acknowledged"  # (.., [op_id, ...]): committed; the table has them
EVENT_REFUSED = "refused"            # (.., op_id, status, phrase)
EVENT_LIVE = "live"                  # (.., sequence): for the first time the whole table is there
EVENT_FAULT = "fault"                # (.., sentence): a frame or entry was not understood

# where the replica stands
WAITING = "waiting"            # for an answer to HELLO or SNAPSHOT_REQUEST
SNAPSHOTTING = "snapshotting"
FOLLOWING = "following"

BAD_ENTRY = (ValueError, TypeError, OverflowError, KeyError, IndexError, MemoryError)


class Replica:
    """worker, pid: who we are. table: a LocationTable. dispatcher: replace(generation, sets), set_state(id, state).
    outstanding: our operations (workers/outstanding); whoever added them forgets them when they are answered."""

    def __init__(self, worker, pid, table, dispatcher, outstanding):
        self.worker = worker
        self.pid = pid
        self.table = table
        self.dispatcher = dispatcher
        self.outstanding = outstanding
        self.epoch = 0
        self.sequence = 0
        self.state = WAITING
        self.live = False         # answers may be given from the table
        self.whole = False        # the table is all of the log up to self.sequence
        self.parts = 0
        self.filled = False       # the table held something when the snapshot began
        self.held = []            # acknowledgements that wait until the table is whole
        self.hello_due = False
        self.request_due = False
        self.asked_ms = None      # when HELLO or SNAPSHOT_REQUEST was last sent, or a snapshot's frame last came
        self.reported = (0, 0)    # sequence and parts of the last APPLIED
        self.reported_ms = 0

    def feed(self, frame):
        """Applies one frame of the supervisor; the list of events, in order. The empty one comes at each connection."""
        events = []
        if not frame:
            self.hello_due = True
            return events
        try:
            value = wire.decode_from_supervisor(frame)
            self._frame(value, events)
        except BAD_ENTRY as error:  # WireError is a ValueError
            events.append((EVENT_FAULT, f"the log of epoch {self.epoch} behind {self.sequence}: {error!r}"))
            self.whole = False
            self.state, self.asked_ms = WAITING, None  # not at once: it would go round and round
        return events

    def outgoing(self, now_ms):
        """The frames to send now: call it at each batch boundary, after feed()."""
        frames = []
        if self.hello_due:
            self.hello_due = self.request_due = False
            self.asked_ms = now_ms
            frames.append(wire.encode([wire.HELLO, self.worker, self.pid, *self._place()]))
            self.outstanding.send_all()
        elif self.request_due or self._overdue(now_ms):
            self.request_due = False
            self.asked_ms = now_ms
            frames.append(wire.encode([wire.SNAPSHOT_REQUEST, *self._place()]))
        if self.state != WAITING or self.live:  # else nobody knows us yet; HELLO sends them
            frames += self.outstanding.frames(now_ms)
        self._report(frames, now_ms)
        return frames

    def _overdue(self, now_ms):
        """Whether what was asked for has not come, nor the next of a snapshot, for RETRY_MS."""
        if self.state == FOLLOWING:
            return False
        if self.asked_ms is None:
            self.asked_ms = now_ms
        return now_ms - self.asked_ms >= RETRY_MS

    def _frame(self, value, events):
        kind = value[0]
        if kind == wire.DELTA:
            self._delta(value[1], value[2], value[3], events)
        elif kind == wire.REFUSED:
            events += [(EVENT_REFUSED, *refused) for refused in value[1]]
        elif kind == wire.WHO:
            self.hello_due = True
        elif kind == wire.SNAPSHOT_BEGIN:
            self.state = SNAPSHOTTING
            self.epoch, self.sequence = value[1:]
            self.parts = 0
            self.whole = False
            self.filled = self.filled or self.table.counts()["aors"] > 0
            self.table.begin_snapshot()
            self.asked_ms = None
        elif self.state != SNAPSHOTTING:
            return  # the rest of a snapshot that we gave up
        elif kind == wire.SNAPSHOT_PART:
            self._part(value[1], value[2], events)
        else:
            self._end(value[1:], events)

    def _part(self, number, entries, events):
        if number > self.parts:
            self._ask()
        elif number == self.parts:
            self.table.apply(entries)
            self._apply_others(entries.others, events)
            self.parts += 1
            self.asked_ms = None

    def _end(self, place, events):
        if place != [self.epoch, self.sequence, self.parts]:
            self._ask()
            return
        if self.filled:
            self.table.end_snapshot()
        self.filled = False
        self.whole = True
        self._follow(events)

    def _place(self):
        """Epoch and sequence from which the supervisor may go on; zeros ask for a snapshot."""
        return (self.epoch, self.sequence) if self.whole else (0, 0)

    def _follow(self, events):
        self.state = FOLLOWING
        self.request_due = False
        if not self.live:
            self.live = True
            events.append((EVENT_LIVE, self.sequence))
            events += self.held
            self.held = []

    def _delta(self, epoch, first, entries, events):
        if epoch != self.epoch or first > self.sequence + 1:
            # while an answer is awaited, what comes before it was sent before the question
            if self.state != WAITING:
                self._ask()
            return
        if self.state == WAITING:
            if not self.whole:
                return
            self._follow(events)
        self.asked_ms = None
        before = self.sequence
        self.sequence, acknowledged, gapless = self.table.follow(entries, before, self.worker)
        if acknowledged:
            (events if self.live else self.held).append((EVENT_ACKNOWLEDGED, acknowledged))
        self._apply_others([entry for entry in entries.others if before < entry[1] <= self.sequence], events)
        if not gapless:
            self._ask()

    def _apply_others(self, others, events):
        """Entries that change no bindings."""
        for entry in others:
            kind = entry[0]
            if kind == wire.ENTRY_DESTINATIONS:
                self._apply_destinations(entry, events)
            elif kind == wire.ENTRY_STATE:
                self.dispatcher.set_state(entry[2], entry[3])
            else:
                events.append((EVENT_SETTINGS, entry[2], entry[3]))

    def _apply_destinations(self, entry, events):
        try:
            self.dispatcher.replace(entry[2], entry[3])
        except BAD_ENTRY as error:  # the old table goes on routing, and the log goes on
            events.append((EVENT_FAULT, f"destinations of generation {entry[2]}: {error!r}"))
        else:
            events.append((EVENT_DESTINATIONS, entry[2]))

    def _ask(self):
        if self.state != WAITING:
            self.state = WAITING
            self.request_due = True

    def _report(self, frames, now_ms):
        state = (self.sequence, self.parts)
        if (self.parts != self.reported[1] or self.sequence - self.reported[0] >= REPORT_ENTRIES
                or now_ms - self.reported_ms >= REPORT_MS):
            if now_ms - self.reported_ms >= REPORT_MS:
                self.table.expired(now_ms, SWEEP_SLOTS)
            self.reported, self.reported_ms = state, now_ms
            frames.append(wire.encode([wire.APPLIED, self.epoch, self.sequence, self.parts]))
