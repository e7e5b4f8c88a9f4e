"""Towards the request's sender: server transactions, where answers go, and answers of our own."""

from libc.stdint cimport int64_t, uint16_t
from libc.string cimport memcpy

from sipcore.build cimport build_response
from sipcore.counters cimport (
    COUNT_DROPPED, COUNT_LOCAL_REPLIES, COUNT_RETRANSMISSIONS_IN, COUNT_RETRANSMISSIONS_OUT, COUNT_TRANSACTIONS_TOTAL, count,
)
from sipcore.hashing cimport hex_of, siphash
from sipcore.headers cimport METHOD_INVITE
from sipcore.message cimport message_parse
from sipcore.transaction cimport (
    ACTION_PASS, ACTION_REPLAY, ACTION_RETRANSMIT_ON, ACTION_TIMEOUT_ON, ACTION_WAIT, EVENT_ACK, EVENT_REQUEST,
    EVENT_RETRANSMIT, MACHINE_INVITE_SERVER, MACHINE_SERVER, STATE_ACCEPTED, STATE_COMPLETED, STATE_PROCEEDING, STATE_TRYING,
    Step, event_of_status, transaction_step,
)
from sipcore.via cimport Via
from workers.datagram cimport NO_BRANCH, SLOT, outbox_put
from workers.forward cimport edge_room
from workers.transactions cimport (
    NONE, TX_FINAL, Branch, Transaction, buffer_copy, buffer_free, transaction_arm, transaction_free, transaction_new,
)

cdef enum:
    SIP_PORT = 5060
    TAG_LENGTH = 16


cdef uint16_t _answer_port(const Via* top, const Endpoint* source) noexcept nogil:
    """Answers go to the address that a request came from, and to its port where rport stands."""
    if top.has_rport or top.host.length == 0:  # without a host it is a malformed Via that is refused: only the packet's source is known
        return source.port
    return <uint16_t>(top.port if top.port else SIP_PORT)


cdef void _answer(Edge* edge, const Transaction* transaction, uint32_t length) noexcept nogil:
    """Queues what stands in edge_room for the request's sender."""
    cdef Endpoint to = transaction.source
    to.port = transaction.answer_port
    outbox_put(&edge.outbox, &to, length, NO_BRANCH)


cdef void _tag(const Edge* edge, const Message* request, uint8_t* out) noexcept nogil:
    """Our To tag: a hash of the topmost branch, so that a retransmission is answered alike (RFC 3261 8.2.7)."""
    cdef const uint8_t* data = request.data
    if request.via.branch.length:
        hex_of(siphash(&edge.key, data + request.via.branch.start, request.via.branch.length), out)
    else:
        hex_of(siphash(&edge.key, data + request.call_id.start, request.call_id.length), out)


cdef void _add_server(Edge* edge, const uint8_t** extra, uint32_t* length) noexcept nogil:
    """Puts the Server header in front of the extra headers, in the scratch, where the operator wants one."""
    cdef uint32_t own = edge.settings.server_length
    if own == 0 or own + length[0] > SLOT:
        return
    memcpy(edge.scratch, edge.settings.server, own)
    if length[0]:
        memcpy(edge.scratch + own, extra[0], length[0])
    extra[0] = edge.scratch
    length[0] += own


cdef void answer_stateless(Edge* edge, const Endpoint* source, int status, const char* phrase,
                           const uint8_t* extra, uint32_t extra_length) noexcept nogil:
    cdef uint8_t tag[TAG_LENGTH]
    cdef uint8_t* out = edge_room(edge)
    cdef Endpoint target = source[0]
    cdef int length
    _tag(edge, &edge.message, tag)
    _add_server(edge, &extra, &extra_length)
    length = build_response(&edge.message, source, status, phrase, tag, TAG_LENGTH, extra, extra_length, out, SLOT)
    if length < 0:
        count(edge.counter, COUNT_DROPPED)
        return
    target.port = _answer_port(&edge.message.via, source)
    outbox_put(&edge.outbox, &target, <uint32_t>length, NO_BRANCH)
    count(edge.counter, COUNT_LOCAL_REPLIES)


