"""The parser: the line scanner, the start line, the header index, then the headers that routing reads."""

from libc.string cimport memset

from sipcore.address cimport Address, address_parse
from sipcore.charclass cimport CHAR_DIGIT, CHAR_LWS, CHAR_TOKEN, char_is
from sipcore.headers cimport (
    HDR_CALL_ID, HDR_CONTENT_LENGTH, HDR_CONTENT_TYPE, HDR_CSEQ, HDR_EVENT, HDR_EXPIRES, HDR_FROM, HDR_MAX_FORWARDS,
    HDR_MIN_EXPIRES, HDR_OTHER, HDR_RACK, HDR_TO, HDR_VIA, METHOD_ACK, METHOD_OTHER, header_id, method_id,
)
from sipcore.params cimport list_comma, lws_skip, lws_trim, quoted_end
from sipcore.reasons cimport (
    REASON_CALL_ID, REASON_CONTENT_LENGTH, REASON_CSEQ, REASON_CSEQ_METHOD, REASON_DUPLICATE, REASON_FROM,
    REASON_HEADER_LINE, REASON_KEEPALIVE, REASON_MAX_FORWARDS, REASON_NO_CALL_ID, REASON_NO_CSEQ,
    REASON_NO_END_OF_HEADERS, REASON_NO_FROM, REASON_NO_TO, REASON_NO_VIA, REASON_REQUEST_URI, REASON_SCHEME,
    REASON_START_LINE, REASON_STATUS_CODE, REASON_TO, REASON_TOO_MANY_HEADERS, REASON_TOO_SHORT, REASON_VERSION,
)
from sipcore.scan cimport class_end, octet_find, text_end, visible_end
from sipcore.slices cimport bytes_eq, slice_number, slice_of
from sipcore.uri cimport SCHEME_OTHER, uri_parse
from sipcore.via cimport via_dict, via_parse
from sipcore.words cimport name_is, text_is

from sipcore.headers import header_number

cdef enum:
    NONE = 0xFFFF
    CSEQ_MOST = 0x7FFFFFFF       # below 2^31: RFC 3261 8.1.1.5
    LENGTH_MOST = 0x7FFFFFFF     # content_length is signed
    MAX_FORWARDS_MOST = 255      # RFC 3261 20.22
    STUN_HEADER = 20             # RFC 8489 5
    LINE_NUL = 1                 # what the line scanner met
    LINE_BARE = 2
    # headers that may stand once only (RFC 3261 7.3.1: the others are comma lists, or of no concern to a proxy)
    SINGLE = (1 << HDR_FROM | 1 << HDR_TO | 1 << HDR_CALL_ID | 1 << HDR_CSEQ | 1 << HDR_MAX_FORWARDS
              | 1 << HDR_CONTENT_LENGTH | 1 << HDR_CONTENT_TYPE | 1 << HDR_EXPIRES | 1 << HDR_EVENT | 1 << HDR_RACK
              | 1 << HDR_MIN_EXPIRES)


cdef int message_parse(Message* message, const uint8_t* data, uint32_t length) noexcept nogil:
    cdef int reason
    cdef uint32_t at = 0
    memset(message, 0, <size_t>(<const char*>message.first - <const char*>message))  # in pieces that become a few stores
    memset(message.first, 0xFF, sizeof(message.first))
    memset(&message.via, 0, sizeof(Via))
    memset(&message.call_id, 0, <size_t>(<const char*>&message.header[0] - <const char*>&message.call_id))
    message.data = data
    message.size = message.body = message.headers = length
    message.max_forwards = message.content_length = -1
    if is_keepalive(data, length):
        return REASON_KEEPALIVE
    if length < MESSAGE_MIN:
        return REASON_TOO_SHORT
    while at + 1 < length and data[at] == c'\r' and data[at + 1] == c'\n':  # RFC 3261 7.5
        at += 2
    reason = start_line(message, &at, length)
    note(&reason, header_lines(message, at, length))
    note(&reason, required(message))
    note(&reason, body_length(message, length))
    message.answerable = message.is_request and message.method != METHOD_ACK and message_find(message, HDR_VIA) != NULL
    return reason


