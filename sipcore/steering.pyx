"""The owner of a datagram, in code and as the kernel's filter: `steer` and `filter_program` say the same, octet by octet.

Both look at the words at offsets 0, 4, 8...: wherever the magic cookie starts, one of them lies wholly within it, which is one of
the four PIECES. The first word that is one decides where the cookie must start. A filter has no loop, no call and no way back, so
all is laid out in a row, and it may not grow beyond what an ordinary kernel accepts (docs/decisions/0001-kernel-steering.md).
"""

import struct

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

cdef extern from "<endian.h>" nogil:
    uint32_t be32toh(uint32_t value)

cdef enum:
    MAGIC_LENGTH = 7
    PIECE_0 = 0x7A396847    # z9hG
    PIECE_1 = 0x39684734    # 9hG4
    PIECE_2 = 0x68473462    # hG4b
    PIECE_3 = 0x4734624B    # G4bK
    SIP_SLASH = 0x7369702F  # "sip/", letters folded by FOLD: how a response begins
    FOLD = 0x20202000
    FNV_BASIS = 0x811C9DC5  # FNV-1a: one xor and one multiplication an octet is what a filter can afford...
    FNV_PRIME = 0x01000193
    AVALANCHE_1 = 0x7FEB352D  # ...and a finish (lowbias32 of C. Wellons' hash prospector), because its low bits alone split unevenly
    AVALANCHE_2 = 0x846CA68B
    WORKER_MARK = 86        # 'V' begins every branch of ours
    WORKER_DIGIT = 65       # 'A': sixteen characters from here on are a worker's digits

cdef const char* MAGIC = "z9hG4bK"


cdef inline uint32_t load32(const uint8_t* data) noexcept nogil:
    cdef uint32_t word
    memcpy(&word, data, 4)
    return be32toh(word)


cdef inline bint ends_token(uint8_t c) noexcept nogil:
    """`;` `,` `>`, white space, and the controls, which no token holds: the bits of the first 64 octets."""
    return c < 64 and <uint64_t>0x48001001FFFFFFFF >> c & 1


cdef inline bint is_worker_digit(uint8_t c) noexcept nogil:
    return WORKER_DIGIT <= c < WORKER_DIGIT + 16


cdef inline uint32_t avalanche(uint32_t value) noexcept nogil:
    value = (value ^ value >> 16) * <uint32_t>AVALANCHE_1
    value = (value ^ value >> 15) * <uint32_t>AVALANCHE_2
    return value ^ value >> 16


cdef inline int find_magic(const uint8_t* data, uint32_t length) noexcept nogil:
    """Where the cookie starts, or -1."""
    cdef int limit = <int>min(length, <uint32_t>STEER_WINDOW)
    cdef int at, start
    cdef uint32_t word
    for at in range(0, limit - 3, 4):
        word = load32(data + at)
        if word == PIECE_0:
            start = at
        elif word == PIECE_1:
            start = at - 1
        elif word == PIECE_2:
            start = at - 2
        elif word == PIECE_3:
            start = at - 3
        else:
            continue
        # a datagram that holds a piece alone before its cookie is no honest one: the filter has no way back, so neither goes on
        if start < 0 or start + MAGIC_LENGTH > limit or memcmp(data + start, MAGIC, MAGIC_LENGTH) != 0:
            return -1
        return start
    return -1


cdef inline bint hash_token(const uint8_t* token, uint32_t length, uint32_t* value) noexcept nogil:
    """The hash of at most STEER_HASHED octets; False: neither that many nor an end of the token within length (value is set)."""
    cdef uint32_t hashed = FNV_BASIS
    cdef uint32_t most = min(length, <uint32_t>STEER_HASHED)
    cdef uint32_t i
    cdef bint whole = length >= STEER_HASHED
    for i in range(most):
        if ends_token(token[i]):
            whole = True
            break
        hashed = (hashed ^ token[i]) * <uint32_t>FNV_PRIME
    value[0] = avalanche(hashed)
    return whole


cdef uint32_t steer(const uint8_t* data, uint32_t length, uint32_t workers) noexcept nogil:
    cdef int start = find_magic(data, length)
    cdef const uint8_t* token
    cdef uint32_t left, value
    cdef int named
    if start < 0:
        return 0
    token = data + start + MAGIC_LENGTH
    left = length - <uint32_t>start - MAGIC_LENGTH
    if load32(data) | FOLD == SIP_SLASH and left > 0 and token[0] == WORKER_MARK:
        # below, 0 where the datagram is cut: a load beyond the end makes the kernel answer 0
        if left < 2 or (left < 3 and is_worker_digit(token[1])):
            return 0
        named = worker_of(token + 1) if left >= 3 else -1
        if 0 <= named < <int>workers:
            return named
    return value % workers if hash_token(token, left, &value) else 0


