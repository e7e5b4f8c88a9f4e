"""The one ordered log: changes get their numbers here, are committed to the store, then become the truth."""

from sipcore import wire

RING_ENTRIES = 20_000   # kept for workers that fell behind: two seconds at 10,000 changes a second, about 5 MB
RING_MARGIN = 2_000     # how far past that it grows before it is cut: cutting costs the same for one entry as for many


class Journal:
    """table: the LocationTable that holds the truth; it changes by commit() alone."""

    def __init__(self, store, table):
        self.store = store
        self.table = table
        loaded = store.load()
        self.epoch = loaded.epoch
        self.sequence = loaded.sequence
        self.key = loaded.key
        self.ring = []          # encoded entries, the last of them number self.sequence
        self.pending = []       # encoded entries proposed since the last commit
        self.changes = []       # those of them that change no bindings, as lists
        self.settings = None    # the newest ENTRY_SETTINGS of this life
        self.generation = 0
        self.sets = None        # the newest sets of this life, with the states as they are now
        self.states = {}        # destination id -> its row in self.sets
        for blob in loaded.blobs:
            table.apply(blob.entries, blob.shift_ms)
            if blob.numbered:
                self._remember(blob.entries.split())

    def next_sequence(self):
        """The number that the next proposal gets."""
        return self.sequence + len(self.pending) + 1

    def propose(self, entry):
        """Adds one entry, a list, to the next commit and gives it its number."""
        entry[1] = self.next_sequence()
        self.pending.append(wire.encode(entry))
        if entry[0] != wire.ENTRY_BINDINGS:
            self.changes.append(entry)

    def propose_bindings(self, encoded):
        """The same for encoded ENTRY_BINDINGS that have their numbers already, from next_sequence() on."""
        self.pending += encoded

    def commit(self):
        """Writes what was proposed, then applies it: (first sequence, encoded entries).

        Where the store fails (StoreError) nothing happened: the proposals are dropped, their numbers are free again.
        """
        encoded, self.pending = self.pending, []
        changes, self.changes = self.changes, []
        first = self.sequence + 1
        if not encoded:
            return first, []
        blob = wire.encode_entries(encoded)
        self.store.append(blob, first, first + len(encoded) - 1)
        self.table.apply(wire.decode_entries(blob))
        for entry in changes:
            self._apply(entry)
        self.sequence += len(encoded)
        self._remember(encoded)
        return first, encoded

    def since(self, sequence, most):
        """At most `most` encoded entries from behind `sequence`; None where the ring no longer reaches back so far."""
        start = len(self.ring) - (self.sequence - sequence)
        if start < 0 or sequence > self.sequence:
            return None
        return self.ring[start:start + most]

    def ready(self):
        """Whether a snapshot can begin: there are settings and sets to begin it with."""
        return self.settings is not None and self.sets is not None

    def head(self):
        """The encoded entries that every snapshot begins with."""
        return [wire.encode([wire.ENTRY_SETTINGS, self.sequence, self.settings, self.key]),
                wire.encode([wire.ENTRY_DESTINATIONS, self.sequence, self.generation, self.sets])]

    def _apply(self, entry):
        """What an entry says that changes no bindings."""
        kind = entry[0]
        if kind == wire.ENTRY_STATE:
            row = self.states.get(entry[2])
            if row is not None:
                row[-1] = entry[3]
        elif kind == wire.ENTRY_DESTINATIONS:
            self.generation = entry[2]
            # rows of our own, since their states will change
            self.sets = [[set_id, algorithm, [list(row) for row in rows]] for set_id, algorithm, rows in entry[3]]
            self.states = {row[0]: row for _, _, rows in self.sets for row in rows}
        else:
            self.settings = entry[2]

    def _remember(self, encoded):
        self.ring += encoded
        if len(self.ring) > RING_ENTRIES + RING_MARGIN:
            del self.ring[:-RING_ENTRIES]
