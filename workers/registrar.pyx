"""REGISTER (RFC 3261 10.3): what the worker judges alone, the operation for the log, the answer when it comes back."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t
from libc.string cimport strlen

from sipcore.address cimport Address, address_param, address_parse
from sipcore.entries cimport Contact, Operation, packer_operation
from sipcore.headers cimport HDR_CONTACT, HDR_EXPIRES, HDR_REQUIRE, HDR_USER_AGENT
from sipcore.location cimport AOR_MAX, CONTACT_MAX, Binding, Record, binding_texts, location_find
from sipcore.message cimport Header, Message, message_find, message_next
from sipcore.packed cimport Octets, Packer, Reader, packer_begin, packer_raw, reader_octets, reader_of
from sipcore.slices cimport DECIMAL_MAX, Slice, bytes_eq, decimal_put, slice_number, slice_of
from sipcore.uri cimport SCHEME_SIP, SCHEME_SIPS, Uri, uri_aor, uri_parse
from workers.edge cimport Name, Registry
from workers.outstanding cimport Operations, Waiting, operations_add, operations_drop, operations_find
from workers.sockets cimport CLOCK_MONOTONIC, clock_gettime, timespec
from workers.transactions cimport Transaction
from workers.upstream cimport upstream_reply, upstream_request

CONTACTS_MAX = 32          # in one REGISTER; a phone has one to three
cdef uint32_t CONTACTS_MOST = CONTACTS_MAX
cdef uint64_t EXPIRES_MOST = 1000000000000000  # seconds; with more digits it is no number of them

cdef enum:
    AGENT_MAX = 128        # octets of the User-Agent that are kept with a binding
    Q_DEFAULT = 1000       # RFC 3261 10.2.1.2 gives none: 1 in thousandths
    ABSENT = -1
    QUOTE = 34

cdef struct Verdict:
    int status             # 0: an operation for the log
    const char* phrase

cdef Verdict FINE = Verdict(0, NULL)


cdef int64_t monotonic_ms() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000 + now.tv_nsec // 1000000


cdef inline void put_text(Packer* packer, const char* text) noexcept nogil:
    packer_raw(packer, text, <uint32_t>strlen(text))


cdef inline void put_number(Packer* packer, uint32_t number) noexcept nogil:
    cdef uint8_t digits[DECIMAL_MAX]
    packer_raw(packer, digits, decimal_put(digits, number))


cdef inline Octets piece_of(const uint8_t* data, Slice piece) noexcept nogil:
    return Octets(data + piece.start, piece.length)


cdef inline Octets unquoted(Octets text) noexcept nogil:
    """A quoted string without its quotes, its escapes left as they stand."""
    if text.length > 1 and text.data[0] == QUOTE and text.data[text.length - 1] == QUOTE:
        return Octets(text.data + 1, text.length - 2)
    return text


cdef Octets first_value(const Message* request, int id) noexcept nogil:
    """The first value of a header; empty where absent."""
    cdef const Header* header = message_find(request, id)
    if header == NULL:
        return Octets(request.data, 0)
    return Octets(request.data + header.value, header.value_length)


cdef int64_t header_expires(const Message* request) noexcept nogil:
    """The Expires header's seconds; ABSENT where there is none, or none that makes sense (then the default, 10.3 step 7)."""
    cdef const Header* header = message_find(request, HDR_EXPIRES)
    if header == NULL:
        return ABSENT
    return slice_number(request.data, slice_of(header.value, header.value + header.value_length), EXPIRES_MOST)


