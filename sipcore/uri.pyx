"""URIs: one pass from the scheme to the headers after '?'."""

from libc.string cimport memset

from sipcore.charclass cimport CHAR_ALPHA, CHAR_DIGIT, CHAR_HEX, CHAR_PARAM, CHAR_SCHEME, CHAR_USER, char_is
from sipcore.endpoint cimport transport_by_name
from sipcore.hostport cimport host_end, port_read
from sipcore.reasons cimport REASON_NO_ROOM, REASON_REQUEST_URI, REASON_SCHEME
from sipcore.scan cimport name_skip, octet_find
from sipcore.slices cimport byte_lower, slice_ieq, slice_of
from sipcore.words cimport name_is

from sipcore.endpoint import TRANSPORTS
from sipcore.reasons import Refused


cdef int uri_parse(Uri* uri, const uint8_t* data, uint32_t start, uint32_t end) noexcept nogil:
    cdef uint32_t at = uri_read(uri, data, start, end)
    return 0 if at and at == end else REASON_REQUEST_URI


cdef uint32_t uri_read(Uri* uri, const uint8_t* data, uint32_t start, uint32_t end) noexcept nogil:
    cdef uint32_t at
    memset(uri, 0, sizeof(Uri))
    at = scheme(uri, data, start, end)
    if at and uri.scheme == SCHEME_OTHER:
        at = opaque_part(data, at, end)
    elif at:
        at = parts(uri, data, at, end)
    uri.text = slice_of(start, at if at else end)
    return at


