"""The registrations as the supervisor keeps them: what a REGISTER, the operator and time change; written by the log."""

from sipcore import wire
from sipcore.location import contact_key
from sipcore.registration import Evaluator

CONTACT, EXPIRES_MS = 0, 4  # the places of a put (wire.PUT_FIELDS)


class Registrations(Evaluator):
    """table: the LocationTable of the truth. settings: the whole configuration.

    evaluate() is for what workers send; remove() and sweep() look at the table alone: call them with nothing unsettled.
    """

    def __init__(self, table, settings):
        super().__init__()
        self.configure(settings)

    def configure(self, settings):
        registrar = settings["registrar"]
        self.max_contacts = registrar["max_contacts"]
        self.remember_ms = registrar["remember_offline_s"] * 1000

    def remove(self, aor, now_ms, contact=None):
        """The entry that takes one contact, or all (None), from an AOR by the operator's hand; None: nothing there."""
        before = self.table.bindings(aor) or []
        gone = [put for put in before if contact is None or contact_key(put[CONTACT]) == contact_key(contact)]
        if not gone:
            return None
        last_ms = max((put[EXPIRES_MS] for put in before if put not in gone), default=now_ms)
        return self._removal(aor, [put[CONTACT] for put in gone], last_ms)

    def sweep(self, now_ms, limit):
        """The entries that remove what expired, out of the next `limit` slots of the table."""
        return [self._removal(aor, contacts, now_ms) for aor, contacts in self.table.expired(now_ms, limit)]

    def _removal(self, aor, contacts, last_ms):
        return [wire.ENTRY_BINDINGS, 0, wire.ORIGIN_SUPERVISOR, 0, aor, [], contacts, last_ms + self.remember_ms]
