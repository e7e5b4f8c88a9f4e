"""The default profile: where an initial request goes, and how a request inside a dialog finds its way by the cookie."""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy, memset

from sipcore.address cimport Address, address_parse
from sipcore.cookie cimport COOKIE_CALLEE_FLOW, COOKIE_CALLER_FLOW, COOKIE_COUNTED, Cookie, cookie_decode
from sipcore.counters cimport COUNT_CALLS, COUNT_DROPPED, count
from sipcore.dispatcher cimport DESTINATION_NONE, dispatcher_by_id, dispatcher_source
from sipcore.endpoint cimport endpoint_same_address, endpoint_set_host
from sipcore.hashing cimport Hasher, hasher_add_field, hasher_end, hasher_start
from sipcore.headers cimport (
    HDR_ROUTE, METHOD_ACK, METHOD_BYE, METHOD_INVITE, METHOD_MESSAGE, METHOD_OPTIONS, METHOD_PUBLISH,
)
from sipcore.location cimport AOR_MAX, Binding, Record, binding_contact, location_find
from sipcore.message cimport Header, Message, message_find, message_next, message_request_uri
from sipcore.slices cimport Slice, bytes_eq, bytes_ieq
from sipcore.uri cimport SCHEME_TEL, uri_aor, uri_param
from workers.branches cimport Target, branch_start
from workers.datagram cimport NO_BRANCH, outbox_put
from workers.edge cimport ENDED_MAX, Name
from workers.forward cimport Forward, edge_room, forward_write
from workers.keys cimport branch_key
from workers.proxy cimport proxy_next, proxy_refuse, proxy_settle
from workers.transactions cimport (
    FORKS_MAX, NONE, TX_CALL, TX_DISPATCH, TX_FROM_DESTINATION, TX_IN_DIALOG, TX_RECORD_ROUTE, TX_TO_CLIENT,
    Buffer, Transaction, buffer_new,
)
from workers.upstream cimport answer_stateless, upstream_begin, upstream_reply

cdef enum:
    SIP_PORT = 5060
    OUR_ROUTES_MAX = 2  # double Record-Route: one for each side

cdef const char* BUSY_HEADER = b"Retry-After: 5\r\n"

cdef struct Routes:             # what stands on top of the request
    uint32_t count              # values of ours, to be taken off
    bint verified               # by `cookie`
    bint from_caller            # the sender is the dialog's caller
    Cookie cookie
    Slice text                  # of the cookie
    bint more                   # a Route that is not ours follows
    Address next                # it


# --- who is meant -----------------------------------------------------------------------------------------------------------

cdef const Name* _name_of(const Edge* edge, const uint8_t* data, const Uri* uri) noexcept nogil:
    cdef uint32_t i
    cdef const Name* name
    for i in range(edge.name_count):
        name = &edge.name[i]
        if name.port != 0 and name.port != (uri.port if uri.port else SIP_PORT):
            continue
        if bytes_ieq(name.host, name.length, data + uri.host.start, uri.host.length):
            return name
    return NULL


cdef bint profile_is_us(const Edge* edge, const uint8_t* data, const Uri* uri) noexcept nogil:
    return uri.scheme != SCHEME_TEL and _name_of(edge, data, uri) != NULL


cdef bint _foreign(const Edge* edge, const uint8_t* data, const Uri* uri) noexcept nogil:
    """Domains are configured, and this URI's is none of them and not ours."""
    cdef uint32_t i
    if uri.scheme == SCHEME_TEL or _name_of(edge, data, uri) != NULL:
        return False
    for i in range(edge.name_count):
        if edge.name[i].domain:
            return True
    return False


# --- Route ------------------------------------------------------------------------------------------------------------------

cdef void _read_routes(const Edge* edge, Routes* routes) noexcept nogil:
    """Takes our values off the top (RFC 3261 16.4); the first whose cookie verifies speaks for the dialog."""
    cdef const Message* message = &edge.message
    cdef const Header* header = message_find(message, HDR_ROUTE)
    cdef Address* address = &routes.next
    cdef uint32_t at
    cdef uint32_t end
    routes.count = 0
    routes.verified = routes.more = False
    while header != NULL:
        at = header.value
        end = header.value + header.value_length
        while at < end:
            if address_parse(address, message.data, at, end) < 0:
                routes.more = True
                return
            if routes.count == OUR_ROUTES_MAX or _name_of(edge, message.data, &address.uri) == NULL:
                routes.more = True
                return
            if routes.verified and not _same_cookie(edge, routes, &address.uri):  # an earlier pass of the call through us
                routes.more = True
                return
            routes.count += 1
            if not routes.verified:
                _verify(edge, routes, &address.uri)
            at = address.end + 1
        header = message_next(message, header)