cdef inline uint32_t scheme(Uri* uri, const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    """The offset after the scheme's colon, 0 where there is none."""
    cdef uint32_t start = at
    if at + 4 <= end and name_is(data + at, b"sip", 3) and data[at + 3] == c':':  # as nearly all stand
        uri.scheme = SCHEME_SIP
        return at + 4
    if at >= end or not char_is(data[at], CHAR_ALPHA):
        return 0
    while at < end and char_is(data[at], CHAR_SCHEME):
        at += 1
    if at >= end or data[at] != c':':
        return 0
    uri.scheme = scheme_id(data, slice_of(start, at))
    return at + 1


cdef inline uint32_t parts(Uri* uri, const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    """What follows sip:, sips: or tel: ; the offset after it, 0 where malformed."""
    if uri.scheme == SCHEME_TEL:
        at = tel_number(uri, data, at, end)
    else:
        at = user_info(uri, data, at, end)
        if at:
            at = host_port(uri, data, at, end)
    if at and at < end and data[at] == c';':
        at = uri_params(uri, data, at + 1, end)
    if at and at < end and data[at] == c'?' and uri.scheme != SCHEME_TEL:
        at = uri_headers(uri, data, at + 1, end)
    return at


cdef uint16_t scheme_id(const uint8_t* data, Slice scheme) noexcept nogil:
    if slice_ieq(data, scheme, b"sip", 3):
        return SCHEME_SIP
    if slice_ieq(data, scheme, b"sips", 4):
        return SCHEME_SIPS
    return SCHEME_TEL if slice_ieq(data, scheme, b"tel", 3) else SCHEME_OTHER


cdef uint32_t opaque_part(const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    """What follows a scheme we do not know: anything visible that cannot end a header value's brackets or quotes. 0 for nothing."""
    cdef uint32_t i = at
    while i < end and data[i] > 32 and data[i] != 127 and data[i] != c'<' and data[i] != c'>' and data[i] != c'"':
        i += 1
    return i if i > at else 0


cdef inline uint32_t run_end(const uint8_t* data, uint32_t at, uint32_t end, uint16_t classes) noexcept nogil:
    """The end of a run of these classes, which hold what name_skip passes, and whole escapes (%HH)."""
    at = name_skip(data, at, end)
    while at < end:
        if char_is(data[at], classes):
            at += 1
        elif (data[at] == c'%' and end - at >= 3 and char_is(data[at + 1], CHAR_HEX)
                and char_is(data[at + 2], CHAR_HEX)):
            at += 3
        else:
            break
    return at


cdef uint32_t user_info(Uri* uri, const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    """The offset of the host: after "user@", "user:password@", or `at` itself; 0 for an empty user."""
    cdef uint32_t i = run_end(data, at, end, CHAR_USER)
    cdef uint32_t password = 0
    if i < end and data[i] == c':':
        password = i + 1
        i = run_end(data, password, end, CHAR_USER)
    if i >= end or data[i] != c'@':
        return at
    uri.user = slice_of(at, password - 1 if password else i)
    if password:
        uri.password = slice_of(password, i)
    uri.has_user = uri.user.length > 0
    return i + 1 if uri.has_user else 0


cdef uint32_t host_port(Uri* uri, const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    """The offset after host and port, 0 where they are malformed."""
    cdef uint32_t i = host_end(data, at, end)
    if i == 0:
        return 0
    uri.host = slice_of(at, i)
    if i < end and data[i] == c':':
        i += 1
        uri.port = port_read(data, &i, end)
        if uri.port == 0:
            return 0
    return i


cdef uint32_t tel_number(Uri* uri, const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    """RFC 3966 3: a global or local number with its visual separators; the offset after it, 0 where it is empty."""
    cdef uint32_t i = at
    while i < end and (char_is(data[i], CHAR_HEX) or is_separator(data[i]) or data[i] == c'+'
                       or data[i] == c'*' or data[i] == c'#'):
        i += 1
    uri.user = slice_of(at, i)
    uri.has_user = i > at
    return i if uri.has_user else 0


cdef inline bint is_separator(uint8_t c) noexcept nogil:
    return c == c'-' or c == c'.' or c == c'(' or c == c')'


cdef uint32_t uri_params(Uri* uri, const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    """The offset after name[=value] *(;name[=value]), 0 where one is malformed. Values may hold '=' (unescaped base64)."""
    cdef uint32_t first = at, name, value
    while True:
        name = at
        at = run_end(data, at, end, CHAR_PARAM)
        if at == name:
            return 0
        value = at
        if at < end and data[at] == c'=':
            value = at + 1
            at = value
            while at < end and (char_is(data[at], CHAR_PARAM) or data[at] == c'=' or data[at] == c'%'):
                at = run_end(data, at + 1 if data[at] == c'=' else at, end, CHAR_PARAM)
                if at < end and data[at] == c'%':
                    return 0
            if at == value:
                return 0
            uri_note(uri, data, slice_of(name, value - 1), slice_of(value, at))
        else:
            uri_note(uri, data, slice_of(name, at), slice_of(at, at))
        if at >= end or data[at] != c';':
            break
        at += 1
    uri.params = slice_of(first, at)
    return at


cdef inline void uri_note(Uri* uri, const uint8_t* data, Slice name, Slice value) noexcept nogil:
    """Keeps the parameters that routing reads; the first of a name counts."""
    if name.length == 2:
        if name_is(data + name.start, b"lr", 2):
            uri.lr = True
    elif name.length == 9:
        if not uri.has_transport and name_is(data + name.start, b"transport", 9):
            uri.has_transport = True
            uri.transport = transport_by_name(data + value.start, value.length)
    elif name.length == 5 and uri.maddr.length == 0 and name_is(data + name.start, b"maddr", 5):
        uri.maddr = value


cdef uint32_t uri_headers(Uri* uri, const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    """RFC 3261 25.1 headers: their characters are checked, never their meaning; the offset after them, 0 where there are none."""
    cdef uint32_t i = at
    while i < end:
        i = run_end(data, i, end, CHAR_PARAM)
        if i < end and (data[i] == c'?' or data[i] == c'=' or data[i] == c'&' or data[i] == c';' or data[i] == c','):
            i += 1
        else:
            break
    uri.headers = slice_of(at, i)
    return i if i > at else 0


cdef Slice uri_param(const uint8_t* data, Slice params, const char* name, uint32_t length, bint* found) noexcept nogil:
    cdef uint32_t end = params.start + params.length
    cdef uint32_t at = params.start, start, equals
    found[0] = False
    while at < end:
        start = at
        at = octet_find(data, start, end, c';')
        equals = octet_find(data, start, at, c'=')
        if slice_ieq(data, slice_of(start, equals), name, length):
            found[0] = True
            return slice_of(equals + 1 if equals < at else at, at)
        at += 1
    return slice_of(end, end)


cdef inline uint8_t hex_value(uint8_t c) noexcept nogil:
    return c - 48 if char_is(c, CHAR_DIGIT) else byte_lower(c) - 87


cdef inline uint8_t hex_digit(uint8_t value) noexcept nogil:
    return 48 + value if value < 10 else 55 + value


cdef inline bint is_unreserved(uint8_t c) noexcept nogil:
    """RFC 3261 25.1 unreserved; what else a user may hold bare keeps its own meaning (19.1.4)."""
    return (char_is(c, CHAR_ALPHA | CHAR_DIGIT) or c == c'-' or c == c'_' or c == c'.' or c == c'!' or c == c'~'
            or c == c'*' or c == c"'" or c == c'(' or c == c')')


cdef int put_user(const uint8_t* data, Slice user, uint8_t* out, uint32_t room) noexcept nogil:
    cdef uint32_t at = user.start, end = user.start + user.length, length = 0
    cdef uint8_t c
    cdef bint escaped
    while at < end:
        c = data[at]
        escaped = c == c'%' and end - at >= 3
        if escaped:
            c = hex_value(data[at + 1]) << 4 | hex_value(data[at + 2])
        at += 3 if escaped else 1
        if is_unreserved(c) or (not escaped and c < 128 and c != c'#'):
            if length + 1 > room:
                return REASON_NO_ROOM
            out[length] = c
            length += 1
        else:
            if length + 3 > room:
                return REASON_NO_ROOM
            out[length] = c'%'
            out[length + 1] = hex_digit(c >> 4)
            out[length + 2] = hex_digit(c & 15)
            length += 3
    return length


cdef int put_number(const uint8_t* data, Slice number, uint8_t* out, uint32_t room) noexcept nogil:
    """A telephone number without its visual separators (RFC 3966 4)."""
    cdef uint32_t i, length = 0
    for i in range(number.start, number.start + number.length):
        if is_separator(data[i]):
            continue
        if length >= room:
            return REASON_NO_ROOM
        out[length] = data[i]
        length += 1
    return length


cdef int uri_aor(const uint8_t* data, const Uri* uri, uint8_t* out, uint32_t room) noexcept nogil:
    cdef uint32_t i
    cdef int length = 0
    if uri.scheme == SCHEME_OTHER:
        return REASON_SCHEME
    if uri.scheme == SCHEME_TEL:
        return put_number(data, uri.user, out, room)
    if uri.has_user:
        length = put_user(data, uri.user, out, room)
        if length < 0 or <uint32_t>length + 1 > room:
            return REASON_NO_ROOM
        out[length] = c'@'
        length += 1
    if <uint32_t>length + uri.host.length > room:
        return REASON_NO_ROOM
    for i in range(uri.host.length):
        out[length + i] = byte_lower(data[uri.host.start + i])
    return length + uri.host.length


cdef dict uri_dict(const uint8_t* data, const Uri* uri):
    """A parsed URI as Python sees it; shared with address.pyx."""
    def piece(uint32_t start, uint32_t length):
        return data[start:start + length]
    return {
        "scheme": ("other", "sip", "sips", "tel")[uri.scheme],
        "text": piece(uri.text.start, uri.text.length),
        "user": piece(uri.user.start, uri.user.length) if uri.has_user else None,
        "password": piece(uri.password.start, uri.password.length),
        "host": piece(uri.host.start, uri.host.length),
        "port": uri.port,
        "params": piece(uri.params.start, uri.params.length),
        "headers": piece(uri.headers.start, uri.headers.length),
        "transport": transport_name(uri.transport) if uri.has_transport else None,
        "lr": bool(uri.lr),
        "maddr": piece(uri.maddr.start, uri.maddr.length),
    }


cdef str transport_name(uint16_t number):
    return TRANSPORTS[number] if number < len(TRANSPORTS) else "unknown"


def parse(bytes text):
    """A URI as a dict of its pieces (bytes; user is None where absent). Refused where it is malformed."""
    cdef Uri uri
    cdef int reason = uri_parse(&uri, text, 0, len(text))
    if reason:
        raise Refused(reason, f"URI {text!r}")
    return uri_dict(text, &uri)


def param(bytes params, bytes name):
    """The value of a URI parameter in "a=b;c": None where absent, empty for a flag."""
    cdef bint found
    cdef Slice whole = slice_of(0, len(params))
    cdef Slice value = uri_param(params, whole, name, len(name), &found)
    return params[value.start:value.start + value.length] if found else None


def aor(bytes text, int room=1024):
    """The canonical address-of-record of a URI in at most `room` octets. Refused where there is none."""
    cdef Uri uri
    cdef bytearray out = bytearray(room)
    cdef int reason = uri_parse(&uri, text, 0, len(text))
    if reason == 0:
        reason = uri_aor(text, &uri, out, room)
    if reason < 0:
        raise Refused(reason, f"URI {text!r}")
    return bytes(out[:reason])
