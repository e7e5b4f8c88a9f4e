"""Which worker owns a datagram: the function in code; steering.pyx also writes it as the kernel's filter (classic BPF).

The first `z9hG4bK` within STEER_WINDOW octets decides. In a response whose branch is ours (`V` and two worker characters follow) it
is the worker named there; in everything else a hash of the branch, up to `;` `,` `>` or white space, STEER_HASHED octets at most,
modulo the number of workers. Without one it is worker 0: deterministic, so that messages of RFC 2543 meet too. So it is where the
datagram ends within the branch, and where a lone piece of the cookie (four octets of it at a multiple of four) stands before it.
"""

from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    STEER_WINDOW = 384   # octets searched for the magic cookie; the filter's size grows with it (limit 4,096 instructions)
    STEER_HASHED = 56    # octets of the branch behind the cookie that count: some begin with 38 that are always the same
    WORKERS_MAX = 64     # two characters 'A'..'P' name 256; the shared page and the inboxes are sized for 64

# The owner among `workers`; out of range is never returned: a name beyond `workers` in a response falls back to the hash.
cdef uint32_t steer(const uint8_t* data, uint32_t length, uint32_t workers) noexcept nogil
# The hash of a branch's token alone (the top Via's branch, as parsed, with its cookie); 0 without the cookie.
cdef uint32_t steer_branch(const uint8_t* branch, uint32_t length) noexcept nogil
# The two characters of a worker, and back (-1: not two such characters).
cdef void worker_text(uint32_t worker, uint8_t* out) noexcept nogil
cdef int worker_of(const uint8_t* text) noexcept nogil
