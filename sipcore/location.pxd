"""The location table: address-of-record -> bindings with expiry (RFC 3261 10). The same in the supervisor and in every worker."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from sipcore.endpoint cimport Endpoint

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
    uint8_t text[1]

cdef struct Record:           # one AOR; stays without bindings for a while, so that 480 and 404 differ
    uint64_t hash
    Binding* bindings
    int64_t forget_ms         # when a record without bindings goes
    uint16_t aor_length
    uint8_t aor[1]

cdef struct Location:
    Record** slot             # open addressing, power-of-two capacity
    uint32_t capacity
    uint32_t records
    uint32_t tombstones
    uint64_t bindings
    uint64_t octets           # allocated

cdef const Record* location_find(const Location* location, const uint8_t* aor, uint32_t length) noexcept nogil


cdef inline const uint8_t* binding_contact(const Binding* binding) noexcept nogil:
    return binding.text


cdef inline const uint8_t* binding_path(const Binding* binding) noexcept nogil:
    return binding.text + binding.contact_length + binding.call_id_length + binding.instance_length


cdef class LocationTable:
    """Owns one Location; the worker holds `&table.location`."""
    cdef Location location
