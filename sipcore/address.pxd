"""name-addr and addr-spec with their header parameters: From, To, Contact, Route, Record-Route."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from sipcore.slices cimport Slice
from sipcore.uri cimport Uri

cdef struct Address:
    Slice display      # with its quotes; empty where absent
    Uri uri            # without the angle brackets
    bint brackets
    Slice params       # header parameters after the address, from behind the first ';'
    Slice tag
    int32_t expires    # the parameter's seconds, saturated at 2^31-1; -1: absent; -2: malformed (RFC 3261 10.3: use the default)
    int32_t q          # thousandths, -1: absent, -2: malformed
    bint star          # the value is "*"
    uint32_t end       # at the comma or at the end of the header's value

# Parses the first address in [start, end); 0 or a negative Reason. The URI of an unknown scheme is no error.
cdef int address_parse(Address* address, const uint8_t* data, uint32_t start, uint32_t end) noexcept nogil
# A header parameter's value (any case of the name; quotes kept), empty where absent.
cdef Slice address_param(const uint8_t* data, Slice params, const char* name, uint32_t length, bint* found) noexcept nogil