cdef void _verify(const Edge* edge, Routes* routes, const Uri* uri) noexcept nogil:
    cdef const Message* message = &edge.message
    cdef const uint8_t* data = message.data
    cdef bint found
    cdef Slice text = uri_param(data, uri.params, b"v", 1, &found)
    cdef Slice call_id = message.call_id
    if text.length == 0:
        return
    cdef int side
    for side in range(2):
        routes.from_caller = side == 0
        if cookie_decode(&routes.cookie, &edge.key, data + text.start, text.length, data + call_id.start, call_id.length,
                         data + (message.from_tag.start if routes.from_caller else message.to_tag.start),
                         message.from_tag.length if routes.from_caller else message.to_tag.length) == 0:
            routes.verified = True
            routes.text = text
            return


cdef bint _same_cookie(const Edge* edge, const Routes* routes, const Uri* uri) noexcept nogil:
    cdef bint found
    cdef const uint8_t* data = edge.message.data
    cdef Slice text = uri_param(data, uri.params, b"v", 1, &found)
    return bytes_eq(data + text.start, text.length, data + routes.text.start, routes.text.length)


# --- inside a dialog --------------------------------------------------------------------------------------------------------

cdef bint _follow_uri(const Edge* edge, const Uri* uri, Endpoint* to) noexcept nogil:
    """Sends `to` where a numeric URI says, maddr ignored; False: it holds a name, or no single host's address, and `to` stays."""
    cdef Endpoint found = to[0]
    if not endpoint_set_host(&found, edge.message.data + uri.host.start, uri.host.length) or not _unicast(&found):
        return False
    found.port = <uint16_t>(uri.port if uri.port else SIP_PORT)
    to[0] = found
    return True


cdef bint _unicast(const Endpoint* endpoint) noexcept nogil:
    """Not "this network", multicast, reserved or broadcast (RFC 6890)."""
    if endpoint.family == 4:
        return 0 < endpoint.ip[0] < 224
    return endpoint.ip[0] != 0xFF


cdef void _follow_inside(const Edge* edge, const Routes* routes, const Endpoint* source, const Uri* uri, Endpoint* to) noexcept nogil:
    """The sender of a request inside a dialog names its next hop itself. Only a destination may name any; others reach the address that
    the cookie knows, and the destinations of the list: a dialog is no way into the network behind us."""
    cdef Endpoint named = to[0]
    if not _follow_uri(edge, uri, &named):
        return
    if (endpoint_same_address(&named, to) or dispatcher_source(edge.dispatcher, &named, True) != DESTINATION_NONE
            or dispatcher_source(edge.dispatcher, source, edge.settings.source_any_port) != DESTINATION_NONE):
        to[0] = named


cdef Endpoint _dialog_target(const Edge* edge, const Routes* routes, const Endpoint* source, const Uri* uri) noexcept nogil:
    """The flow of a client; for any other side the next Route, or the request URI, or where it was seen last."""
    cdef Endpoint to = routes.cookie.callee if routes.from_caller else routes.cookie.caller
    cdef Uri parsed
    if routes.cookie.flags & (COOKIE_CALLEE_FLOW if routes.from_caller else COOKIE_CALLER_FLOW):
        return to
    if routes.more:
        _follow_inside(edge, routes, source, &routes.next.uri, &to)
    elif uri != NULL:
        _follow_inside(edge, routes, source, uri, &to)
    elif message_request_uri(&edge.message, &parsed) == 0:
        _follow_inside(edge, routes, source, &parsed, &to)
    return to


