"""The Record-Route cookie's octets: version, flags, destination, caller, callee, MAC; base64url without padding.

An endpoint is one octet of family and transport, and, unless it is none, its listener, port and address: 9 octets or 21. Numbers are
big endian. The text is canonical: one cookie of one dialog has one text, and every changed, added or missing character fails.
"""

from libc.stdint cimport int8_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from sipcore.endpoint cimport Endpoint
from sipcore.hashing cimport HashKey, Hasher, hasher_add_field, hasher_add_word, hasher_end, hasher_start, hashkey_set
from sipcore.reasons cimport REASON_COOKIE

cdef enum:
    HEAD_OCTETS = 6              # version, flags, destination
    ENDPOINT_OCTETS_MAX = 21     # IPv6
    MAC_OCTETS = 8               # a guess is right once in 2^64, and every guess costs a datagram
    COOKIE_OCTETS_MAX = 56       # HEAD + 2 x ENDPOINT + MAC: 75 characters, below COOKIE_TEXT_MAX
    COOKIE_OCTETS_MIN = 16       # both endpoints none
    NO_DIGIT = -1

# What the MAC is over begins with this ("rr-route"), so that no other use of the deployment's key (branches) ever hashes the same
# words: theirs begin with the length of a field, or with a hash.
cdef enum:
    PURPOSE = 0x6574756F722D7272

cdef const char* DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"  # RFC 4648 section 5; all fit a URI parameter
cdef int8_t digit_value[256]


cdef void fill_digit_values() noexcept nogil:
    cdef int i
    memset(digit_value, NO_DIGIT, sizeof(digit_value))
    for i in range(64):
        digit_value[<uint8_t>DIGITS[i]] = <int8_t>i


fill_digit_values()


cdef inline uint8_t* put_endpoint(uint8_t* out, const Endpoint* endpoint) noexcept nogil:
    cdef uint32_t length = 16 if endpoint.family == 6 else 4
    out[0] = endpoint.family << 4 | endpoint.transport
    if endpoint.family == 0:
        return out + 1
    out[1] = endpoint.listener >> 8
    out[2] = endpoint.listener & 0xFF
    out[3] = endpoint.port >> 8
    out[4] = endpoint.port & 0xFF
    memcpy(out + 5, endpoint.ip, length)
    return out + 5 + length


