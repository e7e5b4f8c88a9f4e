"""sipcore.uri: sip, sips, tel and what is none of them."""

import pytest

from sipcore import uri
from sipcore.reasons import REASONS, Refused


@pytest.mark.parametrize("text, expected", [
    (b"sip:h", {"scheme": "sip", "user": None, "host": b"h", "port": 0, "transport": None, "lr": False}),
    (b"SIPS:a:pw@Example.COM:5061;transport=TLS;lr?x=1",
     {"scheme": "sips", "user": b"a", "password": b"pw", "host": b"Example.COM", "port": 5061, "transport": "tls",
      "lr": True, "headers": b"x=1", "params": b"transport=TLS;lr"}),
    (b"sip:user;par=u%40example.net@example.com", {"user": b"user;par=u%40example.net", "host": b"example.com"}),
    (b"sip:[2001:db8::10]:5070", {"host": b"[2001:db8::10]", "port": 5070, "user": None}),
    (b"sip:*72#@h", {"user": b"*72#"}),
    (b"sip:h;maddr=239.255.255.1;ttl=15", {"maddr": b"239.255.255.1"}),
    (b"sip:h;transport=sctp", {"transport": "unknown"}),
    (b"sip:h;pn-tok=ab==;x", {"params": b"pn-tok=ab==;x"}),
    (b"tel:+1-201-555-0123;phone-context=example.com",
     {"scheme": "tel", "user": b"+1-201-555-0123", "host": b"", "params": b"phone-context=example.com"}),
    (b"isbn:2983792873", {"scheme": "other", "text": b"isbn:2983792873"}),
    (b"sip:" + b"u" * 5000 + b"@h", {"user": b"u" * 5000}),
    (b"sip:h:65535", {"port": 65535}),
])
def test_accepted(text, expected):
    parsed = uri.parse(text)
    assert {name: parsed[name] for name in expected} == expected


@pytest.mark.parametrize("text", [
    b"", b"sip", b"sip:", b"sip:@h", b"sip::pw@h", b"<sip:h>", b" sip:h", b"sip:h ", b"sip:a b@h", b"sip:a%@h",
    b"sip:a%4@h", b"sip:a%zz@h", b"sip:h%", b"sip:h:", b"sip:h:0", b"sip:h:65536", b"sip:h:99999999999", b"sip:h;",
    b"sip:h;;x", b"sip:h;x=", b"sip:h;x=%4", b"sip:h?", b"sip:h?a=\"", b"sip:[::1", b"sip:[1]", b"sip:[::1]x",
    b"sip:a@b@c", b"sip:-h", b"sip:h\x00", b"sip:\x00@h", b"tel:", b"tel:x", b"tel:1?x=1", b"isbn:", b"isbn:<",
    b"1sip:h", b"//h", b"alan@jasomi.com", b"sip:[" + b"1:" * 40 + b"]",
])
def test_refused(text):
    with pytest.raises(Refused) as caught:
        uri.parse(text)
    assert caught.value.reason == REASONS["REQUEST_URI"][0]


@pytest.mark.parametrize("text, expected", [
    (b"sip:%61lice@EXAMPLE.com:5070;transport=tcp", b"alice@example.com"),
    (b"sips:Alice:pw@example.com", b"Alice@example.com"),
    (b"sip:null-%00-null@example.com", b"null-%00-null@example.com"),
    (b"sip:a%2fb%2B+@h", b"a%2Fb%2B+@h"),
    ("sip:j\u00f6rg#@h".encode(), b"j%C3%B6rg%23@h"),
    (b"sip:Example.COM", b"example.com"),
    (b"tel:+1-(201).555", b"+1201555"),
])
def test_aor(text, expected):
    assert uri.aor(text) == expected
    assert uri.aor(text, len(expected)) == expected
    with pytest.raises(Refused) as caught:
        uri.aor(text, len(expected) - 1)
    assert caught.value.reason == REASONS["NO_ROOM"][0]


def test_aor_of_an_aor_is_the_same():
    once = uri.aor(b"sip:a%2fb%7E@H")
    assert uri.aor(b"sip:" + once) == once


def test_aor_of_another_scheme():
    with pytest.raises(Refused) as caught:
        uri.aor(b"isbn:2983792873")
    assert caught.value.reason == REASONS["SCHEME"][0]


def test_param():
    assert uri.param(b"lr;Maddr=1.2.3.4;v=ab=", b"maddr") == b"1.2.3.4"
    assert uri.param(b"lr;maddr=1.2.3.4;v=ab=", b"v") == b"ab="
    assert uri.param(b"lr;maddr=1.2.3.4", b"lr") == b""
    assert uri.param(b"lrx;xlr", b"lr") is None
    assert uri.param(b"", b"lr") is None
