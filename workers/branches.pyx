"""One branch towards its target: the request as it leaves, its ACK and CANCEL, and what it says of the destination (RFC 3261 17.1)."""

from libc.stdint cimport int32_t, uint64_t

from sipcore.build cimport build_ack, build_cancel
from sipcore.cookie cimport COOKIE_CALLEE_FLOW, COOKIE_CALLER_FLOW, COOKIE_COUNTED
from sipcore.dispatcher cimport DESTINATION_NONE, dispatcher_by_id
from sipcore.headers cimport HDR_RETRY_AFTER, METHOD_INVITE
from sipcore.message cimport Header, message_find, message_parse
from sipcore.slices cimport Slice, slice_number
from sipcore.transaction cimport MACHINE_CLIENT, MACHINE_INVITE_CLIENT, STATE_TERMINATED, STATE_TRYING
from workers.datagram cimport NO_BRANCH, SLOT, outbox_put
from workers.forward cimport Forward, edge_room, forward_write
from workers.keys cimport branch_key
from workers.transactions cimport (
    BRANCH_CANCELLED, BRANCH_COUNTED, BRANCH_ENDED, NONE, TX_DISPATCH, TX_FROM_DESTINATION, TX_RECORD_ROUTE, TX_TO_CLIENT,
    Transaction, branch_arm, branch_new,
)
from workers.upstream cimport upstream_request

cdef enum:
    RETRY_AFTER_MOST_S = 1 << 30
    PATIENCE_MS = 5000       # the least for requests other than INVITE: a 100 may come after 3.5 s


cdef void _forward_of(const Edge* edge, const Transaction* transaction, const Branch* branch, Forward* forward) noexcept nogil:
    """How this branch's request leaves: the same each time it is asked for."""
    cdef Target* target
    forward.key = branch.key
    forward.source = transaction.source
    forward.to = branch.to
    forward.record_route = transaction.flags & TX_RECORD_ROUTE
    forward.destination = branch.destination if branch.destination else transaction.destination
    forward.flags = 0
    if not transaction.flags & TX_FROM_DESTINATION:
        forward.flags |= COOKIE_CALLER_FLOW
    if transaction.flags & TX_TO_CLIENT:
        forward.flags |= COOKIE_CALLEE_FLOW
    if forward.destination and transaction.method == METHOD_INVITE:
        forward.flags |= COOKIE_COUNTED
    forward.pop_routes = transaction.pop_routes
    forward.uri = NULL
    if branch.target and transaction.targets != NULL:
        target = <Target*>(transaction.targets.data + branch.target - 1)
        forward.uri = <uint8_t*>target + sizeof(Target)
        forward.uri_length = target.uri_length


cdef bint branch_send(Edge* edge, uint32_t number, const Message* request) noexcept nogil:
    cdef Branch* branch = &edge.transactions.branch[number]
    cdef Forward forward
    cdef int length
    _forward_of(edge, &edge.transactions.transaction[branch.transaction], branch, &forward)
    length = forward_write(edge, request, &forward, edge_room(edge))
    if length < 0:
        return False
    outbox_put(&edge.outbox, &branch.to, <uint32_t>length, branch.key)
    return True


cdef bint branch_start(Edge* edge, uint32_t number, const Message* request, const Endpoint* to, uint32_t destination,
                       uint16_t target) noexcept nogil:
    cdef Transaction* transaction = &edge.transactions.transaction[number]
    cdef uint32_t at = branch_new(&edge.transactions, number, branch_key(edge, transaction.key, transaction.attempts))
    cdef Branch* branch
    cdef Load* load
    if at == NONE:
        return False
    branch = &edge.transactions.branch[at]
    branch.machine = MACHINE_INVITE_CLIENT if transaction.method == METHOD_INVITE else MACHINE_CLIENT
    branch.state = STATE_TRYING
    branch.index = transaction.attempts
    branch.to = to[0]
    branch.destination = destination
    branch.target = target
    branch.sent_ms = <uint32_t>(edge.now_ms - transaction.created_ms)
    branch.interval_ms = <uint32_t>edge.settings.t1_ms
    branch.retransmit_ms = edge.now_ms + edge.settings.t1_ms                # Timer A, E
    branch.expire_ms = edge.now_ms + _patience_ms(edge, transaction, destination)  # Timer B, F
    transaction.attempts += 1
    branch_arm(&edge.transactions, at)
    load = destination_load(edge, destination)
    if load != NULL:
        load.attempts += 1
    if not branch_send(edge, at, request):
        branch.flags |= BRANCH_ENDED
        branch.state = STATE_TERMINATED
        branch.retransmit_ms = branch.expire_ms = 0
        branch_arm(&edge.transactions, at)
        return False
    return True


