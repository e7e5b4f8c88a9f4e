"""The location table: AOR -> bindings with expiry, as a struct with functions and a thin class that owns it.

Everything in it follows from the log's entries alone: no clock is read, and two tables that applied the same entries are equal,
whatever their hash keys and whatever the order of unrelated entries.
"""

import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcmp, memcpy, memset

from sipcore.endpoint cimport Endpoint
from sipcore.entries cimport Entries, Entry, packer_entry, packer_put, reader_entry, reader_put
from sipcore.hashing cimport Hasher, HashKey, hasher_add_field, hasher_end, hasher_start, siphash
from sipcore.packed cimport (
    packer_begin, Octets, Packer, Reader, packer_array, packer_number, reader_array, reader_number, reader_octets, reader_skip,
)
from sipcore.reasons cimport REASON_NO_ROOM
from sipcore.slices cimport byte_lower, bytes_ieq

from sipcore import wire

cdef enum:
    SLOTS_FIRST = 1024         # 8 KB: what an empty table costs
    SLOTS_MAX = 1 << 30        # the largest power of two that the 32-bit counts address with room to spare
    SWEEP_SLOTS_MAX = 1 << 20  # slots one call of the sweep may look at: about 20 ms
    ORIGIN_SUPERVISOR = 255    # wire.ORIGIN_SUPERVISOR

BINDING_OCTETS_FIXED = sizeof(Binding)
LIMITS = {"aor": AOR_MAX, "contact": CONTACT_MAX, "call_id": CALL_ID_MAX, "texts": BINDING_TEXT_MAX}

cdef Record* TOMBSTONE = <Record*>1
cdef uint64_t NUMBER_MOST = 0x7FFFFFFFFFFFFFFFULL


cdef inline bint slot_full(const Record* record) noexcept nogil:
    return record != NULL and record != TOMBSTONE


# Where the case-insensitive host of a sip or sips URI lies: [start, end). False: another scheme, compared byte for byte.
cdef inline bint contact_host(const uint8_t* uri, uint32_t length, uint32_t* start, uint32_t* end) noexcept nogil:
    cdef const void* at
    cdef uint32_t i
    if length >= 4 and bytes_ieq(uri, 4, <const uint8_t*>b"sip:", 4):
        i = 4
    elif length >= 5 and bytes_ieq(uri, 5, <const uint8_t*>b"sips:", 5):
        i = 5
    else:
        return False
    at = memchr(uri + i, 64, length - i)  # an "@" stands nowhere else unescaped (RFC 3261 25.1)
    if at != NULL:
        i = <uint32_t>(<const uint8_t*>at - uri) + 1
    start[0] = i
    while i < length and uri[i] != 59 and uri[i] != 63:  # ";" "?"
        i += 1
    end[0] = i
    return True


cdef bint contact_same(const uint8_t* a, uint32_t a_length, const uint8_t* b, uint32_t b_length) noexcept nogil:
    cdef uint32_t start, end, start_b, end_b, scheme
    if a_length != b_length:
        return False
    if memcmp(a, b, a_length) == 0:
        return True
    if not contact_host(a, a_length, &start, &end) or not contact_host(b, b_length, &start_b, &end_b):
        return False
    if start != start_b or end != end_b:
        return False
    scheme = 5 if a[3] != 58 else 4
    return (bytes_ieq(a, scheme, b, scheme) and memcmp(a + scheme, b + scheme, start - scheme) == 0
            and bytes_ieq(a + start, end - start, b + start, end - start)
            and memcmp(a + end, b + end, a_length - end) == 0)


cdef inline uint32_t binding_text_length(const Binding* binding) noexcept nogil:
    return (<uint32_t>binding.contact_length + binding.call_id_length + binding.instance_length
            + binding.path_length + binding.agent_length)


cdef inline size_t binding_size(const Binding* binding) noexcept nogil:
    return sizeof(Binding) + binding_text_length(binding)


# The order of one AOR's bindings; contacts differ, so two bindings never stand equal and every replica has the same order.
cdef bint binding_before(const Binding* a, const Binding* b) noexcept nogil:
    cdef uint16_t shorter
    cdef int order
    if a.q != b.q:
        return a.q > b.q
    if a.updated_ms != b.updated_ms:
        return a.updated_ms > b.updated_ms
    shorter = min(a.contact_length, b.contact_length)
    order = memcmp(a.text, b.text, shorter)
    return order < 0 or (order == 0 and a.contact_length < b.contact_length)


