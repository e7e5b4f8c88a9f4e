"""What happens to each datagram: the default profile, in the order in which edge scripts do it."""

from libc.stdint cimport int64_t, uint16_t, uint64_t
from libc.stdlib cimport abort, free, malloc
from libc.string cimport memcpy

from sipcore.counters cimport (
    COUNT_DATAGRAMS_IN, COUNT_DROPPED, COUNT_HEIR_RESPONSES, COUNT_INBOX_DROPPED, COUNT_INBOX_OUT, COUNT_KEEPALIVES, COUNT_OVERLOAD, COUNT_PARKED,
    COUNT_QUARANTINED, COUNT_REFUSED, COUNT_REGISTERS, COUNT_REQUESTS, COUNT_RESPONSES, COUNT_STRAY_RESPONSES,
    QUARANTINE_MAX, count, quarantine_hash,
)
from sipcore.edits cimport edits_apply, edits_pop_via, edits_reset
from sipcore.endpoint cimport endpoint_set_host
from sipcore.hashing cimport hex_value
from sipcore.headers cimport (
    HDR_PROXY_REQUIRE, HDR_VIA, METHOD_ACK, METHOD_CANCEL, METHOD_INVITE, METHOD_OPTIONS, METHOD_REGISTER,
)
from sipcore.message cimport Header, Message, message_find, message_next, message_parse, message_request_uri
from sipcore.reasons cimport REASON_KEEPALIVE, reason_phrase, reason_status
from sipcore.slices cimport slice_number
from sipcore.steering cimport steer_branch, worker_of
from sipcore.timers cimport TIMER_NONE, timers_due
from sipcore.uri cimport Uri
from sipcore.via cimport Via, via_parse
from workers.datagram cimport INBOX_DATAGRAM, INBOX_UNREACHABLE, NO_BRANCH, SLOT, inbox_send, outbox_put
from workers.edge cimport PARKED_MAX, Parked
from workers.forward cimport BRANCH_KEY_AT, BRANCH_LENGTH, BRANCH_LISTENER_AT, BRANCH_LOOP_AT, edge_room
from workers.keys cimport branch_key, loop_key, server_key
from workers.profile cimport profile_in_dialog, profile_initial, profile_is_us
from workers.pace cimport pace_admits
from workers.proxy cimport proxy_timer, proxy_cancel, proxy_response, proxy_unreachable
from workers.registrar cimport registrar_take
from workers.transactions cimport FORKS_MAX, NONE, TX_OURS, Transaction, branch_find, transaction_find
from workers.upstream cimport answer_stateless, upstream_ack, upstream_again, upstream_begin, upstream_timer

cdef extern from "<string.h>" nogil:
    void* memmem(const void* text, size_t length, const void* wanted, size_t wanted_length)

cdef enum:
    SIP_PORT = 5060
    UNSUPPORTED_MAX = 512
    REQUEST_MAX = 63488    # what we add (Via, Record-Route, a contact) must still fit into a datagram of 65,507

cdef const char* OPTIONS_HEADERS = (
    b"Accept: */*\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, PRACK, UPDATE, INFO, SUBSCRIBE, NOTIFY, REFER, MESSAGE\r\n")
cdef const char* RETRY_HEADER = b"Retry-After: 5\r\n"


cdef void router_datagram(Edge* edge, const uint8_t* data, uint32_t length, const Endpoint* source, bint ours) noexcept nogil:
    if edge.quarantine.count and _quarantined(edge, data, length):
        count(edge.counter, COUNT_QUARANTINED)
        return
    memcpy(edge.in_hand.data, data, length)
    edge.in_hand.length = length
    if edge.crash_length and memmem(data, length, edge.crash_text, edge.crash_length) != NULL:
        abort()
    _route(edge, data, length, source, ours)
    edge.in_hand.length = 0


