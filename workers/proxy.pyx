"""Towards the targets: what to try next, the best response, CANCEL and silence (RFC 3261 16.6 to 16.10)."""

from libc.stdint cimport int32_t, int64_t, uint16_t, uint64_t

from sipcore.counters cimport (
    COUNT_CALLS_ANSWERED, COUNT_CALLS_FAILED, COUNT_FAILOVERS, COUNT_RETRANSMISSIONS_OUT, COUNT_TIMEOUTS, COUNT_UNREACHABLE, Load, count,
)
from sipcore.dispatcher cimport (
    ALGORITHM_HASH_CALL_ID, ALGORITHM_HASH_FROM, ALGORITHM_HASH_REQUEST_URI, ALGORITHM_HASH_TO, ALGORITHM_HASH_USER, DESTINATION_NONE,
    Destination, DestinationSet, dispatcher_by_id, dispatcher_choose, dispatcher_set,
)
from sipcore.edits cimport edits_apply, edits_pop_via, edits_reset
from sipcore.hashing cimport siphash
from sipcore.headers cimport METHOD_CANCEL, METHOD_INVITE
from sipcore.message cimport message_parse, message_request_uri
from sipcore.slices cimport Slice
from sipcore.transaction cimport (
    ACTION_ACK, ACTION_FAIL, ACTION_PASS, ACTION_REPLAY, ACTION_RETRANSMIT_OFF, ACTION_TIMEOUT_OFF, ACTION_WAIT, EVENT_RETRANSMIT,
    EVENT_TIMEOUT, EVENT_TRANSPORT, EVENT_WAITED, MACHINE_CLIENT, MACHINE_INVITE_CLIENT, STATE_PROCEEDING, STATE_TRYING, Step,
    event_of_status, transaction_step,
)
from sipcore.uri cimport Uri
from workers.branches cimport (
    Target, branch_acknowledge, branch_cancel, branch_outcome, branch_retry_after, branch_send, branch_start, destination_load,
)
from workers.calllog cimport call_line
from workers.datagram cimport SLOT
from workers.edge cimport edge_random
from workers.forward cimport edge_room
from workers.transactions cimport (
    BRANCH_CANCEL_WANTED, BRANCH_CANCELLED, BRANCH_ENDED, BRANCH_PASSED_OVER, NONE, TRIED_MAX, TX_CALL, TX_CANCELLED, TX_DISPATCH,
    TX_FINAL, TX_IN_DIALOG, TX_RINGING, Branch, Transaction, branch_arm, buffer_copy, buffer_free,
)
from workers.upstream cimport upstream_drop, upstream_reply, upstream_request, upstream_send

cdef enum:
    STATUS_SILENT = 408      # a branch that never answered counts as this (RFC 3261 16.8, 16.9)
    STATUS_UNREACHABLE = 503


# --- what to try next -------------------------------------------------------------------------------------------------------

cdef inline bint _fails_over(const Edge* edge, int status) noexcept nogil:
    return edge.settings.failover[status >> 3] & (1 << (status & 7)) != 0


cdef uint64_t _selection_key(const Edge* edge, const Message* request, uint16_t algorithm) noexcept nogil:
    """The hash of what the set's algorithm hashes; 0 for the algorithms that hash nothing."""
    cdef Uri uri
    cdef Slice what
    if algorithm == ALGORITHM_HASH_CALL_ID:
        what = request.call_id
    elif algorithm == ALGORITHM_HASH_FROM:
        what = request.from_uri
    elif algorithm == ALGORITHM_HASH_TO:
        what = request.to_uri
    elif algorithm == ALGORITHM_HASH_REQUEST_URI:
        what = request.request_uri
    elif algorithm == ALGORITHM_HASH_USER and message_request_uri(request, &uri) == 0:
        what = uri.user
    else:
        return 0
    return siphash(&edge.key, request.data + what.start, what.length)


cdef uint32_t _tried(const Edge* edge, const Transaction* transaction, int32_t* tried) noexcept nogil:
    """Indexes of the destinations that the transaction has branches to, into tried[TRIED_MAX]; how many."""
    cdef uint32_t at = transaction.branches
    cdef uint32_t found = 0
    while at != NONE and found < TRIED_MAX:
        tried[found] = dispatcher_by_id(edge.dispatcher, edge.transactions.branch[at].destination)
        found += 1
        at = edge.transactions.branch[at].next
    return found