cdef void _count_end(Edge* edge, const Routes* routes) noexcept nogil:
    """A BYE ends a counted call, whatever is answered to it, and whoever sends another one."""
    cdef const Message* message = &edge.message
    cdef Slice tag = message.from_tag if routes.from_caller else message.to_tag
    cdef Hasher hasher
    cdef uint64_t key
    cdef int32_t index = dispatcher_by_id(edge.dispatcher, routes.cookie.destination)
    hasher_start(&hasher, &edge.key)
    hasher_add_field(&hasher, message.data + message.call_id.start, message.call_id.length)
    hasher_add_field(&hasher, message.data + tag.start, tag.length)
    key = hasher_end(&hasher)
    if index != DESTINATION_NONE and edge.ended[key % ENDED_MAX] != key:
        edge.ended[key % ENDED_MAX] = key
        edge.load[edge.dispatcher.destination[index].slot].ended += 1


cdef void profile_in_dialog(Edge* edge, const Endpoint* source, uint64_t key, const Uri* uri) noexcept nogil:
    cdef Message* message = &edge.message
    cdef Routes routes
    cdef Endpoint to
    cdef uint32_t number
    cdef Transaction* transaction
    _read_routes(edge, &routes)
    if not routes.verified or (message.method == METHOD_ACK and message.max_forwards == 0):
        if message.method == METHOD_ACK:
            count(edge.counter, COUNT_DROPPED)
        else:
            answer_stateless(edge, source, 481, "Call/Transaction Does Not Exist", NULL, 0)
        return
    to = _dialog_target(edge, &routes, source, uri)
    if to.listener >= edge.listener_count:
        to.listener = source.listener
    if message.method == METHOD_ACK:
        _forward_stateless(edge, source, key, &to, routes.count)
        return
    number = upstream_begin(edge, key, source, TX_IN_DIALOG)
    if number == NONE:
        answer_stateless(edge, source, 503, "Service Unavailable", <const uint8_t*>BUSY_HEADER, 16)
        return
    transaction = &edge.transactions.transaction[number]
    transaction.pop_routes = <uint8_t>routes.count
    if message.method == METHOD_BYE and routes.cookie.flags & COOKIE_COUNTED:
        _count_end(edge, &routes)
    if message.method == METHOD_INVITE:
        upstream_reply(edge, number, message, 100, "Trying", NULL, 0)
    if not branch_start(edge, number, message, &to, 0, 0):
        proxy_settle(edge, number)


cdef void _forward_stateless(Edge* edge, const Endpoint* source, uint64_t key, const Endpoint* to, uint32_t pop_routes) noexcept nogil:
    cdef Forward forward
    cdef int length
    memset(&forward, 0, sizeof(forward))
    forward.key = branch_key(edge, key, 0)
    forward.source = source[0]
    forward.to = to[0]
    forward.pop_routes = pop_routes
    length = forward_write(edge, &edge.message, &forward, edge_room(edge))
    if length > 0:
        outbox_put(&edge.outbox, to, <uint32_t>length, NO_BRANCH)
    else:
        count(edge.counter, COUNT_DROPPED)


# --- outside a dialog -------------------------------------------------------------------------------------------------------

cdef bint _opens_dialog(uint16_t method) noexcept nogil:
    """Whose path must stay with us: everything but what is known to open no dialog."""
    return method != METHOD_MESSAGE and method != METHOD_OPTIONS and method != METHOD_PUBLISH


cdef void profile_initial(Edge* edge, const Endpoint* source, uint64_t key, const Uri* uri) noexcept nogil:
    cdef Message* message = &edge.message
    cdef Routes routes
    cdef int32_t sender = dispatcher_source(edge.dispatcher, source, edge.settings.source_any_port)
    cdef uint32_t number
    cdef Transaction* transaction
    _read_routes(edge, &routes)
    if routes.more:
        answer_stateless(edge, source, 403, "Preload Route Denied", NULL, 0)
        return
    if sender == DESTINATION_NONE and _foreign(edge, message.data, uri):
        answer_stateless(edge, source, 403, "Relay Forbidden", NULL, 0)
        return
    number = upstream_begin(edge, key, source, TX_RECORD_ROUTE if _opens_dialog(message.method) else 0)
    if number == NONE:
        answer_stateless(edge, source, 503, "Service Unavailable", <const uint8_t*>BUSY_HEADER, 16)
        return
    transaction = &edge.transactions.transaction[number]
    transaction.pop_routes = <uint8_t>routes.count
    if message.method == METHOD_INVITE:
        transaction.flags |= TX_CALL
        count(edge.counter, COUNT_CALLS)
        upstream_reply(edge, number, message, 100, "Trying", NULL, 0)
    if sender != DESTINATION_NONE:
        transaction.flags |= TX_FROM_DESTINATION
        transaction.destination = edge.dispatcher.destination[sender].id
        _to_client(edge, number, uri)
    elif not (edge.settings.lookup_first and _try_contacts(edge, number, uri) > 0):
        transaction.flags |= TX_DISPATCH
        transaction.set_id = edge.settings.set_id
        if not proxy_next(edge, number, message):
            proxy_settle(edge, number)


