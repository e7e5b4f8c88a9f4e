"""Methods to ids and texts; what Python sees of headers.pxd."""

cdef const char** METHOD_NAMES = [
    b"OTHER", b"INVITE", b"ACK", b"BYE", b"CANCEL", b"OPTIONS", b"REGISTER", b"PRACK", b"UPDATE", b"INFO",
    b"SUBSCRIBE", b"NOTIFY", b"REFER", b"MESSAGE", b"PUBLISH",
]


cdef const char* method_name(uint16_t method) noexcept nogil:
    return METHOD_NAMES[method if method <= METHOD_PUBLISH else 0]


def header_number(bytes name):
    """The id of a header name, 0 where we have none for it."""
    return header_id(name, len(name))


def method_number(bytes text):
    """The id of a method, 0 where we have none for it."""
    return method_id(text, len(text))


def method_text(int number):
    return method_name(number).decode()