cdef int _next_destination(Edge* edge, uint32_t number, const Message* request) noexcept nogil:
    cdef Transaction* transaction = &edge.transactions.transaction[number]
    cdef DestinationSet* destinations = dispatcher_set(edge.dispatcher, transaction.set_id)
    cdef int32_t tried[TRIED_MAX]
    cdef uint32_t known = _tried(edge, transaction, tried)
    cdef int32_t index
    cdef Destination* destination
    if destinations == NULL:
        return 0
    while (known < edge.settings.max_attempts and known < TRIED_MAX
           and edge.now_ms - transaction.created_ms < edge.settings.max_time_ms):
        index = dispatcher_choose(edge.dispatcher, destinations, _selection_key(edge, request, destinations.algorithm), edge_random(edge),
                                  edge.now_ms, tried, known)
        if index == DESTINATION_NONE:
            return 0
        destination = &edge.dispatcher.destination[index]
        tried[known] = index
        known += 1
        if branch_start(edge, number, request, &destination.endpoint, destination.id, 0):
            return 1
    return 0


cdef int _next_contacts(Edge* edge, uint32_t number, const Message* request) noexcept nogil:
    """All contacts of the highest q that is left, in parallel (RFC 3261 16.6; serial by q)."""
    cdef Transaction* transaction = &edge.transactions.transaction[number]
    cdef Target* target
    cdef uint32_t at
    cdef uint16_t q
    cdef int launched = 0
    if transaction.targets == NULL:
        return 0
    while launched == 0 and transaction.targets_at < transaction.targets.length:
        q = (<Target*>(transaction.targets.data + transaction.targets_at)).q
        while transaction.targets_at < transaction.targets.length:
            at = transaction.targets_at
            target = <Target*>(transaction.targets.data + at)
            if target.q != q:
                break
            transaction.targets_at += <uint16_t>(sizeof(Target) + ((target.uri_length + 3u) & ~3u))
            launched += branch_start(edge, number, request, &target.to, 0, <uint16_t>(at + 1))
    return launched


cdef int proxy_next(Edge* edge, uint32_t number, const Message* request) noexcept nogil:
    if edge.transactions.transaction[number].flags & TX_DISPATCH:
        return _next_destination(edge, number, request)
    return _next_contacts(edge, number, request)


cdef bint _searching(const Edge* edge, const Transaction* transaction) noexcept nogil:
    """Some branch may still bring a verdict that counts."""
    cdef uint32_t at = transaction.branches
    while at != NONE:
        if not edge.transactions.branch[at].flags & (BRANCH_ENDED | BRANCH_PASSED_OVER):
            return True
        at = edge.transactions.branch[at].next
    return False


cdef void proxy_settle(Edge* edge, uint32_t number) noexcept nogil:
    cdef Transaction* transaction = &edge.transactions.transaction[number]
    cdef const Message* request
    cdef bint again
    if transaction.flags & TX_FINAL or _searching(edge, transaction):
        return
    request = upstream_request(edge, number)
    if request == NULL:
        return
    again = not transaction.flags & (TX_CANCELLED | TX_IN_DIALOG) and transaction.best_status < 600
    if transaction.flags & TX_DISPATCH and transaction.best_status and not _fails_over(edge, transaction.best_status):
        again = False
    if again and proxy_next(edge, number, request):
        count(edge.counter, COUNT_FAILOVERS)
        return
    _finish(edge, number, request)


cdef void _finish(Edge* edge, uint32_t number, const Message* request) noexcept nogil:
    """The final response where no branch succeeded and nothing is left to try."""
    cdef Transaction* transaction = &edge.transactions.transaction[number]
    cdef int status = transaction.best_status
    if transaction.flags & TX_CANCELLED and status != 487:
        upstream_reply(edge, number, request, 487, "Request Terminated", NULL, 0)
    elif transaction.flags & TX_DISPATCH and (status == 0 or _fails_over(edge, status)):
        upstream_reply(edge, number, request, edge.settings.refuse_code, <const char*>edge.settings.refuse_text, NULL, 0)
    elif transaction.best != NULL and message_parse(&edge.other, transaction.best.data, transaction.best.length) == 0:
        _pass(edge, number, &edge.other)
    elif status != STATUS_SILENT:
        upstream_reply(edge, number, request, 500, "Next Hop Unreachable", NULL, 0)
    elif transaction.method == METHOD_INVITE:
        upstream_reply(edge, number, request, STATUS_SILENT, "Request Timeout", NULL, 0)
    # else: a non-INVITE that nobody answered is not answered with 408 (RFC 4320 4.2)
    _failed(edge, transaction)


