"""SIP text for the load generator: writes its messages, and finds in what comes the few headers that a dialog needs."""

from libc.string cimport memchr, memcmp, memset

cdef extern from "<string.h>" nogil:
    void* memmem(const void* haystack, size_t length, const void* needle, size_t needle_length)

cdef enum:
    NAME_MAX = 12           # "Record-Route", the longest name that is looked at

cdef const char* MAGIC = "branch=z9hG4bK"
cdef const char* DIGITS = "0123456789abcdef"


cdef bint scan_message(Scan* scan, const uint8_t* data, uint32_t length) noexcept nogil:
    cdef const uint8_t* end = data + length
    cdef const uint8_t* line = data
    cdef const uint8_t* after
    cdef Piece piece
    memset(scan, 0, sizeof(Scan))
    if length < 16:
        return False
    if memcmp(data, <const char*>"SIP/2.0 ", 8) == 0:
        scan.status = (data[8] - 48) * 100 + (data[9] - 48) * 10 + data[10] - 48
    else:
        scan.method = data[0]
    while True:
        after = <const uint8_t*>memchr(line, 10, end - line)
        if after == NULL or after - line <= 1:
            break
        after += 1
        if line != data:
            piece.data = line
            piece.length = <uint32_t>(after - line)
            _note_line(scan, &piece)
        line = after
    return scan.via_count > 0 and scan.call_id.length > 0 and scan.caller.length > 0 and scan.callee.length > 0


cdef void _note_line(Scan* scan, const Piece* line) noexcept nogil:
    """Files a header line under its name (RFC 3261 7.3.1: any case, or the compact form)."""
    cdef const uint8_t* data = line.data
    cdef uint32_t length = 0
    cdef uint8_t first = data[0] | 0x20
    while length < line.length and data[length] != 58 and length <= NAME_MAX:
        length += 1
    if first == 118 and (length == 1 or length == 3):  # Via
        if scan.via_count < VIAS_MAX:
            scan.via[scan.via_count] = line[0]
            scan.via_count += 1
    elif first == 102 and (length == 1 or length == 4):  # From
        scan.caller = line[0]
    elif first == 116 and (length == 1 or length == 2):  # To
        scan.callee = line[0]
    elif (first == 105 and length == 1) or (first == 99 and length == 7 and data[4] == 45):  # Call-ID
        scan.call_id = line[0]
    elif first == 99 and length == 4:  # CSeq
        scan.cseq = line[0]
    elif (first == 109 and length == 1) or (first == 99 and length == 7):  # Contact
        scan.contact = line[0]
    elif first == 114 and length == 12 and data[6] == 45 and scan.route_count < ROUTES_MAX:  # Record-Route
        scan.route[scan.route_count] = line[0]
        scan.route_count += 1


cdef bint ident_of_call_id(Ident* ident, const Scan* scan) noexcept nogil:
    cdef Piece value = line_value(&scan.call_id)
    return _read_ident(ident, &value)


cdef bint ident_of_branch(Ident* ident, uint8_t* letter, const Scan* scan) noexcept nogil:
    cdef const uint8_t* found
    cdef Piece piece
    found = <const uint8_t*>memmem(scan.via[0].data, scan.via[0].length, MAGIC, strlen(MAGIC))
    if found == NULL:
        return False
    piece.data = found + strlen(MAGIC)
    piece.length = scan.via[0].length - <uint32_t>(piece.data - scan.via[0].data)
    if not _read_ident(ident, &piece) or piece.length <= IDENT_LENGTH:
        return False
    letter[0] = piece.data[IDENT_LENGTH]
    return True


cdef bint _read_ident(Ident* ident, const Piece* piece) noexcept nogil:
    return (piece.length >= IDENT_LENGTH and _read_hex(&ident.slot, piece.data) and _read_hex(&ident.number, piece.data + 8)
            and _read_hex(&ident.nonce, piece.data + 16))


cdef bint _read_hex(uint32_t* value, const uint8_t* data) noexcept nogil:
    cdef uint32_t i
    cdef uint8_t digit
    value[0] = 0
    for i in range(8):
        digit = data[i]
        if 48 <= digit <= 57:
            digit -= 48
        elif 97 <= digit <= 102:
            digit -= 87
        else:
            return False
        value[0] = value[0] << 4 | digit
    return True


cdef void put_hex(Text* text, uint32_t value) noexcept nogil:
    cdef uint8_t out[8]
    cdef int i
    for i in range(8):
        out[i] = DIGITS[value >> (28 - 4 * i) & 15]
    put(text, out, 8)


cdef void put_number(Text* text, uint32_t value) noexcept nogil:
    cdef uint8_t out[10]
    cdef uint32_t at = 10
    while True:
        at -= 1
        out[at] = <uint8_t>(48 + value % 10)
        value //= 10
        if value == 0:
            break
    put(text, out + at, 10 - at)


cdef inline void _put_ident(Text* text, const Ident* ident) noexcept nogil:
    put_hex(text, ident.slot)
    put_hex(text, ident.number)
    put_hex(text, ident.nonce)


