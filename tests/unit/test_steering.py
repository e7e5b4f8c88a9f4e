"""The filter's shape, worker names, and what steering refuses."""

import struct

import pytest

from sipcore import steering

BPF_MAXINSNS = 4096
LAST_CODES = (0x06, 0x16)  # RET K, RET A
JUMP_CLASS, JUMP_ALWAYS = 0x05, 0x05


@pytest.mark.parametrize("workers", [1, 2, 7, 64])
def test_the_program_is_one_the_kernel_takes(workers):
    program = steering.filter_program(workers)
    assert len(program) < BPF_MAXINSNS
    assert program[-1][0] in LAST_CODES
    for at, (code, jt, jf, k) in enumerate(program):
        targets = [k] if code == JUMP_ALWAYS else [jt, jf] if code & 7 == JUMP_CLASS else []
        assert all(at < at + 1 + target < len(program) for target in targets)


def test_packed_as_struct_sock_filter():
    packed = steering.pack_program([(0x15, 1, 2, 0xDEADBEEF), (0x06, 0, 0, 3)])
    assert packed == struct.pack("=HBBIHBBI", 0x15, 1, 2, 0xDEADBEEF, 6, 0, 0, 3)


@pytest.mark.parametrize("workers", [0, 65])
def test_a_number_of_workers_that_cannot_be(workers):
    with pytest.raises(ValueError, match="expected 1 to 64"):
        steering.filter_program(workers)
    with pytest.raises(ValueError, match="expected 1 to 64"):
        steering.owner(b"", workers)


def test_worker_names_are_two_letters_each_its_own():
    names = [steering.worker_name(worker) for worker in range(256)]
    assert names[0] == b"AA"
    assert names[17] == b"BB"
    assert names[255] == b"PP"
    assert len(set(names)) == 256


def test_a_branch_without_the_cookie_belongs_to_worker_0():
    assert steering.branch_hash(b"1") == 0
    assert steering.branch_hash(b"z9hG4b") == 0
    assert steering.branch_hash(b"z9hG4bK") != 0


def test_only_the_first_octets_of_a_branch_count():
    branch = b"z9hG4bK" + b"a" * 56
    assert steering.branch_hash(branch) == steering.branch_hash(branch + b"b")
    assert steering.branch_hash(branch) != steering.branch_hash(branch[:-1] + b"b")
