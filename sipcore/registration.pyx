"""What a REGISTER does to the bindings of its AOR (RFC 3261 10.3 steps 6 to 8): an operation in, the log's entry out, or why not."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from sipcore.entries cimport (
    FLOW_OCTETS, OP_CONTACTS_MAX, Contact, Entry, Operation, Operations, packer_entry, packer_put, reader_operation,
)
from sipcore.location cimport (
    AOR_MAX, CALL_ID_MAX, CONTACT_MAX, Binding, BindingTexts, LocationTable, Record, binding_texts, contact_same, location_clear,
    location_find, location_put, location_record, location_remove,
)
from sipcore.packed cimport Packer, Reader, packer_array, packer_begin, packer_number, packer_octets
from sipcore.slices cimport bytes_eq

cdef enum:
    AGENT_MAX = 128      # octets of User-Agent kept: enough to tell phones apart
    INSTANCE_MAX = 256   # a urn:uuid: or urn:imei: is below 64 (RFC 5626 4.1)
    PATH_MAX = 2048      # four proxies' URIs; with the longest of the others still below BINDING_TEXT_MAX

cdef enum Verdict:
    TAKEN
    OUT_OF_ORDER
    TOO_MANY
    TOO_LONG

REFUSALS = {  # status and phrase of a Verdict
    OUT_OF_ORDER: (500, b"Request Out Of Order"),
    TOO_MANY: (503, b"Too Many Contacts"),
    TOO_LONG: (400, b"Contact Too Long"),
}

cdef struct Change:      # what an operation does to the bindings of its AOR
    const Binding* before
    bint idle[OP_CONTACTS_MAX]  # contacts that change nothing: repeated, or named again further on
    uint32_t puts
    uint32_t removes
    uint32_t kept
    int64_t latest_ms    # of all that are bound afterwards: when the last one expires; 0: none is


cdef inline bint same(const Binding* binding, const Contact* contact) noexcept nogil:
    return contact_same(binding.text, binding.contact_length, contact.uri.data, contact.uri.length)


cdef int judge(const Operation* op, Change* change, int64_t now_ms) noexcept nogil:
    """The rules of steps 6 and 7, contact by contact; nothing is changed where one is broken. A Verdict."""
    cdef const Binding* binding = change.before
    cdef BindingTexts texts
    cdef uint32_t i, j
    if op.aor.length == 0 or op.aor.length > AOR_MAX or op.call_id.length > CALL_ID_MAX or op.path.length > PATH_MAX:
        return TOO_LONG
    for i in range(op.contacts if not op.star else 0):
        if op.contact[i].uri.length == 0 or op.contact[i].uri.length > CONTACT_MAX or op.contact[i].instance.length > INSTANCE_MAX:
            return TOO_LONG
        binding = change.before
        while binding != NULL and not same(binding, &op.contact[i]):
            binding = binding.next
        change.idle[i] = False
        if binding != NULL and binding.expires_ms > now_ms and of_call(binding, op):
            if binding.cseq > op.cseq or (binding.cseq == op.cseq and op.contact[i].expires_s == 0):
                return OUT_OF_ORDER
            change.idle[i] = binding.cseq == op.cseq
        for j in range(i if not change.idle[i] else 0):
            if contact_same(op.contact[i].uri.data, op.contact[i].uri.length, op.contact[j].uri.data, op.contact[j].uri.length):
                change.idle[j] = True
    while op.star and binding != NULL:
        if binding.expires_ms > now_ms and of_call(binding, op) and binding.cseq >= op.cseq:
            return OUT_OF_ORDER
        binding = binding.next
    return TAKEN


cdef bint of_call(const Binding* binding, const Operation* op) noexcept nogil:
    return bytes_eq(binding_texts(binding).call_id, binding.call_id_length, op.call_id.data, op.call_id.length)


cdef const Contact* named(const Operation* op, const Change* change, const Binding* binding) noexcept nogil:
    """The contact that changes this binding; NULL: none."""
    cdef uint32_t i
    for i in range(op.contacts if not op.star else 0):
        if not change.idle[i] and same(binding, &op.contact[i]):
            return &op.contact[i]
    return NULL


cdef inline bint goes(const Operation* op, const Change* change, const Binding* binding, int64_t now_ms) noexcept nogil:
    """Whether the operation takes a binding away. One that has expired counts for nothing, neither its CSeq nor its place."""
    cdef const Contact* contact = named(op, change, binding)
    return contact.expires_s == 0 if contact != NULL else op.star or binding.expires_ms <= now_ms


cdef int weigh(const Operation* op, Change* change, int64_t now_ms, uint32_t max_contacts) noexcept nogil:
    """Counts what the operation comes to: TAKEN or TOO_MANY."""
    cdef const Binding* binding = change.before
    cdef uint32_t i, alive = 0
    while binding != NULL:
        alive += binding.expires_ms > now_ms
        if goes(op, change, binding, now_ms):
            change.removes += 1
        elif named(op, change, binding) == NULL:
            change.kept += 1
            change.latest_ms = max(change.latest_ms, binding.expires_ms)
        binding = binding.next
    for i in range(op.contacts if not op.star else 0):
        if not change.idle[i] and op.contact[i].expires_s:
            change.puts += 1
            change.latest_ms = max(change.latest_ms, now_ms + <int64_t>op.contact[i].expires_s * 1000)
    return TOO_MANY if change.kept + change.puts > max(max_contacts, alive) else TAKEN


cdef void fill_put(const Operation* op, const Contact* contact, int64_t now_ms, Binding* fields, BindingTexts* texts) noexcept nogil:
    memset(fields, 0, sizeof(Binding))
    fields.expires_ms = now_ms + <int64_t>contact.expires_s * 1000
    fields.updated_ms = now_ms
    memcpy(&fields.flow, op.flow, FLOW_OCTETS)
    fields.cseq = op.cseq
    fields.q = contact.q
    fields.contact_length = <uint16_t>contact.uri.length
    fields.call_id_length = <uint16_t>op.call_id.length
    fields.instance_length = <uint16_t>contact.instance.length
    fields.path_length = <uint16_t>op.path.length
    fields.agent_length = <uint16_t>min(op.agent.length, AGENT_MAX)
    texts[0] = BindingTexts(contact.uri.data, op.call_id.data, contact.instance.data, op.path.data, op.agent.data)


cdef void pack_changes(Packer* packer, const Operation* op, const Change* change, int64_t now_ms) noexcept nogil:
    """The puts and removes of an entry."""
    cdef const Binding* binding = change.before
    cdef Binding fields
    cdef BindingTexts texts
    cdef uint32_t i
    packer_array(packer, change.puts)
    for i in range(op.contacts if change.puts else 0):
        if not change.idle[i] and op.contact[i].expires_s:
            fill_put(op, &op.contact[i], now_ms, &fields, &texts)
            packer_put(packer, &fields, &texts)
    packer_array(packer, change.removes)
    while binding != NULL:
        if goes(op, change, binding, now_ms):
            packer_octets(packer, binding.text, binding.contact_length)
        binding = binding.next


cdef class Evaluator:
    """Evaluates operations against a table that it never changes.

    What was evaluated counts at once for the next operation, before the table has it: `settle` once it is applied or dropped.
    """
    cdef readonly LocationTable table
    cdef readonly LocationTable ahead  # the AORs that unsettled entries change, as they will be
    cdef Packer packer                 # the entry in hand
    cdef public uint32_t max_contacts
    cdef public int64_t remember_ms

    def __cinit__(self, LocationTable table not None, *_):
        self.table = table
        self.ahead = LocationTable()

    def __dealloc__(self):
        free(self.packer.out)

    def evaluate(self, Operations operations not None, uint64_t worker, int64_t now_ms, uint64_t sequence):
        """([encoded ENTRY_BINDINGS numbered from `sequence` on], [[op_id, status, phrase] of what is refused]).

        Each operation is taken whole or not at all. A repeated one (same Call-ID and CSeq) comes to an entry that changes nothing:
        its asker missed the first.
        """
        cdef Reader reader = operations.reader()
        cdef Operation op
        cdef uint32_t i
        cdef int verdict
        entries, refused = [], []
        for i in range(operations.count):
            reader_operation(&reader, &op)
            verdict = self._evaluate(&op, worker, now_ms, sequence)
            if verdict < 0 or self.packer.failed:
                raise MemoryError("an entry")
            if verdict == TAKEN:
                entries.append(PyBytes_FromStringAndSize(<char*>self.packer.out, self.packer.length))
                sequence += 1
            else:
                refused.append([op.op_id, *REFUSALS[verdict]])
        return entries, refused

    def settle(self):
        if self.ahead.location.records:
            location_clear(&self.ahead.location)

    cdef int _evaluate(self, const Operation* op, uint64_t worker, int64_t now_ms, uint64_t sequence) noexcept nogil:
        """A Verdict, with the entry in self.packer; below 0: no memory."""
        cdef Change change
        cdef Entry entry = Entry(sequence, worker, op.op_id, op.aor)
        cdef const Record* known = location_find(&self.ahead.location, op.aor.data, op.aor.length)
        cdef const Record* record = known
        cdef int verdict
        if record == NULL:
            record = location_find(&self.table.location, op.aor.data, op.aor.length)
        memset(&change, 0, sizeof(Change))
        change.before = record.bindings if record != NULL else NULL
        verdict = judge(op, &change, now_ms)
        if verdict == TAKEN:
            verdict = weigh(op, &change, now_ms, self.max_contacts)
        if verdict != TAKEN:
            return verdict
        packer_begin(&self.packer)
        packer_entry(&self.packer, &entry)
        pack_changes(&self.packer, op, &change, now_ms)
        if change.puts == 0 and change.removes == 0:
            packer_number(&self.packer, 0)
            return TAKEN
        packer_number(&self.packer, <uint64_t>(max(change.latest_ms, now_ms) + self.remember_ms))
        return TAKEN if self._look_ahead(op, &change, now_ms, known != NULL) else -1

    cdef bint _look_ahead(self, const Operation* op, const Change* change, int64_t now_ms, bint known) noexcept nogil:
        """Makes the AOR in `ahead` what it will be; known: it stands there already. False: no memory."""
        cdef const Binding* binding = change.before
        cdef const Binding* following
        cdef Binding fields
        cdef BindingTexts texts
        cdef uint32_t i
        if location_record(&self.ahead.location, op.aor.data, op.aor.length) == NULL:
            return False
        while binding != NULL:
            following = binding.next
            if goes(op, change, binding, now_ms):
                location_remove(&self.ahead.location, op.aor.data, op.aor.length, binding.text, binding.contact_length)
            elif not known:
                texts = binding_texts(binding)
                if location_put(&self.ahead.location, op.aor.data, op.aor.length, binding, &texts) != 0:
                    return False
            binding = following
        for i in range(op.contacts if change.puts else 0):
            if not change.idle[i] and op.contact[i].expires_s:
                fill_put(op, &op.contact[i], now_ms, &fields, &texts)
                if location_put(&self.ahead.location, op.aor.data, op.aor.length, &fields, &texts) != 0:
                    return False
        return True
