"""The rows behind the reasons: name, number, SIP status and the sentence that goes with it."""

ROWS = (
    ("KEEPALIVE", REASON_KEEPALIVE, 0, b"Keep-alive"),
    ("TOO_SHORT", REASON_TOO_SHORT, 400, b"Message Too Short"),
    ("START_LINE", REASON_START_LINE, 400, b"Malformed Start Line"),
    ("VERSION", REASON_VERSION, 505, b"Version Not Supported"),
    ("STATUS_CODE", REASON_STATUS_CODE, 400, b"Malformed Status Code"),
    ("REQUEST_URI", REASON_REQUEST_URI, 400, b"Malformed Request-URI"),
    ("SCHEME", REASON_SCHEME, 416, b"Unsupported URI Scheme"),
    ("HEADER_LINE", REASON_HEADER_LINE, 400, b"Malformed Header Line"),
    ("TOO_MANY_HEADERS", REASON_TOO_MANY_HEADERS, 513, b"Too Many Headers"),
    ("NO_END_OF_HEADERS", REASON_NO_END_OF_HEADERS, 400, b"No End Of Headers"),
    ("NO_VIA", REASON_NO_VIA, 400, b"Missing Via"),
    ("NO_FROM", REASON_NO_FROM, 400, b"Missing From"),
    ("NO_TO", REASON_NO_TO, 400, b"Missing To"),
    ("NO_CALL_ID", REASON_NO_CALL_ID, 400, b"Missing Call-ID"),
    ("NO_CSEQ", REASON_NO_CSEQ, 400, b"Missing CSeq"),
    ("VIA", REASON_VIA, 400, b"Malformed Via"),
    ("FROM", REASON_FROM, 400, b"Malformed From"),
    ("TO", REASON_TO, 400, b"Malformed To"),
    ("CALL_ID", REASON_CALL_ID, 400, b"Malformed Call-ID"),
    ("CSEQ", REASON_CSEQ, 400, b"Malformed CSeq"),
    ("CSEQ_METHOD", REASON_CSEQ_METHOD, 400, b"CSeq Method Differs From Request Line"),
    ("CONTENT_LENGTH", REASON_CONTENT_LENGTH, 400, b"Bad Content-Length"),
    ("MAX_FORWARDS", REASON_MAX_FORWARDS, 400, b"Malformed Max-Forwards"),
    ("DUPLICATE", REASON_DUPLICATE, 400, b"Duplicate Header"),
    ("CONTACT", REASON_CONTACT, 400, b"Malformed Contact"),
    ("ROUTE", REASON_ROUTE, 400, b"Malformed Route"),
    ("EXPIRES", REASON_EXPIRES, 400, b"Malformed Expires"),
    ("BRANCH", REASON_BRANCH, 400, b"Empty Branch"),
    ("NO_ROOM", REASON_NO_ROOM, 513, b"Message Too Large"),
    ("HOPS", REASON_HOPS, 483, b"Too Many Hops"),
    ("LOOP", REASON_LOOP, 482, b"Loop Detected"),
    ("PROXY_REQUIRE", REASON_PROXY_REQUIRE, 420, b"Bad Extension"),
    ("NOT_HERE", REASON_NOT_HERE, 404, b"Not Found"),
    ("NO_DIALOG", REASON_NO_DIALOG, 481, b"Call/Transaction Does Not Exist"),
    ("OFFLINE", REASON_OFFLINE, 480, b"Temporarily Unavailable"),
    ("NO_DESTINATION", REASON_NO_DESTINATION, 500, b"No FS Destinations"),
    ("OVERLOAD", REASON_OVERLOAD, 503, b"Service Unavailable"),
    ("ROUTE_DENIED", REASON_ROUTE_DENIED, 403, b"Preloaded Route Denied"),
    ("FOREIGN_DOMAIN", REASON_FOREIGN_DOMAIN, 403, b"Domain Not Served Here"),
    ("UNRESOLVABLE", REASON_UNRESOLVABLE, 500, b"Unresolvable Destination"),
    ("COOKIE", REASON_COOKIE, 481, b"Call/Transaction Does Not Exist"),
)

cdef enum:
    ROWS_MAX = 128  # the reasons' numbers reach -81

cdef int STATUS[ROWS_MAX]
cdef const char* PHRASE[ROWS_MAX]

# name -> (number, status, phrase)
REASONS = {name: (number, status, phrase.decode()) for name, number, status, phrase in ROWS}
NAMES = {number: name for name, number, _, _ in ROWS}


cdef int fill() except -1:
    cdef int i
    for i in range(ROWS_MAX):
        STATUS[i] = 500
        PHRASE[i] = b"Server Internal Error"
    STATUS[0] = 200
    PHRASE[0] = b"OK"
    for _, number, status, phrase in ROWS:
        STATUS[-<int>number] = status
        PHRASE[-<int>number] = phrase  # borrowed: the rows live as long as the module
    return 0


cdef int reason_status(int reason) noexcept nogil:
    return STATUS[-reason if -ROWS_MAX < reason <= 0 else ROWS_MAX - 1]


cdef const char* reason_phrase(int reason) noexcept nogil:
    return PHRASE[-reason if -ROWS_MAX < reason <= 0 else ROWS_MAX - 1]


class Refused(ValueError):
    """What Python sees where C returned a negative reason: `reason` is the number, the text names it."""

    def __init__(self, int reason, what=""):
        self.reason = reason
        name = NAMES.get(reason, "UNKNOWN")
        super().__init__(f"{what + ': ' if what else ''}{reason_phrase(reason).decode()} ({name}, {reason_status(reason)})")


def status(int reason):
    return reason_status(reason)


def phrase(int reason):
    return reason_phrase(reason).decode()


fill()
