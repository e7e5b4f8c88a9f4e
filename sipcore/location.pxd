"""The location table: address-of-record -> bindings with expiry (RFC 3261 10). The same in the supervisor and in every worker."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from sipcore.endpoint cimport Endpoint
from sipcore.hashing cimport HashKey

cdef enum:
    AOR_MAX = 256
    CONTACT_MAX = 512
    CALL_ID_MAX = 256
    BINDING_TEXT_MAX = 4096   # contact, Call-ID, instance, Path and User-Agent of one binding together

cdef struct Binding:          # one allocation, its texts behind it
    Binding* next             # of the same AOR, highest q first, then newest first
    int64_t expires_ms        # on the machine's monotonic clock
    int64_t updated_ms
    Endpoint flow             # where its REGISTER came from: what reaches it through NAT
    uint32_t cseq
    uint16_t q                # thousandths
    uint16_t contact_length   # texts follow in this order
    uint16_t call_id_length
    uint16_t instance_length
    uint16_t path_length
    uint16_t agent_length
    uint16_t life             # Location.life when it was last put
    uint8_t text[1]

cdef struct BindingTexts:     # what location_put copies; the lengths stand in the Binding
    const uint8_t* contact
    const uint8_t* call_id
    const uint8_t* instance
    const uint8_t* path
    const uint8_t* agent

cdef struct Record:           # one AOR; stays without bindings for a while, so that 480 and 404 differ
    uint64_t hash
    Binding* bindings
    int64_t forget_ms         # when a record without bindings goes
    uint16_t aor_length
    uint16_t life
    uint8_t aor[1]

cdef struct Location:
    Record** slot             # open addressing, power-of-two capacity
    uint32_t capacity
    uint32_t records
    uint32_t tombstones
    uint32_t sweep            # the slot where the incremental sweep goes on
    uint32_t moves            # how often the slots were laid out anew: a walk over them starts again
    uint16_t life             # counts snapshots: what the last one did not name goes at its end
    uint64_t bindings
    uint64_t octets           # allocated
    HashKey key               # of this process: nobody outside can aim at one slot

cdef const Record* location_find(const Location* location, const uint8_t* aor, uint32_t length) noexcept nogil
# The record of aor, made where there is none; NULL: no memory, or no AOR.
cdef Record* location_record(Location* location, const uint8_t* aor, uint32_t length) noexcept nogil
# Adds or replaces the binding of fields' contact; 0, or REASON_NO_ROOM (a text over its limit, or no memory: nothing changed).
cdef int location_put(Location* location, const uint8_t* aor, uint32_t length, const Binding* fields,
                      const BindingTexts* texts) noexcept nogil
# Takes a contact away; the record stays. Whether it was there.
cdef bint location_remove(Location* location, const uint8_t* aor, uint32_t length, const uint8_t* contact,
                          uint32_t contact_length) noexcept nogil
# Where a binding's texts lie.
cdef BindingTexts binding_texts(const Binding* binding) noexcept nogil
# Takes every record away.
cdef void location_clear(Location* location) noexcept nogil
# The same contact: byte for byte, but scheme and host without regard to case.
cdef bint contact_same(const uint8_t* a, uint32_t a_length, const uint8_t* b, uint32_t b_length) noexcept nogil


cdef inline const uint8_t* binding_contact(const Binding* binding) noexcept nogil:
    return binding.text


cdef inline const uint8_t* binding_path(const Binding* binding) noexcept nogil:
    return binding.text + binding.contact_length + binding.call_id_length + binding.instance_length


cdef class LocationTable:
    """Owns one Location; the worker holds `&table.location`."""
    cdef Location location
    cdef tuple _part(self, uint32_t i, uint32_t most)
