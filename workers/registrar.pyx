"""REGISTER (RFC 3261 10.3): what the worker judges alone, the operation for the log, the answer when it comes back."""

import time

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from sipcore.address cimport Address, address_param, address_parse
from sipcore.headers cimport HDR_CONTACT, HDR_EXPIRES, HDR_REQUIRE, HDR_USER_AGENT
from sipcore.location cimport AOR_MAX, CONTACT_MAX
from sipcore.message cimport Header, Message, message_find, message_next, message_parse
from sipcore.slices cimport Slice, slice_number, slice_of
from sipcore.uri cimport SCHEME_SIP, SCHEME_SIPS, Uri, uri_aor, uri_parse

CONTACTS_MAX = 32          # in one REGISTER; a phone has one to three
cdef uint64_t EXPIRES_MOST = 1000000000000000  # seconds; with more digits it is no number of them

cdef enum:
    AGENT_MAX = 128        # octets of the User-Agent that are kept with a binding
    Q_DEFAULT = 1000       # RFC 3261 10.2.1.2 gives none: 1 in thousandths
    ABSENT = -1


class Rejected(Exception):
    """status, phrase, and whole header lines for the answer."""

    def __init__(self, status, phrase, headers=b""):
        super().__init__(status, phrase)
        self.status, self.phrase, self.headers = status, phrase, headers