cdef int message_request_uri(const Message* message, Uri* uri) noexcept nogil:
    cdef int reason = uri_parse(uri, message.data, message.request_uri.start,
                                message.request_uri.start + message.request_uri.length)
    if reason:
        return reason
    if uri.scheme == SCHEME_OTHER:
        return REASON_SCHEME
    return REASON_REQUEST_URI if uri.headers.length else 0  # RFC 3261 19.1.1: no headers in a request URI


cdef inline void note(int* reason, int found) noexcept nogil:
    """The first reason stays."""
    if reason[0] == 0:
        reason[0] = found


cdef inline bint is_keepalive(const uint8_t* data, uint32_t length) noexcept nogil:
    """Nothing but CR, LF, NUL and spaces, or STUN by its magic number (RFC 8489 5)."""
    cdef uint32_t i
    if length and data[0] > 32:
        return False
    if (length >= STUN_HEADER and data[0] < 64 and data[4] == 0x21 and data[5] == 0x12 and data[6] == 0xA4
            and data[7] == 0x42):
        return True
    for i in range(length):
        if data[i] != 0 and not char_is(data[i], CHAR_LWS):
            return False
    return True


cdef inline bint line_ends(const uint8_t* data, uint32_t at, uint32_t length) noexcept nogil:
    """A CRLF at `at` with no fold behind it, as nearly all stand."""
    return length - at > 2 and text_is(data + at, b"\r\n", 2) and data[at + 2] > c' '


cdef uint32_t line_end_after(const uint8_t* data, uint32_t at, uint32_t length, uint32_t folds, int* met) noexcept nogil:
    """The offset of the CRLF that ends a line, from the control octet at `at` on; length where none does. `met` gets what else
    stands there; a CRLF before `folds` has no folds.
    """
    while at < length:
        if data[at] == c'\r':
            if at + 1 >= length:
                return length
            if data[at + 1] == c'\n':
                if at < folds or at + 2 >= length or not is_blank(data[at + 2]):
                    return at
                at += 2
            else:
                met[0] |= LINE_BARE
        elif data[at] == c'\n':
            met[0] |= LINE_BARE
        elif data[at] == 0:
            met[0] |= LINE_NUL
        at = text_end(data, at + 1, length)
    return length


cdef int start_line(Message* message, uint32_t* at, uint32_t length) noexcept nogil:
    """Reads the start line and moves *at to the first header."""
    cdef int met = 0, reason
    cdef uint32_t start = at[0]
    cdef uint32_t stop = line_end_after(message.data, text_end(message.data, start, length), length, length, &met)
    message.start_line = slice_of(start, stop)
    at[0] = message.headers = stop + 2 if stop < length else length
    if stop - start >= 4 and is_sip(message.data + start):
        reason = status_line(message, start, stop)
    else:
        reason = request_line(message, start, stop)
    return REASON_START_LINE if met or stop == length else reason


cdef inline bint is_sip(const uint8_t* text) noexcept nogil:
    """ "SIP/" in any case; text has four octets."""
    return name_is(text, b"sip", 3) and text[3] == c'/'


cdef inline int version(const uint8_t* data, uint32_t start, uint32_t end) noexcept nogil:
    """0 for "SIP/2.0", REASON_VERSION for another version of SIP, REASON_START_LINE for anything else."""
    cdef uint32_t i, dots = 0
    if end - start < 7 or not is_sip(data + start):
        return REASON_START_LINE
    if end - start == 7 and text_is(data + start + 4, b"2.0", 3):
        return 0
    for i in range(start + 4, end):
        if data[i] == c'.':
            dots += 1
        elif not char_is(data[i], CHAR_DIGIT):
            return REASON_START_LINE
    return REASON_VERSION if dots == 1 and data[start + 4] != c'.' and data[end - 1] != c'.' else REASON_START_LINE


cdef int status_line(Message* message, uint32_t start, uint32_t stop) noexcept nogil:
    """SIP-Version SP Status-Code [SP Reason-Phrase]; a missing last space is forgiven."""
    cdef const uint8_t* data = message.data
    cdef uint32_t at = octet_find(data, start, stop, c' ')
    cdef int reason
    if at == stop:
        return REASON_START_LINE
    reason = version(data, start, at)
    if reason:
        return reason
    at += 1
    if stop - at < 3 or (stop - at > 3 and data[at + 3] != c' '):
        return REASON_STATUS_CODE
    message.status = <uint16_t>slice_number(data, slice_of(at, at + 3), 699)
    if message.status < 100 or message.status > 699:
        message.status = 0
        return REASON_STATUS_CODE
    return 0