cdef uint32_t location_slot(const Location* location, uint64_t hash, const uint8_t* aor, uint32_t length) noexcept nogil:
    """The slot that holds aor, or the free one where it would go (a tombstone before an empty slot)."""
    cdef uint32_t mask = location.capacity - 1
    cdef uint32_t i = <uint32_t>hash & mask
    cdef uint32_t free_slot = location.capacity  # none yet
    cdef const Record* record
    while True:
        record = location.slot[i]
        if record == NULL:
            return i if free_slot == location.capacity else free_slot
        if record == TOMBSTONE:
            if free_slot == location.capacity:
                free_slot = i
        elif record.hash == hash and record.aor_length == length and memcmp(record.aor, aor, length) == 0:
            return i
        i = (i + 1) & mask


cdef const Record* location_find(const Location* location, const uint8_t* aor, uint32_t length) noexcept nogil:
    cdef const Record* record
    if location.slot == NULL or length == 0 or length > AOR_MAX:
        return NULL
    record = location.slot[location_slot(location, siphash(&location.key, aor, length), aor, length)]
    return record if slot_full(record) else NULL


cdef bint location_rebuild(Location* location) noexcept nogil:
    """Lays the slots out anew, without tombstones and at most 3/8 full. False: no memory, nothing changed."""
    cdef uint32_t capacity = SLOTS_FIRST
    cdef uint32_t i, j
    cdef Record** slot
    while capacity < SLOTS_MAX and <uint64_t>location.records * 8 >= <uint64_t>capacity * 3:
        capacity *= 2
    slot = <Record**>calloc(capacity, sizeof(Record*))
    if slot == NULL:
        return False
    for i in range(location.capacity):
        if slot_full(location.slot[i]):
            j = <uint32_t>location.slot[i].hash & (capacity - 1)
            while slot[j] != NULL:
                j = (j + 1) & (capacity - 1)
            slot[j] = location.slot[i]
    free(location.slot)
    location.octets += (<uint64_t>capacity - location.capacity) * sizeof(Record*)
    location.slot = slot
    location.capacity = capacity
    location.tombstones = 0
    location.sweep = 0
    location.moves += 1
    return True


cdef Record* location_record(Location* location, const uint8_t* aor, uint32_t length) noexcept nogil:
    """The record of aor, made where there was none. NULL: no memory, or a length that no AOR has."""
    cdef uint64_t hash
    cdef uint32_t i
    cdef Record* record
    if length == 0 or length > AOR_MAX:
        return NULL
    # three quarters full at most: linear probing stays short, and an empty slot always ends a search
    if <uint64_t>(location.records + location.tombstones + 1) * 4 > <uint64_t>location.capacity * 3:
        if not location_rebuild(location):
            return NULL
    hash = siphash(&location.key, aor, length)
    i = location_slot(location, hash, aor, length)
    record = location.slot[i]
    if slot_full(record):
        return record
    record = <Record*>malloc(sizeof(Record) + length)
    if record == NULL:
        return NULL
    memset(record, 0, sizeof(Record))
    record.hash = hash
    record.aor_length = <uint16_t>length
    record.life = location.life
    memcpy(record.aor, aor, length)
    if location.slot[i] == TOMBSTONE:
        location.tombstones -= 1
    location.slot[i] = record
    location.records += 1
    location.octets += sizeof(Record) + length
    return record


cdef void location_unlink(Location* location, Binding** link) noexcept nogil:
    cdef Binding* binding = link[0]
    link[0] = binding.next
    location.bindings -= 1
    location.octets -= binding_size(binding)
    free(binding)


cdef void location_drop(Location* location, uint32_t i) noexcept nogil:
    """Takes the record in slot i away, with its bindings."""
    cdef Record* record = location.slot[i]
    while record.bindings != NULL:
        location_unlink(location, &record.bindings)
    location.octets -= sizeof(Record) + record.aor_length
    location.records -= 1
    if location.slot[(i + 1) & (location.capacity - 1)] == NULL:
        location.slot[i] = NULL
    else:
        location.slot[i] = TOMBSTONE
        location.tombstones += 1
    free(record)


cdef void location_clear(Location* location) noexcept nogil:
    cdef uint32_t i
    for i in range(location.capacity):
        if slot_full(location.slot[i]):
            location_drop(location, i)
        location.slot[i] = NULL
    location.tombstones = 0


