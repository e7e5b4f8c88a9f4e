"""One pass over a datagram: start line, header index, and what routing reads. The rest is never looked at."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from sipcore.headers cimport HDR_COUNT
from sipcore.slices cimport Slice
from sipcore.uri cimport Uri
from sipcore.via cimport Via

cdef enum:
    MESSAGE_HEADERS_MAX = 256  # header lines; RFC 4475 has 50, real messages under 40
    MESSAGE_MIN = 16           # nothing shorter is SIP

cdef struct Header:
    uint32_t start         # offset of the name
    uint32_t value         # offset of the value, white space skipped
    uint32_t value_length  # trailing white space trimmed, folds inside
    uint32_t end           # offset after the header's last CRLF
    uint16_t id            # HeaderId
    uint16_t next          # index of the next header with this id; 0xFFFF: none

cdef struct Message:
    const uint8_t* data
    uint32_t size            # octets that belong to it: headers and the body by Content-Length; the rest is ignored
    uint32_t body            # offset of the body
    bint is_request
    bint answerable          # a request other than ACK whose top Via, From, To, Call-ID and CSeq can be echoed as far as present
    uint16_t method          # of the request line, or of CSeq in a response
    Slice method_text
    Slice request_uri
    uint16_t status          # of a response, 100..699
    Slice start_line         # without its CRLF
    uint32_t headers         # offset of the first header
    uint16_t header_count
    uint16_t first[HDR_COUNT]  # index of the first header of an id; 0xFFFF: none
    Via via                  # the topmost value
    Slice call_id
    uint32_t cseq
    Slice cseq_method
    Slice from_tag
    Slice to_tag
    Slice from_uri           # URI text without brackets
    Slice to_uri
    int32_t max_forwards     # -1: absent
    int32_t content_length   # -1: absent
    Header header[MESSAGE_HEADERS_MAX]

# Parses data[0:length] as one datagram. 0, or the first negative Reason met; a request that failed may still be answerable.
# Parsing goes on after a fault as far as it can, so that the answer echoes what was there.
cdef int message_parse(Message* message, const uint8_t* data, uint32_t length) noexcept nogil
# The request URI; uri_parse's verdict, or REASON_SCHEME for a scheme other than sip, sips, tel.
cdef int message_request_uri(const Message* message, Uri* uri) noexcept nogil


cdef inline const Header* message_find(const Message* message, uint16_t id) noexcept nogil:
    """The first header with this id, or NULL."""
    if message.first[id] == 0xFFFF:
        return NULL
    return &message.header[message.first[id]]


cdef inline const Header* message_next(const Message* message, const Header* header) noexcept nogil:
    """The next header with the same id, or NULL."""
    if header.next == 0xFFFF:
        return NULL
    return &message.header[header.next]


cdef class ParsedMessage:
    cdef Message message
    cdef bytes octets
    cdef int verdict

    cdef bytes piece(self, Slice part)
