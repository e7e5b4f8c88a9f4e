"""REGISTER at one worker: judged, handed to the log, answered."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from sipcore.address cimport Address
from sipcore.entries cimport Contact, Operation
from sipcore.location cimport AOR_MAX
from sipcore.message cimport Message
from sipcore.packed cimport Octets, Packer
from workers.edge cimport Edge
from workers.outstanding cimport Outstanding

cdef struct Verdict:
    int status                 # 0: an operation for the log
    const char* phrase


cdef class Registrar:
    """outstanding: where operations wait for the log. Answers are queued: the engine's next batch boundary sends them."""
    cdef Edge* edge            # lent by `engine`
    cdef object engine
    cdef Outstanding outstanding
    cdef int64_t default_s
    cdef int64_t least_s
    cdef int64_t most_s
    cdef Packer packer         # the operation in hand
    cdef Packer headers        # whole header lines for the answer in hand
    cdef uint8_t aor[AOR_MAX]  # of the request in hand

    cdef void _take(self, uint32_t number, int64_t now_ms) noexcept nogil
    cdef Verdict _judge(self, const Message* request, Operation* op) noexcept nogil
    cdef Verdict _judge_aor(self, const Message* request, Octets* aor) noexcept nogil
    cdef bint _serves(self, const uint8_t* host, uint32_t length) noexcept nogil
    cdef Verdict _judge_contacts(self, const Message* request, Operation* op) noexcept nogil
    cdef Verdict _judge_contact(self, const uint8_t* data, const Address* address, int64_t header_s, Contact* contact) noexcept nogil
    cdef void _list_unsupported(self, const Message* request) noexcept nogil
    cdef void _list_bindings(self, const Octets* aor, int64_t now_ms) noexcept nogil
    cdef void _reply(self, uint32_t number, uint32_t generation, int status, const char* phrase) noexcept nogil
