"""sipcore.scan: where runs end, at every alignment and length, against plain loops; nothing outside is read."""

import ctypes
import mmap
import random

import pytest

from sipcore import charclass, scan

PAGE = mmap.PAGESIZE
LONGEST = 70  # some blocks and a part of one
PROT_NONE = 0
CLASSES = {"token": 1, "user": 16, "host": 32, "param": 256, "value": 1024}


def class_run(bit):
    return lambda *where: scan.class_end_at(*where, bit), lambda octet: bool(charclass.classes(octet) & bit)


RUNS = {
    "text": (scan.text_end_at, lambda octet: octet >= 0x20),
    "visible": (scan.visible_end_at, lambda octet: 0x21 <= octet <= 0x7E),
    "all but :": (lambda *where: scan.octet_find_at(*where, ord(":")), lambda octet: octet != ord(":")),
    **{name: class_run(bit) for name, bit in CLASSES.items()},
}


@pytest.fixture(scope="module")
def guarded():
    """One page between two that fault when touched: the address of its first octet."""
    memory = mmap.mmap(-1, 3 * PAGE)
    view = ctypes.c_char.from_buffer(memory)
    address = ctypes.addressof(view)
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    for page in (address, address + 2 * PAGE):
        assert protect(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), PROT_NONE) == 0
    yield address + PAGE
    for page in (address, address + 2 * PAGE):
        assert protect(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), mmap.PROT_READ | mmap.PROT_WRITE) == 0
    del view
    memory.close()


def end_of(belongs, data, at):
    while at < len(data) and belongs(data[at]):
        at += 1
    return at


@pytest.mark.parametrize("name", RUNS)
def test_every_octet_ends_or_continues_a_run(name, guarded):
    found, belongs = RUNS[name]
    for octet in range(256):
        for data in (b"a" * 20 + bytes([octet]) + b"a" * 20, b"ab" + bytes([octet]) + b"c"):
            ctypes.memmove(guarded, data, len(data))
            assert found(guarded, 0, len(data)) == end_of(belongs, data, 0), data


@pytest.mark.parametrize("name", RUNS)
def test_a_run_ends_where_a_plain_loop_says(name, guarded):
    """At every length, flush against either page: one octet further would fault."""
    found, belongs = RUNS[name]
    rng = random.Random(name)
    inside = [octet for octet in range(256) if belongs(octet)]
    for length in range(LONGEST):
        for place in (guarded, guarded + PAGE - length):
            data = bytearray(rng.choice(inside) for _ in range(length))
            for stop in range(rng.randrange(3) if length else 0):
                data[rng.randrange(length)] = rng.randrange(256) if stop else ord(":")
            ctypes.memmove(place, bytes(data), length)
            for at in range(length + 1):
                assert found(place, at, length) == end_of(belongs, data, at), (bytes(data), at)
