"""sipcore.via: one Via value."""

import pytest

from sipcore import via
from sipcore.reasons import REASONS, Refused


@pytest.mark.parametrize("value, expected", [
    (b"SIP/2.0/UDP 192.0.2.1:5062;rport;branch=z9hG4bKa",
     {"transport": "udp", "host": b"192.0.2.1", "port": 5062, "sent_by": b"192.0.2.1:5062", "branch": b"z9hG4bKa",
      "has_cookie": True, "has_rport": True, "rport": b"", "received": b""}),
    (b"SIP / 2.0 / tcp\r\n h : 1 ; branch\r\n = x , SIP/2.0/UDP b",
     {"transport": "tcp", "host": b"h", "port": 1, "sent_by": b"h : 1", "branch": b"x", "has_cookie": False,
      "text": b"SIP / 2.0 / tcp\r\n h : 1 ; branch\r\n = x", "end": 39}),
    (b"SIP/2.0/UNKNOWN [2001:db8::9:1];received=2001:db8::9:255;rport=7",
     {"transport": "unknown", "host": b"[2001:db8::9:1]", "received": b"2001:db8::9:255", "rport": b"7"}),
    (b"SIP/2.0/WSS abc.invalid;q=\"a,b;branch=c\";branch=z9hG4bK1", {"transport": "wss", "branch": b"z9hG4bK1"}),
    (b"SIP/2.0/UDP my_host;hidden", {"host": b"my_host"}),
])
def test_accepted(value, expected):
    parsed = via.parse(value)
    assert {name: parsed[name] for name in expected} == expected


@pytest.mark.parametrize("value", [
    b"", b"SIP/2.0/UDP", b"SIP/2.0/UDP ", b"SIP/2.0/UDP ;x", b"SIP/2.0/UDP ::::", b"SIP/2.0/UDP h:", b"SIP/2.0/UDP h:0",
    b"SIP/2.0/UDP h:65536", b"SIP/2.0/UDP h;;", b"SIP/2.0/UDP h;branch=", b"SIP/2.0/UDP h;received", b"SIP/2.0/UDP h h",
    b"SIP/3.0/UDP h", b"HTTP/2.0/UDP h", b"SIP/2.0 h", b"SIP//UDP h", b",SIP/2.0/UDP h", b"SIP/2.0/UDP h;x=\"",
    b"SIP/2.0/UDP h;x=\"\\", b"SIP/2.0/UDP h;rport;rport", b"SIP/2.0/UDP h;received=a;received=b",
    b"SIP/2.0/UDP h;branch=a;branch=b", b"SIP/2.0/UDP [::1", b"SIP/2.0/UDP h;",
])
def test_refused(value):
    with pytest.raises(Refused) as caught:
        via.parse(value)
    assert caught.value.reason == REASONS["VIA"][0]


def test_branch_of_nothing_but_the_cookie():
    with pytest.raises(Refused) as caught:
        via.parse(b"SIP/2.0/UDP h;branch=z9hG4bK")
    assert caught.value.reason == REASONS["BRANCH"][0]
