"""REGISTER at one worker: judged, handed to the log, answered."""

from libc.stdint cimport uint32_t

from workers.edge cimport Edge
from workers.outstanding cimport Outstanding

# edge.message, a REGISTER, in its transaction: it is answered at once, or becomes an operation for the log.
cdef void registrar_take(Edge* edge, uint32_t number) noexcept nogil


cdef class Registrar:
    """outstanding: where operations wait for the log. Answers are queued: the engine's next batch boundary sends them."""
    cdef Edge* edge            # lent by `engine`
    cdef object engine
    cdef Outstanding outstanding
