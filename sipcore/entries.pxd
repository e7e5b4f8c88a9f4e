"""The log's entries and operations as structs over the octets of a frame: wire.py says what they are, this reads and writes them."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from sipcore.location cimport Binding, BindingTexts
from sipcore.packed cimport Octets, Packer, Reader

cdef enum:
    FLOW_OCTETS = 24           # a raw struct Endpoint (sipcore/endpoint.pxd)
    OP_FIELDS = 9
    OP_CONTACTS_MAX = 64       # contacts in one REGISTER: a 64 KB datagram of them is no phone's
    OP_TEXT_MAX = 65535        # octets of any text of an operation: it came in a datagram

cdef struct Entry:             # an ENTRY_BINDINGS; puts, removes and known_until_ms follow in its reader
    uint64_t sequence
    uint64_t origin
    uint64_t op_id
    Octets aor

cdef struct Contact:
    Octets uri
    uint32_t expires_s
    uint16_t q                 # thousandths
    Octets instance

cdef struct Operation:
    uint64_t op_id
    Octets aor
    Octets call_id
    uint32_t cseq
    bint star
    uint32_t contacts
    Contact contact[OP_CONTACTS_MAX]
    const uint8_t* flow        # FLOW_OCTETS
    Octets path
    Octets agent

# The head of an ENTRY_BINDINGS; False: the entry is of another kind, and was passed over.
cdef bint reader_entry(Reader* reader, Entry* entry) noexcept nogil
# One put into the struct that location_put takes; its octets stay the reader's.
cdef void reader_put(Reader* reader, Binding* fields, BindingTexts* texts) noexcept nogil
cdef void reader_operation(Reader* reader, Operation* op) noexcept nogil
cdef void packer_entry(Packer* packer, const Entry* entry) noexcept nogil
cdef void packer_put(Packer* packer, const Binding* fields, const BindingTexts* texts) noexcept nogil
# All of an operation but its number, which is given to it when it is sent.
cdef void packer_operation(Packer* packer, const Operation* op) noexcept nogil


cdef class Entries:
    """The entries of a frame, or as the store keeps them: checked whole, read where they stand."""
    cdef bytes octets
    cdef readonly uint32_t count
    cdef uint32_t at           # where the first one begins
    cdef uint32_t others_count
    cdef public list others    # those that are no ENTRY_BINDINGS as lists, where somebody had them decoded
    cdef Reader reader(self)
    cdef list _pieces(self, bint bindings)


cdef class Operations:
    """The operations of an OPS frame: checked whole, read where they stand."""
    cdef bytes octets
    cdef readonly uint32_t count
    cdef uint32_t at
    cdef Reader reader(self)
