"""The kernel's filter, `steer` and a plain oracle name the same worker for any datagram; branches split evenly."""

import ctypes
import os
import random
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipcore import steering

SO_ATTACH_REUSEPORT_CBPF = 51
WINDOW = 384
HASHED = 56
MAGIC = b"z9hG4bK"
PIECES = [MAGIC[i:i + 4] for i in range(4)]


# The oracle: steering as the decision tells it, the slow and obvious way.

def mix(value, shift, factor=1):
    return (value ^ value >> shift) * factor % 2**32


def oracle_hash(token):
    value = 0x811C9DC5
    for octet in token:
        value = (value ^ octet) * 0x01000193 % 2**32
    return mix(mix(mix(value, 16, 0x7FEB352D), 15, 0x846CA68B), 16)


def oracle(data, workers):
    window = data[:WINDOW]
    words = [(at, window[at:at + 4]) for at in range(0, len(window), 4)]
    start = next((at - PIECES.index(word) for at, word in words if word in PIECES), -1)
    if start < 0 or window[start:start + 7] != MAGIC:
        return 0
    token = data[start + 7:]
    if data[:4].lower() == b"sip/" and token[:1] == b"V":
        digits = [octet - ord("A") for octet in token[1:3]]
        if all(0 <= digit < 16 for digit in digits):
            if len(digits) < 2:
                return 0
            if digits[0] * 16 + digits[1] < workers:
                return digits[0] * 16 + digits[1]
    end = next((at for at, octet in enumerate(token[:HASHED]) if octet <= 32 or octet in b";,>"), None)
    if end is None and len(token) < HASHED:
        return 0
    return oracle_hash(token[:HASHED if end is None else end]) % workers


# Branches as others make them: constant text, counters, addresses and random parts where each of them has them.

HEX = "0123456789abcdef"
ALPHANUMERIC = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def text(rng, alphabet, length):
    return "".join(rng.choices(alphabet, k=length))


STYLES = {
    "freeswitch": lambda rng, n: text(rng, "0123456789BDFHKNQSUXZacegjmprtvy", 13),
    "kamailio": lambda rng, n: f"{text(rng, HEX, 4)}.{text(rng, HEX, 32)}.0",
    "opensips": lambda rng, n: f"{text(rng, HEX, 4)}.{text(rng, HEX, 8)}.0",
    "pjsip": lambda rng, n: f"Pj{text(rng, ALPHANUMERIC + '.-', 32)}",
    "resiprocate": lambda rng, n: f"-524287-1---{text(rng, HEX, 16)}",
    "sipp": lambda rng, n: f"-4242-{n}-0",
    "jssip": lambda rng, n: str(rng.randrange(10**6, 10**7)),
    "cisco": lambda rng, n: f"{0x1A2B + n:X}{rng.randrange(16**4):X}",
    "broadworks": lambda rng, n: f"BroadWorks.-1abcdef-192.0.2.10V5060-0-{n}-{rng.randrange(10**9)}",
    "ours": lambda rng, n: f"VAA{text(rng, HEX, 16)}.{text(rng, HEX, 8)}",
}


class Group:
    """As many UDP sockets on one port of 127.0.0.1 as there are workers, with the filter attached."""

    def __init__(self, workers):
        self.sockets = []
        port = 0
        for _ in range(workers):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(("127.0.0.1", port))
            port = sock.getsockname()[1]
            self.sockets.append(sock)
        attach(self.sockets[0], workers)
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sender.connect(("127.0.0.1", port))

    def arrives_at(self, data):
        self.sender.send(data)
        readable, _, _ = select.select(self.sockets, [], [], 2)
        assert len(readable) == 1
        assert readable[0].recv(65536) == data
        return self.sockets.index(readable[0])

    def close(self):
        for sock in [*self.sockets, self.sender]:
            sock.close()


def attach(sock, workers):
    program = steering.filter_program(workers)
    octets = ctypes.create_string_buffer(steering.pack_program(program))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    option = bytes(Program(len(program), ctypes.addressof(octets)))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, option)


@pytest.fixture(scope="module")
def groups():
    made = {workers: Group(workers) for workers in range(1, 9)}
    yield made
    for group in made.values():
        group.close()


def assert_all_agree(groups, data, workers):
    expected = oracle(data, workers)
    assert steering.owner(data, workers) == expected
    assert groups[workers].arrives_at(data) == expected


def request(branch, method="INVITE", pad=""):
    return (f"{method} sip:bob{pad}@example.com SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 192.0.2.7:5070;branch=z9hG4bK{branch};rport\r\n"
            f"Max-Forwards: 70\r\n\r\n").encode()


def response(branch, start="SIP/2.0 180 Ringing"):
    return f"{start}\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{branch}\r\nCSeq: 1 INVITE\r\n\r\n".encode()


@pytest.mark.parametrize("style", STYLES)
def test_requests_of_every_style_arrive_where_steer_says(groups, style):
    rng = random.Random(style)
    for n in range(40):
        branch = STYLES[style](rng, n)
        for workers in (1, 2, 3, 4, 8):
            assert_all_agree(groups, request(branch, pad="x" * (n % 8)), workers)
            assert steering.owner(request(branch), workers) == steering.branch_hash(MAGIC + branch.encode()) % workers


@pytest.mark.parametrize("style", STYLES)
def test_the_messages_of_a_transaction_meet(style):
    rng = random.Random(style)
    for n in range(100):
        branch = STYLES[style](rng, n)
        assert len({steering.owner(request(branch, method), 8) for method in ("INVITE", "CANCEL", "ACK")}) == 1


