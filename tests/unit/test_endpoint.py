"""sipcore.endpoint: the octets of an address, to and from text and struct sockaddr."""

import ipaddress

import pytest

from sipcore import endpoint


@pytest.mark.parametrize("host", [
    "192.0.2.1", "0.0.0.0", "255.255.255.255", "2001:db8::1", "::", "::1", "::ffff:1.2.3.4",
])
def test_there_and_back(host):
    packed = endpoint.pack("tls", host, 65535, 7)
    assert len(packed) == 24
    assert endpoint.unpack(packed) == ("tls", host, 65535, 7)
    assert packed[8:8 + len(ipaddress.ip_address(host).packed)] == ipaddress.ip_address(host).packed
    assert endpoint.through_sockaddr(packed) == endpoint.pack("udp", host, 65535)


@pytest.mark.parametrize("octet", range(256))
def test_every_octet_is_written_as_it_was_read(octet):
    host = f"{octet}.{255 - octet}.0.{octet}"
    assert endpoint.unpack(endpoint.pack("udp", host, 1))[1] == host


def test_brackets_are_taken_off():
    assert endpoint.pack("udp", "[2001:db8::1]", 1) == endpoint.pack("udp", "2001:db8::1", 1)


@pytest.mark.parametrize("host", [
    "", "h", "example.com", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.0004", "1..2.3", ".1.2.3", "1.2.3.", "1.2.3.4x",
    "[1.2.3.4]", "[]", "[::1", "::1]", ":::", "1:2:3:4:5:6:7:8:9", "fe80::1%eth0", "1" * 46, "::1\x00",
])
def test_names_and_rubbish_are_no_host(host):
    with pytest.raises(ValueError, match="expected an IPv4 or IPv6 address"):
        endpoint.pack("udp", host, 5060)


def test_text():
    assert endpoint.text(endpoint.pack("udp", "192.0.2.1", 5060)) == "192.0.2.1:5060"
    assert endpoint.text(endpoint.pack("udp", "2001:db8::1", 65535)) == "[2001:db8::1]:65535"
    assert endpoint.text(bytes(24)) == ""


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="transport 'sctp': expected one of udp"):
        endpoint.pack("sctp", "192.0.2.1", 1)
    with pytest.raises(ValueError, match="port 65536: expected 0 to 65535"):
        endpoint.pack("udp", "192.0.2.1", 65536)
    with pytest.raises(ValueError, match="listener -1"):
        endpoint.pack("udp", "192.0.2.1", 1, -1)
    with pytest.raises(ValueError, match="24 octets, not 23"):
        endpoint.unpack(bytes(23))
