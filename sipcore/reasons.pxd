"""Why something was refused: a negative number below Python, a SIP status and a sentence above it (see reasons.pyx).

Adding one: give it a number here, its row in reasons.pyx, and at least one vector.
"""

cdef enum Reason:
    REASON_OK = 0
    # the datagram as a whole
    REASON_KEEPALIVE = -1            # CRLF, zeros, STUN: not SIP, answered or dropped, never an error
    REASON_TOO_SHORT = -2
    REASON_START_LINE = -3
    REASON_VERSION = -4              # 505
    REASON_STATUS_CODE = -5
    REASON_REQUEST_URI = -6
    REASON_SCHEME = -7               # 416
    REASON_HEADER_LINE = -8          # a line without a colon, a bad name, a bare CR or LF, a NUL outside quotes
    REASON_TOO_MANY_HEADERS = -9     # 513
    REASON_NO_END_OF_HEADERS = -10
    # headers every message needs
    REASON_NO_VIA = -20
    REASON_NO_FROM = -21
    REASON_NO_TO = -22
    REASON_NO_CALL_ID = -23
    REASON_NO_CSEQ = -24
    REASON_VIA = -30
    REASON_FROM = -31
    REASON_TO = -32
    REASON_CALL_ID = -33
    REASON_CSEQ = -34
    REASON_CSEQ_METHOD = -35         # differs from the request line
    REASON_CONTENT_LENGTH = -36      # malformed, negative, or more than the datagram holds
    REASON_MAX_FORWARDS = -37
    REASON_DUPLICATE = -38           # a header that may stand once stands twice (even alike: an edit would change one of them)
    REASON_CONTACT = -39
    REASON_ROUTE = -40
    REASON_EXPIRES = -41
    REASON_BRANCH = -42              # the branch is nothing but the magic cookie
    # building
    REASON_NO_ROOM = -60             # the message would outgrow its buffer: 513
    # routing
    REASON_HOPS = -70                # 483
    REASON_LOOP = -71                # 482
    REASON_PROXY_REQUIRE = -72       # 420
    REASON_NOT_HERE = -73            # 404
    REASON_NO_DIALOG = -74           # 481
    REASON_OFFLINE = -75             # 480
    REASON_NO_DESTINATION = -76      # 500 No FS Destinations
    REASON_OVERLOAD = -77            # 503
    REASON_ROUTE_DENIED = -78        # 403 pre-loaded Route
    REASON_FOREIGN_DOMAIN = -79      # 403
    REASON_UNRESOLVABLE = -80        # 500: a name where an address was needed
    REASON_COOKIE = -81

cdef int reason_status(int reason) noexcept nogil        # the SIP status that answers it
cdef const char* reason_phrase(int reason) noexcept nogil  # NUL-terminated
