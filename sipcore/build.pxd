"""Messages that we originate from one that we hold: responses (RFC 3261 8.2.6), CANCEL (9.1), ACK to a failure (17.1.1.3)."""

from libc.stdint cimport uint8_t, uint32_t

from sipcore.endpoint cimport Endpoint
from sipcore.message cimport Message
from sipcore.slices cimport Slice

# A response to request, echoing every Via (the top one marked with its source), From, To, Call-ID, CSeq and, for 1xx and 2xx,
# Record-Route; to_tag is added where To has none (to_tag_length 0: not added, as for 100); extra is whole header lines with CRLF.
# Headers that the request lacks, or whose line is malformed, are left out; a line whose value alone is malformed goes back as it
# came, without a mark or a tag. The length, or a negative Reason.
cdef int build_response(const Message* request, const Endpoint* source, int status, const char* phrase,
                        const uint8_t* to_tag, uint32_t to_tag_length, const uint8_t* extra, uint32_t extra_length,
                        uint8_t* out, uint32_t room) noexcept nogil
# CANCEL / ACK for `sent`, the request exactly as it was sent on that branch. The request URI, top Via alone, From, Call-ID, CSeq number,
# Route and Max-Forwards 70 are sent's; To is sent's for CANCEL and the response's for ACK.
cdef int build_cancel(const Message* sent, uint8_t* out, uint32_t room) noexcept nogil
cdef int build_ack(const Message* sent, const Message* response, uint8_t* out, uint32_t room) noexcept nogil