cdef uint32_t steer_branch(const uint8_t* branch, uint32_t length) noexcept nogil:
    cdef uint32_t value
    if length < MAGIC_LENGTH or memcmp(branch, MAGIC, MAGIC_LENGTH) != 0:
        return 0
    hash_token(branch + MAGIC_LENGTH, length - MAGIC_LENGTH, &value)
    return value


cdef void worker_text(uint32_t worker, uint8_t* out) noexcept nogil:
    out[0] = WORKER_DIGIT + (worker >> 4 & 15)
    out[1] = WORKER_DIGIT + (worker & 15)


cdef int worker_of(const uint8_t* text) noexcept nogil:
    if not is_worker_digit(text[0]) or not is_worker_digit(text[1]):
        return -1
    return (text[0] - WORKER_DIGIT) << 4 | (text[1] - WORKER_DIGIT)


def owner(bytes data, uint32_t workers) -> int:
    """The worker, 0 <= worker < workers, to which the kernel's filter takes this datagram."""
    _check_workers(workers)
    return steer(data, len(data), workers)


def branch_hash(bytes branch) -> int:
    """32 bits; modulo the number of workers the owner of a request with this branch (magic cookie included; 0 without)."""
    return steer_branch(branch, len(branch))


def worker_name(uint32_t worker) -> bytes:
    """The two characters that name a worker in our branches, behind the `V`."""
    cdef uint8_t out[2]
    worker_text(worker, out)
    return (<char*>out)[:2]


def time_steer(bytearray data, uint32_t workers, uint32_t rounds) -> int:
    """Steers data `rounds` times for benchmarks, its last octet changed each time so that no round is optimised away."""
    cdef uint8_t[::1] view = data
    cdef uint8_t* octets = &view[0]
    cdef uint32_t i, total = 0, length = len(data)
    _check_workers(workers)
    with nogil:
        for i in range(rounds):
            octets[length - 1] = i & 0xFF
            total += steer(octets, length, workers)
    return total


# The filter.

# Operation codes of classic BPF (linux/filter.h); ABS and IND load from the datagram, big endian.
_LD_W_ABS, _LD_W_IND, _LD_B_IND, _LD_MEM, _LD_IMM = 0x20, 0x40, 0x50, 0x60, 0x00
_LDX_IMM, _LDX_MEM, _ST, _STX, _TAX, _TXA = 0x01, 0x61, 0x02, 0x03, 0x07, 0x87
_ADD_X, _SUB, _MUL, _OR, _LSH, _RSH, _MOD, _XOR_X = 0x0C, 0x14, 0x24, 0x44, 0x64, 0x74, 0x94, 0xAC
_JA, _JEQ, _JGT, _JGE, _RET, _RET_A = 0x05, 0x15, 0x25, 0x35, 0x06, 0x16

_HASH, _START, _DIGIT = 0, 1, 2  # the filter's memory cells

# A conditional jump reaches 255 instructions: before that, a landing that goes on from there.
_WORDS_A_LANDING = 40
_OCTETS_A_LANDING = 18


class _Assembler:
    """Instructions with labels for targets; a label always lies ahead, a filter cannot go back."""

    def __init__(self):
        self._rows = []    # (code, label if true, label if false, k)
        self._labels = {}

    def op(self, code, k=0, yes=None, no=None):
        self._rows.append((code, yes, no, k & 0xFFFFFFFF))   # the enum's constants from 2^31 on are negative in Python

    def label(self, name):
        self._labels[name] = len(self._rows)

    def landing(self, name, target):
        """A place within reach from which to go on to target; who comes from above passes it by."""
        past = f"{name} passed"
        self.op(_JA, yes=past)
        self.label(name)
        self.op(_JA, yes=target)
        self.label(past)

    def program(self):
        """(code, jt, jf, k) a row, as in struct sock_filter."""
        rows = []
        for at, (code, yes, no, k) in enumerate(self._rows):
            jt = self._labels[yes] - at - 1 if yes else 0
            jf = self._labels[no] - at - 1 if no else 0
            if code == _JA:
                k, jt = jt, 0
            assert 0 <= jt <= 255 and 0 <= jf <= 255, f"instruction {at} jumps too far: {jt}, {jf}"
            rows.append((code, jt, jf, k))
        return rows


def filter_program(uint32_t workers) -> list:
    """The classic BPF program that returns steer's answer for `workers` sockets: (code, jt, jf, k) an instruction."""
    _check_workers(workers)
    assembler = _Assembler()
    _assemble_search(assembler)
    _assemble_start(assembler)
    _assemble_name(assembler, workers)
    _assemble_hash(assembler, workers)
    return assembler.program()


def pack_program(program) -> bytes:
    """An array of struct sock_filter, host order, for SO_ATTACH_REUSEPORT_CBPF."""
    return b"".join(struct.pack("=HBBI", code, jt, jf, k) for code, jt, jf, k in program)


