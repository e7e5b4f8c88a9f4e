"""sipcore.headers and sipcore.charclass: names, methods and the table of bytes, against slow oracles."""

import string

import pytest

from sipcore import charclass, headers

NAMES = {
    "Via": 1, "v": 1, "From": 2, "f": 2, "To": 3, "t": 3, "Call-ID": 4, "i": 4, "CSeq": 5, "Max-Forwards": 6,
    "Contact": 7, "m": 7, "Route": 8, "Record-Route": 9, "Content-Length": 10, "l": 10, "Content-Type": 11, "c": 11,
    "Expires": 12, "Require": 13, "Proxy-Require": 14, "Supported": 15, "k": 15, "Authorization": 16,
    "Proxy-Authorization": 17, "Path": 18, "Retry-After": 19, "User-Agent": 20, "Event": 21, "o": 21, "RAck": 22,
    "Min-Expires": 23,
}
METHODS = ("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "PRACK", "UPDATE", "INFO", "SUBSCRIBE", "NOTIFY",
           "REFER", "MESSAGE", "PUBLISH")
ALPHA = string.ascii_letters
DIGIT = string.digits
UNRESERVED = ALPHA + DIGIT + "-_.!~*'()"
VISIBLE = "".join(map(chr, range(33, 127)))
HIGH = "".join(map(chr, range(128, 256)))
CLASSES = {
    1: ALPHA + DIGIT + "-.!%*_+`'~", 2: DIGIT, 4: ALPHA, 8: string.hexdigits, 16: UNRESERVED + "&=+$,;?/#" + HIGH,
    32: ALPHA + DIGIT + "-._", 64: " \t\r\n", 128: VISIBLE, 256: UNRESERVED + "[]/:&+$", 512: ALPHA + DIGIT + "+-.",
    1024: "".join(c for c in VISIBLE + HIGH if c not in ',;<>"'),
}


@pytest.mark.parametrize("name, number", NAMES.items())
def test_header_ids(name, number):
    for text in (name, name.lower(), name.upper(), name.swapcase()):
        assert headers.header_number(text.encode()) == number


@pytest.mark.parametrize("name", [*NAMES, *METHODS])
def test_near_misses_have_no_id(name):
    known = {other.lower() for other in NAMES}
    for i in range(len(name)):
        for near in (name[:i] + "_" + name[i + 1:], name[:i] + name[i + 1:], name[:i] + "x" + name[i:]):
            if near.lower() not in known:
                assert headers.header_number(near.encode()) == 0
            if near not in METHODS:
                assert headers.method_number(near.encode()) == 0


@pytest.mark.parametrize("name", [*NAMES, *METHODS])
def test_any_other_octet_makes_another_name(name):
    """Of what is no token, only a CR for a hyphen passes here: a line with a bare CR is refused whatever its name."""
    ids = {other.lower().encode(): number for other, number in NAMES.items()}
    for i in range(len(name)):
        for octet in range(256):
            near = name[:i].encode() + bytes([octet]) + name[i + 1:].encode()
            assert headers.header_number(near) == ids.get(near.lower().replace(b"\r", b"-"), 0)
            text = near.decode("latin-1")
            assert headers.method_number(near) == (METHODS.index(text) + 1 if text in METHODS else 0)


def test_methods_are_case_sensitive():
    for number, method in enumerate(METHODS, 1):
        assert headers.method_number(method.encode()) == number
        assert headers.method_number(method.lower().encode()) == 0
        assert headers.method_text(number) == method
    assert headers.method_text(0) == headers.method_text(15) == "OTHER"
    assert headers.method_number(b"") == headers.header_number(b"") == 0


def test_every_byte_has_the_classes_of_the_grammar():
    for byte in range(256):
        assert charclass.classes(byte) == sum(bit for bit, members in CLASSES.items() if chr(byte) in members)