cdef inline const uint8_t* take_endpoint(Endpoint* endpoint, const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Reads one and returns what follows it, or NULL."""
    cdef uint32_t length
    memset(endpoint, 0, sizeof(Endpoint))
    if at >= end:
        return NULL
    endpoint.family = at[0] >> 4
    endpoint.transport = at[0] & 15
    if endpoint.family == 0:
        return at + 1
    length = 16 if endpoint.family == 6 else 4
    if (endpoint.family != 4 and endpoint.family != 6) or end - at < <int>(5 + length):
        return NULL
    endpoint.listener = <uint16_t>at[1] << 8 | at[2]
    endpoint.port = <uint16_t>at[3] << 8 | at[4]
    memcpy(endpoint.ip, at + 5, length)
    return at + 5 + length


cdef inline uint64_t mac_of(const HashKey* key, const uint8_t* octets, uint32_t length, const uint8_t* call_id, uint32_t call_id_length,
                            const uint8_t* caller_tag, uint32_t caller_tag_length) noexcept nogil:
    cdef Hasher hasher
    hasher_start(&hasher, key)
    hasher_add_word(&hasher, PURPOSE)
    hasher_add_field(&hasher, octets, length)
    hasher_add_field(&hasher, call_id, call_id_length)
    hasher_add_field(&hasher, caller_tag, caller_tag_length)
    return hasher_end(&hasher)


cdef inline uint32_t text_of(const uint8_t* octets, uint32_t length, uint8_t* out) noexcept nogil:
    cdef uint32_t bits, i, rest = length % 3, written = 0
    for i in range(0, length - rest, 3):
        bits = <uint32_t>octets[i] << 16 | <uint32_t>octets[i + 1] << 8 | octets[i + 2]
        out[written] = DIGITS[bits >> 18]
        out[written + 1] = DIGITS[bits >> 12 & 63]
        out[written + 2] = DIGITS[bits >> 6 & 63]
        out[written + 3] = DIGITS[bits & 63]
        written += 4
    if rest:
        bits = <uint32_t>octets[length - rest] << 16 | (<uint32_t>octets[length - 1] << 8 if rest == 2 else 0)
        out[written] = DIGITS[bits >> 18]
        out[written + 1] = DIGITS[bits >> 12 & 63]
        out[written + 2] = DIGITS[bits >> 6 & 63]  # kept where two octets are left
        written += rest + 1
    return written


cdef inline uint32_t digit(uint8_t c) noexcept nogil:
    """The value of a digit; all bits set for what is none, so that the highest bit of a sum of shifted ones tells."""
    return <uint32_t>digit_value[c]


cdef inline int octets_of(const uint8_t* text, uint32_t length, uint8_t* out) noexcept nogil:
    """How many octets the text says, or -1: a foreign character, or bits left over that are not 0."""
    cdef uint32_t bits, i, rest = length % 4, written = 0
    cdef uint32_t met = 0
    for i in range(0, length - rest, 4):
        bits = digit(text[i]) << 18 | digit(text[i + 1]) << 12 | digit(text[i + 2]) << 6 | digit(text[i + 3])
        met |= bits
        out[written] = bits >> 16 & 0xFF
        out[written + 1] = bits >> 8 & 0xFF
        out[written + 2] = bits & 0xFF
        written += 3
    if rest:
        text += length - rest
        bits = digit(text[0]) << 18 | (digit(text[1]) << 12 if rest > 1 else 0) | (digit(text[2]) << 6 if rest > 2 else 0)
        met |= bits
        if rest == 1 or bits & (0xFFFF if rest == 2 else 0xFF):
            return -1
        out[written] = bits >> 16 & 0xFF
        out[written + 1] = bits >> 8 & 0xFF  # kept where three digits are left
        written += rest - 1
    return -1 if met >> 31 else <int>written


cdef uint32_t cookie_encode(const Cookie* cookie, const HashKey* key, const uint8_t* call_id, uint32_t call_id_length,
                            const uint8_t* caller_tag, uint32_t caller_tag_length, uint8_t* out) noexcept nogil:
    cdef uint8_t octets[COOKIE_OCTETS_MAX]
    cdef uint8_t* at = octets + HEAD_OCTETS
    cdef uint64_t mac
    cdef uint32_t length
    cdef int i
    octets[0] = COOKIE_VERSION
    octets[1] = cookie.flags
    for i in range(4):
        octets[2 + i] = cookie.destination >> (24 - 8 * i) & 0xFF
    at = put_endpoint(at, &cookie.caller)
    at = put_endpoint(at, &cookie.callee)
    length = <uint32_t>(at - octets)
    mac = mac_of(key, octets, length, call_id, call_id_length, caller_tag, caller_tag_length)
    for i in range(MAC_OCTETS):
        at[i] = mac >> (56 - 8 * i) & 0xFF
    return text_of(octets, length + MAC_OCTETS, out)


cdef int cookie_decode(Cookie* cookie, const HashKey* key, const uint8_t* text, uint32_t length,
                       const uint8_t* call_id, uint32_t call_id_length,
                       const uint8_t* caller_tag, uint32_t caller_tag_length) noexcept nogil:
    cdef uint8_t octets[COOKIE_TEXT_MAX]
    cdef const uint8_t* at
    cdef const uint8_t* end
    cdef uint64_t mac = 0
    cdef int count, i
    if length > COOKIE_TEXT_MAX:
        return REASON_COOKIE
    count = octets_of(text, length, octets)
    if count < COOKIE_OCTETS_MIN or octets[0] != COOKIE_VERSION:
        return REASON_COOKIE
    end = octets + count - MAC_OCTETS
    for i in range(MAC_OCTETS):
        mac = mac << 8 | end[i]
    # one comparison of whole words: how long it takes tells nothing of where they differ
    if mac != mac_of(key, octets, count - MAC_OCTETS, call_id, call_id_length, caller_tag, caller_tag_length):
        return REASON_COOKIE
    cookie.flags = octets[1]
    cookie.destination = <uint32_t>octets[2] << 24 | <uint32_t>octets[3] << 16 | <uint32_t>octets[4] << 8 | octets[5]
    at = take_endpoint(&cookie.caller, octets + HEAD_OCTETS, end)
    if at != NULL:
        at = take_endpoint(&cookie.callee, at, end)
    return 0 if at == end else REASON_COOKIE


# Wrappers for tests and tools.

cdef HashKey key_of(bytes key) except *:
    cdef HashKey result
    if len(key) != sizeof(HashKey):
        raise ValueError(f"a hash key is {sizeof(HashKey)} octets, not {len(key)}")
    hashkey_set(&result, key)
    return result


cdef int set_endpoint(Endpoint* endpoint, bytes octets) except -1:
    if len(octets) != sizeof(Endpoint):
        raise ValueError(f"an endpoint is {sizeof(Endpoint)} octets, not {len(octets)}")
    memcpy(endpoint, <const uint8_t*>octets, sizeof(Endpoint))
    return 0


def encode(bytes key, bytes call_id, bytes caller_tag, *, bytes caller, bytes callee, uint32_t destination=0, uint8_t flags=0) -> bytes:
    """The cookie's text; key: 16 octets, caller and callee: 24 octets of struct Endpoint."""
    cdef HashKey k = key_of(key)
    cdef Cookie cookie
    cdef uint8_t out[COOKIE_TEXT_MAX]
    cdef uint32_t length
    cookie.flags = flags
    cookie.destination = destination
    set_endpoint(&cookie.caller, caller)
    set_endpoint(&cookie.callee, callee)
    length = cookie_encode(&cookie, &k, call_id, len(call_id), caller_tag, len(caller_tag), out)
    return (<char*>out)[:length]


def decode(bytes key, bytes text, bytes call_id, bytes caller_tag):
    """A dict of flags, caller, callee and destination, or None where the text does not verify."""
    cdef HashKey k = key_of(key)
    cdef Cookie cookie
    if cookie_decode(&cookie, &k, text, len(text), call_id, len(call_id), caller_tag, len(caller_tag)) != 0:
        return None
    return {"flags": cookie.flags, "destination": cookie.destination,
            "caller": (<char*>&cookie.caller)[:sizeof(Endpoint)], "callee": (<char*>&cookie.callee)[:sizeof(Endpoint)]}


def time_cookie(bytes key, bytes call_id, bytes caller_tag, bytes caller, bytes callee, uint32_t rounds, *, bint decoding) -> int:
    """Encodes or decodes `rounds` times for benchmarks; a sum, so that no round is optimised away."""
    cdef HashKey k = key_of(key)
    cdef Cookie cookie
    cdef uint8_t out[COOKIE_TEXT_MAX]
    cdef const uint8_t* call = call_id
    cdef const uint8_t* tag = caller_tag
    cdef uint32_t call_length = len(call_id), tag_length = len(caller_tag)
    cdef uint32_t i, length, total = 0
    memset(&cookie, 0, sizeof(Cookie))
    set_endpoint(&cookie.caller, caller)
    set_endpoint(&cookie.callee, callee)
    with nogil:
        length = cookie_encode(&cookie, &k, call, call_length, tag, tag_length, out)
        for i in range(rounds):
            if decoding:
                total += cookie_decode(&cookie, &k, out, length, call, call_length, tag, tag_length) == 0
            else:
                cookie.destination = i
                total += cookie_encode(&cookie, &k, call, call_length, tag, tag_length, out)
    return total