cdef int location_put(Location* location, const uint8_t* aor, uint32_t length, const Binding* fields,
                      const BindingTexts* texts) noexcept nogil:
    cdef Record* record
    cdef Binding* binding
    cdef Binding** link
    cdef uint8_t* text
    if fields.contact_length == 0 or fields.contact_length > CONTACT_MAX or fields.call_id_length > CALL_ID_MAX:
        return REASON_NO_ROOM
    if binding_text_length(fields) > BINDING_TEXT_MAX or length == 0 or length > AOR_MAX:
        return REASON_NO_ROOM
    binding = <Binding*>malloc(binding_size(fields))
    if binding == NULL:
        return REASON_NO_ROOM
    record = location_record(location, aor, length)
    if record == NULL:
        free(binding)
        return REASON_NO_ROOM
    memcpy(binding, fields, sizeof(Binding))
    binding.life = location.life
    text = binding.text
    memcpy(text, texts.contact, fields.contact_length)
    text += fields.contact_length
    memcpy(text, texts.call_id, fields.call_id_length)
    text += fields.call_id_length
    memcpy(text, texts.instance, fields.instance_length)
    text += fields.instance_length
    memcpy(text, texts.path, fields.path_length)
    text += fields.path_length
    memcpy(text, texts.agent, fields.agent_length)
    location_take(location, record, texts.contact, fields.contact_length)
    link = &record.bindings
    while link[0] != NULL and binding_before(link[0], binding):
        link = &link[0].next
    binding.next = link[0]
    link[0] = binding
    record.life = location.life
    location.bindings += 1
    location.octets += binding_size(binding)
    return 0


cdef bint location_take(Location* location, Record* record, const uint8_t* contact, uint32_t length) noexcept nogil:
    cdef Binding** link = &record.bindings
    while link[0] != NULL:
        if contact_same(link[0].text, link[0].contact_length, contact, length):
            location_unlink(location, link)
            return True
        link = &link[0].next
    return False


cdef bint location_remove(Location* location, const uint8_t* aor, uint32_t length, const uint8_t* contact,
                          uint32_t contact_length) noexcept nogil:
    cdef Record* record = <Record*>location_find(location, aor, length)
    return record != NULL and location_take(location, record, contact, contact_length)


cdef bint location_apply(Location* location, Reader* reader, const Entry* entry, int64_t shift_ms) noexcept nogil:
    """The rest of an entry that was checked: puts, removes, known_until_ms. False: no memory for a part of it."""
    cdef Binding fields
    cdef BindingTexts texts
    cdef Octets contact
    cdef Record* record
    cdef Reader puts = reader[0]
    cdef uint32_t i, count
    cdef int64_t known_until_ms
    cdef bint room = True
    reader_skip(reader)
    count = reader_array(reader, 0xFFFFFFFF)
    for i in range(count):  # before the puts: an entry may take a contact away and bring it again
        contact = reader_octets(reader, CONTACT_MAX)
        location_remove(location, entry.aor.data, entry.aor.length, contact.data, contact.length)
    known_until_ms = <int64_t>reader_number(reader, NUMBER_MOST)
    count = reader_array(&puts, 0xFFFFFFFF)
    for i in range(count):
        reader_put(&puts, &fields, &texts)
        fields.expires_ms += shift_ms
        fields.updated_ms += shift_ms
        room = location_put(location, entry.aor.data, entry.aor.length, &fields, &texts) == 0 and room
    if known_until_ms == 0:
        return room
    record = location_record(location, entry.aor.data, entry.aor.length)
    if record == NULL:
        return False
    record.forget_ms = max(known_until_ms + shift_ms, 1)
    record.life = location.life
    return room


cdef BindingTexts binding_texts(const Binding* binding) noexcept nogil:
    cdef BindingTexts texts
    texts.contact = &binding.text[0]
    texts.call_id = texts.contact + binding.contact_length
    texts.instance = texts.call_id + binding.call_id_length
    texts.path = texts.instance + binding.instance_length
    texts.agent = texts.path + binding.path_length
    return texts


cdef void packer_record(Packer* packer, const Record* record) noexcept nogil:
    """The entry that makes the record what it is, whatever it was."""
    cdef Entry entry = Entry(0, ORIGIN_SUPERVISOR, 0, Octets(&record.aor[0], record.aor_length))
    cdef BindingTexts texts
    cdef const Binding* binding
    cdef uint32_t count = 0
    binding = record.bindings
    while binding != NULL:
        count += 1
        binding = binding.next
    packer_entry(packer, &entry)
    packer_array(packer, count)
    binding = record.bindings
    while binding != NULL:
        texts = binding_texts(binding)
        packer_put(packer, binding, &texts)
        binding = binding.next
    packer_array(packer, 0)
    packer_number(packer, <uint64_t>record.forget_ms)