cdef int request_line(Message* message, uint32_t start, uint32_t stop) noexcept nogil:
    """Method SP Request-URI SP SIP-Version, single spaces (RFC 3261 7.1)."""
    cdef const uint8_t* data = message.data
    cdef uint32_t at = octet_find(data, start, stop, c' ')
    if at == start or at >= stop:
        return REASON_START_LINE
    message.method = method_id(data + start, at - start)
    if message.method == METHOD_OTHER and class_end(data, start, at, CHAR_TOKEN) != at:
        return REASON_START_LINE
    message.is_request = True
    message.method_text = slice_of(start, at)
    start = at + 1
    at = octet_find(data, start, stop, c' ')
    if at == start or at >= stop:
        return REASON_START_LINE
    message.request_uri = slice_of(start, at)
    return version(data, at + 1, stop)


cdef int header_lines(Message* message, uint32_t at, uint32_t length) noexcept nogil:
    """Indexes the headers up to the empty line; a faulty line is left out of the index and the next one is read."""
    cdef const uint8_t* data = message.data
    cdef uint16_t last[HDR_COUNT]
    cdef int reason = 0, met, others, fault
    cdef uint32_t stop
    while True:
        stop = text_end(data, at, length)
        met = 0
        if not line_ends(data, stop, length):
            others = 0
            stop = line_end_after(data, stop, length, at + 1, &others)
            met = others  # it stays in a register on the usual way
            if stop >= length:
                note(&reason, REASON_NO_END_OF_HEADERS)
                return reason
        if stop == at:
            message.body = at + 2
            return reason
        fault = header_line(message, at, stop, met, last)
        if fault:
            note(&reason, fault)
        at = stop + 2


cdef inline int header_line(Message* message, uint32_t start, uint32_t stop, int met, uint16_t* last) noexcept nogil:
    """One header, [start, stop) without its CRLF, into the index."""
    cdef const uint8_t* data = message.data
    cdef Header* header
    cdef uint32_t colon = octet_find(data, start, stop, c':')
    cdef uint32_t end = colon, value = colon + 2
    cdef uint16_t id, count = message.header_count
    while end > start and is_blank(data[end - 1]):  # RFC 3261 25.1 HCOLON
        end -= 1
    if end == start or colon >= stop:
        return REASON_HEADER_LINE
    id = header_id(data + start, end - start)
    if id == HDR_OTHER and class_end(data, start, end, CHAR_TOKEN) != end:
        return REASON_HEADER_LINE
    if met and (met & LINE_BARE or not nuls_quoted(data, start, stop)):
        return REASON_HEADER_LINE
    if count >= MESSAGE_HEADERS_MAX:
        return REASON_TOO_MANY_HEADERS
    if data[colon + 1] != c' ' or data[value] <= c' ':  # nearly all have one space; the CR at `stop` is neither
        value = lws_skip(data, colon + 1, stop)
    header = &message.header[count]
    header.start = start
    header.value = value
    header.value_length = lws_trim(data, value, stop) - value
    header.end = stop + 2
    header.id = id
    header.next = NONE
    message.header_count = count + 1
    if message.first[id] == NONE:
        message.first[id] = last[id] = count
        return 0
    message.header[last[id]].next = count
    last[id] = count
    return REASON_DUPLICATE if SINGLE >> id & 1 else 0


cdef inline bint is_blank(uint8_t c) noexcept nogil:
    return c <= c' ' and (c == c' ' or c == c'\t')


cdef bint nuls_quoted(const uint8_t* data, uint32_t at, uint32_t stop) noexcept nogil:
    """Every NUL in [at, stop) stands inside a quoted string (RFC 4475 3.1.1.2)."""
    while at < stop:
        if data[at] == 0:
            return False
        if data[at] == c'"':
            at = quoted_end(data, at, stop)
            if at == 0:
                return False
        else:
            at += 1
    return True


