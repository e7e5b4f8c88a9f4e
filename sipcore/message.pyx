"""The parser: the line scanner, the start line, the header index, then the headers that routing reads."""

from libc.string cimport memchr, memcmp, memcpy, memset

from sipcore.address cimport Address, address_parse
from sipcore.charclass cimport CHAR_DIGIT, CHAR_LWS, CHAR_TOKEN, CHAR_WORD, char_is
from sipcore.headers cimport (
    HDR_CALL_ID, HDR_CONTENT_LENGTH, HDR_CONTENT_TYPE, HDR_CSEQ, HDR_EVENT, HDR_EXPIRES, HDR_FROM, HDR_MAX_FORWARDS,
    HDR_MIN_EXPIRES, HDR_RACK, HDR_TO, HDR_VIA, METHOD_ACK, header_id, method_id,
)
from sipcore.params cimport list_comma, lws_skip, lws_trim, quoted_end
from sipcore.reasons cimport (
    REASON_CALL_ID, REASON_CONTENT_LENGTH, REASON_CSEQ, REASON_CSEQ_METHOD, REASON_DUPLICATE, REASON_FROM,
    REASON_HEADER_LINE, REASON_KEEPALIVE, REASON_MAX_FORWARDS, REASON_NO_CALL_ID, REASON_NO_CSEQ,
    REASON_NO_END_OF_HEADERS, REASON_NO_FROM, REASON_NO_TO, REASON_NO_VIA, REASON_REQUEST_URI, REASON_SCHEME,
    REASON_START_LINE, REASON_STATUS_CODE, REASON_TO, REASON_TOO_MANY_HEADERS, REASON_TOO_SHORT, REASON_VERSION,
)
from sipcore.slices cimport bytes_ieq, slice_ieq, slice_number, slice_of
from sipcore.uri cimport SCHEME_OTHER, uri_parse
from sipcore.via cimport via_dict, via_parse

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

cdef extern from *:
    """
    /* How many of the eight octets of w come before the first one below 0x20, as CR, LF, NUL and HTAB are; 8: none is. */
    static inline uint32_t viaduct_before_control(uint64_t w) {
        uint64_t found = (w - 0x2020202020202020ULL) & ~w & 0x8080808080808080ULL;
    #if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        return found ? (uint32_t)__builtin_ctzll(found) >> 3 : 8;
    #else
        uint32_t i = 0;
        if (!found) return 8;
        while ((uint8_t)(w >> (56 - 8 * i)) >= 0x20) i++;
        return i;
    #endif
    }
    """
    uint32_t viaduct_before_control(uint64_t word) nogil


cdef int message_parse(Message* message, const uint8_t* data, uint32_t length) noexcept nogil:
    cdef int reason
    cdef uint32_t at = 0
    memset(message, 0, <size_t>(<const char*>&message.header[0] - <const char*>message))
    memset(message.first, 0xFF, sizeof(message.first))
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


cdef inline uint32_t line_end(const uint8_t* data, uint32_t at, uint32_t length, bint folds, int* met) noexcept nogil:
    """The offset of the CRLF that ends the line (after its folds, where they may be); length where none does."""
    cdef uint64_t word
    cdef uint32_t skip
    met[0] = 0
    while at < length:
        if length - at >= 8:
            memcpy(&word, data + at, 8)
            skip = viaduct_before_control(word)
            at += skip
            if skip == 8:
                continue
        elif data[at] >= 32:
            at += 1
            continue
        if data[at] == c'\r':
            if at + 1 >= length:
                return length
            if data[at + 1] == c'\n':
                if not folds or at + 2 >= length or (data[at + 2] != c' ' and data[at + 2] != c'\t'):
                    return at
                at += 2
            else:
                met[0] |= LINE_BARE
        elif data[at] == c'\n':
            met[0] |= LINE_BARE
        elif data[at] == 0:
            met[0] |= LINE_NUL
        at += 1
    return length


cdef int start_line(Message* message, uint32_t* at, uint32_t length) noexcept nogil:
    """Reads the start line and moves *at to the first header."""
    cdef int met = 0, reason
    cdef uint32_t start = at[0]
    cdef uint32_t stop = line_end(message.data, start, length, False, &met)
    message.start_line = slice_of(start, stop)
    at[0] = message.headers = stop + 2 if stop < length else length
    if stop - start >= 4 and bytes_ieq(message.data + start, 4, <const uint8_t*>b"SIP/", 4):
        reason = status_line(message, start, stop)
    else:
        reason = request_line(message, start, stop)
    return REASON_START_LINE if met or stop == length else reason


cdef int version(const uint8_t* data, uint32_t start, uint32_t end) noexcept nogil:
    """0 for "SIP/2.0", REASON_VERSION for another version of SIP, REASON_START_LINE for anything else."""
    cdef uint32_t i, dots = 0
    if end - start == 7 and bytes_ieq(data + start, 7, <const uint8_t*>b"SIP/2.0", 7):
        return 0
    if end - start < 7 or not bytes_ieq(data + start, 4, <const uint8_t*>b"SIP/", 4):
        return REASON_START_LINE
    for i in range(start + 4, end):
        if data[i] == c'.':
            dots += 1
        elif not char_is(data[i], CHAR_DIGIT):
            return REASON_START_LINE
    return REASON_VERSION if dots == 1 and data[start + 4] != c'.' and data[end - 1] != c'.' else REASON_START_LINE


