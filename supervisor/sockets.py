"""What outlives a child: the UDP socket groups with the kernel filter, the workers' inboxes, the shared counters page.

The arbiter creates all this once and never closes a socket of a group while it serves: that would renumber the group.
"""

import array
import errno
import fcntl
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from supervisor.launch import NO_FD, Listener

# <linux/in.h>, <linux/in6.h>, <asm-generic/socket.h>: what the socket module does not name in Python 3.10.
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_DONT = 10, 23, 0
IP_RECVERR, IPV6_RECVERR = 11, 25
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
SO_ATTACH_REUSEPORT_CBPF = 51
# <linux/sockios.h>, <linux/if.h>, <net/if_inet6.h>
SIOCGIFCONF, SIOCGIFFLAGS, IFF_UP = 0x8912, 0x8913, 0x1
IFA_F_DADFAILED, IFA_F_TENTATIVE = 0x08, 0x40

INTERFACES_MAX = 4096      # addresses asked for in one SIOCGIFCONF; a host with more should name those it serves
IFREQ_SIZE = 16 + max(24 if struct.calcsize("P") == 8 else 16, 16)  # struct ifreq: a name and a union
INBOX_BUFFER = 4 << 20     # octets that wait for a worker which is being started again; counted by the sending end
SEND_BUFFER = 4 << 20      # a sendmmsg batch of 64 full datagrams, and the wait for a busy interface
UDP_INODE_COLUMN = 9   # /proc/net/udp


class SocketError(Exception):
    """A listener or channel cannot be made: one sentence that names it, what stands in the way, and what to do."""


@dataclass(frozen=True)
class Address:
    """One concrete local address to listen on, and the entry of the configuration that it comes from."""

    transport: str
    ip: str
    port: int
    configured: str
    advertise: str | None = None

    def __str__(self) -> str:
        return f"{self.transport}:{host_text(self.ip)}:{self.port}"


@dataclass(frozen=True)
class Group:
    """The SO_REUSEPORT group of one address: socket i belongs to worker i."""

    address: Address
    sockets: tuple[socket.socket, ...]

    def listener(self, worker: int | None) -> Listener:
        """As the launch document shows it to one worker; None: without a descriptor."""
        at = self.address
        fd = NO_FD if worker is None else self.sockets[worker].fileno()
        return Listener(fd, at.transport, at.ip, at.port, at.advertise, at.configured)


@dataclass(frozen=True)
class Inbox:
    """A worker's inbox: it receives on one end; every other process sends into the other."""

    receiver: socket.socket
    sender: socket.socket


def host_text(ip: str) -> str:
    """An address as it stands before `:port`."""
    return f"[{ip}]" if ":" in ip else ip


def expand(entries: Iterable[str], advertise: str = "", local: Sequence[str] | None = None) -> list[Address]:
    """The concrete addresses of `udp:HOST:PORT` entries, in order, each once.

    0.0.0.0 stands for every IPv4 address of the machine, [::] for every IPv6 address, * for both: a socket an address,
    so that a reply leaves from where its request arrived, and Via and Record-Route name a real address. `advertise`
    (host or host:port) goes to every address of its family that is not loopback, or to loopback if that is all.
    `local`: the machine's addresses, if not those of now.
    """
    local = local_addresses() if local is None else local
    found: list[Address] = []
    for entry in entries:
        transport, host, port = _split(entry)
        if host == "*":
            hosts = list(local)
        elif ipaddress.ip_address(host).is_unspecified:
            version = ipaddress.ip_address(host).version
            hosts = [ip for ip in local if ipaddress.ip_address(ip).version == version]
        else:
            hosts = [str(ipaddress.ip_address(host))]
        if not hosts:
            raise SocketError(f"listen {entry!r}: this machine has no address of that family that is up")
        taken = {(address.transport, address.ip, address.port) for address in found if address.port}
        found += [Address(transport, ip, port, entry) for ip in hosts if (transport, ip, port) not in taken]
    return _advertised(found, advertise)


def local_addresses() -> list[str]:
    """The addresses of interfaces that are up: IPv4 first, each once. No link-local IPv6: a Via carries no zone."""
    return list(dict.fromkeys([*_local_ipv4(), *_local_ipv6()]))


def open_group(address: Address, workers: int, receive_buffer: int, program: bytes | None) -> tuple[Group, str | None]:
    """Bind one socket per worker to address (port 0: the port of the first), attach the packed filter (None: without).

    Gives the group, and a warning where the kernel refused the filter. SocketError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in address.ip else socket.AF_INET
    sockets: list[socket.socket] = []
    try:
        if address.port:  # SO_REUSEPORT would join another edge of ours silently: first see that nobody is there
            with _udp_socket(family, receive_buffer) as probe:
                probe.bind((address.ip, address.port))
        for _ in range(workers):
            sock = _udp_socket(family, receive_buffer)
            sockets.append(sock)  # the order of binding is the order in the group
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind((address.ip, address.port))
            address = replace(address, port=sock.getsockname()[1])
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise SocketError(_why_not_bound(address, error)) from error
    return Group(_named(address), tuple(sockets)), attach(sockets[0], program) if program and workers > 1 else None


def attach(sock: socket.socket, program: bytes) -> str | None:
    """Attach a packed classic BPF program to the socket's group; a warning where the kernel refuses it."""
    code = array.array("B", program)
    fprog = struct.pack("@HP", len(code) // 8, code.buffer_info()[0])  # struct sock_fprog; 8 octets a sock_filter
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, fprog)
    except OSError as error:
        return f"the kernel refused the filter ({error.strerror}): messages go through the inboxes, which costs CPU"
    return None


