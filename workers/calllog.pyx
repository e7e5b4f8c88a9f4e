"""One line for each routed call: set, algorithm, destination, attempts, result and delays."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy, strlen
from libc.time cimport strftime, time_t, tm
from posix.unistd cimport getpid

from sipcore.counters cimport COUNT_LOG_DROPPED, count
from sipcore.dispatcher cimport DESTINATION_NONE, DestinationSet, dispatcher_by_id, dispatcher_set
from sipcore.endpoint cimport ENDPOINT_TEXT_MAX, endpoint_text
from sipcore.message cimport Message, message_parse
from workers.edge cimport CALL_LINES_MAX
from workers.sockets cimport CLOCK_REALTIME, clock_gettime, timespec
from workers.transactions cimport NONE, TX_DISPATCH, TX_RINGING

cdef extern from "<time.h>" nogil:
    tm* localtime_r(const time_t* seconds, tm* result)

cdef enum:
    FIELD_MAX = 256       # octets of a URI or Call-ID that a line shows
    FIELD_ROOM = 384      # octets that they may take there with their escapes: four fields and the rest of a line fit LINE_MAX
    LINE_MAX = 2048

cdef const char** ALGORITHM_NAMES = [
    b"weighted-round-robin", b"round-robin", b"random", b"priority", b"least-calls", b"hash-call-id", b"hash-from", b"hash-to",
    b"hash-request-uri", b"hash-user",
]

cdef struct Line:
    uint32_t length
    bint json
    bint first
    char text[LINE_MAX]


cdef void _raw(Line* line, const char* text, uint32_t length) noexcept nogil:
    if length > LINE_MAX - line.length:
        length = LINE_MAX - line.length
    memcpy(line.text + line.length, text, length)
    line.length += length


cdef void _escaped(Line* line, const uint8_t* data, uint32_t length) noexcept nogil:
    """Printable ASCII as it stands; quotes, backslashes, blanks and everything else as \\u00HH: a line stays one line of fields."""
    cdef uint32_t i
    cdef uint32_t end = line.length + FIELD_ROOM
    cdef char escape[8]
    for i in range(min(length, <uint32_t>FIELD_MAX)):
        if line.length + 6 > end:
            return
        if 33 <= data[i] <= 126 and data[i] != 34 and data[i] != 92:
            _raw(line, <const char*>data + i, 1)
        else:
            snprintf(escape, 8, "\\u%04x", <int>data[i])
            _raw(line, escape, 6)


cdef void _name(Line* line, const char* name, uint32_t length) noexcept nogil:
    if line.json:
        _raw(line, ',"' if not line.first else '"', 2 if not line.first else 1)
        _raw(line, name, length)
        _raw(line, '":', 2)
    else:
        _raw(line, " ", 1)
        _raw(line, name, length)
        _raw(line, "=", 1)
    line.first = False


cdef void _text(Line* line, const char* name, uint32_t name_length, const uint8_t* data, uint32_t length) noexcept nogil:
    _name(line, name, name_length)
    if line.json:
        _raw(line, '"', 1)
    _escaped(line, data, length)
    if line.json:
        _raw(line, '"', 1)


cdef void _number(Line* line, const char* name, uint32_t name_length, int64_t value) noexcept nogil:
    cdef char digits[24]
    _name(line, name, name_length)
    _raw(line, digits, snprintf(digits, 24, "%lld", <long long>value))


cdef void _begin(Line* line, const Edge* edge) noexcept nogil:
    """The time with its offset, the level, the process: as every other line of the log begins."""
    cdef timespec now
    cdef tm local
    cdef time_t seconds
    cdef char stamp[48]
    cdef char offset[8]
    cdef char text[128]
    cdef int length
    clock_gettime(CLOCK_REALTIME, &now)
    seconds = now.tv_sec
    localtime_r(&seconds, &local)
    strftime(offset, 8, "%z", &local)
    length = <int>strftime(stamp, 48, "%Y-%m-%dT%H:%M:%S", &local)
    snprintf(stamp + length, 48 - length, ".%03d%.3s:%.2s", <int>(now.tv_nsec // 1000000), offset, offset + 3)
    line.length = 0
    line.json = edge.settings.log_json
    line.first = False
    if line.json:
        _raw(line, text, snprintf(text, 128, '{"time": "%s", "level": "info", "process": "worker %u", "pid": %d, "message": "call"',
                                  stamp, edge.worker, getpid()))
    else:
        _raw(line, text, snprintf(text, 128, "%s info worker %u[%d]: call", stamp, edge.worker, getpid()))


cdef void call_line(Edge* edge, const Transaction* transaction, const Branch* branch) noexcept nogil:
    cdef Line line
    cdef DestinationSet* destinations
    if not edge.settings.log_calls:
        return
    _begin(&line, edge)
    _number(&line, "status", 6, transaction.status)
    _request_fields(&line, edge, transaction)
    if transaction.flags & TX_DISPATCH:
        _number(&line, "set", 3, transaction.set_id)
        destinations = dispatcher_set(edge.dispatcher, transaction.set_id)
        if destinations != NULL:
            _name(&line, "algorithm", 9)
            _raw(&line, '"', line.json)
            _raw(&line, ALGORITHM_NAMES[destinations.algorithm], <uint32_t>strlen(ALGORITHM_NAMES[destinations.algorithm]))
            _raw(&line, '"', line.json)
    _destination_field(&line, edge, transaction, branch)
    _number(&line, "attempts", 8, transaction.attempts)
    if transaction.flags & TX_RINGING:
        _number(&line, "ringing_ms", 10, transaction.ringing_ms)
    _number(&line, "final_ms", 8, edge.now_ms - transaction.created_ms)
    _raw(&line, "}\n" if line.json else "\n", 2 if line.json else 1)
    if edge.call_lines_length + line.length > CALL_LINES_MAX:
        count(edge.counter, COUNT_LOG_DROPPED)
        return
    memcpy(edge.call_lines + edge.call_lines_length, line.text, line.length)
    edge.call_lines_length += line.length


cdef void _request_fields(Line* line, Edge* edge, const Transaction* transaction) noexcept nogil:
    cdef Message* request = &edge.other
    if transaction.request == NULL or message_parse(request, transaction.request.data, transaction.request.length) < 0:
        return
    _text(line, "from", 4, request.data + request.from_uri.start, request.from_uri.length)
    _text(line, "to", 2, request.data + request.request_uri.start, request.request_uri.length)
    _text(line, "call_id", 7, request.data + request.call_id.start, request.call_id.length)


cdef void _destination_field(Line* line, Edge* edge, const Transaction* transaction, const Branch* branch) noexcept nogil:
    """The URI of the dispatcher's destination that answered or was tried last; a contact's address otherwise."""
    cdef uint8_t text[ENDPOINT_TEXT_MAX]
    cdef int32_t index
    cdef uint32_t destination = 0
    if branch == NULL and transaction.branches != NONE:
        branch = &edge.transactions.branch[transaction.branches]
    if branch == NULL:
        return
    destination = branch.destination
    index = dispatcher_by_id(edge.dispatcher, destination) if destination else DESTINATION_NONE
    if index != DESTINATION_NONE:
        _text(line, "destination", 11, edge.dispatcher.destination[index].uri, edge.dispatcher.destination[index].uri_length)
    else:
        _text(line, "destination", 11, text, endpoint_text(&branch.to, text))