cdef int status_line(Message* message, uint32_t start, uint32_t stop) noexcept nogil:
    """SIP-Version SP Status-Code [SP Reason-Phrase]; a missing last space is forgiven."""
    cdef const uint8_t* data = message.data
    cdef const uint8_t* space = <const uint8_t*>memchr(data + start, c' ', stop - start)
    cdef uint32_t at
    cdef int reason
    if space == NULL:
        return REASON_START_LINE
    at = <uint32_t>(space - data)
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
    cdef const uint8_t* space
    cdef uint32_t at = start
    while at < stop and char_is(data[at], CHAR_TOKEN):
        at += 1
    if at == start or at >= stop or data[at] != c' ':
        return REASON_START_LINE
    message.is_request = True
    message.method_text = slice_of(start, at)
    message.method = method_id(data + start, at - start)
    start = at + 1
    space = <const uint8_t*>memchr(data + start, c' ', stop - start)
    if space == NULL or space == data + start:
        return REASON_START_LINE
    at = <uint32_t>(space - data)
    message.request_uri = slice_of(start, at)
    return version(data, at + 1, stop)


cdef int header_lines(Message* message, uint32_t at, uint32_t length) noexcept nogil:
    """Indexes the headers up to the empty line; a faulty line is left out of the index and the next one is read."""
    cdef const uint8_t* data = message.data
    cdef uint16_t last[HDR_COUNT]
    cdef int reason = 0, met = 0
    cdef uint32_t stop
    while at < length:
        if data[at] == c'\r' and at + 1 < length and data[at + 1] == c'\n':
            message.body = at + 2
            return reason
        stop = line_end(data, at, length, True, &met)
        if stop >= length:
            break
        note(&reason, header_line(message, at, stop, met, last))
        at = stop + 2
    note(&reason, REASON_NO_END_OF_HEADERS)
    return reason


cdef inline int header_line(Message* message, uint32_t start, uint32_t stop, int met, uint16_t* last) noexcept nogil:
    """One header, [start, stop) without its CRLF, into the index."""
    cdef const uint8_t* data = message.data
    cdef Header* header
    cdef uint32_t colon = start, value
    cdef uint16_t id
    while colon < stop and char_is(data[colon], CHAR_TOKEN):
        colon += 1
    value = colon
    while value < stop and (data[value] == c' ' or data[value] == c'\t'):
        value += 1
    if colon == start or value >= stop or data[value] != c':' or met & LINE_BARE:
        return REASON_HEADER_LINE
    value = lws_skip(data, value + 1, stop)
    if met and not nuls_quoted(data, start, stop):
        return REASON_HEADER_LINE
    if message.header_count >= MESSAGE_HEADERS_MAX:
        return REASON_TOO_MANY_HEADERS
    id = header_id(data + start, colon - start)
    header = &message.header[message.header_count]
    header.start = start
    header.value = value
    header.value_length = lws_trim(data, value, stop) - value
    header.end = stop + 2
    header.id = id
    header.next = NONE
    if message.first[id] == NONE:
        message.first[id] = message.header_count
    else:
        message.header[last[id]].next = message.header_count
    last[id] = message.header_count
    message.header_count += 1
    return REASON_DUPLICATE if SINGLE >> id & 1 and message.first[id] != last[id] else 0


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
    cdef uint32_t i
    for i in range(header.value, header.value + header.value_length):
        if not char_is(message.data[i], CHAR_WORD):
            return REASON_CALL_ID
    if header.value_length == 0:
        return REASON_CALL_ID
    message.call_id = slice_of(header.value, header.value + header.value_length)
    return 0


cdef int cseq(Message* message, const Header* header) noexcept nogil:
    cdef const uint8_t* data = message.data
    cdef uint32_t end = header.value + header.value_length
    cdef uint32_t at = header.value, method
    cdef int64_t number
    while at < end and char_is(data[at], CHAR_DIGIT):
        at += 1
    number = slice_number(data, slice_of(header.value, at), CSEQ_MOST)
    method = lws_skip(data, at, end)
    if number < 0 or method == at or method == end:
        return REASON_CSEQ
    for at in range(method, end):
        if not char_is(data[at], CHAR_TOKEN):
            return REASON_CSEQ
    message.cseq = <uint32_t>number
    message.cseq_method = slice_of(method, end)
    if not message.is_request:
        message.method = method_id(data + method, end - method)
        message.method_text = message.cseq_method
    elif (message.method_text.length != end - method
            or memcmp(data + method, data + message.method_text.start, end - method) != 0):
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
        cdef uint16_t id = header_id(name, len(name))
        return [value for other, value in self.headers
                if (header_id(other, len(other)) == id if id else other.lower() == name.lower())]


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
