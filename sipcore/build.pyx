"""Builds responses, CANCEL and ACK by copying header values from the message at hand."""

from libc.stdint cimport uint16_t
from libc.string cimport memcpy, strlen

from sipcore.edits cimport Edits, edits_apply_range, edits_mark_source, edits_reset
from sipcore.headers cimport (
    HDR_CALL_ID, HDR_CSEQ, HDR_FROM, HDR_RECORD_ROUTE, HDR_ROUTE, HDR_TO, HDR_VIA,
)
from sipcore.message cimport Header, ParsedMessage, message_find, message_next
from sipcore.reasons cimport (
    REASON_NO_CALL_ID, REASON_NO_CSEQ, REASON_NO_FROM, REASON_NO_ROOM, REASON_NO_TO, REASON_NO_VIA,
)
from sipcore.slices cimport DECIMAL_MAX, decimal_put

from sipcore.reasons import Refused

cdef struct Writer:
    uint8_t* out
    uint32_t room
    uint32_t length
    bint failed    # something had no room; nothing is written from then on


cdef inline void write(Writer* writer, const uint8_t* text, uint32_t length) noexcept nogil:
    if writer.failed or length > writer.room - writer.length:
        writer.failed = True
    elif length:
        memcpy(writer.out + writer.length, text, length)
        writer.length += length


cdef inline void write_text(Writer* writer, const char* text) noexcept nogil:
    write(writer, <const uint8_t*>text, <uint32_t>strlen(text))


cdef inline void write_slice(Writer* writer, const Message* message, Slice part) noexcept nogil:
    write(writer, message.data + part.start, part.length)


cdef inline void write_number(Writer* writer, uint32_t number) noexcept nogil:
    cdef uint8_t digits[DECIMAL_MAX]
    write(writer, digits, decimal_put(digits, number))


cdef inline int finish(Writer* writer) noexcept nogil:
    return REASON_NO_ROOM if writer.failed else <int>writer.length


cdef void write_headers(Writer* writer, const Message* message, uint16_t id, const char* name, bint all) noexcept nogil:
    """The first header of an id, or all of them, each under its long name with its value as it stood."""
    cdef const Header* header = message_find(message, id)
    while header != NULL:
        write_text(writer, name)
        write(writer, message.data + header.value, header.value_length)
        write_text(writer, b"\r\n")
        header = message_next(message, header) if all else NULL


cdef void write_vias(Writer* writer, const Message* request, const Endpoint* source) noexcept nogil:
    """Every Via in its order, the topmost value marked with where the request came from."""
    cdef Edits edits
    cdef const Header* header = message_find(request, HDR_VIA)
    cdef int length
    edits_reset(&edits)
    if source != NULL and source.family:
        edits_mark_source(&edits, request, source)
    while header != NULL:
        write_text(writer, b"Via: ")
        if writer.failed:
            return
        length = edits_apply_range(&edits, request, header.value, header.value + header.value_length,
                                   writer.out + writer.length, writer.room - writer.length)
        if length < 0:
            writer.failed = True
            return
        writer.length += <uint32_t>length
        write_text(writer, b"\r\n")
        edits_reset(&edits)  # the marks belong to the first line alone
        header = message_next(request, header)


cdef void write_to(Writer* writer, const Message* request, const uint8_t* tag, uint32_t tag_length) noexcept nogil:
    cdef const Header* header = message_find(request, HDR_TO)
    if header == NULL:
        return
    write_text(writer, b"To: ")
    write(writer, request.data + header.value, header.value_length)
    if tag_length and request.to_tag.length == 0 and request.to_uri.length:
        write_text(writer, b";tag=")
        write(writer, tag, tag_length)
    write_text(writer, b"\r\n")


cdef int build_response(const Message* request, const Endpoint* source, int status, const char* phrase,
                        const uint8_t* to_tag, uint32_t to_tag_length, const uint8_t* extra, uint32_t extra_length,
                        uint8_t* out, uint32_t room) noexcept nogil:
    cdef Writer writer = Writer(out, room, 0, False)
    write_text(&writer, b"SIP/2.0 ")
    write_number(&writer, <uint32_t>status)
    write_text(&writer, b" ")
    write_text(&writer, phrase)
    write_text(&writer, b"\r\n")
    write_vias(&writer, request, source)
    write_headers(&writer, request, HDR_FROM, b"From: ", False)
    write_to(&writer, request, to_tag, to_tag_length)
    write_headers(&writer, request, HDR_CALL_ID, b"Call-ID: ", False)
    write_headers(&writer, request, HDR_CSEQ, b"CSeq: ", False)
    if status < 300:
        write_headers(&writer, request, HDR_RECORD_ROUTE, b"Record-Route: ", True)
    write(&writer, extra, extra_length)
    write_text(&writer, b"Content-Length: 0\r\n\r\n")
    return finish(&writer)


