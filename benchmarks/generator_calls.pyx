"""What the load generator's callers and callees do: transactions, dialogs, retransmissions and the batches they leave in."""

from libc.errno cimport EINTR, errno
from libc.string cimport memcpy, memset

from benchmarks.generator_messages cimport (
    ROOM, Ident, Piece, address_uri, ident_of_branch, ident_of_call_id, line_value, piece_contains, put, put_contact, put_end,
    put_hex, put_number, put_request, put_response, put_routes, put_text, text_full,
)
from benchmarks.generator_timers cimport Due, histogram_add, queue_due, queue_pop, queue_push
from workers.sockets cimport MSG_NOSIGNAL, iovec, mmsghdr, sendmmsg

cdef enum:
    TRIES_INVITE = 6       # RFC 3261 17.1.1.2: Timer B is 64 x T1
    TRIES_OTHER = 10       # RFC 3261 17.1.2.2: Timer F is 64 x T1
    T2_QUEUE = 3           # 8 x T1 = 4 s, the longest wait of all but INVITE
    DUE_CALLEE = 0         # the 200 to INVITE again
    DUE_HOLD = 1
    DUE_CALLER = 2         # and the caller's state: a timer of the INVITE is not one of the BYE
    LETTER_ASK = 105       # 'i': the end of a branch says which request it was
    LETTER_ACK = 97        # 'a'
    LETTER_BYE = 98        # 'b'

cdef const char* SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 40000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n"
)
cdef uint32_t SDP_LENGTH = len(SDP)


cdef void fire_timers(Field* field, int64_t now) noexcept nogil:
    cdef Due due
    cdef Call* call
    cdef int i
    cdef int64_t at
    for i in range(QUEUES):
        at = queue_due(&field.queue[i])
        while 0 <= at <= now:
            due = queue_pop(&field.queue[i])
            call = &field.call[due.slot]
            if call.number == due.number and call.state != FREE:
                if due.kind == DUE_HOLD:
                    end_call(field, due.slot, now)
                elif due.kind == DUE_CALLEE:
                    answer_again(field, due.slot, now)
                elif due.kind == DUE_CALLER + call.state:
                    ask_again(field, due.slot, now)
            at = queue_due(&field.queue[i])


# The caller.

cdef void begin(Field* field, int64_t intended, int64_t now) noexcept nogil:
    cdef Call* call
    cdef uint32_t slot
    field.count[OFFERED] += 1
    if field.free_count:
        field.free_count -= 1
        slot = field.free_slot[field.free_count]
    elif field.used < CALLS_MAX:
        slot = field.used
        field.used += 1
    else:
        field.count[NO_ROOM] += 1
        return
    field.live += 1
    call = &field.call[slot]
    call.number = <uint32_t>field.next + 1
    call.kind = field.pattern[field.next % field.pattern_length]
    call.state = ASKING
    call.callee = 0
    call.provisional = False
    call.tries = call.answer_tries = 0
    call.to_length = call.target_length = call.routes_length = 0
    call.intended_ns = intended
    call.cseq = 1
    call.caller_socket = <uint16_t>(field.next % field.callers)
    if call.kind == KIND_REGISTER:
        call.aor = field.next_aor
        field.next_aor = (field.next_aor + 1) % field.aors
        call.caller_socket = <uint16_t>(call.aor % field.callers)
        call.cseq = field.cseq[call.aor]
        field.cseq[call.aor] += 1
    ask(field, slot)
    queue_push(&field.queue[0], now, slot, call.number, DUE_CALLER + call.state)


cdef void start_request(Field* field, uint32_t slot, Text* text, const char* method, uint8_t letter, uint32_t cseq) noexcept nogil:
    cdef Call* call = &field.call[slot]
    cdef Socket* socket = &field.socket[call.caller_socket]
    cdef uint8_t room[128]
    cdef Text uri
    cdef Ident ident, dialog
    cdef Piece target, routes, to
    ident.slot, ident.number, ident.nonce = slot, call.number, field.nonce
    dialog = ident
    if call.kind == KIND_REGISTER:  # RFC 3261 10.2.4: the same Call-ID for all of an AOR's
        dialog.slot, dialog.number = call.aor, 0
    if call.target_length:
        target.data, target.length = call.target, call.target_length
    else:
        uri.at, uri.end = room, room + sizeof(room)
        put_text(&uri, b"sip:")
        if call.kind == KIND_CALL:
            put_text(&uri, b"9")
            put_hex(&uri, call.number)
            put_text(&uri, b"@")
        put(&uri, field.peer.text, field.peer.length)
        target.data, target.length = room, <uint32_t>(uri.at - room)
    routes.data, routes.length = call.routes, call.routes_length
    to.data, to.length = call.to, call.to_length
    start_datagram(field, text, socket.fd, &field.peer_name, field.peer_name_length)
    put_request(text, method, letter, &ident, &dialog, &socket.host, &target, &routes, &to, cseq)