cdef void _failed(Edge* edge, Transaction* transaction) noexcept nogil:
    transaction.flags |= TX_FINAL
    if transaction.flags & TX_CALL:
        count(edge.counter, COUNT_CALLS_FAILED)
        call_line(edge, transaction, NULL)


cdef void proxy_refuse(Edge* edge, uint32_t number, const Message* request, int status, const char* phrase) noexcept nogil:
    upstream_reply(edge, number, request, status, phrase, NULL, 0)
    _failed(edge, &edge.transactions.transaction[number])


# --- responses --------------------------------------------------------------------------------------------------------------

cdef void _pass(Edge* edge, uint32_t number, const Message* response) noexcept nogil:
    """The response without our Via, upstream (16.7 steps 3 and 9)."""
    cdef int length
    edits_reset(&edge.edits)
    edits_pop_via(&edge.edits, response)
    length = edits_apply(&edge.edits, response, edge_room(edge), SLOT)
    if length > 0:
        upstream_send(edge, number, <uint32_t>length, response.status)
    else:
        upstream_drop(edge, number, response.status)


cdef void proxy_response(Edge* edge, uint32_t at) noexcept nogil:
    cdef Branch* branch = &edge.transactions.branch[at]
    cdef const Message* response = &edge.message
    cdef Step step
    if response.method == METHOD_CANCEL:
        if branch.flags & BRANCH_CANCELLED:
            branch.retransmit_ms = 0
            branch_arm(&edge.transactions, at)
        return
    step = transaction_step(branch.machine, branch.state, event_of_status(response.status))
    branch.state = step.state
    if step.actions & ACTION_ACK:
        branch_acknowledge(edge, at)
    if not step.actions & ACTION_PASS:
        return
    branch.status = response.status
    if step.actions & ACTION_RETRANSMIT_OFF:
        branch.retransmit_ms = 0
    if step.actions & ACTION_WAIT:  # late arrivals meet it until its transaction ends, a repeated failure until Timer D
        branch.retransmit_ms = 0
        branch.expire_ms = edge.now_ms + 64 * edge.settings.t1_ms if step.actions & ACTION_ACK else 0
    if response.status < 200:
        _provisional(edge, at, step.actions)
    elif response.status < 300:
        _success(edge, at)
    else:
        _failure(edge, at)


cdef void _provisional(Edge* edge, uint32_t at, uint16_t actions) noexcept nogil:
    cdef Branch* branch = &edge.transactions.branch[at]
    cdef Transaction* transaction = &edge.transactions.transaction[branch.transaction]
    cdef int status = edge.message.status
    if transaction.method != METHOD_INVITE:
        branch.interval_ms = <uint32_t>edge.settings.t2_ms  # 17.1.2.2: Timer E goes on at T2
        branch.expire_ms = max(branch.expire_ms, _last_ms(edge, branch))
    elif not branch.flags & BRANCH_CANCELLED and (actions & ACTION_TIMEOUT_OFF or status > 100):
        branch.expire_ms = edge.now_ms + edge.settings.timer_c_ms  # 16.7 step 2
    branch_arm(&edge.transactions, at)
    if branch.flags & (BRANCH_CANCEL_WANTED | BRANCH_PASSED_OVER) and not branch.flags & BRANCH_CANCELLED:
        branch_cancel(edge, at)
    if branch.flags & BRANCH_PASSED_OVER or transaction.flags & TX_FINAL or status == 100:
        return
    if not transaction.flags & TX_RINGING:
        transaction.flags |= TX_RINGING
        transaction.ringing_ms = <uint32_t>(edge.now_ms - transaction.created_ms)
    _pass(edge, branch.transaction, &edge.message)


