"""One Via value (RFC 3261 20.42, RFC 3581)."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from sipcore.slices cimport Slice

cdef struct Via:
    Slice text             # the whole value, up to the comma that ends it
    uint16_t transport     # Transport; TRANSPORT_UNKNOWN: one we do not speak (RFC 4475 3.1.1.10: no error)
    Slice host             # of sent-by, IPv6 with its brackets
    uint32_t port          # 0: absent
    Slice sent_by          # host and port as they stand
    Slice branch           # empty where absent (RFC 2543)
    bint has_cookie        # the branch starts with z9hG4bK and has more
    Slice received         # value of received
    bint has_rport         # the parameter stands, with or without a value
    Slice rport            # its value, empty where it has none
    uint32_t rport_end     # offset after "rport" or "rport=value": where a value is put
    uint32_t end           # offset after the value: at the comma, or at the end of the header's value

# Parses the first value in [start, end); 0 or REASON_VIA / REASON_BRANCH.
cdef int via_parse(Via* via, const uint8_t* data, uint32_t start, uint32_t end) noexcept nogil
cdef dict via_dict(const uint8_t* data, const Via* via)  # for the Python-visible wrappers
