"""sipcore.address: name-addr, addr-spec and their parameters."""

import pytest

from sipcore import address
from sipcore.reasons import REASONS, Refused


@pytest.mark.parametrize("value, expected", [
    (b"<sip:a@h>;tag=1;x",
     {"display": b"", "brackets": True, "tag": b"1", "params": b"tag=1;x", "expires": -1, "q": -1}),
    (b"sip:a@h;tag=1", {"brackets": False, "tag": b"1", "params": b"tag=1"}),
    (b"sip:a@h", {"params": b"", "tag": b"", "end": 7}),
    (b"\"A, <B>\" <sip:a@h>, <sip:b@h>", {"display": b"\"A, <B>\"", "end": 18}),
    (b"caller<sip:a@h>", {"display": b"caller"}),
    (b"J R\r\n Q <sip:a@h>", {"display": b"J R\r\n Q"}),
    (b"sip <sip:a@h>", {"display": b"sip"}),
    (b"*", {"star": True, "uri": None}),
    (b" * ", {"star": True}),
    (b"* <sip:a@h>", {"star": False, "display": b"*"}),
    (b"<sip:a@h?Route=%3Csip:e%3E>;expires=60;q=0.5", {"expires": 60, "q": 500}),
    (b"<sip:a@h>;expires=99999999999999999999;q=1.000", {"expires": 2**31 - 1, "q": 1000}),
    (b"<sip:a@h>;expires=-1;q=1.001", {"expires": -2, "q": -2}),
    (b"<sip:a@h>;expires;q=0.1234", {"expires": -2, "q": -2}),
    (b"<sip:a@h>;q=0", {"q": 0}),
    (b"<sip:a@h>;q=0.", {"q": 0}),
    (b"<sip:a@h>;q=.5", {"q": -2}),
    (b"<isbn:2983792873>", {"brackets": True}),
])
def test_accepted(value, expected):
    parsed = address.parse(value)
    assert {name: parsed[name] for name in expected} == expected


@pytest.mark.parametrize("value", [
    b"", b" ", b"<", b"<>", b"<sip:a@h", b"< sip:a@h>", b"<sip:a@h >", b"\"A <sip:a@h>", b"\"A\" sip:a@h", b"\"A\"",
    b"A, B <sip:a@h>", b"sip:a@h?Route=x", b"<sip:a@h>x", b"<sip:a@h>;", b"<sip:a@h>;;x", b"<sip:a@h>;x=",
    b"<sip:a@h>;tag=", b"<sip:a@h>;tag", b"<sip:a@h>;tag=1;tag=2", b"<sip:a@h>;x=\"\\", b"<sip:a@h>;x=\"\\\"", b"*;x",
    b"sip:a@h sip:b@h", b"<sip:a%@h>", b"h", b"\"", b"\"\\",
])
def test_refused(value):
    """What a registrar answers 400 to; "?" without brackets is RFC 4475 3.1.2.13."""
    with pytest.raises(Refused) as caught:
        address.parse(value)
    assert caught.value.reason == REASONS["CONTACT"][0]


def test_uri_of_an_address():
    parsed = address.parse(b"\"A\" <sip:a@h:5070;transport=tcp>;expires=5")
    assert (parsed["uri"]["user"], parsed["uri"]["port"], parsed["uri"]["transport"]) == (b"a", 5070, "tcp")


def test_param():
    value = b"<sip:a@h> ; +sip.instance = \"<urn:uuid:1,2>\";reg-id=1;ob"
    assert address.param(value, b"+SIP.Instance") == b"\"<urn:uuid:1,2>\""
    assert address.param(value, b"reg-id") == b"1"
    assert address.param(value, b"ob") == b""
    assert address.param(value, b"expires") is None
    assert address.param(b"<sip:a@h>", b"ob") is None