cdef void location_end_snapshot(Location* location) noexcept nogil:
    """Takes away what was not put since the snapshot began."""
    cdef uint32_t i
    cdef Record* record
    cdef Binding** link
    for i in range(location.capacity):
        record = location.slot[i]
        if not slot_full(record):
            continue
        link = &record.bindings
        while link[0] != NULL:
            if link[0].life != location.life:
                location_unlink(location, link)
            else:
                link = &link[0].next
        if record.life != location.life:
            location_drop(location, i)


cdef uint64_t binding_digest(const Record* record, const Binding* binding) noexcept nogil:
    """A hash of everything in the binding and of its AOR, the same in every process."""
    cdef HashKey key
    cdef Hasher hasher
    key.k0 = 0
    key.k1 = 0
    hasher_start(&hasher, &key)
    hasher_add_field(&hasher, record.aor, record.aor_length)
    # from expires_ms to the end of the lengths: what stands between the link and the life, without padding
    hasher_add_field(&hasher, <const uint8_t*>&binding.expires_ms,
                     <uint32_t>(<const uint8_t*>&binding.life - <const uint8_t*>&binding.expires_ms))
    hasher_add_field(&hasher, binding.text, binding_text_length(binding))
    return hasher_end(&hasher)


cdef bytes text_of(const uint8_t* text, uint32_t length):
    return PyBytes_FromStringAndSize(<const char*>text, length)


cdef list binding_put(const Binding* binding):
    """The binding as the log's entries carry it (wire.PUT_FIELDS)."""
    cdef BindingTexts texts = binding_texts(binding)
    return [text_of(texts.contact, binding.contact_length), text_of(texts.call_id, binding.call_id_length), binding.cseq,
            binding.q, binding.expires_ms, text_of(<const uint8_t*>&binding.flow, sizeof(Endpoint)),
            text_of(texts.instance, binding.instance_length), text_of(texts.path, binding.path_length),
            text_of(texts.agent, binding.agent_length), binding.updated_ms]