cdef bint _quarantined(const Edge* edge, const uint8_t* data, uint32_t length) noexcept nogil:
    """It crashed a worker twice (supervisor/quarantine.py)."""
    cdef uint64_t wanted = quarantine_hash(data, length)
    cdef uint64_t i
    for i in range(min(edge.quarantine.count, <uint64_t>QUARANTINE_MAX)):
        if edge.quarantine.hash[i] == wanted:
            return True
    return False


cdef void _route(Edge* edge, const uint8_t* data, uint32_t length, const Endpoint* source, bint ours) noexcept nogil:
    cdef Message* message = &edge.message
    cdef int reason = message_parse(message, data, length)
    cdef uint32_t owner
    if not ours:
        count(edge.counter, COUNT_DATAGRAMS_IN)
    if reason == REASON_KEEPALIVE:
        count(edge.counter, COUNT_KEEPALIVES)
        return
    if reason < 0:
        count(edge.counter, COUNT_REFUSED)
        if message.is_request and message.answerable:
            _refuse(edge, source, reason)
        return
    if not message.is_request:
        count(edge.counter, COUNT_RESPONSES)
        _response(edge, source, ours)
        return
    count(edge.counter, COUNT_REQUESTS)
    owner = steer_branch(data + message.via.branch.start, message.via.branch.length) % edge.workers if message.via.has_cookie else 0
    if owner != edge.worker and not ours:
        _hand_over(edge, owner, INBOX_DATAGRAM, source, data, length)
        return
    _request(edge, source)


cdef void _hand_over(Edge* edge, uint32_t owner, uint32_t kind, const Endpoint* peer, const uint8_t* data, uint32_t length) noexcept nogil:
    if inbox_send(edge.inbox_peer[owner], kind, peer, data, length):
        count(edge.counter, COUNT_INBOX_OUT)
    else:
        count(edge.counter, COUNT_INBOX_DROPPED)


cdef void _refuse(Edge* edge, const Endpoint* source, int reason) noexcept nogil:
    answer_stateless(edge, source, reason_status(reason), reason_phrase(reason), NULL, 0)


# --- responses --------------------------------------------------------------------------------------------------------------

cdef int _branch_of(const uint8_t* branch, uint32_t length, uint64_t* key) noexcept nogil:
    """The worker that a branch of ours names, and its key; -1: it is not ours."""
    if length != BRANCH_LENGTH or branch[7] != 86:  # "V"
        return -1
    if not hex_value(branch + BRANCH_KEY_AT, key):
        return -1
    return worker_of(branch + BRANCH_KEY_AT - 2)


cdef void _response(Edge* edge, const Endpoint* source, bint ours) noexcept nogil:
    cdef Message* message = &edge.message
    cdef uint64_t key
    cdef uint32_t at
    cdef int owner = _branch_of(message.data + message.via.branch.start, message.via.branch.length, &key)
    if owner < 0 or not message.via.has_cookie:
        count(edge.counter, COUNT_STRAY_RESPONSES)
        return
    if <uint32_t>owner != edge.worker and <uint32_t>owner < edge.workers and not ours:
        _hand_over(edge, <uint32_t>owner, INBOX_DATAGRAM, source, message.data, message.size)
        return
    at = branch_find(&edge.transactions, key)
    if at == NONE:
        _orphan(edge, source, key)
    elif _same_method(edge, at):
        proxy_response(edge, at)
    else:
        count(edge.counter, COUNT_STRAY_RESPONSES)


cdef bint _same_method(const Edge* edge, uint32_t at) noexcept nogil:
    """17.1.3: CSeq's method must be the request's; a CANCEL shares its INVITE's branch."""
    cdef const Transaction* transaction = &edge.transactions.transaction[edge.transactions.branch[at].transaction]
    return edge.message.method == transaction.method or (
        edge.message.method == METHOD_CANCEL and transaction.method == METHOD_INVITE)