cdef void put_q(Packer* packer, uint16_t q) noexcept nogil:
    """A q value in thousandths, with its three digits."""
    put_text(packer, b";q=")
    put_number(packer, q // 1000)
    put_text(packer, b".")
    if q % 1000 < 100:
        put_text(packer, b"0")
    if q % 1000 < 10:
        put_text(packer, b"0")
    put_number(packer, q % 1000)


cdef bint serves(Edge* edge, const uint8_t* host, uint32_t length) noexcept nogil:
    """Whether we are the registrar of this domain: of any where none is named."""
    cdef bint named = False
    cdef const Name* name
    cdef uint32_t i
    for i in range(edge.name_count):
        name = &edge.name[i]
        if name.domain and bytes_eq(name.host, name.length, host, length):
            return True
        named = named or name.domain
    return not named


cdef void list_unsupported(Edge* edge, const Message* request) noexcept nogil:
    cdef const Header* header = message_find(request, HDR_REQUIRE)
    while header != NULL:
        put_text(&edge.registry.headers, b"Unsupported: ")
        packer_raw(&edge.registry.headers, request.data + header.value, header.value_length)
        put_text(&edge.registry.headers, b"\r\n")
        header = message_next(request, header)


cdef void list_bindings(Edge* edge, const Octets* aor, int64_t now_ms) noexcept nogil:
    """The headers of a 200: all current bindings and the time that they have left."""
    cdef const Record* record = location_find(edge.location, aor.data, aor.length)
    cdef const Binding* binding = record.bindings if record != NULL else NULL
    cdef Packer* headers = &edge.registry.headers
    packer_begin(headers)
    while binding != NULL:
        if binding.expires_ms > now_ms:
            put_text(headers, b"Contact: <")
            packer_raw(headers, binding.text, binding.contact_length)
            put_text(headers, b">;expires=")
            put_number(headers, <uint32_t>((binding.expires_ms - now_ms + 999) // 1000))
            if binding.q != Q_DEFAULT:
                put_q(headers, binding.q)
            if binding.instance_length:
                put_text(headers, b";+sip.instance=\"")
                packer_raw(headers, binding_texts(binding).instance, binding.instance_length)
                put_text(headers, b"\"")
            put_text(headers, b"\r\n")
        binding = binding.next


cdef Verdict judge_aor(Edge* edge, const Message* request, Octets* aor) noexcept nogil:
    """The address-of-record that To names (10.3 step 5), in a domain that we serve; it stands in edge.registry.aor."""
    cdef Uri uri
    cdef Slice to = request.to_uri
    cdef int length
    cdef uint32_t user
    if message_find(request, HDR_REQUIRE) != NULL:
        list_unsupported(edge, request)
        return Verdict(420, b"Bad Extension")
    if uri_parse(&uri, request.data, to.start, to.start + to.length) < 0:
        return Verdict(400, b"Malformed To URI")
    if (uri.scheme != SCHEME_SIP and uri.scheme != SCHEME_SIPS) or not uri.has_user:
        return Verdict(400, b"To Is No SIP Address-of-Record")
    length = uri_aor(request.data, &uri, edge.registry.aor, AOR_MAX)
    if length < 0:
        return Verdict(400, b"Address-of-Record Too Long")
    user = <uint32_t>length
    while user and edge.registry.aor[user - 1] != 64:  # "@"
        user -= 1
    if not serves(edge, edge.registry.aor + user, <uint32_t>length - user):
        return Verdict(404, b"Domain Not Served Here")
    aor[0] = Octets(&edge.registry.aor[0], <uint32_t>length if edge.settings.use_domain else user - 1)
    return FINE


cdef Verdict judge_contact(Edge* edge, const uint8_t* data, const Address* address, int64_t header_s, Contact* contact) noexcept nogil:
    """One contact; its time is its own parameter, the header or the default: 423 below the least, capped above the most."""
    cdef int64_t asked_s = address.expires if address.expires >= 0 else header_s
    cdef bint found
    if address.uri.scheme != SCHEME_SIP and address.uri.scheme != SCHEME_SIPS:
        return Verdict(400, b"Unsupported Contact Scheme")
    if address.uri.text.length > CONTACT_MAX:
        return Verdict(400, b"Contact Too Long")
    if asked_s < 0:
        asked_s = edge.registry.default_s
    if 0 < asked_s < edge.registry.least_s:
        put_text(&edge.registry.headers, b"Min-Expires: ")
        put_number(&edge.registry.headers, <uint32_t>edge.registry.least_s)
        put_text(&edge.registry.headers, b"\r\n")
        return Verdict(423, b"Interval Too Brief")
    contact.uri = piece_of(data, address.uri.text)
    contact.expires_s = <uint32_t>min(asked_s, edge.registry.most_s)
    contact.q = <uint16_t>(address.q if address.q >= 0 else Q_DEFAULT)
    contact.instance = unquoted(piece_of(data, address_param(data, address.params, b"+sip.instance", 13, &found)))
    return FINE


cdef Verdict judge_contacts(Edge* edge, const Message* request, Operation* op) noexcept nogil:
    """The contacts, within the rules of 10.3 steps 6 and 7."""
    cdef const Header* header = message_find(request, HDR_CONTACT)
    cdef int64_t header_s = header_expires(request)
    cdef Address address
    cdef Verdict verdict
    cdef uint32_t at, end, values = 0
    while header != NULL:
        at = header.value
        end = header.value + header.value_length
        while at < end:
            values += 1
            if values > CONTACTS_MOST:
                return Verdict(400, b"Too Many Contacts In One Request")
            if address_parse(&address, request.data, at, end) < 0:
                return Verdict(400, b"Malformed Contact")
            op.star = op.star or address.star
            if not address.star:
                verdict = judge_contact(edge, request.data, &address, header_s, &op.contact[op.contacts])
                if verdict.status:
                    return verdict
                op.contacts += 1
            at = address.end + 1
        header = message_next(request, header)
    if op.star and (values > 1 or header_s != 0):
        return Verdict(400, b"Contact * Needs Expires 0 And No Other Contact")
    return FINE


cdef Verdict judge(Edge* edge, const Message* request, Operation* op) noexcept nogil:
    """Fills the operation, but for its flow, or says why there is none."""
    cdef Verdict verdict
    op.contacts = 0
    op.star = False
    op.call_id = piece_of(request.data, request.call_id)
    op.cseq = request.cseq
    op.path = Octets(request.data, 0)
    op.agent = first_value(request, HDR_USER_AGENT)
    op.agent.length = min(op.agent.length, AGENT_MAX)
    verdict = judge_aor(edge, request, &op.aor)
    return verdict if verdict.status else judge_contacts(edge, request, op)


cdef void answer(Edge* edge, uint32_t number, const Message* request, int status, const char* phrase) noexcept nogil:
    """With registry.headers; 500 where there was no memory for them: a 200 without its contacts would say that there are none."""
    cdef Packer* headers = &edge.registry.headers
    if headers.failed:
        upstream_reply(edge, number, request, 500, b"Server Internal Error", NULL, 0)
    else:
        upstream_reply(edge, number, request, status, phrase, headers.out, headers.length)


cdef void registrar_take(Edge* edge, uint32_t number) noexcept nogil:
    cdef const Message* request = &edge.message
    cdef Transaction* transaction = &edge.transactions.transaction[number]
    cdef Registry* registry = &edge.registry
    cdef Operation op
    cdef Verdict verdict
    packer_begin(&registry.headers)
    verdict = judge(edge, request, &op)
    if verdict.status == 0 and op.contacts == 0 and not op.star:
        # 10.3 step 6: a fetch changes nothing, so the log need not hear of it
        list_bindings(edge, &op.aor, monotonic_ms())
        verdict = Verdict(200, b"OK")
    elif verdict.status == 0:
        op.flow = <const uint8_t*>&transaction.source
        packer_begin(&registry.operation)
        packer_operation(&registry.operation, &op)
        if registry.operations != NULL and not registry.operation.failed and operations_add(
                registry.operations, registry.operation.out, registry.operation.length, number, transaction.generation, edge.now_ms):
            registry.held += 1
            return
        put_text(&registry.headers, b"Retry-After: 5\r\n")
        verdict = Verdict(503, b"Service Unavailable")
    answer(edge, number, request, verdict.status, verdict.phrase)


cdef void reply(Edge* edge, const Waiting* waiting, int status, const char* phrase) noexcept nogil:
    """Answers with registry.headers; a transaction that has expired meanwhile, or that nobody waits in, is left alone."""
    cdef const Message* request
    if waiting.transaction >= edge.transactions.transaction_used:
        return
    if edge.transactions.transaction[waiting.transaction].generation != waiting.generation:
        return
    request = upstream_request(edge, waiting.transaction)
    if request != NULL:
        answer(edge, waiting.transaction, request, status, phrase)


cdef class Registrar:
    def __init__(self, Outstanding outstanding not None):
        self.outstanding = outstanding

    def configure(self, settings):
        """Takes [registrar]; the domains are the engine's."""
        registrar = settings["registrar"]
        self.edge.registry.default_s = registrar["default_expires"]
        self.edge.registry.least_s = registrar["min_expires"]
        self.edge.registry.most_s = registrar["max_expires"]

    def acknowledged(self, op_ids):
        """These operations came back on the log, they are committed: 200 with all current bindings (10.3 step 8)."""
        cdef Operations* operations = &self.outstanding.operations
        cdef int64_t now_ms = monotonic_ms()
        cdef Waiting* waiting
        cdef Reader reader
        cdef Octets aor
        for op_id in op_ids:
            waiting = operations_find(operations, op_id)
            if waiting == NULL:
                continue
            reader = reader_of(waiting.octets, 0, waiting.length)
            aor = reader_octets(&reader, AOR_MAX)
            list_bindings(self.edge, &aor, now_ms)
            reply(self.edge, waiting, 200, b"OK")
            operations_drop(operations, waiting)

    def refused(self, uint64_t op_id, int status, bytes phrase not None):
        """The supervisor's verdict on an operation."""
        cdef Waiting* waiting = operations_find(&self.outstanding.operations, op_id)
        if waiting != NULL:
            packer_begin(&self.edge.registry.headers)
            reply(self.edge, waiting, status, phrase)
            operations_drop(&self.outstanding.operations, waiting)