cdef uint32_t upstream_begin(Edge* edge, uint64_t key, const Endpoint* source, uint16_t flags) noexcept nogil:
    cdef uint32_t number = transaction_new(&edge.transactions, key)
    cdef Transaction* transaction
    if number == NONE:
        return NONE
    transaction = &edge.transactions.transaction[number]
    transaction.method = <uint8_t>edge.message.method
    transaction.flags = flags
    transaction.source = source[0]
    transaction.answer_port = _answer_port(&edge.message.via, source)
    transaction.created_ms = edge.now_ms
    if edge.message.method == METHOD_INVITE:
        transaction.machine = MACHINE_INVITE_SERVER
        transaction.state = STATE_PROCEEDING
    else:
        transaction.machine = MACHINE_SERVER
        transaction.state = STATE_TRYING
        transaction.expire_ms = edge.now_ms + 2 * 64 * edge.settings.t1_ms  # past any answer: the slot is never lost
        transaction_arm(&edge.transactions, number)
    transaction.request = buffer_copy(&edge.transactions, NULL, edge.message.data, edge.message.size)
    if transaction.request == NULL:
        transaction_free(&edge.transactions, number)
        return NONE
    count(edge.counter, COUNT_TRANSACTIONS_TOTAL)
    return number


cdef void upstream_reply(Edge* edge, uint32_t number, const Message* request, int status, const char* phrase,
                         const uint8_t* extra, uint32_t extra_length) noexcept nogil:
    cdef Transaction* transaction = &edge.transactions.transaction[number]
    cdef uint8_t tag[TAG_LENGTH]
    cdef int length
    if status > 100:
        _tag(edge, request, tag)
    _add_server(edge, &extra, &extra_length)
    length = build_response(request, &transaction.source, status, phrase, tag, TAG_LENGTH if status > 100 else 0,
                            extra, extra_length, edge_room(edge), SLOT)
    if length < 0:
        upstream_drop(edge, number, status)
        return
    count(edge.counter, COUNT_LOCAL_REPLIES)
    upstream_send(edge, number, <uint32_t>length, status)


cdef void upstream_drop(Edge* edge, uint32_t number, int status) noexcept nogil:
    cdef Transaction* transaction = &edge.transactions.transaction[number]
    count(edge.counter, COUNT_DROPPED)
    if status < 200:
        return
    transaction.state = STATE_COMPLETED
    transaction.flags |= TX_FINAL
    transaction.expire_ms = edge.now_ms + 64 * edge.settings.t1_ms
    transaction_arm(&edge.transactions, number)


cdef void upstream_send(Edge* edge, uint32_t number, uint32_t length, int status) noexcept nogil:
    cdef Transaction* transaction = &edge.transactions.transaction[number]
    cdef Step step = transaction_step(transaction.machine, transaction.state, event_of_status(status))
    cdef int64_t t1_ms = edge.settings.t1_ms
    if not step.actions & ACTION_PASS and not 200 <= status < 300:  # a late 2xx always passes (RFC 3261 16.7 step 5)
        return
    if not step.actions & ACTION_PASS:  # behind a failure that was sent: Timer G goes on with that
        _answer(edge, transaction, length)
        return
    transaction.state = step.state
    transaction.status = <uint16_t>status
    if status >= 200:
        transaction.flags |= TX_FINAL
    if step.state == STATE_ACCEPTED:  # retransmitted 2xx come from the callee (RFC 6026 7.1)
        buffer_free(&edge.transactions, transaction.response)
        transaction.response = NULL
    else:
        transaction.response = buffer_copy(&edge.transactions, transaction.response, edge_room(edge), length)
    _answer(edge, transaction, length)
    if step.actions & ACTION_RETRANSMIT_ON:  # Timers G and H
        transaction.interval_ms = <uint32_t>t1_ms
        transaction.retransmit_ms = edge.now_ms + t1_ms
    if step.actions & (ACTION_TIMEOUT_ON | ACTION_WAIT):  # H, L and J are all 64*T1
        transaction.expire_ms = edge.now_ms + 64 * t1_ms
    if status >= 200:
        _forget_request(edge, transaction)
        transaction_arm(&edge.transactions, number)