cdef void _success(Edge* edge, uint32_t at) noexcept nogil:
    cdef Branch* branch = &edge.transactions.branch[at]
    cdef uint32_t number = branch.transaction
    cdef Transaction* transaction = &edge.transactions.transaction[number]
    cdef bint first = not transaction.flags & TX_FINAL
    cdef Load* load
    branch.flags |= BRANCH_ENDED
    branch_arm(&edge.transactions, at)
    branch_outcome(edge, branch, False)
    if first or transaction.method == METHOD_INVITE:  # every 2xx to an INVITE passes (16.7 step 5)
        _pass(edge, number, &edge.message)
    if not first:
        return
    load = destination_load(edge, branch.destination if branch.destination else transaction.destination)
    if load != NULL and transaction.method == METHOD_INVITE and not transaction.flags & TX_IN_DIALOG:
        load.started += 1
    if transaction.flags & TX_CALL:
        count(edge.counter, COUNT_CALLS_ANSWERED)
        call_line(edge, transaction, branch)
    _cancel_others(edge, number, at)
    _release(edge, transaction)


cdef void _failure(Edge* edge, uint32_t at) noexcept nogil:
    cdef Branch* branch = &edge.transactions.branch[at]
    cdef uint32_t number = branch.transaction
    cdef Transaction* transaction = &edge.transactions.transaction[number]
    cdef int status = edge.message.status
    branch.flags |= BRANCH_ENDED
    branch_arm(&edge.transactions, at)
    if branch.flags & BRANCH_PASSED_OVER:  # its verdict was in when the next one was tried
        return
    branch_outcome(edge, branch, False)  # a failure, but an answer: what it says may be the far end's
    if status == 503:
        branch_retry_after(edge, branch)
    if _better(edge, transaction, status):
        transaction.best_status = <uint16_t>status
        transaction.best = buffer_copy(&edge.transactions, transaction.best, edge.message.data, edge.message.size)
    if status >= 600:  # 16.7 step 5: all others are cancelled, nothing new is tried
        _cancel_others(edge, number, at)
    proxy_settle(edge, number)


cdef bint _better(const Edge* edge, const Transaction* transaction, int status) noexcept nogil:
    """16.7 step 6: 6xx first, then the lowest class; inside 4xx those that let the caller try again. Of a set's destinations, what one
    said of the call stands above what made us pass another over."""
    cdef int best = transaction.best_status
    if best == 0:
        return True
    if best >= 600 or status >= 600:
        return status >= 600 and best < 600
    if transaction.flags & TX_DISPATCH and _fails_over(edge, status) != _fails_over(edge, best):
        return _fails_over(edge, best)
    if status // 100 != best // 100:
        return status < best
    return _helpful(status) and not _helpful(best)


cdef bint _helpful(int status) noexcept nogil:
    return status == 401 or status == 407 or status == 415 or status == 420 or status == 484


cdef void _release(Edge* edge, Transaction* transaction) noexcept nogil:
    """An answered INVITE with one branch needs its texts no more: what is left waits out its timers. Others may still have to cancel or
    to acknowledge."""
    if edge.transactions.branch[transaction.branches].next != NONE:
        return
    buffer_free(&edge.transactions, transaction.request)
    buffer_free(&edge.transactions, transaction.best)
    buffer_free(&edge.transactions, transaction.targets)
    transaction.request = transaction.best = transaction.targets = NULL


# --- CANCEL -----------------------------------------------------------------------------------------------------------------

cdef void _cancel_others(Edge* edge, uint32_t number, uint32_t besides) noexcept nogil:
    """Cancels every branch of an INVITE that has no final response, now or at its first provisional (16.10)."""
    cdef Transaction* transaction = &edge.transactions.transaction[number]
    cdef uint32_t at = transaction.branches
    cdef Branch* branch
    if transaction.method != METHOD_INVITE:
        return
    while at != NONE:
        branch = &edge.transactions.branch[at]
        if at != besides and not branch.flags & (BRANCH_ENDED | BRANCH_CANCELLED):
            if branch.state == STATE_PROCEEDING:
                branch_cancel(edge, at)
            elif branch.state == STATE_TRYING:
                branch.flags |= BRANCH_CANCEL_WANTED
        at = branch.next


cdef void proxy_cancel(Edge* edge, uint32_t number) noexcept nogil:
    """Its CANCEL came: nothing new is tried, every branch is cancelled."""
    edge.transactions.transaction[number].flags |= TX_CANCELLED
    _cancel_others(edge, number, NONE)
    proxy_settle(edge, number)


# --- silence and refusal ----------------------------------------------------------------------------------------------------