def test_a_response_goes_to_the_worker_that_its_branch_names(groups):
    for workers, group in groups.items():
        for worker in range(workers):
            branch = f"V{steering.worker_name(worker).decode()}0123456789abcdef"
            for start in ("SIP/2.0 200 OK", "sip/2.0 200 OK", "SIP/3.0 100 x"):
                data = response(branch, start)
                assert steering.owner(data, workers) == worker == group.arrives_at(data)


def test_a_name_beyond_the_group_or_malformed_is_hashed(groups):
    for name in ("VAI", "VPP", "VAQ", "VQA", "V@A", "VA@", "Vaa", "vAA", "V", "VA"):
        data = response(f"{name}-rest")
        assert oracle(data, 8) == steering.branch_hash(f"z9hG4bK{name}-rest".encode()) % 8
        assert_all_agree(groups, data, 8)
        assert_all_agree(groups, response(name), 8)


def test_a_request_with_a_branch_like_ours_is_hashed(groups):
    owners = set()
    for n in range(64):
        data = request(f"VAA{n}")   # another edge of the same make in front of us
        assert_all_agree(groups, data, 8)
        owners.add(oracle(data, 8))
    assert len(owners) == 8


def test_every_alignment_and_the_edge_of_the_window(groups):
    for pad in range(12):
        assert_all_agree(groups, request("abc", pad="x" * pad), 8)
    branch = next(branch for branch in map(str, range(100)) if steering.branch_hash(MAGIC + branch.encode()) % 8 == 5)
    cookie = f"z9hG4bK{branch};".encode()
    for start in range(WINDOW - 16, WINDOW + 3):
        data = b"x" * start + cookie + b"y" * 60
        assert steering.owner(data, 8) == (5 if start + 7 <= WINDOW else 0)
        assert_all_agree(groups, data, 8)


def test_cut_anywhere(groups):
    for whole in (request("abc"), response("VAE0123"), response("V"), response("Va"), request("z" * 80)):
        for length in range(len(whole)):
            assert_all_agree(groups, whole[:length], 8)


def test_no_cookie_pieces_of_it_and_other_cases_of_it(groups):
    odd = [b"", b"\r\n\r\n", b"\0", b"z9hG4bK", b"z9hG4b", b"z9hGz9hG4bKabc;", b"    z9hGz9hG4bKabc;", b"xxz9hG4bkabc;",
           b"Z9HG4BKabc;", b"9hG4bKabc;", b"hG4bKabc;", b"G4bKabc;", b"x" * 1400, b"x" * 383 + b"z9hG4bKabc;",
           b"INVITE sip:a SIP/2.0\r\nv: SIP/2.0/UDP h;branch=1\r\n\r\n",
           b"INVITE sip:a SIP/2.0\r\nv: SIP/2.0/UDP h;\r\n branch = z9hG4bKabc\r\n\r\n",
           b"INVITE sip:a SIP/2.0\r\nv: SIP/2.0/UDP h;branch=z9hG4bK\r\n\r\n"]
    for data in odd:
        for workers in (1, 3, 8):
            assert_all_agree(groups, data, workers)


def test_every_octet_ends_the_token_or_counts(groups):
    for octet in range(256):
        assert_all_agree(groups, b"SIP/2.0 z9hG4bKab" + bytes([octet]) + b"cd;" + b"x" * 40, 8)


TELLING = [b"z9hG4bK", b"z9hG", b"4bK", b"9hG4", b"SIP/2.0 ", b"sip/", b"INVITE ", b"VAA", b"VAH", b"V", b",", b">",
           b" ", b";", b"\r\n", b"\0", b"x" * 37]
FRAGMENTS = st.one_of(st.sampled_from(TELLING), st.binary(max_size=6))


@settings(max_examples=200, deadline=None)
@given(st.lists(FRAGMENTS, max_size=14).map(b"".join), st.integers(1, 8))
def test_whatever_is_sent(groups, data, workers):
    assert_all_agree(groups, data, workers)


@pytest.mark.parametrize("style", STYLES)
def test_branches_split_evenly(style):
    rng = random.Random(style)
    hashes = [steering.branch_hash(MAGIC + STYLES[style](rng, n).encode()) for n in range(10_000)]
    for workers in (3, 4):
        owned = [0] * workers
        for value in hashes:
            owned[value % workers] += 1
        assert max(owned) / (len(hashes) / workers) < 1.1


# For a process of its own, in a network namespace of its own. Kernels before 6.8 allow a filter 20,480 octets.
ATTACH_WITH_LITTLE_MEMORY = """
import ctypes, socket, sys
sys.path[:0] = sys.argv[1:]
CLONE_NEWNET = 0x40000000
try:
    assert ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0
    with open("/proc/sys/net/core/optmem_max", "w") as limit:
        limit.write("20480")
except (AssertionError, OSError):
    sys.exit(77)
from test_kernel_steering import attach
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
sock.bind(("0.0.0.0", 0))
attach(sock, 64)
"""


def test_the_filter_fits_in_the_memory_that_older_kernels_allow():
    if os.geteuid():
        pytest.skip("needs the right to make a network namespace")
    command = [sys.executable, "-c", ATTACH_WITH_LITTLE_MEMORY, str(Path(__file__).parent), *sys.path]
    ended = subprocess.run(command, capture_output=True, timeout=20, check=False)
    if ended.returncode == 77:
        pytest.skip("net.core.optmem_max cannot be set in a network namespace here")
    assert ended.returncode == 0, ended.stderr.decode()
