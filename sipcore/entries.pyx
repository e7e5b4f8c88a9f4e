"""Reads and writes what goes over the log by the thousand; every limit is checked here, once, before anything is applied."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memcpy, memset

from sipcore.endpoint cimport Endpoint
from sipcore.location cimport AOR_MAX, BINDING_TEXT_MAX, CALL_ID_MAX, CONTACT_MAX
from sipcore.packed cimport (
    packer_array, packer_flag, packer_number, packer_octets, packer_raw, packer_time, reader_array, reader_flag, reader_number,
    reader_octets, reader_of, reader_skip, reader_time,
)

cdef enum:
    ENTRY_BINDINGS = 1         # wire.ENTRY_BINDINGS, and how many fields each of these has
    ENTRY_KIND_MAX = 4
    ENTRY_FIELDS = 8
    PUT_FIELDS = 10
    CONTACT_FIELDS = 5
    FRAME_FIELDS_MAX = 5
    COUNT_MAX = 1 << 24        # of puts, removes, entries, operations: each takes an octet at least, and frames are bounded
    Q_MOST = 1000

cdef uint64_t NUMBER_MOST = 0x7FFFFFFFFFFFFFFEULL  # one below wire.NUMBER_MAX
cdef uint64_t SECONDS_MOST = 0x7FFFFFFF         # RFC 3261 20.19, one below wire.SECONDS_MAX


cdef bint reader_entry(Reader* reader, Entry* entry) noexcept nogil:
    cdef uint32_t fields = reader_array(reader, ENTRY_FIELDS)
    cdef uint32_t kind = <uint32_t>reader_number(reader, ENTRY_KIND_MAX)
    entry.sequence = reader_number(reader, NUMBER_MOST)
    if kind != ENTRY_BINDINGS:
        reader.failed = reader.failed or kind == 0 or fields != 4
        reader_skip(reader)
        reader_skip(reader)
        return False
    reader.failed = reader.failed or fields != ENTRY_FIELDS
    entry.origin = reader_number(reader, NUMBER_MOST)
    entry.op_id = reader_number(reader, NUMBER_MOST)
    entry.aor = reader_octets(reader, AOR_MAX)
    reader.failed = reader.failed or entry.aor.length == 0
    return not reader.failed


cdef void reader_put(Reader* reader, Binding* fields, BindingTexts* texts) noexcept nogil:
    cdef Octets contact, call_id, flow, instance, path, agent
    reader.failed = reader_array(reader, PUT_FIELDS) != PUT_FIELDS or reader.failed
    contact = reader_octets(reader, CONTACT_MAX)
    call_id = reader_octets(reader, CALL_ID_MAX)
    memset(fields, 0, sizeof(Binding))
    fields.cseq = <uint32_t>reader_number(reader, 0xFFFFFFFF)
    fields.q = <uint16_t>reader_number(reader, 0xFFFF)
    fields.expires_ms = reader_time(reader)
    flow = reader_octets(reader, FLOW_OCTETS)
    instance = reader_octets(reader, BINDING_TEXT_MAX)
    path = reader_octets(reader, BINDING_TEXT_MAX)
    agent = reader_octets(reader, BINDING_TEXT_MAX)
    fields.updated_ms = reader_time(reader)
    if (reader.failed or contact.length == 0 or flow.length != FLOW_OCTETS
            or contact.length + call_id.length + instance.length + path.length + agent.length > BINDING_TEXT_MAX):
        reader.failed = True
        return
    memcpy(&fields.flow, flow.data, FLOW_OCTETS)
    fields.contact_length = <uint16_t>contact.length
    fields.call_id_length = <uint16_t>call_id.length
    fields.instance_length = <uint16_t>instance.length
    fields.path_length = <uint16_t>path.length
    fields.agent_length = <uint16_t>agent.length
    texts[0] = BindingTexts(contact.data, call_id.data, instance.data, path.data, agent.data)


cdef void check_entry(Reader* reader, uint32_t* others) noexcept nogil:
    """Passes over one entry; a reader that failed met what wire.py does not say. others counts those of other kinds."""
    cdef Entry entry
    cdef Binding fields
    cdef BindingTexts texts
    cdef uint32_t i, count
    if not reader_entry(reader, &entry):
        others[0] += 1
        return
    count = reader_array(reader, COUNT_MAX)
    for i in range(count):
        if reader.failed:
            return
        reader_put(reader, &fields, &texts)
    count = reader_array(reader, COUNT_MAX)
    for i in range(count):
        if reader.failed:
            return
        reader_octets(reader, CONTACT_MAX)
    reader_number(reader, NUMBER_MOST)


cdef void reader_operation(Reader* reader, Operation* op) noexcept nogil:
    cdef uint32_t i
    cdef Octets flow
    reader.failed = reader_array(reader, OP_FIELDS) != OP_FIELDS or reader.failed
    op.op_id = reader_number(reader, NUMBER_MOST)
    op.aor = reader_octets(reader, OP_TEXT_MAX)
    op.call_id = reader_octets(reader, OP_TEXT_MAX)
    op.cseq = <uint32_t>reader_number(reader, 0xFFFFFFFF)
    op.star = reader_flag(reader)
    op.contacts = reader_array(reader, OP_CONTACTS_MAX)
    for i in range(op.contacts):
        reader.failed = reader_array(reader, CONTACT_FIELDS) != CONTACT_FIELDS or reader.failed
        op.contact[i].uri = reader_octets(reader, OP_TEXT_MAX)
        op.contact[i].expires_s = <uint32_t>reader_number(reader, SECONDS_MOST)
        op.contact[i].q = <uint16_t>reader_number(reader, Q_MOST)
        op.contact[i].instance = reader_octets(reader, OP_TEXT_MAX)
        reader_number(reader, 0xFFFFFFFF)  # reg-id
    flow = reader_octets(reader, FLOW_OCTETS)
    reader.failed = reader.failed or flow.length != FLOW_OCTETS
    op.flow = flow.data
    op.path = reader_octets(reader, OP_TEXT_MAX)
    op.agent = reader_octets(reader, OP_TEXT_MAX)


cdef void packer_entry(Packer* packer, const Entry* entry) noexcept nogil:
    packer_array(packer, ENTRY_FIELDS)
    packer_number(packer, ENTRY_BINDINGS)
    packer_number(packer, entry.sequence)
    packer_number(packer, entry.origin)
    packer_number(packer, entry.op_id)
    packer_octets(packer, entry.aor.data, entry.aor.length)


cdef void packer_put(Packer* packer, const Binding* fields, const BindingTexts* texts) noexcept nogil:
    packer_array(packer, PUT_FIELDS)
    packer_octets(packer, texts.contact, fields.contact_length)
    packer_octets(packer, texts.call_id, fields.call_id_length)
    packer_number(packer, fields.cseq)
    packer_number(packer, fields.q)
    packer_time(packer, fields.expires_ms)
    packer_octets(packer, <const uint8_t*>&fields.flow, sizeof(Endpoint))
    packer_octets(packer, texts.instance, fields.instance_length)
    packer_octets(packer, texts.path, fields.path_length)
    packer_octets(packer, texts.agent, fields.agent_length)
    packer_time(packer, fields.updated_ms)


cdef void packer_operation(Packer* packer, const Operation* op) noexcept nogil:
    cdef uint32_t i
    packer_octets(packer, op.aor.data, op.aor.length)
    packer_octets(packer, op.call_id.data, op.call_id.length)
    packer_number(packer, op.cseq)
    packer_flag(packer, op.star)
    packer_array(packer, op.contacts)
    for i in range(op.contacts):
        packer_array(packer, CONTACT_FIELDS)
        packer_octets(packer, op.contact[i].uri.data, op.contact[i].uri.length)
        packer_number(packer, op.contact[i].expires_s)
        packer_number(packer, op.contact[i].q)
        packer_octets(packer, op.contact[i].instance.data, op.contact[i].instance.length)
        packer_number(packer, 0)  # reg-id
    packer_octets(packer, op.flow, FLOW_OCTETS)
    packer_octets(packer, op.path.data, op.path.length)
    packer_octets(packer, op.agent.data, op.agent.length)


cdef Reader whole(bytes octets, uint32_t at):
    return reader_of(<const uint8_t*>PyBytes_AS_STRING(octets), at, <uint32_t>PyBytes_GET_SIZE(octets))


cdef object refusal(const Reader* reader, str name):
    return ValueError(f"{name}: octet {reader.at} of {reader.end} is not what sipcore/wire.py says")


cdef class Entries:
    def __cinit__(self, bytes octets not None, uint32_t at=0):
        """The array of entries that begins at `at` and fills the rest of octets. ValueError where one is none."""
        cdef Reader reader = whole(octets, at)
        cdef uint32_t i
        self.octets = octets
        self.count = reader_array(&reader, COUNT_MAX)
        self.at = reader.at
        for i in range(self.count):
            check_entry(&reader, &self.others_count)
            if reader.failed:
                break
        if reader.failed or reader.at != reader.end:
            raise refusal(&reader, "entries")

    cdef Reader reader(self):
        return whole(self.octets, self.at)

    def __len__(self):
        return self.count

    def split(self):
        """Each entry's own octets."""
        return self._pieces(True)

    def other_octets(self):
        """The octets of each entry that is no ENTRY_BINDINGS."""
        return self._pieces(False) if self.others_count else []

    cdef list _pieces(self, bint bindings):
        cdef Reader reader = self.reader()
        cdef uint32_t i, at, others
        pieces = []
        for i in range(self.count):
            at = reader.at
            others = 0
            check_entry(&reader, &others)
            if bindings or others:
                pieces.append(self.octets[at:reader.at])
        return pieces


cdef class Operations:
    def __cinit__(self, bytes octets not None, uint32_t at=0):
        """The array of operations that begins at `at` and fills the rest of octets. ValueError where one is none."""
        cdef Reader reader = whole(octets, at)
        cdef Operation op
        cdef uint32_t i
        self.octets = octets
        self.count = reader_array(&reader, COUNT_MAX)
        self.at = reader.at
        for i in range(self.count):
            reader_operation(&reader, &op)
            if reader.failed:
                break
        if reader.failed or reader.at != reader.end:
            raise refusal(&reader, "operations")

    cdef Reader reader(self):
        return whole(self.octets, self.at)

    def __len__(self):
        return self.count


def head(bytes frame not None):
    """(the numbers that a frame begins with, where its last field begins). ValueError where it is no such frame."""
    cdef Reader reader = whole(frame, 0)
    cdef uint32_t fields = reader_array(&reader, FRAME_FIELDS_MAX)
    numbers = [reader_number(&reader, NUMBER_MOST) for _ in range(1, fields)]
    if reader.failed or fields == 0:
        raise refusal(&reader, "a frame's head")
    return numbers, reader.at