cdef void _forget_request(Edge* edge, Transaction* transaction) noexcept nogil:
    """After the final response only keys and timers are needed; but a branch that is to be cancelled or acknowledged is built from the
    request, so an INVITE keeps it until its branches are done (upstream_timer frees the rest)."""
    if transaction.method == METHOD_INVITE:
        return
    buffer_free(&edge.transactions, transaction.request)
    transaction.request = NULL
    buffer_free(&edge.transactions, transaction.targets)
    transaction.targets = NULL


cdef void upstream_again(Edge* edge, uint32_t number) noexcept nogil:
    cdef Transaction* transaction = &edge.transactions.transaction[number]
    cdef Step step = transaction_step(transaction.machine, transaction.state, EVENT_REQUEST)
    count(edge.counter, COUNT_RETRANSMISSIONS_IN)
    if step.actions & ACTION_REPLAY:
        _replay(edge, transaction)


cdef void _replay(Edge* edge, Transaction* transaction) noexcept nogil:
    if transaction.response == NULL:
        return
    memcpy(edge_room(edge), transaction.response.data, transaction.response.length)
    _answer(edge, transaction, transaction.response.length)
    count(edge.counter, COUNT_RETRANSMISSIONS_OUT)


cdef bint upstream_ack(Edge* edge, uint32_t number) noexcept nogil:
    cdef Transaction* transaction = &edge.transactions.transaction[number]
    cdef Step step = transaction_step(transaction.machine, transaction.state, EVENT_ACK)
    if step.actions & ACTION_PASS:
        return False
    if step.state != transaction.state:  # Completed -> Confirmed: Timer I
        transaction.state = step.state
        transaction.retransmit_ms = 0
        transaction.expire_ms = edge.now_ms + edge.settings.t4_ms
        buffer_free(&edge.transactions, transaction.response)
        transaction.response = NULL
        transaction_arm(&edge.transactions, number)
    return True


cdef void upstream_timer(Edge* edge, uint32_t number) noexcept nogil:
    """Timer G retransmits; whatever else fires here ends the transaction."""
    cdef Transaction* transaction = &edge.transactions.transaction[number]
    cdef Step step
    cdef int64_t open_ms
    if transaction.expire_ms and transaction.expire_ms <= edge.now_ms:
        open_ms = _open_until_ms(edge, transaction)
        if open_ms == 0:
            transaction_free(&edge.transactions, number)
            return
        transaction.retransmit_ms = 0
        transaction.expire_ms = open_ms
    if transaction.retransmit_ms and transaction.retransmit_ms <= edge.now_ms:
        step = transaction_step(transaction.machine, transaction.state, EVENT_RETRANSMIT)
        if step.actions & ACTION_REPLAY:
            _replay(edge, transaction)
        transaction.interval_ms *= 2
        if transaction.interval_ms > edge.settings.t2_ms:
            transaction.interval_ms = <uint32_t>edge.settings.t2_ms
        transaction.retransmit_ms = edge.now_ms + transaction.interval_ms if step.actions & ACTION_RETRANSMIT_ON else 0
    transaction_arm(&edge.transactions, number)


cdef int64_t _open_until_ms(const Edge* edge, const Transaction* transaction) noexcept nogil:
    """When the last branch ends; 0: all have. One that was passed over can ring late and must be cancelled, a failure may be repeated
    until Timer D and must be acknowledged: both are built from the request that is held here."""
    cdef uint32_t at = transaction.branches
    cdef int64_t until_ms = 0
    cdef const Branch* branch
    while at != NONE:
        branch = &edge.transactions.branch[at]
        if branch.expire_ms > edge.now_ms and branch.expire_ms > until_ms:
            until_ms = branch.expire_ms
        at = branch.next
    return until_ms


cdef const Message* upstream_request(Edge* edge, uint32_t number) noexcept nogil:
    cdef Transaction* transaction = &edge.transactions.transaction[number]
    if transaction.request == NULL:
        return NULL
    if message_parse(&edge.other, transaction.request.data, transaction.request.length) < 0:
        return NULL
    return &edge.other