cdef int build_cancel(const Message* sent, uint8_t* out, uint32_t room) noexcept nogil:
    return hop_request(sent, sent, b"CANCEL", out, room)


cdef int build_ack(const Message* sent, const Message* response, uint8_t* out, uint32_t room) noexcept nogil:
    return hop_request(sent, response, b"ACK", out, room)


cdef int hop_request(const Message* sent, const Message* to_from, const char* method,
                     uint8_t* out, uint32_t room) noexcept nogil:
    """A request that goes no further than `sent` went in one hop; To is `to_from`'s."""
    cdef Writer writer = Writer(out, room, 0, False)
    cdef int lacking = lacks(sent, to_from)
    if lacking:
        return lacking
    write_text(&writer, method)
    write_text(&writer, b" ")
    write_slice(&writer, sent, sent.request_uri)
    write_text(&writer, b" SIP/2.0\r\nVia: ")
    write_slice(&writer, sent, sent.via.text)
    write_text(&writer, b"\r\nMax-Forwards: 70\r\n")
    write_headers(&writer, sent, HDR_ROUTE, b"Route: ", True)
    write_headers(&writer, sent, HDR_FROM, b"From: ", False)
    write_headers(&writer, to_from, HDR_TO, b"To: ", False)
    write_headers(&writer, sent, HDR_CALL_ID, b"Call-ID: ", False)
    write_text(&writer, b"CSeq: ")
    write_number(&writer, sent.cseq)
    write_text(&writer, b" ")
    write_text(&writer, method)
    write_text(&writer, b"\r\nContent-Length: 0\r\n\r\n")
    return finish(&writer)


cdef int lacks(const Message* sent, const Message* to_from) noexcept nogil:
    """0 where all is there that the request is made of."""
    if sent.via.host.length == 0:
        return REASON_NO_VIA
    if message_find(sent, HDR_FROM) == NULL:
        return REASON_NO_FROM
    if message_find(to_from, HDR_TO) == NULL:
        return REASON_NO_TO
    if message_find(sent, HDR_CALL_ID) == NULL:
        return REASON_NO_CALL_ID
    return REASON_NO_CSEQ if sent.cseq_method.length == 0 else 0


cdef bytes checked(bytearray out, int length):
    if length < 0:
        raise Refused(length, "build")
    return bytes(out[:length])


def response(data, int status, bytes phrase, bytes to_tag=b"", bytes source=b"", bytes extra=b"", int room=65535):
    """The response to a request (bytes or ParsedMessage); source: an endpoint's octets, empty to leave the Via unmarked."""
    cdef ParsedMessage request = data if isinstance(data, ParsedMessage) else ParsedMessage(data)
    cdef bytearray out = bytearray(room)
    cdef Endpoint origin
    cdef Endpoint* marked = NULL
    if source:
        if len(source) != sizeof(Endpoint):
            raise ValueError(f"source: expected the {sizeof(Endpoint)} octets of an endpoint, found {len(source)}")
        memcpy(&origin, <const char*>source, sizeof(Endpoint))
        marked = &origin
    return checked(out, build_response(&request.message, marked, status, phrase, to_tag, len(to_tag),
                                       extra, len(extra), out, room))


def cancel(data, int room=65535):
    """The CANCEL for a request as it was sent (bytes or ParsedMessage)."""
    cdef ParsedMessage sent = data if isinstance(data, ParsedMessage) else ParsedMessage(data)
    cdef bytearray out = bytearray(room)
    return checked(out, build_cancel(&sent.message, out, room))


def ack(data, answer, int room=65535):
    """The ACK for a request as it was sent and the failure that answered it (each bytes or ParsedMessage)."""
    cdef ParsedMessage sent = data if isinstance(data, ParsedMessage) else ParsedMessage(data)
    cdef ParsedMessage failure = answer if isinstance(answer, ParsedMessage) else ParsedMessage(answer)
    cdef bytearray out = bytearray(room)
    return checked(out, build_ack(&sent.message, &failure.message, out, room))