cdef class Registrar:
    """engine: answers; replica: carries operations to the supervisor; table: the LocationTable to answer from."""
    cdef object engine
    cdef object replica
    cdef object table
    cdef readonly dict waiting # op_id -> (reference, AOR)
    cdef frozenset domains
    cdef bint use_domain
    cdef int64_t default_s
    cdef int64_t least_s
    cdef int64_t most_s
    cdef Message message       # the request in hand
    cdef const uint8_t* data   # its octets

    def __init__(self, engine, replica, table):
        self.engine = engine
        self.replica = replica
        self.table = table
        self.waiting = {}
        self.domains = frozenset()

    def configure(self, settings):
        """Takes [registrar] and the domains."""
        registrar = settings["registrar"]
        self.use_domain = registrar["use_domain"]
        self.default_s = registrar["default_expires"]
        self.least_s = registrar["min_expires"]
        self.most_s = registrar["max_expires"]
        self.domains = frozenset(domain.lower().encode() for domain in settings["edge"]["domains"])

    def take(self, reference, bytes octets, bytes flow):
        """One REGISTER that parsed: answered at once, or an operation for the log."""
        self.data = octets
        message_parse(&self.message, self.data, <uint32_t>len(octets))
        try:
            aor = self._aor()
            star, contacts = self._contacts()
        except Rejected as rejected:
            self.engine.answer(reference, rejected.status, rejected.phrase, rejected.headers)
            return
        if not contacts and not star:
            self._answer(reference, aor)
            return
        op_id = self.replica.submit(aor, self._text(self.message.call_id), self.message.cseq, star, contacts, flow, b"",
                                    self._header(HDR_USER_AGENT)[:AGENT_MAX])
        if op_id:
            self.waiting[op_id] = (reference, aor)
        else:
            self.engine.answer(reference, 503, b"Service Unavailable", b"Retry-After: 5\r\n")

    def acknowledged(self, op_id):
        """The operation came back on the log: it is committed."""
        waiting = self.waiting.pop(op_id, None)
        if waiting is not None:
            self._answer(waiting[0], waiting[1])

    def refused(self, op_id, status, phrase):
        waiting = self.waiting.pop(op_id, None)
        if waiting is not None:
            self.engine.answer(waiting[0], status, phrase)

    cdef bytes _text(self, Slice piece):
        return self.data[piece.start:piece.start + piece.length]

    cdef bytes _header(self, int id):
        """The first value of a header; empty where absent."""
        cdef const Header* header = message_find(&self.message, id)
        return b"" if header == NULL else self.data[header.value:header.value + header.value_length]

    cdef bytes _aor(self):
        """The address-of-record that To names (10.3 step 5), in a domain that we serve."""
        cdef Uri uri
        cdef Slice to = self.message.to_uri
        cdef uint8_t out[AOR_MAX]
        cdef int length
        if message_find(&self.message, HDR_REQUIRE) != NULL:
            raise Rejected(420, b"Bad Extension", self._unsupported())
        if uri_parse(&uri, self.data, to.start, to.start + to.length) < 0:
            raise Rejected(400, b"Malformed To URI")
        if (uri.scheme != SCHEME_SIP and uri.scheme != SCHEME_SIPS) or not uri.has_user:
            raise Rejected(400, b"To Is No SIP Address-of-Record")
        length = uri_aor(self.data, &uri, out, AOR_MAX)
        if length < 0:
            raise Rejected(400, b"Address-of-Record Too Long")
        aor = <bytes>out[:length]
        user, _, host = aor.rpartition(b"@")
        if self.domains and host not in self.domains:
            raise Rejected(404, b"Domain Not Served Here")
        return aor if self.use_domain else user

    cdef bytes _unsupported(self):
        cdef const Header* header = message_find(&self.message, HDR_REQUIRE)
        lines = []
        while header != NULL:
            lines.append(b"Unsupported: %s\r\n" % self.data[header.value:header.value + header.value_length])
            header = message_next(&self.message, header)
        return b"".join(lines)

    cdef tuple _contacts(self):
        """(star, [[uri, expires_s, q, instance, reg_id], ...]) within the rules of 10.3 steps 6 and 7."""
        cdef const Header* header = message_find(&self.message, HDR_CONTACT)
        cdef int64_t header_s = self._header_expires()
        cdef Address address
        cdef uint32_t at, end
        cdef bint star = False
        contacts = []
        values = 0
        while header != NULL:
            at = header.value
            end = header.value + header.value_length
            while at < end:
                values += 1
                if values > CONTACTS_MAX:
                    raise Rejected(400, b"Too Many Contacts In One Request")
                if address_parse(&address, self.data, at, end) < 0:
                    raise Rejected(400, b"Malformed Contact")
                star = star or address.star
                if not address.star:
                    contacts.append(self._contact(&address, header_s))
                at = address.end + 1
            header = message_next(&self.message, header)
        if star and (values > 1 or header_s != 0):
            raise Rejected(400, b"Contact * Needs Expires 0 And No Other Contact")
        return star, contacts

    cdef list _contact(self, const Address* address, int64_t header_s):
        cdef bint found
        if address.uri.scheme != SCHEME_SIP and address.uri.scheme != SCHEME_SIPS:
            raise Rejected(400, b"Unsupported Contact Scheme")
        if address.uri.text.length > CONTACT_MAX:
            raise Rejected(400, b"Contact Too Long")
        instance = self._text(address_param(self.data, address.params, b"+sip.instance", 13, &found))
        return [self._text(address.uri.text), self._expires_s(address.expires, header_s),
                address.q if address.q >= 0 else Q_DEFAULT, unquoted(instance), 0]

    cdef int64_t _header_expires(self):
        """The Expires header's seconds; ABSENT where there is none, or none that makes sense (then the default, 10.3 step 7)."""
        cdef const Header* header = message_find(&self.message, HDR_EXPIRES)
        if header == NULL:
            return ABSENT
        return slice_number(self.data, slice_of(header.value, header.value + header.value_length), EXPIRES_MOST)

    cdef int64_t _expires_s(self, int64_t own_s, int64_t header_s) except -1:
        """The contact's own parameter, the header, or the default; 423 below the least, capped above the most."""
        cdef int64_t asked_s = own_s if own_s >= 0 else header_s
        if asked_s < 0:
            asked_s = self.default_s
        if 0 < asked_s < self.least_s:
            raise Rejected(423, b"Interval Too Brief", b"Min-Expires: %d\r\n" % self.least_s)
        return min(asked_s, self.most_s)

    cdef _answer(self, reference, aor):
        """200 with all current bindings and the time that they have left (10.3 step 8)."""
        cdef int64_t now_ms = time.monotonic_ns() // 1_000_000
        cdef int64_t left_ms
        lines = []
        for contact, _, _, q, expires_ms, _, instance, *_ in self.table.bindings(aor) or ():
            left_ms = expires_ms - now_ms
            if left_ms <= 0:
                continue
            line = b"Contact: <%s>;expires=%d" % (contact, (left_ms + 999) // 1000)
            if q != Q_DEFAULT:
                line += b";q=%d.%03d" % divmod(q, 1000)
            if instance:
                line += b';+sip.instance="%s"' % instance
            lines.append(line + b"\r\n")
        self.engine.answer(reference, 200, b"OK", b"".join(lines))


def unquoted(bytes text):
    """A quoted string without its quotes, its escapes left as they stand."""
    return text[1:len(text) - 1] if len(text) > 1 and text.startswith(b'"') and text.endswith(b'"') else text