cdef class LocationTable:
    """Owns one Location. key: 16 octets of the slots' hash, random where None (a fixed one is for tests)."""

    def __cinit__(self, key=None):
        key = os.urandom(16) if key is None else key
        memset(&self.location, 0, sizeof(Location))
        if len(key) != 16:
            raise ValueError(f"the location table's key: found {len(key)} octets, expected 16")
        self.location.key.k0 = int.from_bytes(key[:8], "little")
        self.location.key.k1 = int.from_bytes(key[8:], "little")
        if not location_rebuild(&self.location):
            raise MemoryError("the location table's first slots")

    def __dealloc__(self):
        location_clear(&self.location)
        free(self.location.slot)

    def apply(self, Entries entries not None, int64_t shift_ms=0):
        """Applies every ENTRY_BINDINGS of entries, their times moved by shift_ms. MemoryError; those before it stay applied."""
        cdef Reader reader = entries.reader()
        cdef Entry entry
        cdef uint32_t i
        for i in range(entries.count):
            if reader_entry(&reader, &entry) and not location_apply(&self.location, &reader, &entry, shift_ms):
                raise MemoryError("a binding")

    def follow(self, Entries entries not None, uint64_t sequence, uint32_t worker):
        """Applies what goes on behind `sequence` without a gap: (the last number applied, [op_id, ...] of our own, whether that
        was all). Entries of other kinds are counted alone."""
        cdef Reader reader = entries.reader()
        cdef Entry entry
        cdef uint32_t i, skipped
        cdef bint bindings
        own = []
        for i in range(entries.count):
            bindings = reader_entry(&reader, &entry)
            if entry.sequence > sequence + 1:
                return sequence, own, False
            if entry.sequence <= sequence:
                for skipped in range(3 if bindings else 0):  # puts, removes, known_until_ms
                    reader_skip(&reader)
                continue
            sequence += 1
            if bindings and not location_apply(&self.location, &reader, &entry, 0):
                raise MemoryError("a binding")
            if bindings and entry.origin == worker:
                own.append(entry.op_id)
        return sequence, own, True

    def bindings(self, bytes aor not None):
        """The bindings of aor as puts, in their order; None: an unknown AOR, []: known but offline."""
        cdef const Record* record = location_find(&self.location, <const uint8_t*>aor, <uint32_t>len(aor))
        cdef const Binding* binding
        if record == NULL:
            return None
        puts = []
        binding = record.bindings
        while binding != NULL:
            puts.append(binding_put(binding))
            binding = binding.next
        return puts

    def find(self, aor):
        """bindings() as dicts with the names of wire.PUT_FIELDS."""
        puts = self.bindings(aor)
        return None if puts is None else [dict(zip(wire.PUT_FIELDS, put)) for put in puts]

    def snapshot(self, max_entries):
        """Yields lists of at most max_entries encoded ENTRY_BINDINGS, one an AOR, that rebuild the table.

        The table may change between two lists: what changes must reach the reader as entries, before or after (all of them
        converge). Where the slots are laid out anew the walk starts again; then some AORs come twice.
        """
        cdef uint32_t i = 0
        cdef uint32_t moves = self.location.moves
        while i < self.location.capacity:
            i, entries = self._part(i, max_entries)
            if entries:
                yield entries
            if moves != self.location.moves:
                moves = self.location.moves
                i = 0

    cdef tuple _part(self, uint32_t i, uint32_t most):
        """(the slot to go on from, at most `most` encoded entries of the slots from i on)."""
        cdef Packer packer
        cdef const Record* record
        memset(&packer, 0, sizeof(Packer))
        entries = []
        try:
            while i < self.location.capacity and <uint32_t>len(entries) < most:
                record = self.location.slot[i]
                i += 1
                if not slot_full(record):
                    continue
                packer_begin(&packer)
                packer_record(&packer, record)
                if packer.failed:
                    raise MemoryError("an entry of a snapshot")
                entries.append(text_of(packer.out, packer.length))
        finally:
            free(packer.out)
        return i, entries

    def expired(self, int64_t now_ms, limit):
        """[(aor, [contact, ...])] whose bindings expired, out of the next `limit` slots of a sweep that goes round.

        Expired bindings stay until an entry removes them; AORs without bindings whose time is over go at once.
        """
        cdef uint32_t slots = min(limit, self.location.capacity, SWEEP_SLOTS_MAX)
        cdef Record* record
        cdef const Binding* binding
        found = []
        while slots > 0:
            slots -= 1
            self.location.sweep &= self.location.capacity - 1
            record = self.location.slot[self.location.sweep]
            if slot_full(record):
                if record.bindings == NULL and record.forget_ms <= now_ms:
                    location_drop(&self.location, self.location.sweep)
                else:
                    contacts = None
                    binding = record.bindings
                    while binding != NULL:
                        if binding.expires_ms <= now_ms:
                            if contacts is None:
                                contacts = []
                            contacts.append(text_of(binding.text, binding.contact_length))
                        binding = binding.next
                    if contacts is not None:
                        found.append((text_of(record.aor, record.aor_length), contacts))
            self.location.sweep += 1
        return found

    def begin_snapshot(self):
        """What is in the table stays until end_snapshot and goes then, unless an entry puts it again."""
        self.location.life += 1

    def end_snapshot(self):
        location_end_snapshot(&self.location)

    def digest(self):
        """A 64-bit hash of all bindings, whatever their order: equal in processes whose tables are."""
        cdef uint64_t total = 0
        cdef uint32_t i
        cdef const Binding* binding
        for i in range(self.location.capacity):
            if slot_full(self.location.slot[i]):
                binding = self.location.slot[i].bindings
                while binding != NULL:
                    total += binding_digest(self.location.slot[i], binding)
                    binding = binding.next
        return total

    def counts(self):
        """{"aors", "bindings", "slots", "tombstones"}"""
        return {"aors": self.location.records, "bindings": self.location.bindings,
                "slots": self.location.capacity, "tombstones": self.location.tombstones}

    def memory(self):
        """Octets allocated, without the allocator's own."""
        return self.location.octets


def contact_key(bytes contact not None):
    """The contact with scheme and host in lower case: equal keys are the same contact (see contact_same)."""
    cdef uint32_t start = 0
    cdef uint32_t end = 0
    cdef const uint8_t* octets = <const uint8_t*>PyBytes_AS_STRING(contact)
    if not contact_host(octets, <uint32_t>len(contact), &start, &end):
        return contact
    scheme, _, rest = contact.partition(b":")
    start -= <uint32_t>len(scheme) + 1
    end -= <uint32_t>len(scheme) + 1
    return scheme.lower() + b":" + rest[:start] + rest[start:end].lower() + rest[end:]