cdef void put_request(Text* text, const char* method, uint8_t letter, const Ident* ident, const Ident* dialog, const Host* host,
                      const Piece* target, const Piece* routes, const Piece* to, uint32_t cseq) noexcept nogil:
    put_text(text, method)
    put_text(text, " ")
    put(text, target.data, target.length)
    put_text(text, " SIP/2.0\r\nVia: SIP/2.0/UDP ")
    put(text, host.text, host.length)
    put_text(text, ";rport;branch=z9hG4bK")
    _put_ident(text, ident)
    put(text, &letter, 1)
    put_text(text, "\r\nMax-Forwards: 70\r\n")
    put(text, routes.data, routes.length)
    put_text(text, "From: <sip:caller@")
    put(text, host.text, host.length)
    put_text(text, ">;tag=")
    put_hex(text, dialog.number)
    put_text(text, "\r\nTo: ")
    if to.length:
        put(text, to.data, to.length)
    else:
        put_text(text, "<")
        put(text, target.data, target.length)
        put_text(text, ">")
    put_text(text, "\r\nCall-ID: ")
    _put_ident(text, dialog)
    put_text(text, "\r\nCSeq: ")
    put_number(text, cseq)
    put_text(text, " ")
    put_text(text, method)
    put_text(text, "\r\n")


cdef void put_contact(Text* text, const char* user, const Host* host) noexcept nogil:
    put_text(text, "Contact: <sip:")
    put_text(text, user)
    put_text(text, "@")
    put(text, host.text, host.length)
    put_text(text, ">\r\n")


cdef void put_end(Text* text, const uint8_t* body, uint32_t length) noexcept nogil:
    if length:
        put_text(text, "Content-Type: application/sdp\r\n")
    put_text(text, "Content-Length: ")
    put_number(text, length)
    put_text(text, "\r\n\r\n")
    if length:  # without a body there is no address that memcpy would take
        put(text, body, length)


cdef void put_response(Text* text, const char* start, const Scan* scan, uint32_t tag) noexcept nogil:
    cdef uint32_t i, length
    put_text(text, start)
    for i in range(scan.via_count):
        put(text, scan.via[i].data, scan.via[i].length)
    put(text, scan.caller.data, scan.caller.length)
    length = scan.callee.length
    while length and (scan.callee.data[length - 1] == 10 or scan.callee.data[length - 1] == 13):
        length -= 1
    put(text, scan.callee.data, length)
    if tag:
        put_text(text, ";tag=")
        put_hex(text, tag)
    put_text(text, "\r\n")
    put(text, scan.call_id.data, scan.call_id.length)
    put(text, scan.cseq.data, scan.cseq.length)
    if tag:
        for i in range(scan.route_count):
            put(text, scan.route[i].data, scan.route[i].length)


cdef void put_routes(Text* text, const Scan* scan) noexcept nogil:
    cdef Piece found[ROUTES_MAX * 2]
    cdef Piece value
    cdef uint32_t i, j, begin, count = 0
    cdef bint inside
    for i in range(scan.route_count):
        value = line_value(&scan.route[i])
        begin = 0
        inside = False
        for j in range(value.length + 1):
            if j < value.length and (value.data[j] == 60 or value.data[j] == 62):
                inside = value.data[j] == 60
            if (j == value.length or (value.data[j] == 44 and not inside)) and count < ROUTES_MAX * 2:
                found[count].data = value.data + begin
                found[count].length = j - begin
                count += 1
                begin = j + 1
    while count:
        count -= 1
        put_text(text, "Route: ")
        put(text, found[count].data, found[count].length)
        put_text(text, "\r\n")


cdef Piece line_value(const Piece* line) noexcept nogil:
    cdef Piece value
    cdef const uint8_t* colon = <const uint8_t*>memchr(line.data, 58, line.length) if line.length else NULL
    memset(&value, 0, sizeof(Piece))
    if colon == NULL:
        return value
    value.data = colon + 1
    value.length = line.length - <uint32_t>(value.data - line.data)
    while value.length and (value.data[0] == 32 or value.data[0] == 9):
        value.data += 1
        value.length -= 1
    while value.length and value.data[value.length - 1] <= 32:
        value.length -= 1
    return value


cdef Piece address_uri(const Piece* line) noexcept nogil:
    cdef Piece value = line_value(line)
    cdef const uint8_t* begin = <const uint8_t*>memchr(value.data, 60, value.length) if value.length else NULL
    cdef const uint8_t* end
    if begin == NULL:
        return value
    end = <const uint8_t*>memchr(begin, 62, value.length - (begin - value.data))
    if end != NULL:
        value.data = begin + 1
        value.length = <uint32_t>(end - begin - 1)
    return value


cdef bint piece_contains(const Piece* piece, const uint8_t* text, uint32_t length) noexcept nogil:
    return memmem(piece.data, piece.length, text, length) != NULL
