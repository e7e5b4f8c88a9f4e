"""REGISTER (RFC 3261 10.3): what the worker judges alone, the operation for the log, the answer when it comes back."""

import time

from sipcore import address, message, uri
from sipcore.reasons import Refused

STAR = b"*"
CONTACTS_MAX = 32          # in one REGISTER; a phone has one to three
CONTACT_URI_MAX = 512      # == sipcore/location.pxd CONTACT_MAX
AGENT_MAX = 128            # octets of the User-Agent that are kept with a binding
Q_DEFAULT = 1000           # RFC 3261 10.2.1.2 gives none: 1 in thousandths
MONTH_S = 30 * 24 * 3600   # delta-seconds that make no sense count as this before the cap


class Rejected(Exception):
    """status, phrase, and whole header lines for the answer."""

    def __init__(self, status, phrase, headers=b""):
        super().__init__(status, phrase)
        self.status, self.phrase, self.headers = status, phrase, headers


class Registrar:
    """engine: answers; replica: carries operations to the supervisor; table: the LocationTable to answer from."""

    def __init__(self, engine, replica, table):
        self.engine = engine
        self.replica = replica
        self.table = table
        self.waiting = {}  # op_id -> (reference, AOR)
        self.domains = frozenset()
        self.settings = None

    def configure(self, settings):
        self.settings = settings["registrar"]
        self.domains = frozenset(domain.lower().encode() for domain in settings["edge"]["domains"])

    def take(self, reference, octets, flow):
        """One REGISTER: answered at once, or an operation for the log."""
        request = message.parse(octets)
        try:
            aor = self._aor(request)
            star, contacts = self._contacts(request)
        except Rejected as rejected:
            self.engine.answer(reference, rejected.status, rejected.phrase, rejected.headers)
            return
        if not contacts and not star:
            self._answer(reference, aor)
            return
        agent = (request.header(b"User-Agent") or b"")[:AGENT_MAX]
        op_id = self.replica.submit(aor, request.call_id, request.cseq, star, contacts, flow, b"", agent)
        if op_id:
            self.waiting[op_id] = (reference, aor)
        else:
            self.engine.answer(reference, 503, b"Service Unavailable", b"Retry-After: 5\r\n")

    def acknowledged(self, op_id):
        """The operation came back on the log: it is committed."""
        waiting = self.waiting.pop(op_id, None)
        if waiting is not None:
            self._answer(*waiting)

    def refused(self, op_id, status, phrase):
        waiting = self.waiting.pop(op_id, None)
        if waiting is not None:
            self.engine.answer(waiting[0], status, phrase)

    def _aor(self, request):
        """The address-of-record that To names (10.3 step 5), in a domain that we serve."""
        if request.header(b"Require") is not None:
            tags = b"".join(b"Unsupported: %s\r\n" % tag for tag in request.lines(b"Require"))
            raise Rejected(420, b"Bad Extension", tags)
        try:
            parts = uri.parse(request.to_uri)
            if parts["scheme"] not in ("sip", "sips") or not parts["user"]:
                raise Rejected(400, b"To Is No SIP Address-of-Record")
            aor = uri.aor(request.to_uri)
        except Refused as refused:
            raise Rejected(400, b"Malformed To URI") from refused
        host = aor.rpartition(b"@")[2]
        if self.domains and host not in self.domains:
            raise Rejected(404, b"Domain Not Served Here")
        return aor if self.settings["use_domain"] else aor.partition(b"@")[0]

    def _contacts(self, request):
        """(star, [[uri, expires_s, q, instance, reg_id], ...]) within the rules of 10.3 steps 6 and 7."""
        header_s = self._header_expires(request)
        contacts = []
        values = request.values(b"Contact")
        if len(values) > CONTACTS_MAX:
            raise Rejected(400, b"Too Many Contacts In One Request")
        for value in values:
            try:
                contact = address.parse(value)
            except Refused as refused:
                raise Rejected(400, b"Malformed Contact") from refused
            if contact["star"]:
                if len(values) > 1 or header_s != 0:
                    raise Rejected(400, b"Contact * Needs Expires 0 And No Other Contact")
                return True, []
            contacts.append(self._contact(value, contact, header_s))
        return False, contacts

    def _contact(self, value, contact, header_s):
        text = contact["uri"]["text"]
        if contact["uri"]["scheme"] not in ("sip", "sips"):
            raise Rejected(400, b"Unsupported Contact Scheme")
        if len(text) > CONTACT_URI_MAX:
            raise Rejected(400, b"Contact Too Long")
        expires_s = self._expires(contact["expires"], header_s)
        q = contact["q"] if contact["q"] >= 0 else Q_DEFAULT
        instance = unquoted(address.param(value, b"+sip.instance") or b"")
        return [text, expires_s, q, instance, 0]

    def _header_expires(self, request):
        """The Expires header's seconds; None: absent or malformed (then the default, 10.3 step 7)."""
        text = request.header(b"Expires")
        return min(int(text), MONTH_S) if text is not None and len(text) < 16 and text.isdigit() else None

    def _expires(self, own_s, header_s):
        """The contact's own parameter, the header, or the default; 423 below the least, capped above the most."""
        asked_s = own_s if own_s >= 0 else header_s
        if asked_s is None:
            asked_s = self.settings["default_expires"]
        if 0 < asked_s < self.settings["min_expires"]:
            raise Rejected(423, b"Interval Too Brief", b"Min-Expires: %d\r\n" % self.settings["min_expires"])
        return min(asked_s, self.settings["max_expires"])

    def _answer(self, reference, aor):
        """200 with all current bindings and the time that they have left (10.3 step 8)."""
        now_ms = time.monotonic_ns() // 1_000_000
        lines = []
        for binding in self.table.find(aor) or ():
            left_ms = binding["expires_ms"] - now_ms
            if left_ms <= 0:
                continue
            line = b"Contact: <%s>;expires=%d" % (binding["contact"], (left_ms + 999) // 1000)
            if binding["q"] != Q_DEFAULT:
                line += b";q=%d.%03d" % divmod(binding["q"], 1000)
            if binding["instance"]:
                line += b';+sip.instance="%s"' % binding["instance"]
            lines.append(line + b"\r\n")
        self.engine.answer(reference, 200, b"OK", b"".join(lines))


def unquoted(text):
    """A quoted string without its quotes, its escapes left as they stand."""
    return text[1:-1] if len(text) > 1 and text.startswith(b'"') and text.endswith(b'"') else text
