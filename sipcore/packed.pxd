"""msgpack read and written in place: the few types that entries and operations are made of. Leaf bodies live here so that they inline.

A reader that met anything else than what was asked for has failed for good: everything that it gives from then on is zero or empty. What
is written is what the msgpack library writes, octet for octet.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy

cdef enum:
    NUMBER_OCTETS = 9          # a number at its longest
    PACKER_FIRST = 1024        # octets: an entry of one binding takes a quarter of it

cdef struct Octets:            # borrowed from whoever was read
    const uint8_t* data
    uint32_t length

cdef struct Reader:
    const uint8_t* data
    uint32_t at
    uint32_t end
    bint failed

cdef struct Packer:            # owns `out`; free() gives it back
    uint8_t* out
    uint32_t room
    uint32_t length
    bint failed                # no memory: nothing is written until it begins anew


cdef inline Reader reader_of(const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    return Reader(data, at, end, False)


cdef inline uint8_t reader_octet(Reader* reader) noexcept nogil:
    if reader.failed or reader.at >= reader.end:
        reader.failed = True
        return 0xC1  # which msgpack never uses
    reader.at += 1
    return reader.data[reader.at - 1]


cdef inline uint64_t reader_big_endian(Reader* reader, uint32_t octets) noexcept nogil:
    cdef uint64_t value = 0
    cdef uint32_t i
    if reader.failed or octets > reader.end - reader.at:
        reader.failed = True
        return 0
    for i in range(octets):
        value = value << 8 | reader.data[reader.at + i]
    reader.at += octets
    return value


cdef inline uint64_t reader_number(Reader* reader, uint64_t most) noexcept nogil:
    """An unsigned number up to `most`."""
    cdef uint8_t head = reader_octet(reader)
    cdef uint64_t value = head
    if head > 0x7F:
        if 0xCC <= head <= 0xCF:
            value = reader_big_endian(reader, <uint32_t>1 << (head - 0xCC))
        else:
            reader.failed = True
    if reader.failed or value > most:
        reader.failed = True
        return 0
    return value


cdef inline int64_t reader_time(Reader* reader) noexcept nogil:
    """A signed number of 64 bits: times before the machine's start are negative."""
    cdef uint8_t head
    cdef uint32_t octets
    if reader.failed or reader.at >= reader.end:
        reader.failed = True
        return 0
    head = reader.data[reader.at]
    if head >= 0xE0:
        reader.at += 1
        return <int64_t>head - 256
    if not 0xD0 <= head <= 0xD3:
        return <int64_t>reader_number(reader, 0x7FFFFFFFFFFFFFFFULL)
    reader.at += 1
    octets = <uint32_t>1 << (head - 0xD0)
    # the sign stands in the first octet, wherever the number begins
    return <int64_t>(reader_big_endian(reader, octets) << (64 - 8 * octets)) >> (64 - 8 * octets)


cdef inline bint reader_flag(Reader* reader) noexcept nogil:
    cdef uint8_t head = reader_octet(reader)
    if head != 0xC2 and head != 0xC3:
        reader.failed = True
    return head == 0xC3


cdef inline Octets reader_octets(Reader* reader, uint32_t most) noexcept nogil:
    """Up to `most` octets."""
    cdef uint8_t head = reader_octet(reader)
    cdef uint64_t length = 0
    cdef Octets found
    if 0xC4 <= head <= 0xC6:
        length = reader_big_endian(reader, <uint32_t>1 << (head - 0xC4))
    else:
        reader.failed = True
    if reader.failed or length > most or length > reader.end - reader.at:
        reader.failed = True
        return Octets(NULL, 0)
    found = Octets(reader.data + reader.at, <uint32_t>length)
    reader.at += found.length
    return found


