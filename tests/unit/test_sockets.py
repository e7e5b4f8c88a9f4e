"""Listen entries made concrete, socket groups in worker order, inboxes that hold what is sent, errors that name who."""

import errno
import ipaddress
import os
import socket
import struct
from pathlib import Path

import pytest

from supervisor import sockets
from supervisor.sockets import Address, SocketError, expand

LOCAL = ["127.0.0.1", "192.0.2.7", "192.0.2.8", "::1", "2001:db8::7"]
BUFFER = 1 << 16
TO_LAST = struct.pack("=HBBI", 0x06, 0, 0, 2)  # classic BPF: return 2


@pytest.fixture
def group():
    """open(workers, program) -> a group on a free port of 127.0.0.1, closed afterwards."""
    opened = []

    def make(workers, program=None, address=None):
        made, warning = sockets.open_group(address or expand(["udp:127.0.0.1:0"])[0], workers, BUFFER, program)
        opened.extend(made.sockets)
        return made, warning

    yield make
    for sock in opened:
        sock.close()


def ips(addresses: list[Address]) -> list[str]:
    return [address.ip for address in addresses]


def test_a_wildcard_is_every_address_of_its_family():
    assert ips(expand(["udp:0.0.0.0:5060"], local=LOCAL)) == LOCAL[:3]
    assert ips(expand(["udp:[::]:5060"], local=LOCAL)) == LOCAL[3:]
    assert ips(expand(["udp:*:5060"], local=LOCAL)) == LOCAL


def test_an_address_stands_for_itself_and_keeps_its_entry():
    entry = "udp:[2001:DB8:0::7]:5070"
    assert expand([entry], local=LOCAL) == [Address("udp", "2001:db8::7", 5070, entry)]


def test_what_two_entries_name_is_listened_on_once():
    addresses = expand(["udp:192.0.2.8:5060", "udp:0.0.0.0:5060", "udp:192.0.2.8:5080"], local=LOCAL)
    assert [(address.ip, address.port) for address in addresses] == [
        ("192.0.2.8", 5060), ("127.0.0.1", 5060), ("192.0.2.7", 5060), ("192.0.2.8", 5080)]


@pytest.mark.parametrize("entry", ["udp:5060", "udp:host:5060", "udp:127.0.0.1", "udp:127.0.0.1:sip", "", "udp:[::1:5"])
def test_a_malformed_entry_is_named(entry):
    with pytest.raises(SocketError, match="expected udp:ADDRESS:PORT"):
        expand([entry], local=LOCAL)


def test_a_wildcard_without_any_address_is_refused():
    with pytest.raises(SocketError, match="no address of that family"):
        expand(["udp:[::]:5060"], local=["127.0.0.1"])


@pytest.mark.parametrize(("advertise", "entries", "expected"), [
    ("sip.example.com", ["udp:0.0.0.0:5060"], [None, "sip.example.com:5060", "sip.example.com:5060"]),
    ("198.51.100.1:5080", ["udp:192.0.2.7:5060", "udp:[2001:db8::7]:5060"], ["198.51.100.1:5080", None]),
    ("2001:db8::99", ["udp:192.0.2.7:5060", "udp:[2001:db8::7]:5060"], [None, "[2001:db8::99]:5060"]),
    ("[2001:db8::99]:5070", ["udp:[2001:db8::7]:5060"], ["[2001:db8::99]:5070"]),
    ("[2001:db8::99]", ["udp:[2001:db8::7]:5060"], ["[2001:db8::99]:5060"]),
    ("sip.example.com", ["udp:127.0.0.1:5060"], ["sip.example.com:5060"]),
    ("", ["udp:192.0.2.7:5060"], [None]),
])
def test_who_advertises_what(advertise, entries, expected):
    assert [address.advertise for address in expand(entries, advertise, LOCAL)] == expected