def _check_workers(workers):
    if not 1 <= workers <= WORKERS_MAX:
        raise ValueError(f"{workers} workers: expected 1 to {WORKERS_MAX}")


def _assemble_search(assembler):
    """find_magic's loop: the first word that is a piece, in A; its offset in X."""
    words = STEER_WINDOW // 4
    for first in range(0, words, _WORDS_A_LANDING):
        found = f"piece from word {first}"
        for word in range(first, min(first + _WORDS_A_LANDING, words)):
            assembler.op(_LDX_IMM, 4 * word)
            assembler.op(_LD_W_IND)   # the kernel makes 8 instructions of it, but 14 of a load at a fixed offset
            for piece in (PIECE_0, PIECE_1, PIECE_2, PIECE_3):
                assembler.op(_JEQ, piece, yes=found)
        assembler.landing(found, "piece")
    assembler.op(_RET, 0)


def _assemble_start(assembler):
    """From the piece to where the cookie starts, in X; 0 is returned unless all of it stands there, within the window."""
    assembler.label("piece")
    pieces = {PIECE_0: 0, PIECE_1: 1, PIECE_2: 2, PIECE_3: 3}
    for piece in pieces:
        assembler.op(_JEQ, piece, yes=f"piece {piece}")
    for piece, offset in pieces.items():
        assembler.label(f"piece {piece}")
        assembler.op(_TXA)
        assembler.op(_SUB, offset)
        assembler.op(_JA, yes="start")
    assembler.label("start")
    assembler.op(_JGT, STEER_WINDOW - MAGIC_LENGTH, yes="none")   # unsigned: before the datagram's first octet, too
    assembler.op(_TAX)
    assembler.op(_LD_W_IND, 0)
    assembler.op(_JEQ, PIECE_0, no="none")
    assembler.op(_LD_W_IND, 3)
    assembler.op(_JEQ, PIECE_3, yes="cookie")
    assembler.label("none")
    assembler.op(_RET, 0)
    assembler.label("cookie")
    assembler.op(_STX, _START)


def _assemble_name(assembler, workers):
    """In a response, the worker that the branch names, if it does and there is one."""
    assembler.op(_LD_W_ABS, 0)
    assembler.op(_OR, FOLD)
    assembler.op(_JEQ, SIP_SLASH, no="hash")
    assembler.op(_LD_B_IND, MAGIC_LENGTH)
    assembler.op(_JEQ, WORKER_MARK, no="hash")
    assembler.op(_LD_B_IND, MAGIC_LENGTH + 1)
    assembler.op(_SUB, WORKER_DIGIT)
    assembler.op(_JGT, 15, yes="hash")
    assembler.op(_LSH, 4)
    assembler.op(_ST, _DIGIT)
    assembler.op(_LD_B_IND, MAGIC_LENGTH + 2)
    assembler.op(_SUB, WORKER_DIGIT)
    assembler.op(_JGT, 15, yes="hash")
    assembler.op(_LDX_MEM, _DIGIT)
    assembler.op(_ADD_X)
    assembler.op(_LDX_MEM, _START)
    assembler.op(_JGE, workers, yes="hash")
    assembler.op(_RET_A)


def _assemble_hash(assembler, workers):
    """hash_token, avalanche, and the remainder."""
    assembler.label("hash")
    assembler.op(_LD_IMM, FNV_BASIS)
    assembler.op(_ST, _HASH)
    for first in range(0, STEER_HASHED, _OCTETS_A_LANDING):
        end = f"end from octet {first}"
        for octet in range(first, min(first + _OCTETS_A_LANDING, STEER_HASHED)):
            mix = f"mix {octet}"
            assembler.op(_LD_B_IND, MAGIC_LENGTH + octet)
            assembler.op(_JGT, ord(">"), yes=mix)   # letters, the most of it, and all above
            for c in ">;,":
                assembler.op(_JEQ, ord(c), yes=end)
            assembler.op(_JGT, ord(" "), no=end)
            assembler.label(mix)
            assembler.op(_LDX_MEM, _HASH)
            assembler.op(_XOR_X)
            assembler.op(_MUL, FNV_PRIME)
            assembler.op(_ST, _HASH)
            assembler.op(_LDX_MEM, _START)
        assembler.landing(end, "end")
    assembler.label("end")
    assembler.op(_LD_MEM, _HASH)
    for shift, factor in ((16, AVALANCHE_1), (15, AVALANCHE_2), (16, 1)):
        assembler.op(_TAX)
        assembler.op(_RSH, shift)
        assembler.op(_XOR_X)
        assembler.op(_MUL, factor)
    assembler.op(_MOD, workers)
    assembler.op(_RET_A)
