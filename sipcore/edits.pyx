"""Edit lists: what a proxy changes, written as runs of the original and of new text."""

from libc.stdint cimport int32_t
from libc.string cimport memcpy, memmove

from sipcore.address cimport Address, address_parse
from sipcore.charclass cimport CHAR_LWS, char_is
from sipcore.endpoint cimport ENDPOINT_TEXT_MAX, endpoint_host_text
from sipcore.headers cimport HDR_MAX_FORWARDS, HDR_RECORD_ROUTE, HDR_ROUTE, HDR_VIA
from sipcore.message cimport Header, ParsedMessage, message_find, message_next
from sipcore.params cimport list_comma
from sipcore.reasons cimport REASON_NO_ROOM, REASON_ROUTE
from sipcore.slices cimport DECIMAL_MAX, decimal_put

from sipcore.reasons import Refused

cdef enum:
    MAX_FORWARDS_DEFAULT = 70  # RFC 3261 16.6 step 3


cdef void edits_reset(Edits* edits) noexcept nogil:
    edits.count = 0
    edits.text_used = 0
    edits.failed = 0


cdef void edits_replace(Edits* edits, uint32_t at, uint32_t remove, const uint8_t* text, uint32_t length) noexcept nogil:
    if put(edits, at, remove, length) and length:
        memcpy(edits.text + edits.text_used - length, text, length)


cdef bint put(Edits* edits, uint32_t at, uint32_t remove, uint32_t length) noexcept nogil:
    """Makes the edit, in its order, and reserves the last `length` octets of the text used; False where there is no room."""
    cdef uint32_t i
    if edits.count >= EDITS_MAX or length > EDITS_TEXT_MAX - edits.text_used:
        edits.failed = REASON_NO_ROOM
        return False
    i = edits.count
    while i > 0 and edits.edit[i - 1].at > at:
        i -= 1
    memmove(&edits.edit[i + 1], &edits.edit[i], (edits.count - i) * sizeof(Edit))
    edits.edit[i].at = at
    edits.edit[i].remove = remove
    edits.edit[i].text = edits.text_used
    edits.edit[i].length = length
    edits.count += 1
    edits.text_used += length
    return True


cdef void put_line(Edits* edits, uint32_t at, const char* name, uint32_t name_length,
                   const uint8_t* value, uint32_t length) noexcept nogil:
    """Inserts a whole header: name (with its colon and space), value, CRLF."""
    cdef uint8_t* text = edits.text + edits.text_used
    if length > EDITS_TEXT_MAX:
        edits.failed = REASON_NO_ROOM
    elif put(edits, at, 0, name_length + length + 2):
        memcpy(text, name, name_length)
        memcpy(text + name_length, value, length)
        text[name_length + length] = c'\r'
        text[name_length + length + 1] = c'\n'


cdef int edits_apply(const Edits* edits, const Message* message, uint8_t* out, uint32_t room) noexcept nogil:
    return edits_apply_range(edits, message, message.start_line.start, message.size, out, room)


cdef int edits_apply_range(const Edits* edits, const Message* message, uint32_t start, uint32_t end,
                           uint8_t* out, uint32_t room) noexcept nogil:
    cdef uint32_t at = start, length = 0, i, run
    cdef const Edit* edit
    if edits.failed:
        return edits.failed
    for i in range(edits.count):
        edit = &edits.edit[i]
        run = edit.at - at if edit.at > at else 0  # 0: an edit before it took this place away
        if edit.at > end:
            break
        if run + edit.length > room - length:
            return REASON_NO_ROOM
        memcpy(out + length, message.data + at, run)
        memcpy(out + length + run, edits.text + edit.text, edit.length)
        length += run + edit.length
        at += run
        if edit.at + edit.remove > at:
            at = edit.at + edit.remove
    run = end - at if end > at else 0
    if run > room - length:
        return REASON_NO_ROOM
    memcpy(out + length, message.data + at, run)
    return length + run


cdef void edits_mark_source(Edits* edits, const Message* message, const Endpoint* source) noexcept nogil:
    cdef const char* received = b";received="
    cdef uint8_t text[ENDPOINT_TEXT_MAX + 16]
    cdef uint32_t length
    if message.via.host.length == 0:
        return  # no Via that we could read, and so none to mark
    if message.via.has_rport:
        if message.via.rport.length:
            edits_replace(edits, message.via.rport.start, message.via.rport.length, text, decimal_put(text, source.port))
        else:
            text[0] = c'='
            edits_replace(edits, message.via.rport_end, 0, text, 1 + decimal_put(text + 1, source.port))
    if message.via.received.length:
        length = endpoint_host_text(source, text)
        edits_replace(edits, message.via.received.start, message.via.received.length, text, length)
        return
    memcpy(text, received, 10)
    length = 10 + endpoint_host_text(source, text + 10)
    edits_replace(edits, message.via.text.start + message.via.text.length, 0, text, length)


cdef uint32_t behind_vias(const Message* message) noexcept nogil:
    """The offset of the line after the last Via, or of the first header where there is none."""
    cdef const Header* header = message_find(message, HDR_VIA)
    cdef uint32_t at = message.headers
    while header != NULL:
        at = header.end
        header = message_next(message, header)
    return at


