"""What a REGISTER does to the bindings of its AOR (RFC 3261 10.3 steps 6 to 8): evaluated here, written by the log."""

from typing import NamedTuple

from sipcore import wire
from sipcore.location import LIMITS, contact_key

AGENT_MAX = 128      # octets of User-Agent kept: enough to tell phones apart
INSTANCE_MAX = 256   # a urn:uuid: or urn:imei: is below 64 (RFC 5626 4.1)
PATH_MAX = 2048      # four proxies' URIs; with the longest of the others still below BINDING_TEXT_MAX

# the places of a put (wire.PUT_FIELDS)
CONTACT, CALL_ID, CSEQ, EXPIRES_MS = 0, 1, 2, 4


class Refusal(NamedTuple):
    status: int
    phrase: bytes


OUT_OF_ORDER = Refusal(500, b"Request Out Of Order")
TOO_MANY = Refusal(503, b"Too Many Contacts")
TOO_LONG = Refusal(400, b"Contact Too Long")


class Registrations:
    """table: the LocationTable of the truth. settings: the whole configuration.

    What was evaluated counts at once for the next evaluation, before the table has it: `settle` once it is applied or
    dropped.
    """

    def __init__(self, table, settings):
        self.table = table
        self.pending = {}  # aor -> puts, of entries evaluated but not settled
        self.configure(settings)

    def configure(self, settings):
        registrar = settings["registrar"]
        self.max_contacts = registrar["max_contacts"]
        self.remember_ms = registrar["remember_offline_s"] * 1000

    def evaluate(self, op, worker, now_ms):
        """The ENTRY_BINDINGS (sequence 0) that the operation of wire.OPS comes to, or a Refusal: all of it or nothing.

        A repeated operation (same Call-ID and CSeq) comes to an entry that changes nothing: its asker missed the first.
        """
        op_id, aor, call_id, cseq, star, contacts, flow, path, agent = op
        before = self._current(aor)
        if not 0 < len(aor) <= LIMITS["aor"] or len(call_id) > LIMITS["call_id"] or len(path) > PATH_MAX:
            return TOO_LONG
        # a binding that has expired counts for nothing, neither its CSeq nor its place
        result = {contact_key(put[CONTACT]): put for put in before if put[EXPIRES_MS] > now_ms}
        alive = len(result)
        if star:
            if any(put[CALL_ID] == call_id and put[CSEQ] >= cseq for put in result.values()):
                return OUT_OF_ORDER
            result = {}
        else:
            agent = agent[:AGENT_MAX]
            existing = dict(result)
            for uri, expires_s, q, instance, _ in contacts:
                if not 0 < len(uri) <= LIMITS["contact"] or len(instance) > INSTANCE_MAX:
                    return TOO_LONG
                key = contact_key(uri)
                put = existing.get(key)
                if put is not None and put[CALL_ID] == call_id:
                    if put[CSEQ] > cseq or (put[CSEQ] == cseq and not expires_s):
                        return OUT_OF_ORDER
                    if put[CSEQ] == cseq:
                        continue
                if expires_s:
                    expires_ms = now_ms + expires_s * 1000
                    result[key] = [uri, call_id, cseq, q, expires_ms, flow, instance, path, agent, now_ms]
                else:
                    result.pop(key, None)
        if len(result) > max(self.max_contacts, alive):
            return TOO_MANY
        return self._entry((worker, op_id), aor, before, result, now_ms)

    def remove(self, aor, now_ms, contact=None):
        """The entry that takes one contact, or all (None), from an AOR by the operator's hand; None: nothing there."""
        before = self._current(aor)
        result = {}
        if contact is not None:
            result = {contact_key(put[CONTACT]): put for put in before}
            result.pop(contact_key(contact), None)
        if len(result) == len(before):
            return None
        return self._entry((wire.ORIGIN_SUPERVISOR, 0), aor, before, result, now_ms)

    def sweep(self, now_ms, limit):
        """The entries that remove what expired, out of the next `limit` slots of the table."""
        entries = []
        for aor, contacts in self.table.expired(now_ms, limit):
            if aor not in self.pending:  # else its turn comes with the next round
                entries.append([wire.ENTRY_BINDINGS, 0, wire.ORIGIN_SUPERVISOR, 0, aor, [], contacts,
                                now_ms + self.remember_ms])
        return entries

    def settle(self):
        self.pending.clear()

    def _current(self, aor):
        puts = self.pending.get(aor)
        return puts if puts is not None else self.table.bindings(aor) or ()

    def _entry(self, origin, aor, before, result, now_ms):
        kept = {id(put) for put in before}
        puts = [put for put in result.values() if id(put) not in kept]
        removes = [put[CONTACT] for put in before if contact_key(put[CONTACT]) not in result]
        known_until_ms = 0
        if puts or removes:
            known_until_ms = max((put[EXPIRES_MS] for put in result.values()), default=now_ms) + self.remember_ms
            self.pending[aor] = list(result.values())
        return [wire.ENTRY_BINDINGS, 0, *origin, aor, puts, removes, known_until_ms]