cdef void ask(Field* field, uint32_t slot) noexcept nogil:
    """Sends the INVITE, REGISTER or OPTIONS."""
    cdef Call* call = &field.call[slot]
    cdef Socket* socket = &field.socket[call.caller_socket]
    cdef Text text
    cdef Text to
    if call.kind == KIND_REGISTER:
        to.at, to.end = call.to, call.to + sizeof(call.to)
        put_text(&to, b"<sip:user")
        put_number(&to, call.aor)
        put_text(&to, b"@")
        put(&to, field.peer.text, field.peer.length)
        put_text(&to, b">")
        call.to_length = <uint32_t>(to.at - call.to)
        start_request(field, slot, &text, b"REGISTER", LETTER_ASK, call.cseq)
        put_contact(&text, b"phone", &socket.host)
        put_text(&text, b"Expires: 600\r\n")
        put_end(&text, NULL, 0)
    elif call.kind == KIND_OPTIONS:
        start_request(field, slot, &text, b"OPTIONS", LETTER_ASK, call.cseq)
        put_end(&text, NULL, 0)
    else:
        start_request(field, slot, &text, b"INVITE", LETTER_ASK, call.cseq)
        put_contact(&text, b"caller", &socket.host)
        put_end(&text, <const uint8_t*>SDP, SDP_LENGTH)
    finish_datagram(field, &text)


cdef void ask_again(Field* field, uint32_t slot, int64_t now) noexcept nogil:
    """Timers A, B, E and F of RFC 3261 17.1."""
    cdef Call* call = &field.call[slot]
    cdef bint invite = call.kind == KIND_CALL and call.state == ASKING
    if invite and call.provisional:
        return
    call.tries += 1
    if call.tries > (TRIES_INVITE if invite else TRIES_OTHER):
        finish(field, slot, 408)
        return
    field.count[REQUESTS_AGAIN] += 1
    if call.state == ASKING:
        ask(field, slot)
    else:
        send_in_dialog(field, slot, b"BYE", LETTER_BYE, call.cseq + 1)
    queue_push(&field.queue[min(call.tries, HOLD_QUEUE - 1 if invite else T2_QUEUE)], now, slot, call.number, DUE_CALLER + call.state)


cdef void send_in_dialog(Field* field, uint32_t slot, const char* method, uint8_t letter, uint32_t cseq) noexcept nogil:
    cdef Text text
    start_request(field, slot, &text, method, letter, cseq)
    put_end(&text, NULL, 0)
    finish_datagram(field, &text)


cdef void end_call(Field* field, uint32_t slot, int64_t now) noexcept nogil:
    cdef Call* call = &field.call[slot]
    if call.state != TALKING:
        return
    call.state = ENDING
    call.tries = 0
    call.intended_ns = now
    send_in_dialog(field, slot, b"BYE", LETTER_BYE, call.cseq + 1)
    queue_push(&field.queue[0], now, slot, call.number, DUE_CALLER + call.state)