cdef void _branch_failed(Edge* edge, uint32_t at, int status) noexcept nogil:
    """No answer will come from this branch: it counts as `status`, and the search goes on."""
    cdef Branch* branch = &edge.transactions.branch[at]
    cdef Transaction* transaction = &edge.transactions.transaction[branch.transaction]
    branch_outcome(edge, branch, True)
    if _better(edge, transaction, status):
        transaction.best_status = <uint16_t>status
        buffer_free(&edge.transactions, transaction.best)
        transaction.best = NULL
    branch.retransmit_ms = 0
    branch_arm(&edge.transactions, at)
    proxy_settle(edge, branch.transaction)


cdef void proxy_unreachable(Edge* edge, uint32_t at) noexcept nogil:
    cdef Branch* branch = &edge.transactions.branch[at]
    cdef Step step = transaction_step(branch.machine, branch.state, EVENT_TRANSPORT)
    if branch.flags & BRANCH_ENDED or not step.actions & ACTION_FAIL:
        return
    count(edge.counter, COUNT_UNREACHABLE)
    branch.state = step.state
    branch.expire_ms = 0
    branch.flags |= BRANCH_ENDED
    _branch_failed(edge, at, STATUS_UNREACHABLE)


cdef void proxy_timer(Edge* edge, uint32_t at) noexcept nogil:
    cdef Branch* branch = &edge.transactions.branch[at]
    if branch.expire_ms and branch.expire_ms <= edge.now_ms:
        _expired(edge, at)
    elif branch.retransmit_ms and branch.retransmit_ms <= edge.now_ms:
        _retransmit(edge, at)
    else:
        branch_arm(&edge.transactions, at)


cdef void _retransmit(Edge* edge, uint32_t at) noexcept nogil:
    cdef Branch* branch = &edge.transactions.branch[at]
    cdef Step step = transaction_step(branch.machine, branch.state, EVENT_RETRANSMIT)
    cdef const Message* request
    branch.interval_ms *= 2
    if branch.interval_ms > edge.settings.t2_ms and (branch.machine == MACHINE_CLIENT or branch.flags & BRANCH_CANCELLED):
        branch.interval_ms = <uint32_t>edge.settings.t2_ms
    count(edge.counter, COUNT_RETRANSMISSIONS_OUT)
    if branch.flags & BRANCH_CANCELLED:
        branch_cancel(edge, at)
        return
    branch.retransmit_ms = edge.now_ms + branch.interval_ms if step.actions & ACTION_REPLAY else 0
    branch_arm(&edge.transactions, at)
    request = upstream_request(edge, branch.transaction)
    if step.actions & ACTION_REPLAY and request != NULL:
        branch_send(edge, at, request)


cdef int64_t _last_ms(const Edge* edge, const Branch* branch) noexcept nogil:
    """When Timer B or F ends it at the latest."""
    return edge.transactions.transaction[branch.transaction].created_ms + branch.sent_ms + 64 * edge.settings.t1_ms


cdef void _expired(Edge* edge, uint32_t at) noexcept nogil:
    """Timer B or F, a destination's patience, Timer C, or a cancelled branch that never ended."""
    cdef Branch* branch = &edge.transactions.branch[at]
    cdef Transaction* transaction = &edge.transactions.transaction[branch.transaction]
    cdef int64_t last_ms = _last_ms(edge, branch)
    branch.expire_ms = 0
    if branch.flags & BRANCH_ENDED:  # Timer D
        branch.state = transaction_step(branch.machine, branch.state, EVENT_WAITED).state
        return
    if branch.machine == MACHINE_INVITE_CLIENT and branch.state == STATE_PROCEEDING and not branch.flags & BRANCH_CANCELLED:
        branch_cancel(edge, at)  # 16.8
        return
    if branch.flags & BRANCH_PASSED_OVER:  # it had its time
        branch.flags |= BRANCH_ENDED
        branch.state = transaction_step(branch.machine, branch.state, EVENT_TIMEOUT).state
        return
    count(edge.counter, COUNT_TIMEOUTS)
    if branch.state == STATE_TRYING and edge.now_ms < last_ms:  # the next is tried, and this one's late answer is still understood
        branch.flags |= BRANCH_PASSED_OVER
        branch.expire_ms = last_ms
    else:
        branch.flags |= BRANCH_ENDED
        branch.state = transaction_step(branch.machine, branch.state, EVENT_TIMEOUT).state
    _branch_failed(edge, at, STATUS_SILENT)