cdef int required(Message* message) noexcept nogil:
    """Reads Via, From, To, Call-ID, CSeq and Max-Forwards."""
    cdef int reason = 0
    cdef const Header* header = message_find(message, HDR_VIA)
    if header == NULL:
        note(&reason, REASON_NO_VIA)
    else:
        note(&reason, via_parse(&message.via, message.data, header.value, header.value + header.value_length))
    note(&reason, party(message, HDR_FROM, &message.from_uri, &message.from_tag, REASON_NO_FROM, REASON_FROM))
    note(&reason, party(message, HDR_TO, &message.to_uri, &message.to_tag, REASON_NO_TO, REASON_TO))
    header = message_find(message, HDR_CALL_ID)
    if header == NULL:
        note(&reason, REASON_NO_CALL_ID)
    else:
        note(&reason, call_id(message, header))
    header = message_find(message, HDR_CSEQ)
    if header == NULL:
        note(&reason, REASON_NO_CSEQ)
    else:
        note(&reason, cseq(message, header))
    header = message_find(message, HDR_MAX_FORWARDS)
    if header != NULL:
        note(&reason, max_forwards(message, header))
    return reason


cdef int party(Message* message, uint16_t id, Slice* uri, Slice* tag, int absent, int malformed) noexcept nogil:
    """From or To: one address, nothing behind it."""
    cdef const Header* header = message_find(message, id)
    cdef Address address
    cdef uint32_t end
    if header == NULL:
        return absent
    end = header.value + header.value_length
    if address_parse(&address, message.data, header.value, end) != 0 or address.star or address.end != end:
        return malformed
    uri[0] = address.uri.text
    tag[0] = address.tag
    return 0


cdef int call_id(Message* message, const Header* header) noexcept nogil:
    cdef uint32_t end = header.value + header.value_length
    if header.value_length == 0 or visible_end(message.data, header.value, end) != end:
        return REASON_CALL_ID
    message.call_id = slice_of(header.value, end)
    return 0


cdef int cseq(Message* message, const Header* header) noexcept nogil:
    cdef const uint8_t* data = message.data
    cdef uint32_t end = header.value + header.value_length
    cdef uint32_t at = header.value, method
    cdef uint64_t number = 0
    cdef uint16_t id
    while at < end and char_is(data[at], CHAR_DIGIT) and number <= CSEQ_MOST:
        number = number * 10 + (data[at] - 48)
        at += 1
    method = lws_skip(data, at, end)
    if number > CSEQ_MOST or at == header.value or method == at or method == end:
        return REASON_CSEQ
    id = method_id(data + method, end - method)
    if id == METHOD_OTHER and class_end(data, method, end, CHAR_TOKEN) != end:
        return REASON_CSEQ
    message.cseq = <uint32_t>number
    message.cseq_method = slice_of(method, end)
    if not message.is_request:
        message.method = id
        message.method_text = message.cseq_method
    elif id != message.method or (id == METHOD_OTHER and not bytes_eq(
            data + method, end - method, data + message.method_text.start, message.method_text.length)):
        return REASON_CSEQ_METHOD
    return 0


cdef int max_forwards(Message* message, const Header* header) noexcept nogil:
    """More than 255 counts as 255: RFC 4475 3.1.2.4 lets it pass, and every hop lowers it."""
    cdef int64_t value = 0
    cdef uint32_t i
    if header.value_length == 0:
        return REASON_MAX_FORWARDS
    for i in range(header.value, header.value + header.value_length):
        if not char_is(message.data[i], CHAR_DIGIT):
            return REASON_MAX_FORWARDS
        value = value * 10 + (message.data[i] - 48)
        if value > MAX_FORWARDS_MOST:
            value = MAX_FORWARDS_MOST
    message.max_forwards = <int32_t>value
    return 0


cdef int body_length(Message* message, uint32_t length) noexcept nogil:
    """Where the message ends: octets behind the body are not its own (RFC 3261 18.3)."""
    cdef const Header* header = message_find(message, HDR_CONTENT_LENGTH)
    cdef int64_t value
    message.size = length
    if header == NULL:
        return 0
    value = slice_number(message.data, slice_of(header.value, header.value + header.value_length), LENGTH_MOST)
    if value < 0:
        return REASON_CONTENT_LENGTH
    message.content_length = <int32_t>value
    if value > length - message.body:
        return REASON_CONTENT_LENGTH
    message.size = message.body + <uint32_t>value
    return 0