cdef void response(Field* field, int64_t now) noexcept nogil:
    cdef Ident ident
    cdef uint8_t letter = 0
    cdef Call* call
    cdef int status = field.scan.status
    if not ident_of_branch(&ident, &letter, &field.scan) or ident.slot >= field.used or ident.nonce != field.nonce:
        field.count[STRAY] += 1
        return
    call = &field.call[ident.slot]
    if call.number != ident.number or call.state == FREE:
        field.count[SWAPPED if 100 < status < 200 else STRAY] += 1  # after the end of its call: swapped all the same
    elif letter == LETTER_BYE:
        if call.state == ENDING and status >= 200:
            histogram_add(&field.ending, (now - call.intended_ns) // 1000)
            finish(field, ident.slot, status)
    elif call.state == ASKING:
        if status < 200:
            call.provisional = True
        elif call.kind != KIND_CALL:
            histogram_add(&field.other, (now - call.intended_ns) // 1000)
            finish(field, ident.slot, status)
        elif status < 300:
            histogram_add(&field.setup, (now - call.intended_ns) // 1000)
            answered(field, ident.slot, now)
        else:
            refused(field, ident.slot)
    elif 100 < status < 200:
        field.count[SWAPPED] += 1
    elif 200 <= status < 300 and call.kind == KIND_CALL:
        field.count[ACKS_AGAIN] += 1
        send_in_dialog(field, ident.slot, b"ACK", LETTER_ACK, call.cseq)


cdef void answered(Field* field, uint32_t slot, int64_t now) noexcept nogil:
    """A 200 to INVITE: the dialog as RFC 3261 12.1.2 builds it, ACK, and BYE at once or after the hold time."""
    cdef Call* call = &field.call[slot]
    cdef Piece to = line_value(&field.scan.callee)
    cdef Piece target = address_uri(&field.scan.contact)
    cdef Piece routes
    cdef Text text
    text.at, text.end = call.routes, call.routes + sizeof(call.routes)
    put_routes(&text, &field.scan)
    if to.length > sizeof(call.to) or target.length > sizeof(call.target) or target.length == 0 or text_full(&text):
        finish(field, slot, 0)
        return
    memcpy(call.to, to.data, to.length)
    call.to_length = to.length
    memcpy(call.target, target.data, target.length)
    call.target_length = target.length
    routes.data, routes.length = call.routes, <uint32_t>(text.at - call.routes)
    call.routes_length = routes.length
    if field.routed and not piece_contains(&routes, field.peer.text, field.peer.length):
        field.count[MISROUTED] += 1
    call.state = TALKING
    send_in_dialog(field, slot, b"ACK", LETTER_ACK, call.cseq)
    if field.queue[HOLD_QUEUE].delay_ns:
        queue_push(&field.queue[HOLD_QUEUE], now, slot, call.number, DUE_HOLD)
    else:
        end_call(field, slot, now)


cdef void refused(Field* field, uint32_t slot) noexcept nogil:
    """A failure of an INVITE: its ACK belongs to the transaction (RFC 3261 17.1.1.3), and the call is over."""
    cdef Call* call = &field.call[slot]
    cdef Piece to = line_value(&field.scan.callee)
    if to.length <= sizeof(call.to):
        memcpy(call.to, to.data, to.length)
        call.to_length = to.length
        send_in_dialog(field, slot, b"ACK", LETTER_ASK, call.cseq)
    finish(field, slot, field.scan.status)


cdef void finish(Field* field, uint32_t slot, int status) noexcept nogil:
    """The caller's side is over; a 200 means done, 408 no answer, 0 a dialog that is beyond us."""
    cdef Call* call = &field.call[slot]
    if status // 100 == 2:
        field.count[DONE] += 1
    else:
        field.status[min(status, STATUSES - 1)] += 1
        call.callee = ACKNOWLEDGED | ENDED
    call.state = OVER
    release(field, slot)


cdef void release(Field* field, uint32_t slot) noexcept nogil:
    """Frees the slot once both sides are over."""
    cdef Call* call = &field.call[slot]
    if call.state != OVER or (call.callee and not (call.callee & ACKNOWLEDGED and call.callee & ENDED)):
        return
    call.state = FREE
    field.free_slot[field.free_count] = slot
    field.free_count += 1
    field.live -= 1


# The callee.

cdef void request(Field* field, uint32_t socket, const sockaddr_storage* source, uint32_t source_length, int64_t now) noexcept nogil:
    cdef Ident ident
    cdef Call* call
    if not ident_of_call_id(&ident, &field.scan) or ident.slot >= field.used or ident.nonce != field.nonce:
        field.count[STRAY] += 1
        return
    call = &field.call[ident.slot]
    if call.number != ident.number or call.state == FREE:
        field.count[STRAY] += 1
    elif field.scan.method == 73:  # INVITE
        invited(field, ident.slot, socket, source, source_length, now)
    elif field.scan.method == 65:  # ACK
        if call.callee & ENDED and not call.callee & ACKNOWLEDGED:
            field.count[OVERTAKEN] += 1
        call.callee |= ACKNOWLEDGED
        release(field, ident.slot)
    elif field.scan.method == 66:  # BYE
        respond(field, b"SIP/2.0 200 OK\r\n", socket, source, source_length, 0)
        call.callee |= ENDED
        release(field, ident.slot)
    else:
        field.count[STRAY] += 1


cdef void respond(Field* field, const char* start, uint32_t socket, const sockaddr_storage* source, uint32_t source_length,
                  uint32_t tag) noexcept nogil:
    cdef Text text
    start_datagram(field, &text, field.socket[socket].fd, source, source_length)
    put_response(&text, start, &field.scan, tag)
    if tag:
        put_contact(&text, b"callee", &field.socket[socket].host)
    put_end(&text, NULL, 0)
    finish_datagram(field, &text)


cdef void invited(Field* field, uint32_t slot, uint32_t socket, const sockaddr_storage* source, uint32_t source_length,
                  int64_t now) noexcept nogil:
    """100, 180 and 200 in one batch; a retransmission gets the 200 again."""
    cdef Call* call = &field.call[slot]
    cdef Text text
    if call.callee:
        field.count[REPEATED] += 1
        if call.callee == ANSWERED and call.answer_length:
            send_answer(field, slot)
        return
    respond(field, b"SIP/2.0 100 Trying\r\n", socket, source, source_length, 0)
    respond(field, b"SIP/2.0 180 Ringing\r\n", socket, source, source_length, slot + 1)
    text.at, text.end = call.answer, call.answer + sizeof(call.answer)
    put_response(&text, b"SIP/2.0 200 OK\r\n", &field.scan, slot + 1)
    put_contact(&text, b"callee", &field.socket[socket].host)
    put_end(&text, <const uint8_t*>SDP, SDP_LENGTH)
    if text_full(&text):
        field.count[SEND_ERRORS] += 1
        return
    call.answer_length = <uint32_t>(text.at - call.answer)
    memset(&call.answer_to, 0, sizeof(sockaddr_storage))
    memcpy(&call.answer_to, source, source_length)
    call.callee = ANSWERED
    call.callee_socket = <uint16_t>socket
    send_answer(field, slot)
    queue_push(&field.queue[0], now, slot, call.number, DUE_CALLEE)


cdef void send_answer(Field* field, uint32_t slot) noexcept nogil:
    cdef Call* call = &field.call[slot]
    cdef Text text
    start_datagram(field, &text, field.socket[call.callee_socket].fd, &call.answer_to, field.peer_name_length)
    put(&text, call.answer, call.answer_length)
    finish_datagram(field, &text)


cdef void answer_again(Field* field, uint32_t slot, int64_t now) noexcept nogil:
    """RFC 3261 13.3.1.4: the 200 is sent again until its ACK comes, for 64 x T1."""
    cdef Call* call = &field.call[slot]
    if call.callee & ACKNOWLEDGED:
        return
    call.answer_tries += 1
    if call.answer_tries > TRIES_OTHER:
        call.callee |= ACKNOWLEDGED
        release(field, slot)
        return
    field.count[ANSWERS_AGAIN] += 1
    send_answer(field, slot)
    queue_push(&field.queue[min(call.answer_tries, T2_QUEUE)], now, slot, call.number, DUE_CALLEE)


# Batches.

cdef void start_datagram(Field* field, Text* text, int fd, const sockaddr_storage* name, uint32_t name_length) noexcept nogil:
    """The next free slot of the batch, for the socket given."""
    cdef mmsghdr* slot
    if field.out_count == BATCH or field.out_fd != fd:
        flush(field)
    field.out_fd = fd
    slot = &field.out[field.out_count]
    memcpy(slot.msg_hdr.msg_name, name, name_length)
    slot.msg_hdr.msg_namelen = name_length
    text.at = <uint8_t*>slot.msg_hdr.msg_iov.iov_base
    text.end = text.at + ROOM


cdef void finish_datagram(Field* field, const Text* text) noexcept nogil:
    cdef iovec* vector = &field.out_vector[field.out_count]
    if text_full(text):
        field.count[SEND_ERRORS] += 1
        return
    vector.iov_len = text.at - <uint8_t*>vector.iov_base
    field.out_count += 1


cdef void flush(Field* field) noexcept nogil:
    cdef uint32_t at = 0
    cdef int sent
    while at < field.out_count:
        sent = sendmmsg(field.out_fd, field.out + at, field.out_count - at, MSG_NOSIGNAL)
        if sent <= 0:
            if errno == EINTR:
                continue
            field.count[SEND_ERRORS] += 1
            sent = 1
        else:
            field.count[SENT] += <uint64_t>sent
        at += <uint32_t>sent
    field.out_count = 0