cdef inline uint32_t reader_array(Reader* reader, uint32_t most) noexcept nogil:
    """How many values follow, up to `most`."""
    cdef uint8_t head = reader_octet(reader)
    cdef uint64_t count = 0
    if head & 0xF0 == 0x90:
        count = head & 0x0F
    elif head == 0xDC or head == 0xDD:
        count = reader_big_endian(reader, 2 if head == 0xDC else 4)
    else:
        reader.failed = True
    if reader.failed or count > most:
        reader.failed = True
        return 0
    return <uint32_t>count


# Passes over one value of any kind, whatever it holds.
cdef void reader_skip(Reader* reader) noexcept nogil


cdef inline void packer_begin(Packer* packer) noexcept nogil:
    """What was written is gone; its memory is used again."""
    packer.length = 0
    packer.failed = False


cdef inline bint packer_room(Packer* packer, uint32_t octets) noexcept nogil:
    """Room for so many octets more; what was written is 2 GB at most, far above every limit of a frame."""
    cdef uint32_t room = packer.room if packer.room else PACKER_FIRST
    cdef uint8_t* out
    if packer.failed:
        return False
    if octets <= packer.room - packer.length:
        return True
    while room - packer.length < octets and room < <uint32_t>1 << 31:
        room *= 2
    out = <uint8_t*>realloc(packer.out, room) if octets <= room - packer.length else NULL
    if out == NULL:
        packer.failed = True
        return False
    packer.out = out
    packer.room = room
    return True


cdef inline void packer_raw(Packer* packer, const void* data, uint32_t length) noexcept nogil:
    if length and packer_room(packer, length):
        memcpy(packer.out + packer.length, data, length)
        packer.length += length


cdef inline void packer_head(Packer* packer, uint8_t head, uint64_t value, uint32_t octets) noexcept nogil:
    """A type's octet and a big-endian number behind it."""
    cdef uint32_t i
    if not packer_room(packer, NUMBER_OCTETS):
        return
    packer.out[packer.length] = head
    for i in range(octets):
        packer.out[packer.length + 1 + i] = <uint8_t>(value >> (8 * (octets - 1 - i)))
    packer.length += 1 + octets


cdef inline void packer_number(Packer* packer, uint64_t value) noexcept nogil:
    if value < 0x80:
        packer_head(packer, <uint8_t>value, 0, 0)
    elif value < 0x100:
        packer_head(packer, 0xCC, value, 1)
    elif value < 0x10000:
        packer_head(packer, 0xCD, value, 2)
    elif value < 0x100000000ULL:
        packer_head(packer, 0xCE, value, 4)
    else:
        packer_head(packer, 0xCF, value, 8)


cdef inline void packer_time(Packer* packer, int64_t value) noexcept nogil:
    if value >= 0:
        packer_number(packer, <uint64_t>value)
    elif value >= -0x20:
        packer_head(packer, <uint8_t>(value & 0xFF), 0, 0)
    elif value >= -0x80:
        packer_head(packer, 0xD0, <uint64_t>value, 1)
    elif value >= -0x8000:
        packer_head(packer, 0xD1, <uint64_t>value, 2)
    elif value >= -0x80000000LL:
        packer_head(packer, 0xD2, <uint64_t>value, 4)
    else:
        packer_head(packer, 0xD3, <uint64_t>value, 8)


cdef inline void packer_flag(Packer* packer, bint value) noexcept nogil:
    packer_head(packer, 0xC3 if value else 0xC2, 0, 0)


cdef inline void packer_array(Packer* packer, uint32_t count) noexcept nogil:
    if count < 16:
        packer_head(packer, <uint8_t>(0x90 | count), 0, 0)
    elif count < 0x10000:
        packer_head(packer, 0xDC, count, 2)
    else:
        packer_head(packer, 0xDD, count, 4)


cdef inline void packer_octets(Packer* packer, const uint8_t* data, uint32_t length) noexcept nogil:
    if length < 0x100:
        packer_head(packer, 0xC4, length, 1)
    elif length < 0x10000:
        packer_head(packer, 0xC5, length, 2)
    else:
        packer_head(packer, 0xC6, length, 4)
    packer_raw(packer, data, length)