cdef void _orphan(Edge* edge, const Endpoint* source, uint64_t key) noexcept nogil:
    """A response without a transaction is dropped (RFC 6026 7.3), except by the heir of a worker that died: where the branch verifies
    against the Via below it, the response goes on, statelessly, for as long as a transaction of the dead worker could live."""
    cdef Message* message = &edge.message
    cdef Via below
    cdef Endpoint target = source[0]
    cdef int length
    cdef uint32_t index
    cdef uint64_t server
    if not edge.heir or edge.now_ms > edge.heir_until_ms or message.method == METHOD_CANCEL or not _second_via(message, &below):
        count(edge.counter, COUNT_STRAY_RESPONSES)
        return
    server = server_key(edge, message, &below, message.method)
    for index in range(FORKS_MAX):
        if branch_key(edge, server, index) == key:
            break
    else:
        count(edge.counter, COUNT_STRAY_RESPONSES)
        return
    if not endpoint_set_host(&target, message.data + below.received.start, below.received.length):
        count(edge.counter, COUNT_DROPPED)
        return
    target.listener = _caller_listener(edge, message)
    target.port = <uint16_t>(below.port if below.port else SIP_PORT)
    if below.rport.length:
        target.port = <uint16_t>slice_number(message.data, below.rport, 65535)
    edits_reset(&edge.edits)
    edits_pop_via(&edge.edits, message)
    length = edits_apply(&edge.edits, message, edge_room(edge), SLOT)
    if length > 0:
        outbox_put(&edge.outbox, &target, <uint32_t>length, NO_BRANCH)
        count(edge.counter, COUNT_HEIR_RESPONSES)


cdef uint16_t _caller_listener(const Edge* edge, const Message* message) noexcept nogil:
    """The listener that our branch names as the one its request came to."""
    cdef uint8_t digits[16]
    cdef uint64_t listener
    memcpy(digits, b"000000000000000", 15)
    digits[15] = message.data[message.via.branch.start + BRANCH_LISTENER_AT]
    if not hex_value(digits, &listener) or listener >= edge.listener_count:
        return 0
    return <uint16_t>listener


cdef bint _second_via(const Message* message, Via* below) noexcept nogil:
    cdef const Header* header = message_find(message, HDR_VIA)
    cdef uint32_t end = header.value + header.value_length
    if message.via.end < end:
        return via_parse(below, message.data, message.via.end + 1, end) == 0
    header = message_next(message, header)
    return header != NULL and via_parse(below, message.data, header.value, header.value + header.value_length) == 0


# --- requests ---------------------------------------------------------------------------------------------------------------

cdef void _request(Edge* edge, const Endpoint* source) noexcept nogil:
    cdef Message* message = &edge.message
    cdef uint16_t method = message.method
    cdef uint64_t key = server_key(edge, message, &message.via,
                                   METHOD_INVITE if method == METHOD_ACK or method == METHOD_CANCEL else method)
    cdef uint32_t number = transaction_find(&edge.transactions, key)
    if method == METHOD_ACK:
        if number == NONE or not upstream_ack(edge, number):
            profile_in_dialog(edge, source, key, NULL)
    elif method == METHOD_CANCEL:
        _cancel(edge, source, number)
    elif number != NONE:
        upstream_again(edge, number)
    else:
        _new_request(edge, source, key)


cdef void _cancel(Edge* edge, const Endpoint* source, uint32_t number) noexcept nogil:
    if number == NONE and not edge.live:
        _park(edge, source)  # its INVITE may be waiting there too
    elif number == NONE:
        answer_stateless(edge, source, 481, "Call/Transaction Does Not Exist", NULL, 0)
    else:
        answer_stateless(edge, source, 200, "OK", NULL, 0)
        proxy_cancel(edge, number)


