"""How a request leaves: our branch, our Via, Record-Route with the signed cookie, and the routes that were ours taken off."""

from libc.string cimport memcpy

from sipcore.cookie cimport COOKIE_TEXT_MAX, Cookie, cookie_encode
from sipcore.counters cimport COUNT_DATAGRAMS_OUT, COUNT_SEND_ERRORS
from sipcore.edits cimport (
    edits_apply, edits_lower_max_forwards, edits_mark_source, edits_pop_routes, edits_push_via, edits_record_route,
    edits_request_uri, edits_reset,
)
from sipcore.hashing cimport hex_of
from workers.datagram cimport BATCH, SLOT, outbox_flush, outbox_room
from workers.edge cimport LISTENERS_MAX, PREFIX_MAX, Listener
from workers.keys cimport loop_key


cdef int forward_write(Edge* edge, const Message* request, const Forward* forward, uint8_t* out) noexcept nogil:
    cdef Listener* listener = &edge.listener[forward.to.listener]
    cdef uint8_t via[PREFIX_MAX + 32]
    cdef uint8_t loop[16]
    edits_reset(&edge.edits)
    edits_mark_source(&edge.edits, request, &forward.source)
    memcpy(via, listener.via, listener.via_length)
    hex_of(forward.key, via + listener.via_length)
    hex_of(<uint64_t>forward.source.listener << 28 | loop_key(edge, request, &forward.source), loop)
    memcpy(via + listener.via_length + 16, loop + 8, 8)
    edits_push_via(&edge.edits, request, via, listener.via_length + 24)
    edits_lower_max_forwards(&edge.edits, request)
    if forward.record_route:
        _record_routes(edge, request, forward)
    if forward.pop_routes:
        edits_pop_routes(&edge.edits, request, forward.pop_routes)
    if forward.uri != NULL:
        edits_request_uri(&edge.edits, request, forward.uri, forward.uri_length)
    return edits_apply(&edge.edits, request, out, SLOT)


cdef void _record_routes(Edge* edge, const Message* request, const Forward* forward) noexcept nogil:
    """Ours on the way out, and below it ours on the way in where that is another listener (RFC 5658 5)."""
    cdef Cookie cookie
    cdef uint8_t text[COOKIE_TEXT_MAX]
    cdef uint32_t length
    cookie.flags = forward.flags
    cookie.caller = forward.source
    cookie.callee = forward.to
    cookie.destination = forward.destination
    length = cookie_encode(&cookie, &edge.key, request.data + request.call_id.start, request.call_id.length,
                           request.data + request.from_tag.start, request.from_tag.length, text)
    _record_route(edge, request, &edge.listener[forward.to.listener], text, length)
    if forward.to.listener != forward.source.listener:
        _record_route(edge, request, &edge.listener[forward.source.listener], text, length)


cdef void _record_route(Edge* edge, const Message* request, const Listener* listener, const uint8_t* cookie,
                        uint32_t length) noexcept nogil:
    cdef uint8_t value[PREFIX_MAX + COOKIE_TEXT_MAX + 1]
    memcpy(value, listener.route, listener.route_length)
    memcpy(value + listener.route_length, cookie, length)
    value[listener.route_length + length] = 62  # ">"
    edits_record_route(&edge.edits, request, value, listener.route_length + length + 1)


cdef uint8_t* edge_room(Edge* edge) noexcept nogil:
    if edge.outbox.count == BATCH:
        edge_flush(edge)
    return outbox_room(&edge.outbox)


cdef void edge_flush(Edge* edge) noexcept nogil:
    cdef int fd[LISTENERS_MAX]
    cdef uint32_t i
    if edge.outbox.count == 0:
        return
    for i in range(edge.listener_count):
        fd[i] = edge.listener[i].fd
    outbox_flush(&edge.outbox, fd, &edge.counter[<int>COUNT_DATAGRAMS_OUT], &edge.counter[<int>COUNT_SEND_ERRORS])