cdef class ParsedMessage:
    """A message and a copy of its octets, for tests, agents and tools. All texts are bytes as they stood."""

    def __cinit__(self, bytes data not None):
        self.octets = data
        self.verdict = message_parse(&self.message, data, len(data))

    cdef bytes piece(self, Slice part):
        return self.octets[part.start:part.start + part.length]

    @property
    def reason(self):
        return self.verdict

    @property
    def is_request(self):
        return bool(self.message.is_request)

    @property
    def answerable(self):
        return bool(self.message.answerable)

    @property
    def method(self):
        return self.piece(self.message.method_text)

    @property
    def request_uri(self):
        return self.piece(self.message.request_uri)

    @property
    def request_uri_reason(self):
        """The verdict over the request URI, 0 where it can be routed."""
        cdef Uri uri
        return message_request_uri(&self.message, &uri)

    @property
    def status(self):
        return self.message.status

    @property
    def reason_phrase(self):
        return self.piece(self.message.start_line)[len(b"SIP/2.0 200 "):] if self.message.status else b""

    @property
    def call_id(self):
        return self.piece(self.message.call_id)

    @property
    def cseq(self):
        return self.message.cseq

    @property
    def cseq_method(self):
        return self.piece(self.message.cseq_method)

    @property
    def from_tag(self):
        return self.piece(self.message.from_tag)

    @property
    def to_tag(self):
        return self.piece(self.message.to_tag)

    @property
    def from_uri(self):
        return self.piece(self.message.from_uri)

    @property
    def to_uri(self):
        return self.piece(self.message.to_uri)

    @property
    def max_forwards(self):
        return self.message.max_forwards

    @property
    def content_length(self):
        return self.message.content_length

    @property
    def size(self):
        """How many octets belong to the message."""
        return self.message.size

    @property
    def body(self):
        return self.octets[self.message.body:self.message.size]

    @property
    def via(self):
        return via_dict(self.octets, &self.message.via)

    @property
    def headers(self):
        """(name, value) pairs in their order."""
        cdef const Header* header
        pairs = []
        for i in range(self.message.header_count):
            header = &self.message.header[i]
            name = self.octets[header.start:header.end].split(b":", 1)[0].rstrip()
            pairs.append((name, self.octets[header.value:header.value + header.value_length]))
        return pairs

    def header(self, bytes name):
        """The first value of a header, its long or compact name in any case; None where absent."""
        for value in self.lines(name):
            return value
        return None

    def values(self, bytes name):
        """All values of a header, its lines split at the commas that stand outside quotes and brackets."""
        cdef uint32_t at, end, comma
        found = []
        for line in self.lines(name):
            at = 0
            end = len(line)
            while at < end:
                comma = list_comma(line, at, end)
                found.append(line[at:comma].strip(b" \t\r\n"))
                at = comma + 1
        return found

    def lines(self, bytes name):
        """The values of a header, one a line."""
        cdef int id = header_number(name)
        return [value for other, value in self.headers
                if (header_number(other) == id if id else other.lower() == name.lower())]


def parse(bytes data not None):
    """A datagram as a ParsedMessage; its `reason` is 0 or says what is wrong, and nothing is raised."""
    return ParsedMessage(data)


def parse_at(size_t address, uint32_t length):
    """The verdict over octets that lie at an address, read where they lie: for tests of what the parser may touch."""
    cdef Message message
    cdef Uri uri
    cdef int reason
    with nogil:
        reason = message_parse(&message, <const uint8_t*>address, length)
        if message.is_request:
            note(&reason, message_request_uri(&message, &uri))
    return reason


def repeat(bytes data not None, uint32_t times):
    """Parses the same octets again and again; the nanoseconds are the caller's to take. The last verdict."""
    cdef Message message
    cdef const uint8_t* octets = data
    cdef uint32_t length = len(data), i
    cdef int reason = 0
    with nogil:
        for i in range(times):
            reason = message_parse(&message, octets, length)
    return reason
