"""Our own messages for the parser: why each is here, its octets, the verdict, and what must be read from it.

Every bug becomes a row; every reason that parsing knows has at least one.
"""

from typing import NamedTuple

OPTIONS = (
    b"OPTIONS sip:bob@example.net SIP/2.0",
    b"Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bKabc;rport",
    b"Max-Forwards: 70",
    b"From: \"Ann\" <sip:ann@example.com>;tag=77",
    b"To: <sip:bob@example.net>",
    b"Call-ID: 1@192.0.2.1",
    b"CSeq: 9 OPTIONS",
)


class Vector(NamedTuple):
    name: str
    why: str
    data: bytes
    reason: str  # a name of sipcore.reasons.REASONS, or OK
    fields: dict = {}


def message(*lines, body=b"", without=(), start=None):
    """OPTIONS with header lines added, those that begin with a name in `without` left out, and another start line."""
    kept = [line for line in OPTIONS[1:] if line.split(b":")[0] not in without]
    return b"\r\n".join([start or OPTIONS[0], *kept, *lines, b"", body])


def replaced(line, **options):
    """OPTIONS with `line` in the place of the header of that name."""
    return message(line, without=(line.split(b":")[0].strip(),), **options)


def cseq_for(method, start):
    return message(b"CSeq: 9 " + method, without=(b"CSeq",), start=start)


LONG = b"x" * 2000