cdef int64_t _patience_ms(const Edge* edge, const Transaction* transaction, uint32_t destination) noexcept nogil:
    """How long silence is borne: the destination's own time where another can be tried, else 64*T1. Other requests than INVITE are not
    answered with 100 in time (RFC 4320 4.1), so their silence says little."""
    cdef int32_t index
    cdef int64_t patience_ms
    if transaction.flags & TX_DISPATCH:
        index = dispatcher_by_id(edge.dispatcher, destination)
        if index != DESTINATION_NONE:
            patience_ms = edge.dispatcher.destination[index].first_response_ms
            if transaction.method != METHOD_INVITE:
                patience_ms = max(patience_ms, <int64_t>PATIENCE_MS)
            return min(patience_ms, 64 * edge.settings.t1_ms)
    return 64 * edge.settings.t1_ms


cdef Load* destination_load(const Edge* edge, uint32_t destination) noexcept nogil:
    cdef int32_t index
    if destination == 0 or edge.dispatcher == NULL:
        return NULL
    index = dispatcher_by_id(edge.dispatcher, destination)
    return &edge.load[edge.dispatcher.destination[index].slot] if index != DESTINATION_NONE else NULL


cdef void branch_outcome(Edge* edge, Branch* branch, bint failed) noexcept nogil:
    """Writes the branch's verdict on its destination into the load page, once."""
    cdef Load* load = destination_load(edge, branch.destination)
    if load == NULL or branch.flags & BRANCH_COUNTED:
        return
    branch.flags |= BRANCH_COUNTED
    if failed:
        load.failures += 1
    else:
        load.responses += 1


cdef const Message* _as_sent(Edge* edge, uint32_t at) noexcept nogil:
    """The branch's request as it left, built again into the scratch and parsed; NULL where its text is gone."""
    cdef Branch* branch = &edge.transactions.branch[at]
    cdef const Message* request = upstream_request(edge, branch.transaction)
    cdef Forward forward
    cdef int length
    if request == NULL:
        return NULL
    _forward_of(edge, &edge.transactions.transaction[branch.transaction], branch, &forward)
    length = forward_write(edge, request, &forward, edge.scratch)
    if length < 0 or message_parse(&edge.other, edge.scratch, <uint32_t>length) < 0:
        return NULL
    return &edge.other


cdef void branch_acknowledge(Edge* edge, uint32_t at) noexcept nogil:
    cdef const Message* sent = _as_sent(edge, at)
    cdef int length
    if sent == NULL:
        return
    length = build_ack(sent, &edge.message, edge_room(edge), SLOT)
    if length > 0:
        outbox_put(&edge.outbox, &edge.transactions.branch[at].to, <uint32_t>length, NO_BRANCH)


cdef void branch_cancel(Edge* edge, uint32_t at) noexcept nogil:
    """CANCEL, retransmitted as a request of its own; its INVITE is given 64*T1 to answer (RFC 3261 9.1)."""
    cdef Branch* branch = &edge.transactions.branch[at]
    cdef const Message* sent = _as_sent(edge, at)
    cdef int length
    if sent == NULL:
        return
    length = build_cancel(sent, edge_room(edge), SLOT)
    if length <= 0:
        return
    outbox_put(&edge.outbox, &branch.to, <uint32_t>length, NO_BRANCH)
    if not branch.flags & BRANCH_CANCELLED:
        branch.flags |= BRANCH_CANCELLED
        branch.interval_ms = <uint32_t>edge.settings.t1_ms
        branch.expire_ms = edge.now_ms + 64 * edge.settings.t1_ms
    branch.retransmit_ms = edge.now_ms + branch.interval_ms
    branch_arm(&edge.transactions, at)


cdef void branch_retry_after(Edge* edge, const Branch* branch) noexcept nogil:
    """RFC 3261 21.5.4, up to the configured cap: a destination must not take itself away for long."""
    cdef const Header* header = message_find(&edge.message, HDR_RETRY_AFTER)
    cdef int32_t index = dispatcher_by_id(edge.dispatcher, branch.destination) if branch.destination else DESTINATION_NONE
    cdef uint32_t end
    cdef int64_t seconds
    cdef Slice digits
    if header == NULL or index == DESTINATION_NONE:
        return
    end = header.value
    while end < header.value + header.value_length and 48 <= edge.message.data[end] <= 57:
        end += 1
    digits.start = header.value
    digits.length = end - header.value
    seconds = slice_number(edge.message.data, digits, RETRY_AFTER_MOST_S)
    if seconds <= 0:
        return
    seconds = min(seconds * 1000, edge.settings.retry_after_cap_ms)
    edge.dispatcher.destination[index].retry_at_ms = edge.now_ms + seconds
    edge.load[edge.dispatcher.destination[index].slot].busy_until_ms = <uint64_t>(edge.now_ms + seconds)
