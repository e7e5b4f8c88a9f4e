"""The log's octets as the lists that sipcore/wire.py describes, and back, as msgpack itself reads them."""

import msgpack

from sipcore import wire


def entries(*values):
    """Entries of these lists."""
    return wire.decode_entries(wire.encode_entries([wire.encode(value) for value in values]))


def lists(encoded):
    """Encoded entries as lists."""
    return [wire.decode_entry(octets) for octets in encoded]


def from_supervisor(frame):
    """A frame that a worker would take, its entries as lists."""
    value = wire.decode_from_supervisor(frame)
    if value[0] in (wire.DELTA, wire.SNAPSHOT_PART):
        value[-1] = lists(value[-1].split())
    return value


def from_worker(frame):
    """A frame that the supervisor would take, its operations as lists."""
    wire.decode_from_worker(frame)
    return msgpack.unpackb(frame, raw=False)


def operations(*values):
    """Operations of these lists."""
    return wire.decode_from_worker(wire.encode([wire.OPS, list(values)]))[1]