MESSAGES = [
    # accepted
    Vector("plain", "the message the others are made from", message(), "OK",
           {"method": b"OPTIONS", "cseq": 9, "from_tag": b"77", "to_tag": b"", "call_id": b"1@192.0.2.1",
            "from_uri": b"sip:ann@example.com", "to_uri": b"sip:bob@example.net", "max_forwards": 70,
            "content_length": -1, "answerable": True, "request_uri": b"sip:bob@example.net", "request_uri_reason": 0}),
    Vector("body", "without a Content-Length the datagram ends the body (RFC 3261 18.3)",
           message(body=b"a\x00\nb"), "OK", {"body": b"a\x00\nb"}),
    Vector("body-cut", "octets behind the body are ignored", message(b"l: 2", body=b"abcd"), "OK", {"body": b"ab"}),
    Vector("leading-crlf", "CRLFs in front of the start line (RFC 3261 7.5)", b"\r\n\r\n" + message(), "OK"),
    Vector("response", "a response takes its method from CSeq",
           message(start=b"SIP/2.0 180 Ringing"), "OK",
           {"is_request": False, "status": 180, "reason_phrase": b"Ringing", "method": b"OPTIONS",
           "answerable": False}),
    Vector("no-space-after-code", "some leave the last space away", message(start=b"SIP/2.0 200"), "OK",
           {"status": 200}),
    Vector("compact", "compact forms, white space before the colon, folds",
           b"OPTIONS sip:b@h SIP/2.0\r\nv \t:\r\n SIP/2.0/UDP\r\n\th;branch\r\n =\r\n z9hG4bKq\r\n"
           b"f:sip:a@h\r\n ;tag=1\r\n"
           b"t:sip:b@h\r\ni:x\r\nCSEQ:1\r\n OPTIONS\r\n\r\n", "OK",
           {"from_tag": b"1", "cseq": 1, "call_id": b"x", "max_forwards": -1}),
    Vector("ack", "an ACK is never answered", cseq_for(b"ACK", b"ACK sip:b@h SIP/2.0"), "OK", {"answerable": False}),
    Vector("unknown-method", "methods are compared by octets", cseq_for(b"invite", b"invite sip:b@h SIP/2.0"), "OK",
           {"method": b"invite"}),
    Vector("utf8", "UTF-8 in display names and values passes",
           replaced("From: \"J\u00f6rg\" <sip:j@example.com>;tag=1".encode()), "OK", {"from_tag": b"1"}),
    Vector("utf8-bare", "an unquoted UTF-8 display name, as phones send it",
           replaced("From: J\u00f6rg (M\u00fcller) <sip:j@example.com>;tag=1".encode()), "OK", {"from_tag": b"1"}),
    Vector("nul-quoted", "a NUL inside quotes is text (RFC 4475 3.1.1.2)",
           replaced(b"From: \"a\\\x00b\" <sip:a@h>;tag=1"), "OK", {"from_tag": b"1"}),
    Vector("max-forwards-large", "more than 255 counts as 255", replaced(b"Max-Forwards: 99999999999999999999"), "OK",
           {"max_forwards": 255}),
    Vector("cseq-most", "the highest sequence number (RFC 3261 8.1.1.5)", replaced(b"CSeq: 2147483647 OPTIONS"), "OK",
           {"cseq": 2147483647}),
    Vector("branch-2543", "no branch at all: a client from before RFC 3261", replaced(b"Via: SIP/2.0/UDP h"), "OK"),
    Vector("transport-unknown", "a transport that we do not speak (RFC 4475 3.1.1.10)",
           replaced(b"Via: SIP/2.0/SCTP h;branch=z9hG4bKa"), "OK"),
    Vector("name-long", "CVE-2026-45538: a header name over 255 octets", message(b"X" * 300 + b": 1"), "OK"),
    Vector("user-long", "CVE-2026-45537: a user part over 1 KB",
           message(start=b"OPTIONS sip:" + LONG + b"@h SIP/2.0"), "OK", {"request_uri_reason": 0}),
    Vector("tel", "CVE-2023-27597: a tel URI has no host", message(start=b"OPTIONS tel:+1-555;phone-context=x SIP/2.0"),
           "OK", {"request_uri_reason": 0}),
    Vector("x-name-space", "CVE-2020-28361: white space before the colon does not hide a name",
           message(b"X-Bypass-me \t: lol"), "OK"),
    Vector("tag-long", "CVE-2018-8828: long tags", replaced(b"From: <sip:a@h>;tag=" + LONG), "OK", {"from_tag": LONG}),
    Vector("to-tag", "a tag in any case, white space around it", replaced(b"To: <sip:a@h> ; TAG = z "), "OK",
           {"to_tag": b"z"}),
    Vector("ipv6", "RFC 5118: IPv6 references", replaced(
        b"Via: SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bKas3-111",
        start=b"OPTIONS sip:[2001:db8::10]:5070 SIP/2.0"), "OK", {"request_uri_reason": 0}),
    # keep-alives and rubbish
    Vector("crlf", "RFC 5626 4.4.1", b"\r\n\r\n", "KEEPALIVE"),
    Vector("zeros", "keep-alive of many phones", b"\x00" * 4, "KEEPALIVE"),
    Vector("empty", "an empty datagram opens a pinhole too", b"", "KEEPALIVE"),
    Vector("stun", "a STUN binding request by its magic number (RFC 8489 5)",
           b"\x00\x01\x00\x00\x21\x12\xa4\x42" + b"t" * 12, "KEEPALIVE"),
    Vector("short", "CVE-2022-31001: shorter than the method", b"INV", "TOO_SHORT"),
    # start line
    Vector("no-version", "a request line without its version", message(start=b"OPTIONS sip:b@example.net"),
           "START_LINE"),
    Vector("http", "another protocol", message(start=b"GET / HTTP/1.1"), "START_LINE"),
    Vector("start-tab", "a tab is no separator", message(start=b"OPTIONS\tsip:b@h SIP/2.0"), "START_LINE",
           {"answerable": False}),
    Vector("start-nul", "a NUL in the start line", message(start=b"OPTIONS sip:b\x00@h SIP/2.0"), "START_LINE"),
    Vector("start-lf", "a bare LF ends nothing", message().replace(b"\r\n", b"\n"), "START_LINE"),
    Vector("version", "another version of SIP", message(start=b"OPTIONS sip:b@h SIP/3.0"), "VERSION",
           {"answerable": True}),
    Vector("version-response", "the same in a response", message(start=b"SIP/1.0 200 OK"), "VERSION"),
    Vector("status-low", "status below 100", message(start=b"SIP/2.0 099 Low"), "STATUS_CODE"),
    Vector("status-high", "status above 699", message(start=b"SIP/2.0 700 High"), "STATUS_CODE"),
    Vector("status-long", "four digits", message(start=b"SIP/2.0 2000 OK"), "STATUS_CODE"),
    # header lines
    Vector("no-colon", "a line without a colon", message(b"Foobar roobar"), "HEADER_LINE"),
    Vector("vt-name", "AST-2016-009: To<VT>: is no To", message(b"To\x0b: <sip:x@h>;tag=1"), "HEADER_LINE"),
    Vector("nul-name", "a NUL in a name", message(b"T\x00o: x"), "HEADER_LINE"),
    Vector("nul-value", "a NUL outside quotes", message(b"Subject: a\x00b"), "HEADER_LINE"),
    Vector("bare-lf", "a bare LF would hide a header from us", message(b"Subject: a\nRoute: <sip:evil>"), "HEADER_LINE",
           {"answerable": True}),
    Vector("bare-cr", "the same with a CR", message(b"Subject: a\rRoute: <sip:evil>"), "HEADER_LINE"),
    Vector("fold-first", "a fold with nothing before it", message().replace(b"Via", b" Via", 1), "HEADER_LINE"),
    Vector("many-headers", "one more than the index holds", message(*[b"X: 1"] * 251), "TOO_MANY_HEADERS",
           {"answerable": True}),
    Vector("headers-at-limit", "as many as the index holds", message(*[b"X: 1"] * 250), "OK"),
    Vector("no-end", "the empty line is missing", message()[:-2], "NO_END_OF_HEADERS", {"answerable": True}),
    Vector("cut", "cut in the middle of a line", message()[:-10], "NO_END_OF_HEADERS"),
    # what every message needs
    Vector("no-via", "no Via", message(without=(b"Via",)), "NO_VIA", {"answerable": False}),
    Vector("no-from", "no From", message(without=(b"From",)), "NO_FROM"),
    Vector("no-to", "no To", message(without=(b"To",)), "NO_TO"),
    Vector("no-call-id", "no Call-ID", message(without=(b"Call-ID",)), "NO_CALL_ID"),
    Vector("no-cseq", "no CSeq", message(without=(b"CSeq",)), "NO_CSEQ"),
    Vector("via-colons", "CVE-2023-27598: a Via without a host", replaced(b"Via: SIP/2.0/UDP ::::"), "VIA"),
    Vector("via-empty", "an empty Via", replaced(b"Via:"), "VIA"),
    Vector("via-no-host", "CVE-2018-16657: only parameters", replaced(b"Via: SIP/2.0/UDP ;branch=z9hG4bKa"), "VIA"),
    Vector("via-port", "a port out of range", replaced(b"Via: SIP/2.0/UDP h:65536;branch=z9hG4bKa"), "VIA"),
    Vector("via-two-branches", "which one would count", replaced(b"Via: SIP/2.0/UDP h;branch=z9hG4bKa;branch=z9hG4bKb"),
           "VIA"),
    Vector("branch-cookie", "RFC 4475 3.2.1: nothing behind the magic cookie",
           replaced(b"Via: SIP/2.0/UDP h;branch=z9hG4bK"),
           "BRANCH"),
    Vector("from-star", "a star is a Contact only", replaced(b"From: *"), "FROM"),
    Vector("from-quote", "an open quote", replaced(b"From: \"Ann <sip:ann@example.com>;tag=7"), "FROM"),
    Vector("from-comma", "RFC 4475 3.1.2.15: an unquoted comma", replaced(b"From: Bell, A <sip:a@h>;tag=4"), "FROM"),
    Vector("from-two", "two addresses", replaced(b"From: <sip:a@h>;tag=4, <sip:b@h>"), "FROM"),
    Vector("to-empty-tag", "CVE-2018-14767: an empty tag", replaced(b"To: <sip:a@h>;tag="), "TO"),
    Vector("to-two-tags", "two tags", replaced(b"To: <sip:a@h>;tag=a;tag=b"), "TO"),
    Vector("to-backslash", "CVE-2023-27599: a backslash ends a quoted value", replaced(b"To: <sip:a@h>;x=\"abc\\"),
           "TO"),
    Vector("to-backslash-quote", "the same with its quote escaped", replaced(b"To: <sip:a@h>;x=\"abc\\\""), "TO"),
    Vector("to-percent", "CVE-2022-31002: % at the end of a URI", replaced(b"To: <sip:a%@h>"), "TO"),
    Vector("to-spaces", "RFC 4475 3.1.2.14: spaces inside the brackets", replaced(b"To: < sip:a@h >"), "TO"),
    Vector("to-double", "CVE-2018-14767, CVE-2023-28095: two To", message(b"To: <sip:bob@example.net>"), "DUPLICATE",
           {"answerable": True}),
    Vector("to-compact-double", "the same under its compact name", message(b"t: <sip:bob@example.net>;tag=9"),
           "DUPLICATE"),
    Vector("call-id-empty", "an empty Call-ID", replaced(b"Call-ID: "), "CALL_ID"),
    Vector("call-id-space", "white space inside", replaced(b"Call-ID: a b"), "CALL_ID"),
    Vector("cseq-2-31", "Kamailio 24030e5899: 2^31", replaced(b"CSeq: 2147483648 OPTIONS"), "CSEQ"),
    Vector("cseq-2-64", "wraps in 64 bits", replaced(b"CSeq: 18446744073709551617 OPTIONS"), "CSEQ"),
    Vector("cseq-no-method", "no method", replaced(b"CSeq: 9"), "CSEQ"),
    Vector("cseq-method-long", "AST-2017-002: a long method in CSeq", replaced(b"CSeq: 9 " + LONG), "CSEQ_METHOD"),
    Vector("cseq-method", "the method differs from the request line", replaced(b"CSeq: 9 INVITE"), "CSEQ_METHOD"),
    Vector("cl-wrap", "CVE-2026-45103: 2^32", message(b"Content-Length: 4294967296"), "CONTENT_LENGTH"),
    Vector("cl-wrap-64", "2^64 + 1", message(b"Content-Length: 18446744073709551617", body=b"ab"), "CONTENT_LENGTH"),
    Vector("cl-negative", "RFC 4475 3.1.2.3", message(b"Content-Length: -1"), "CONTENT_LENGTH"),
    Vector("cl-more", "one more than there is", message(b"Content-Length: 3", body=b"ab"), "CONTENT_LENGTH"),
    Vector("cl-exact", "as many as there are", message(b"Content-Length: 2", body=b"ab"), "OK", {"content_length": 2}),
    Vector("cl-two", "two lengths", message(b"Content-Length: 0", b"l: 0"), "DUPLICATE"),
    Vector("max-forwards", "no digits", replaced(b"Max-Forwards: -1"), "MAX_FORWARDS"),
    # the request URI
    Vector("uri-brackets", "RFC 4475 3.1.2.7", message(start=b"OPTIONS <sip:b@h> SIP/2.0"), "OK",
           {"request_uri_reason": "REQUEST_URI"}),
    Vector("uri-percent", "CVE-2022-31002", message(start=b"OPTIONS sip:b%4 SIP/2.0"), "OK",
           {"request_uri_reason": "REQUEST_URI"}),
    Vector("uri-headers", "RFC 4475 3.1.2.11", message(start=b"OPTIONS sip:b@h?Route=%3Csip:e%3E SIP/2.0"), "OK",
           {"request_uri_reason": "REQUEST_URI"}),
    Vector("uri-scheme", "RFC 4475 3.3.2", message(start=b"OPTIONS nobody:knows SIP/2.0"), "OK",
           {"request_uri_reason": "SCHEME"}),
]
