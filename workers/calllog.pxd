"""One line for each routed call, written in C into the edge's line buffer; the loop hands the buffer on at the batch boundary."""

from workers.edge cimport Edge
from workers.transactions cimport Branch, Transaction

# `branch` answered the call; NULL: it failed with transaction.status. The transaction still holds its request.
cdef void call_line(Edge* edge, const Transaction* transaction, const Branch* branch) noexcept nogil
