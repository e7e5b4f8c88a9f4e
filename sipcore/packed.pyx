"""msgpack's values of any kind, passed over: what only Python reads stands between what is read in place."""


cdef void reader_skip(Reader* reader) noexcept nogil:
    cdef uint64_t values = 1  # still to be passed over; each takes an octet at least
    cdef uint64_t octets
    cdef uint8_t head
    while values and not reader.failed:
        values -= 1
        head = reader_octet(reader)
        octets = 0
        if head <= 0x7F or head >= 0xE0 or head == 0xC0 or head == 0xC2 or head == 0xC3:
            continue
        if head <= 0x8F:
            values += 2 * (head & 0x0F)
        elif head <= 0x9F:
            values += head & 0x0F
        elif head <= 0xBF:
            octets = head & 0x1F
        elif 0xC4 <= head <= 0xC6:
            octets = reader_big_endian(reader, <uint32_t>1 << (head - 0xC4))
        elif 0xCA <= head <= 0xCB:
            octets = 4 << (head - 0xCA)
        elif 0xCC <= head <= 0xCF:
            octets = <uint64_t>1 << (head - 0xCC)
        elif 0xD0 <= head <= 0xD3:
            octets = <uint64_t>1 << (head - 0xD0)
        elif 0xD9 <= head <= 0xDB:
            octets = reader_big_endian(reader, <uint32_t>1 << (head - 0xD9))
        elif 0xDC <= head <= 0xDD:
            values += reader_big_endian(reader, <uint32_t>2 << (head - 0xDC))
        elif 0xDE <= head <= 0xDF:
            values += 2 * reader_big_endian(reader, <uint32_t>2 << (head - 0xDE))
        else:
            reader.failed = True  # extension types are nobody's here
        if octets > reader.end - reader.at or values > reader.end - reader.at:
            reader.failed = True
        else:
            reader.at += <uint32_t>octets