def test_the_machines_addresses_are_real_and_can_be_bound():
    found = sockets.local_addresses()
    assert "127.0.0.1" in found and len(set(found)) == len(found)
    for ip in found:
        assert not ipaddress.ip_address(ip).is_unspecified
        with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((ip, 0))


def test_ipv6_addresses_that_cannot_be_used_are_left_out(tmp_path: Path):
    table = tmp_path / "if_inet6"
    table.write_text("fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n"
                     "20010db8000000000000000000000001 04 40 00 80     eth0\n"
                     "20010db8000000000000000000000002 04 40 00 40     eth0\n"
                     "20010db8000000000000000000000003 04 40 00 c8     eth0\n"
                     "00000000000000000000000000000001 01 80 10 80       lo\n")
    assert sockets._local_ipv6(table) == ["2001:db8::1", "::1"]
    assert sockets._local_ipv6(tmp_path / "none") == []


def test_a_group_is_one_port_a_socket_per_worker(group):
    made, warning = group(3)
    assert warning is None
    ports = {sock.getsockname()[1] for sock in made.sockets}
    assert ports == {made.address.port} and made.address.port != 0
    for sock in made.sockets:
        assert not sock.getblocking() and not sock.get_inheritable()
        assert sock.getsockopt(socket.IPPROTO_IP, sockets.IP_RECVERR) == 1
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= BUFFER


def test_worker_i_has_socket_i_of_the_kernels_group(group):
    made, warning = group(4, TO_LAST)
    assert warning is None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number in range(8):
            sock.sendto(bytes([number]), ("127.0.0.1", made.address.port))
    assert [made.sockets[2].recv(10)[0] for _ in range(8)] == list(range(8))
    for other in (0, 1, 3):
        with pytest.raises(BlockingIOError):
            made.sockets[other].recv(10)
    assert made.listener(2).fd == made.sockets[2].fileno() and made.listener(None).fd == -1


def test_ipv6_stands_beside_ipv4_on_one_port(group):
    if "::1" not in sockets.local_addresses():
        pytest.skip("no IPv6 on this machine's loopback")
    four, _ = group(2)
    six, _ = group(2, address=expand([f"udp:[::1]:{four.address.port}"])[0])
    assert six.address.port == four.address.port
    assert six.sockets[0].getsockopt(socket.IPPROTO_IPV6, sockets.IPV6_RECVERR) == 1


def test_a_refused_filter_is_a_warning(group):
    _, warning = group(2, struct.pack("=HBBI", 0xFFFF, 0, 0, 0))
    assert "the kernel refused the filter" in warning


def test_a_port_in_use_names_its_holder_even_if_it_would_share(group):
    made, _ = group(2)
    with pytest.raises(SocketError, match=rf"udp:127.0.0.1:{made.address.port} .*in use by .*pid {os.getpid()}"):
        group(2, address=made.address)


def test_an_address_of_another_machine_is_named(group):
    with pytest.raises(SocketError, match=r"udp:198.51.100.77:5999 .*no interface of this machine"):
        group(1, address=expand(["udp:198.51.100.77:5999"])[0])


def test_an_inbox_keeps_datagrams_in_order_and_is_bounded():
    inbox = sockets.open_inbox()
    sent = 0
    try:
        while True:
            sent += inbox.sender.send(struct.pack("I", sent // 1400) + bytes(1396))
    except BlockingIOError as full:
        assert full.errno in (errno.EAGAIN, errno.EWOULDBLOCK)
    count = sent // 1400
    assert count > 100  # far beyond net.unix.max_dgram_qlen's 10, or a burst would be lost while a worker restarts
    assert [struct.unpack_from("I", inbox.receiver.recv(1500))[0] for _ in range(count)] == list(range(count))
    inbox.receiver.close()
    inbox.sender.close()


def test_the_page_is_shared_zeroed_and_of_the_asked_size():
    fd = sockets.open_page(123_456)
    assert os.fstat(fd).st_size == 123_456 and os.pread(fd, 16, 4096) == bytes(16)
    os.close(fd)