cdef void _new_request(Edge* edge, const Endpoint* source, uint64_t key) noexcept nogil:
    cdef Message* message = &edge.message
    cdef Uri uri
    cdef int reason = message_request_uri(message, &uri)
    cdef bint options = message.method == METHOD_OPTIONS
    if reason < 0:
        _refuse(edge, source, reason)
    elif options and message.to_tag.length == 0 and profile_is_us(edge, message.data, &uri):
        _options(edge, source)  # even with Max-Forwards 0: it has arrived
    elif message.to_tag.length == 0 and not pace_admits(&edge.pace, key):  # by its key: a retransmission is judged alike
        count(edge.counter, COUNT_OVERLOAD)
        answer_stateless(edge, source, 503, "Service Unavailable", <const uint8_t*>RETRY_HEADER, 16)
    elif message.size > REQUEST_MAX:
        answer_stateless(edge, source, 513, "Message Too Large", NULL, 0)
    elif message.max_forwards == 0:
        answer_stateless(edge, source, 483, "Too Many Hops", NULL, 0)
    elif message_find(message, HDR_PROXY_REQUIRE) != NULL:
        _unsupported(edge, source)
    elif _looped(edge, source):
        answer_stateless(edge, source, 482, "Loop Detected", NULL, 0)
    elif message.to_tag.length and message.method != METHOD_REGISTER:
        profile_in_dialog(edge, source, key, &uri)
    elif not edge.live:
        _park(edge, source)
    elif edge.draining:
        answer_stateless(edge, source, 503, "Service Unavailable", <const uint8_t*>RETRY_HEADER, 16)
    elif message.method == METHOD_REGISTER:
        _register(edge, source, key)
    else:
        profile_initial(edge, source, key, &uri)


cdef void _options(Edge* edge, const Endpoint* source) noexcept nogil:
    cdef uint32_t length = 0
    if edge.draining:
        answer_stateless(edge, source, 503, "Service Unavailable", <const uint8_t*>RETRY_HEADER, 16)
        return
    while OPTIONS_HEADERS[length]:
        length += 1
    answer_stateless(edge, source, 200, "OK", <const uint8_t*>OPTIONS_HEADERS, length)


cdef void _unsupported(Edge* edge, const Endpoint* source) noexcept nogil:
    """No option tag is supported by this proxy: all that were required come back (RFC 3261 16.3 step 5)."""
    cdef const Header* header = message_find(&edge.message, HDR_PROXY_REQUIRE)
    cdef uint8_t text[UNSUPPORTED_MAX]
    cdef uint32_t length = 0
    while header != NULL and length + header.value_length + 16 < UNSUPPORTED_MAX:
        memcpy(text + length, b"Unsupported: ", 13)
        memcpy(text + length + 13, edge.message.data + header.value, header.value_length)
        memcpy(text + length + 13 + header.value_length, b"\r\n", 2)
        length += header.value_length + 15
        header = message_next(&edge.message, header)
    answer_stateless(edge, source, 420, "Bad Extension", text, length)


cdef bint _looped(const Edge* edge, const Endpoint* source) noexcept nogil:
    """A Via of ours whose second part is what we would write now: nothing that decides the route has changed (RFC 5393 4.2)."""
    cdef const Message* message = &edge.message
    cdef const Header* header = message_find(message, HDR_VIA)
    cdef Via via = message.via
    cdef uint32_t end = header.value + header.value_length
    cdef int64_t now = -1
    while True:
        if _passed(edge, source, &via, &now):
            return True
        if via.end >= end:
            header = message_next(message, header)
            if header == NULL:
                return False
            via.end = header.value - 1
            end = header.value + header.value_length
        if via_parse(&via, message.data, via.end + 1, end) < 0:
            via.branch.length = 0
            via.end = end  # what follows on this line is not read


cdef bint _passed(const Edge* edge, const Endpoint* source, const Via* via, int64_t* now) noexcept nogil:
    """This Via is ours, and the request has not changed since. now: the loop key, computed once, however many of ours there are."""
    cdef const uint8_t* data = edge.message.data
    cdef uint64_t key
    cdef uint64_t before
    cdef uint8_t digits[16]
    if _branch_of(data + via.branch.start, via.branch.length, &key) < 0:
        return False
    if now[0] < 0:
        now[0] = loop_key(edge, &edge.message, source)
    memcpy(digits, b"000000000", 9)
    memcpy(digits + 9, data + via.branch.start + BRANCH_LOOP_AT, 7)
    return hex_value(digits, &before) and <int64_t>before == now[0]


