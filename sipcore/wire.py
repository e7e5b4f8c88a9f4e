"""Every shape that crosses a process, in one place: the log's entries and the frames that carry them (msgpack arrays).

Text is bytes throughout; only the settings are str. A frame that does not decode raises WireError and leaves nothing
behind. What comes by the thousand, bindings and operations, is read where it stands: sipcore/entries knows its fields.
"""

import msgpack

from sipcore.entries import Entries, Operations, head

FRAME_MAX = 8 << 20        # octets: a snapshot part or delta of ENTRIES_MAX full bindings stays below
ENTRIES_MAX = 1000         # entries to a frame: about a millisecond of work for a worker
OPS_MAX = 500              # operations to a frame: eight full batches of datagrams
NUMBER_MAX = (1 << 63) - 1

ORIGIN_SUPERVISOR = 255    # origin_worker of an entry that no worker asked for

# entries
ENTRY_BINDINGS = 1      # [1, sequence, origin_worker, op_id, aor, puts, removes, known_until_ms]
ENTRY_DESTINATIONS = 2  # [2, sequence, generation, sets]
ENTRY_STATE = 3         # [3, sequence, destination_id, state]
ENTRY_SETTINGS = 4      # [4, sequence, settings, key]
ENTRY_LENGTHS = {ENTRY_BINDINGS: 8, ENTRY_DESTINATIONS: 4, ENTRY_STATE: 4, ENTRY_SETTINGS: 4}

# known_until_ms: until when an AOR without bindings is known but offline; 0 leaves it as it is
PUT_FIELDS = ("contact", "call_id", "cseq", "q", "expires_ms", "flow", "instance", "path", "agent", "updated_ms")

# frames, worker to supervisor
HELLO = 1             # [1, worker, pid, epoch, sequence]
OPS = 2               # [2, [op, ...]]  op = [op_id, aor, call_id, cseq, star, contacts, flow, path, agent]
                      # contacts = [[uri, expires_s, q, instance, reg_id], ...]
SNAPSHOT_REQUEST = 3  # [3, epoch, sequence]
APPLIED = 4           # [4, epoch, sequence, parts]  parts: of the snapshot under way
WORKER_LENGTHS = {HELLO: 5, OPS: 2, SNAPSHOT_REQUEST: 3, APPLIED: 4}

# frames, supervisor to worker
WHO = 0               # [0]: who are you? the answer is HELLO
SNAPSHOT_BEGIN = 1    # [1, epoch, sequence]
SNAPSHOT_PART = 2     # [2, number, entries]  from 0 on, each one more
SNAPSHOT_END = 3      # [3, epoch, sequence, parts]
DELTA = 4             # [4, epoch, first_sequence, entries]
REFUSED = 5           # [5, [[op_id, status, phrase], ...]]
SUPERVISOR_LENGTHS = {WHO: 1, SNAPSHOT_BEGIN: 3, SNAPSHOT_PART: 3, SNAPSHOT_END: 4, DELTA: 4, REFUSED: 2}

# array and kind of the frames that carry many values
OPS_BEGIN = b"\x92\x02"
DELTA_BEGIN = b"\x94\x04"
PART_BEGIN = b"\x93\x02"

_packer = msgpack.Packer(use_bin_type=True)


class WireError(ValueError):
    """A frame or an entry is not what this file says."""


def encode(value):
    """One frame or entry as octets."""
    return _packer.pack(value)


def encode_delta(epoch, first_sequence, encoded_entries):
    """A DELTA around entries that are encoded already."""
    return b"".join((DELTA_BEGIN, _packer.pack(epoch), _packer.pack(first_sequence),
                     _array_header(len(encoded_entries)), *encoded_entries))


def encode_part(number, encoded_entries):
    """A SNAPSHOT_PART around entries that are encoded already."""
    return b"".join((PART_BEGIN, _packer.pack(number), _array_header(len(encoded_entries)), *encoded_entries))


def encode_ops(count, encoded_ops):
    """An OPS around so many operations, encoded one behind the other."""
    return b"".join((OPS_BEGIN, _array_header(count), encoded_ops))


def decode_from_worker(frame):
    """One frame of a worker, every field of the right type and within its limits; operations as Operations."""
    if frame[:2] == OPS_BEGIN:
        return _decode_many(frame, Operations, OPS_MAX, "a worker's frame")
    value = _decode(frame, WORKER_LENGTHS, "a worker's frame")
    for number in value[1:]:
        _check_number(number, "a worker's frame")
    return value


def decode_from_supervisor(frame):
    """One frame of the supervisor; the entries of DELTA and SNAPSHOT_PART as Entries, within all their limits."""
    if frame[:2] in (DELTA_BEGIN, PART_BEGIN):
        value = _decode_many(frame, Entries, ENTRIES_MAX, "a supervisor's frame")
        value[-1].others = [decode_entry(octets) for octets in value[-1].other_octets()]
        return value
    value = _decode(frame, SUPERVISOR_LENGTHS, "a supervisor's frame")
    if value[0] == REFUSED:
        if type(value[1]) is not list or not all(type(one) is list and len(one) == 3 for one in value[1]):
            raise WireError(f"refusals: found {_shown(value[1])}, expected [[op_id, status, phrase], ...]")
        return value
    for number in value[1:]:
        _check_number(number, "a supervisor's frame")
    return value


def encode_entries(encoded_entries):
    """Entries that are encoded already as one value, as the store keeps them."""
    return b"".join((_array_header(len(encoded_entries)), *encoded_entries))


def decode_entries(octets):
    """What encode_entries made, as Entries; checked as a frame's are, but for their number."""
    try:
        return Entries(octets)
    except ValueError as error:
        raise WireError(str(error)) from error


def decode_entry(octets):
    """One entry of any kind as a list."""
    entry = _unpack(octets, "an entry")
    if (type(entry) is not list or len(entry) < 2 or type(entry[0]) is not int or type(entry[1]) is not int
            or ENTRY_LENGTHS.get(entry[0]) != len(entry)):
        raise WireError(f"an entry: found {_shown(entry)}, expected an array of a known kind and length")
    return entry


def _array_header(count):
    if count < 16:
        return bytes((0x90 | count,))
    if count < 1 << 16:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")


def _decode(frame, lengths, name):
    if len(frame) > FRAME_MAX:
        raise WireError(f"{name}: found {len(frame)} octets, expected at most {FRAME_MAX}")
    value = _unpack(frame, name)
    if type(value) is not list or not value or type(value[0]) is not int or lengths.get(value[0]) != len(value):
        raise WireError(f"{name}: found {_shown(value)}, expected an array of a known kind and length")
    return value


def _decode_many(frame, read, most, name):
    """A frame that ends in many values, which are read where they stand: its numbers, then those."""
    if len(frame) > FRAME_MAX:
        raise WireError(f"{name}: found {len(frame)} octets, expected at most {FRAME_MAX}")
    try:
        numbers, at = head(frame)
        many = read(frame, at)
    except ValueError as error:
        raise WireError(f"{name}: {error}") from error
    if len(many) > most:
        raise WireError(f"{name}: found {len(many)} values, expected at most {most}")
    return [*numbers, many]


def _unpack(octets, name):
    try:
        return msgpack.unpackb(octets, raw=False, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise WireError(f"{name}: {error or type(error).__name__}") from error


def _check_number(number, name, most=NUMBER_MAX):
    """An int in [0, most)."""
    if type(number) is not int or not 0 <= number < most:
        raise WireError(f"{name}: found {_shown(number)}, expected a number from 0 and below {most}")


def _shown(value):
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