def open_inbox() -> Inbox:
    """A pair of Unix datagram sockets; what is sent waits while the receiving worker is away, INBOX_BUFFER at most."""
    receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for sock in (receiver, sender):
        sock.setblocking(False)
    _set_buffer(sender, SO_SNDBUFFORCE, socket.SO_SNDBUF, INBOX_BUFFER)
    _set_buffer(receiver, SO_RCVBUFFORCE, socket.SO_RCVBUF, INBOX_BUFFER)
    return Inbox(receiver, sender)


def open_page(size: int) -> int:
    """A memfd of size octets, all zero: the shared counters page."""
    fd = os.memfd_create("viaduct-counters")
    os.ftruncate(fd, size)
    return fd


def _split(entry: str) -> tuple[str, str, int]:
    transport, _, rest = entry.partition(":")
    host, _, port = rest.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        if host != "*":
            ipaddress.ip_address(host)
        number = int(port)
    except ValueError:
        raise SocketError(f"listen {entry!r}: expected udp:ADDRESS:PORT, as in udp:0.0.0.0:5060") from None
    return transport, host, number


def _advertised(addresses: list[Address], advertise: str) -> list[Address]:
    if not advertise:
        return addresses
    host, port = _advertised_parts(advertise)
    loopback = [ipaddress.ip_address(address.ip).is_loopback for address in addresses]
    version = _version(host)

    def mark(address: Address, is_loopback: bool) -> Address:
        if is_loopback and not all(loopback) or version not in (None, ipaddress.ip_address(address.ip).version):
            return address
        return replace(address, advertise=f"{host}:{port or address.port}")

    return [mark(address, is_loopback) for address, is_loopback in zip(addresses, loopback, strict=True)]


def _advertised_parts(advertise: str) -> tuple[str, int]:
    """host (IPv6 in brackets) and port, 0 where none is given."""
    if advertise.count(":") > 1 and not advertise.startswith("["):
        return f"[{advertise}]", 0
    host, colon, port = advertise.rpartition(":")
    if not colon or advertise.endswith("]"):
        return advertise, 0
    return host, int(port)


def _version(host: str) -> int | None:
    """4 or 6 for a numeric host, None for a name."""
    try:
        return ipaddress.ip_address(host.strip("[]")).version
    except ValueError:
        return None


def _named(address: Address) -> Address:
    """With the port that the kernel chose in an advertised address that had none to name."""
    if address.advertise and address.advertise.endswith(":0"):
        return replace(address, advertise=f"{address.advertise[:-2]}:{address.port}")
    return address


def _local_ipv4() -> list[str]:
    """SIOCGIFCONF: every IPv4 address, those beside the first of an interface included."""
    buffer = array.array("B", bytes(INTERFACES_MAX * IFREQ_SIZE))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        ifconf = struct.pack("@iP", len(buffer), buffer.buffer_info()[0])
        used = struct.unpack_from("@i", fcntl.ioctl(sock, SIOCGIFCONF, ifconf))[0]
        found = []
        for at in range(0, used, IFREQ_SIZE):
            name = bytes(buffer[at:at + 16])
            flags = struct.unpack_from("@H", fcntl.ioctl(sock, SIOCGIFFLAGS, name + bytes(IFREQ_SIZE - 16)), 16)[0]
            if flags & IFF_UP:
                found.append(socket.inet_ntoa(bytes(buffer[at + 20:at + 24])))
    return found


def _local_ipv6(table: Path = Path("/proc/net/if_inet6")) -> list[str]:
    """Lines of address, interface index, prefix length, scope, flags, name. No table: a kernel without IPv6."""
    if not table.exists():
        return []
    found = []
    for line in table.read_text().splitlines():
        digits, _, _, _, flags, _ = line.split()
        ip = ipaddress.IPv6Address(bytes.fromhex(digits))
        if not ip.is_link_local and not int(flags, 16) & (IFA_F_TENTATIVE | IFA_F_DADFAILED):
            found.append(str(ip))
    return found


def _udp_socket(family: socket.AddressFamily, receive_buffer: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    # The error queue tells of destinations that refuse. Without path MTU discovery a large INVITE is fragmented on its
    # way instead of lost where ICMP is filtered.
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_DONT)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DONT)
    _set_buffer(sock, SO_RCVBUFFORCE, socket.SO_RCVBUF, receive_buffer)
    _set_buffer(sock, SO_SNDBUFFORCE, socket.SO_SNDBUF, SEND_BUFFER)
    return sock


def _set_buffer(sock: socket.socket, forced: int, plain: int, size: int) -> None:
    """Past net.core.rmem_max with CAP_NET_ADMIN, else up to it (conf/sysctl.conf raises it)."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, forced, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, plain, size)


def _why_not_bound(address: Address, error: OSError) -> str:
    why = error.strerror
    if error.errno == errno.EADDRINUSE:
        why = f"the port is in use by {_holder(address.port)}"
    elif error.errno == errno.EADDRNOTAVAIL:
        why = "no interface of this machine has that address"
    elif error.errno == errno.EACCES:
        why = "a port below 1024 needs the capability CAP_NET_BIND_SERVICE"
    return f"cannot listen on {address} (listen {address.configured!r}): {why}"


def _holder(port: int) -> str:
    """Who has a UDP socket on port, as far as /proc lets us see."""
    inodes = set()
    for table in (Path("/proc/net/udp"), Path("/proc/net/udp6")):
        rows = table.read_text().splitlines()[1:] if table.exists() else []
        inodes |= {row[UDP_INODE_COLUMN] for row in map(str.split, rows) if int(row[1].rpartition(":")[2], 16) == port}
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(fd) in wanted for fd in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:  # gone meanwhile, or not ours to look at
            continue
    return "another process"