cdef void _register(Edge* edge, const Endpoint* source, uint64_t key) noexcept nogil:
    cdef uint32_t number = upstream_begin(edge, key, source, TX_OURS)
    if number == NONE:
        answer_stateless(edge, source, 503, "Service Unavailable", <const uint8_t*>RETRY_HEADER, 16)
        return
    count(edge.counter, COUNT_REGISTERS)
    registrar_take(edge, number)


# --- what waits for the replica ---------------------------------------------------------------------------------------------

cdef void _park(Edge* edge, const Endpoint* source) noexcept nogil:
    cdef Parked* parked
    if edge.parked == PARKED_MAX:
        count(edge.counter, COUNT_DROPPED)
        return
    parked = <Parked*>malloc(sizeof(Parked) + edge.message.size)
    if parked == NULL:
        count(edge.counter, COUNT_DROPPED)
        return
    parked.next = NULL
    parked.source = source[0]
    parked.length = edge.message.size
    memcpy(parked.data, edge.message.data, edge.message.size)
    if edge.parked_last == NULL:
        edge.parked_first = parked
    else:
        edge.parked_last.next = parked
    edge.parked_last = parked
    edge.parked += 1
    count(edge.counter, COUNT_PARKED)


cdef void router_unpark(Edge* edge) noexcept nogil:
    cdef Parked* parked = edge.parked_first
    cdef Parked* following
    edge.parked_first = edge.parked_last = NULL
    edge.parked = 0
    while parked != NULL:
        router_datagram(edge, parked.data, parked.length, &parked.source, True)
        following = parked.next
        free(parked)
        parked = following


# --- errors and timers ------------------------------------------------------------------------------------------------------

cdef void router_unreachable(Edge* edge, const uint8_t* data, uint32_t length, const Endpoint* target, bint ours) noexcept nogil:
    """The kernel gives an ICMP error to any socket of the group, with the start of what was sent: its branch names the owner."""
    cdef uint32_t i
    cdef uint64_t key
    cdef uint32_t at
    cdef int owner
    if length < BRANCH_LENGTH or (length >= 4 and data[0] == 83 and data[1] == 73 and data[2] == 80 and data[3] == 47):
        return  # a response of ours that its receiver no longer wanted: its retransmission tells
    for i in range(length - BRANCH_LENGTH + 1):
        if data[i] != 122 or data[i + 1] != 57 or data[i + 2] != 104 or data[i + 7] != 86:  # "z9h", "V"
            continue
        owner = _branch_of(data + i, BRANCH_LENGTH, &key)
        if owner < 0:
            continue
        if <uint32_t>owner != edge.worker and <uint32_t>owner < edge.workers and not ours:
            _hand_over(edge, <uint32_t>owner, INBOX_UNREACHABLE, target, data, length)
            return
        at = branch_find(&edge.transactions, key)
        if at != NONE:
            proxy_unreachable(edge, at)
        return


cdef void router_send_failures(Edge* edge) noexcept nogil:
    cdef uint32_t at
    while edge.outbox.failed_count:
        edge.outbox.failed_count -= 1
        at = branch_find(&edge.transactions, edge.outbox.failed[edge.outbox.failed_count])
        if at != NONE:
            proxy_unreachable(edge, at)


cdef void router_timers(Edge* edge) noexcept nogil:
    cdef uint32_t number = timers_due(&edge.transactions.wheel, edge.now_ms)
    while number != TIMER_NONE:
        if number < edge.transactions.capacity:
            proxy_timer(edge, number)
        else:
            upstream_timer(edge, number - edge.transactions.capacity)
        number = timers_due(&edge.transactions.wheel, edge.now_ms)
