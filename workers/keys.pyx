"""The keys of transactions, from the fields that a retransmission carries again; nothing in them is remembered."""

from libc.stdint cimport uint8_t

from sipcore.dispatcher cimport DESTINATION_NONE, dispatcher_source
from sipcore.hashing cimport Hasher, hasher_add_field, hasher_add_word, hasher_end, hasher_start, quick_field, quick_word
from sipcore.headers cimport HDR_ROUTE
from sipcore.message cimport Header, message_find
from sipcore.slices cimport Slice


cdef inline void _add(Hasher* hasher, const Message* message, Slice part) noexcept nogil:
    hasher_add_field(hasher, message.data + part.start, part.length)


cdef uint64_t server_key(const Edge* edge, const Message* message, const Via* top, uint16_t method) noexcept nogil:
    """Branch, sent-by and method; for senders from before RFC 3261 what stood in for the branch. The CSeq number and Call-ID are in
    both: a sender that uses a branch twice is kept apart."""
    cdef Hasher hasher
    hasher_start(&hasher, &edge.key)
    _add(&hasher, message, top.branch)
    _add(&hasher, message, top.sent_by)
    _add(&hasher, message, message.call_id)
    if not top.has_cookie:
        _add(&hasher, message, message.from_tag)
    hasher_add_word(&hasher, <uint64_t>method << 32 | message.cseq)
    return hasher_end(&hasher)


cdef uint64_t branch_key(const Edge* edge, uint64_t server, uint32_t index) noexcept nogil:
    cdef Hasher hasher
    hasher_start(&hasher, &edge.key)
    hasher_add_word(&hasher, server)
    hasher_add_word(&hasher, index)
    return hasher_end(&hasher)


cdef uint32_t loop_key(const Edge* edge, const Message* request, const Endpoint* source) noexcept nogil:
    """A quick hash, whose seed can be found out from what it gives: whoever did could make requests of his own come back or end, and
    Max-Forwards ends them anyway. The seed says nothing of the key."""
    cdef const uint8_t* data = request.data
    cdef const Header* route = message_find(request, HDR_ROUTE)
    cdef uint8_t inwards = dispatcher_source(edge.dispatcher, source, edge.settings.source_any_port) == DESTINATION_NONE
    cdef uint64_t hash = quick_field(edge.loop_seed, data + request.request_uri.start, request.request_uri.length)
    hash = quick_field(hash, data + request.from_tag.start, request.from_tag.length)
    hash = quick_field(hash, data + request.to_tag.start, request.to_tag.length)
    hash = quick_field(hash, data + request.call_id.start, request.call_id.length)
    if route != NULL:
        hash = quick_field(hash, data + route.value, route.value_length)
    return <uint32_t>(quick_word(hash, <uint64_t>inwards << 32 | request.cseq) >> 36)
