"""Every shape that crosses a process, in one place: the log's entries and the frames that carry them (msgpack arrays).

Text is bytes throughout; only the settings are str. A frame that does not decode raises WireError and leaves nothing
behind.
"""

import msgpack

FRAME_MAX = 8 << 20        # octets: a snapshot part or delta of ENTRIES_MAX full bindings stays below
ENTRIES_MAX = 1000         # entries to a frame: about a millisecond of work for a worker
OPS_MAX = 500              # operations to a frame: eight full batches of datagrams
OP_CONTACTS_MAX = 64       # contacts in one REGISTER: a 64 KB datagram of them is no phone's
SECONDS_MAX = 1 << 31      # RFC 3261 20.19: delta-seconds are 32 bits
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

FLOW_OCTETS = 24      # a raw struct Endpoint (sipcore/endpoint.pxd)

_packer = msgpack.Packer(use_bin_type=True)


class WireError(ValueError):
    """A frame or an entry is not what this file says."""


def encode(value):
    """One frame or entry as octets."""
    return _packer.pack(value)


def encode_delta(epoch, first_sequence, encoded_entries):
    """A DELTA around entries that are encoded already."""
    return b"".join((b"\x94\x04", _packer.pack(epoch), _packer.pack(first_sequence),
                     _array_header(len(encoded_entries)), *encoded_entries))


def encode_part(number, encoded_entries):
    """A SNAPSHOT_PART around entries that are encoded already."""
    return b"".join((b"\x93\x02", _packer.pack(number), _array_header(len(encoded_entries)), *encoded_entries))


def decode_from_worker(frame):
    """One frame of a worker, every field of the right type and within its limits."""
    value = _decode(frame, WORKER_LENGTHS, "a worker's frame")
    kind = value[0]
    if kind == OPS:
        ops = value[1]
        if type(ops) is not list or len(ops) > OPS_MAX:
            raise WireError(f"operations: found {_shown(ops)}, expected a list of at most {OPS_MAX}")
        for op in ops:
            _check_op(op)
    else:
        for number in value[1:]:
            _check_number(number, "a worker's frame")
    return value


def decode_from_supervisor(frame):
    """One frame of the supervisor; entries are checked for kind, length and sequence, the tables check the rest."""
    value = _decode(frame, SUPERVISOR_LENGTHS, "a supervisor's frame")
    kind = value[0]
    if kind == REFUSED:
        if type(value[1]) is not list or not all(type(one) is list and len(one) == 3 for one in value[1]):
            raise WireError(f"refusals: found {_shown(value[1])}, expected [[op_id, status, phrase], ...]")
        return value
    if kind in (DELTA, SNAPSHOT_PART):
        _check_entries(value[-1])
    for number in value[1:-1] if kind in (DELTA, SNAPSHOT_PART) else value[1:]:
        _check_number(number, "a supervisor's frame")
    return value


def encode_entries(encoded_entries):
    """Entries that are encoded already as one value, as the store keeps them."""
    return b"".join((_array_header(len(encoded_entries)), *encoded_entries))


def decode_entries(octets):
    """What encode_entries made; checked as a frame's entries are, but for their number."""
    try:
        entries = msgpack.unpackb(octets, raw=False, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise WireError(f"entries: {error or type(error).__name__}") from error
    if type(entries) is not list:
        raise WireError(f"entries: found {_shown(entries)}, expected a list")
    for entry in entries:
        _check_entry(entry)
    return entries


def _array_header(count):
    if count < 16:
        return bytes((0x90 | count,))
    if count < 1 << 16:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")


def _decode(frame, lengths, name):
    if len(frame) > FRAME_MAX:
        raise WireError(f"{name}: found {len(frame)} octets, expected at most {FRAME_MAX}")
    try:
        value = msgpack.unpackb(frame, raw=False, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise WireError(f"{name}: {error or type(error).__name__}") from error
    if type(value) is not list or not value or type(value[0]) is not int or lengths.get(value[0]) != len(value):
        raise WireError(f"{name}: found {_shown(value)}, expected an array of a known kind and length")
    return value


def _check_entries(entries):
    if type(entries) is not list or len(entries) > ENTRIES_MAX:
        raise WireError(f"entries: found {_shown(entries)}, expected a list of at most {ENTRIES_MAX}")
    for entry in entries:
        _check_entry(entry)


def _check_entry(entry):
    if (type(entry) is not list or len(entry) < 2 or type(entry[0]) is not int or type(entry[1]) is not int
            or ENTRY_LENGTHS.get(entry[0]) != len(entry)):
        raise WireError(f"an entry: found {_shown(entry)}, expected an array of a known kind and length")


def _check_op(op):
    if type(op) is not list or len(op) != 9:
        raise WireError(f"an operation: found {_shown(op)}, expected an array of 9")
    op_id, aor, call_id, cseq, star, contacts, flow, path, agent = op
    _check_number(op_id, "an operation's op_id")
    _check_number(cseq, "an operation's CSeq", 1 << 32)
    if not type(aor) is type(call_id) is type(flow) is type(path) is type(agent) is bytes:
        raise WireError(f"an operation: found {_shown(op)}, expected AOR, Call-ID, flow, Path and agent as octets")
    if type(star) is not bool or len(flow) != FLOW_OCTETS:
        raise WireError(f"an operation: found {_shown(op)}, expected star as a bool and a flow of {FLOW_OCTETS} octets")
    if type(contacts) is not list or len(contacts) > OP_CONTACTS_MAX:
        raise WireError(f"an operation's contacts: found {_shown(contacts)}, expected at most {OP_CONTACTS_MAX}")
    for contact in contacts:
        if type(contact) is not list or len(contact) != 5:
            raise WireError(f"a contact: found {_shown(contact)}, expected [uri, expires_s, q, instance, reg_id]")
        uri, expires_s, q, instance, reg_id = contact
        if type(uri) is not bytes or type(instance) is not bytes:
            raise WireError(f"a contact: found {_shown(contact)}, expected URI and instance as octets")
        _check_number(expires_s, "a contact's expires", SECONDS_MAX)
        _check_number(q, "a contact's q", 1001)
        _check_number(reg_id, "a contact's reg-id", 1 << 32)


def _check_number(number, name, most=NUMBER_MAX):
    """An int in [0, most)."""
    if type(number) is not int or not 0 <= number < most:
        raise WireError(f"{name}: found {_shown(number)}, expected a number from 0 and below {most}")


def _shown(value):
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