cdef void edits_push_via(Edits* edits, const Message* message, const uint8_t* value, uint32_t length) noexcept nogil:
    cdef const Header* header = message_find(message, HDR_VIA)
    put_line(edits, header.start if header != NULL else message.headers, b"Via: ", 5, value, length)


cdef void edits_pop_via(Edits* edits, const Message* message) noexcept nogil:
    cdef const Header* header = message_find(message, HDR_VIA)
    if header != NULL:
        pop_values(edits, message, header, message.via.end)


cdef void pop_values(Edits* edits, const Message* message, const Header* header, uint32_t end) noexcept nogil:
    """Takes a header's values up to the comma at `end` away, or the whole line where nothing but commas is left."""
    cdef uint32_t stop = header.value + header.value_length
    while end < stop and (message.data[end] == c',' or char_is(message.data[end], CHAR_LWS)):
        end += 1
    if end >= stop:
        edits_replace(edits, header.start, header.end - header.start, NULL, 0)
    else:
        edits_replace(edits, header.value, end - header.value, NULL, 0)


cdef void edits_lower_max_forwards(Edits* edits, const Message* message) noexcept nogil:
    cdef const Header* header = message_find(message, HDR_MAX_FORWARDS)
    cdef uint8_t text[DECIMAL_MAX]
    cdef int32_t value = message.max_forwards - 1 if message.max_forwards > 0 else 0
    if header == NULL:
        put_line(edits, behind_vias(message), b"Max-Forwards: ", 14, text, decimal_put(text, MAX_FORWARDS_DEFAULT))
    else:
        edits_replace(edits, header.value, header.value_length, text, decimal_put(text, value))


cdef void edits_record_route(Edits* edits, const Message* message, const uint8_t* value, uint32_t length) noexcept nogil:
    cdef const Header* header = message_find(message, HDR_RECORD_ROUTE)
    put_line(edits, header.start if header != NULL else behind_vias(message), b"Record-Route: ", 14, value, length)


cdef void edits_pop_routes(Edits* edits, const Message* message, uint32_t count) noexcept nogil:
    cdef const Header* header = message_find(message, HDR_ROUTE)
    cdef uint32_t at, stop
    while header != NULL and count:
        at = header.value
        stop = header.value + header.value_length
        while count:
            at = value_end(edits, message, at, stop)
            count -= 1
            if at >= stop or not count:
                break
            at += 1
        pop_values(edits, message, header, at)
        header = message_next(message, header)


cdef uint32_t value_end(Edits* edits, const Message* message, uint32_t at, uint32_t stop) noexcept nogil:
    """The end of the route at `at`: its comma or the end of the line; a malformed one fails the whole list."""
    cdef Address address
    if address_parse(&address, message.data, at, stop) != 0 or address.star:
        edits.failed = REASON_ROUTE
        return list_comma(message.data, at, stop)
    return address.end


cdef void edits_push_route(Edits* edits, const Message* message, const uint8_t* value, uint32_t length) noexcept nogil:
    cdef const Header* header = message_find(message, HDR_ROUTE)
    put_line(edits, header.start if header != NULL else behind_vias(message), b"Route: ", 7, value, length)


cdef void edits_request_uri(Edits* edits, const Message* message, const uint8_t* value, uint32_t length) noexcept nogil:
    edits_replace(edits, message.request_uri.start, message.request_uri.length, value, length)


cdef int do_step(Edits* edits, const Message* message, tuple step) except -1:
    """One named step of apply_steps."""
    cdef Endpoint source
    cdef bytes value = step[1] if len(step) > 1 and isinstance(step[1], bytes) else b""
    name = step[0]
    if name == "replace":
        value = step[3]
        edits_replace(edits, step[1], step[2], value, len(value))
    elif name == "mark_source":
        if len(value) != sizeof(Endpoint):
            raise ValueError(f"mark_source: expected the {sizeof(Endpoint)} octets of an endpoint, found {len(value)}")
        memcpy(&source, <const char*>value, sizeof(Endpoint))
        edits_mark_source(edits, message, &source)
    elif name == "push_via":
        edits_push_via(edits, message, value, len(value))
    elif name == "pop_via":
        edits_pop_via(edits, message)
    elif name == "lower_max_forwards":
        edits_lower_max_forwards(edits, message)
    elif name == "record_route":
        edits_record_route(edits, message, value, len(value))
    elif name == "pop_routes":
        edits_pop_routes(edits, message, step[1])
    elif name == "push_route":
        edits_push_route(edits, message, value, len(value))
    elif name == "request_uri":
        edits_request_uri(edits, message, value, len(value))
    else:
        raise ValueError(f"edit {name!r}: there is no such step")
    return 0


def apply_steps(data, steps, int room=65535):
    """The message in `data` (bytes or ParsedMessage) after steps such as ("push_via", value); Refused where it has no room.

    Steps: (replace, at, remove, text), (mark_source, endpoint octets), (push_via | record_route | push_route | request_uri,
    value), (pop_via,), (lower_max_forwards,), (pop_routes, count).
    """
    cdef ParsedMessage parsed = data if isinstance(data, ParsedMessage) else ParsedMessage(data)
    cdef Edits edits
    cdef bytearray out = bytearray(room)
    cdef int length
    edits_reset(&edits)
    for step in steps:
        do_step(&edits, &parsed.message, step)
    length = edits_apply(&edits, &parsed.message, out, room)
    if length < 0:
        raise Refused(length, "edits")
    return bytes(out[:length])