cdef void _to_client(Edge* edge, uint32_t number, const Uri* uri) noexcept nogil:
    """A destination calls: a registered client, or a numeric host beyond us (a trunk)."""
    cdef Transaction* transaction = &edge.transactions.transaction[number]
    cdef int found = _try_contacts(edge, number, uri)
    cdef Endpoint to = transaction.source
    if found > 0:
        return
    if found == 0:
        proxy_refuse(edge, number, &edge.message, 480, "Temporarily Unavailable")
    elif uri.scheme != SCHEME_TEL and _name_of(edge, edge.message.data, uri) == NULL and _follow_uri(edge, uri, &to):
        if not branch_start(edge, number, &edge.message, &to, 0, 0):
            proxy_settle(edge, number)
    else:
        proxy_refuse(edge, number, &edge.message, 404, "Not Found")


cdef int _try_contacts(Edge* edge, uint32_t number, const Uri* uri) noexcept nogil:
    """Branches to the AOR's contacts: how many; 0: none is there now; -1: the AOR is not known."""
    cdef Transaction* transaction = &edge.transactions.transaction[number]
    cdef uint8_t aor[AOR_MAX]
    cdef int length = uri_aor(edge.message.data, uri, aor, AOR_MAX)
    cdef const Record* record
    if length < 0:
        return -1
    if not edge.settings.use_domain:
        length = _user_length(aor, length)
    record = location_find(edge.location, aor, <uint32_t>length)
    if record == NULL:
        return -1
    if not _gather(edge, transaction, record.bindings):
        return 0
    transaction.flags |= TX_TO_CLIENT
    if not proxy_next(edge, number, &edge.message):
        proxy_settle(edge, number)
    return 1


cdef int _user_length(const uint8_t* aor, int length) noexcept nogil:
    """Up to the last "@"."""
    cdef int i
    for i in range(length - 1, -1, -1):
        if aor[i] == 64:
            return i
    return length


cdef uint16_t _request_uri_length(const uint8_t* contact, uint16_t length) noexcept nogil:
    """A contact as a request URI: without its headers, which may not stand there (RFC 3261 19.1.1)."""
    cdef const uint8_t* headers = <const uint8_t*>memchr(contact, 63, length)  # "?"
    return length if headers == NULL else <uint16_t>(headers - contact)


cdef bint _gather(Edge* edge, Transaction* transaction, const Binding* binding) noexcept nogil:
    """Packs the live bindings' flows and contacts as Targets, in the table's order (highest q first); False: there is none."""
    cdef const Binding* first = binding
    cdef uint32_t room = 0
    cdef uint32_t found = 0
    cdef Buffer* buffer
    cdef Target* target
    while binding != NULL and found < FORKS_MAX:
        if binding.expires_ms > edge.now_ms:
            room += <uint32_t>sizeof(Target) + ((binding.contact_length + 3u) & ~3u)
            found += 1
        binding = binding.next
    if found == 0:
        return False
    buffer = buffer_new(&edge.transactions, room)
    if buffer == NULL:
        return False
    binding = first
    while binding != NULL and found:
        if binding.expires_ms > edge.now_ms:
            target = <Target*>(buffer.data + buffer.length)
            target.to = binding.flow
            target.q = binding.q
            target.uri_length = _request_uri_length(binding_contact(binding), binding.contact_length)
            memcpy(buffer.data + buffer.length + sizeof(Target), binding_contact(binding), target.uri_length)
            buffer.length += <uint32_t>sizeof(Target) + ((target.uri_length + 3u) & ~3u)
            found -= 1
        binding = binding.next
    transaction.targets = buffer
    return True
