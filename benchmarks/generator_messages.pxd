"""SIP text for the load generator: writes its messages, and finds in what comes the few headers that a dialog needs."""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, strlen

cdef enum:
    ROOM = 4096       # octets of a datagram; ours, with all Vias and Record-Routes that a proxy adds, stay below 2,000
    VIAS_MAX = 8      # one caller, one proxy; the rest is room for what a peer adds
    ROUTES_MAX = 4    # a proxy that changes address or transport adds two
    IDENT_LENGTH = 24

cdef struct Text:     # where the next octet goes, and where the room ends
    uint8_t* at
    uint8_t* end

cdef struct Piece:
    const uint8_t* data
    uint32_t length

cdef struct Ident:    # what names a call in branches, tags and Call-IDs: 24 hexadecimal digits
    uint32_t slot
    uint32_t number
    uint32_t nonce    # differs from run to run, so that a proxy's old transactions do not answer a new run

cdef struct Host:     # "127.0.0.1:5060"
    uint32_t length
    uint8_t text[64]

cdef struct Scan:     # lines are whole, with their line ends
    int status        # 0: a request
    uint8_t method    # first letter of a request's method
    uint32_t via_count
    uint32_t route_count
    Piece via[VIAS_MAX]
    Piece route[ROUTES_MAX]
    Piece caller      # From
    Piece callee      # To
    Piece call_id
    Piece cseq
    Piece contact


cdef inline void put(Text* text, const void* data, size_t length) noexcept nogil:
    """Appends; what does not fit is left out, and text_full tells."""
    if <size_t>(text.end - text.at) < length:
        text.at = text.end
        return
    memcpy(text.at, data, length)
    text.at += length


cdef inline void put_text(Text* text, const char* literal) noexcept nogil:
    put(text, literal, strlen(literal))


cdef inline bint text_full(const Text* text) noexcept nogil:
    return text.at == text.end


# Finds the lines; False where a header that every message has is missing.
cdef bint scan_message(Scan* scan, const uint8_t* data, uint32_t length) noexcept nogil
# The call that a request's Call-ID, or the branch of a response's top Via, names; the letter after the branch's digits.
cdef bint ident_of_call_id(Ident* ident, const Scan* scan) noexcept nogil
cdef bint ident_of_branch(Ident* ident, uint8_t* letter, const Scan* scan) noexcept nogil

# A request of the caller from its Via to its CSeq. `letter` ends the branch that `ident` names, `dialog` names
# From's tag and Call-ID; `to` is a value, empty: the request URI.
cdef void put_request(Text* text, const char* method, uint8_t letter, const Ident* ident, const Ident* dialog, const Host* host,
                      const Piece* target, const Piece* routes, const Piece* to, uint32_t cseq) noexcept nogil
cdef void put_contact(Text* text, const char* user, const Host* host) noexcept nogil
cdef void put_hex(Text* text, uint32_t value) noexcept nogil
cdef void put_number(Text* text, uint32_t value) noexcept nogil
cdef void put_end(Text* text, const uint8_t* body, uint32_t length) noexcept nogil
# A response from its start line to its CSeq; a tag is added to To, and Record-Route copied, where `tag` is not 0.
cdef void put_response(Text* text, const char* start, const Scan* scan, uint32_t tag) noexcept nogil
# The route set of a response for its caller: "Route:" lines, the last Record-Route first (RFC 3261 12.1.2).
cdef void put_routes(Text* text, const Scan* scan) noexcept nogil
# The value of a header line without its name, spaces and line end; the URI of an address.
cdef Piece line_value(const Piece* line) noexcept nogil
cdef Piece address_uri(const Piece* line) noexcept nogil
cdef bint piece_contains(const Piece* piece, const uint8_t* text, uint32_t length) noexcept nogil
