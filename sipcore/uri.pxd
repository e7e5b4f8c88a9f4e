"""URIs (RFC 3261 19.1, 25.1): sip, sips, tel, and the scheme of anything else."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from sipcore.slices cimport Slice

cdef enum Scheme:
    SCHEME_OTHER = 0
    SCHEME_SIP = 1
    SCHEME_SIPS = 2
    SCHEME_TEL = 3

cdef struct Uri:
    uint16_t scheme    # Scheme
    bint has_user      # "sip:@host" is refused, so has_user means user.length > 0
    Slice text         # the whole URI
    Slice user         # escaped, as it stands; for tel the number
    Slice password
    Slice host         # an IPv6 reference with its brackets
    uint32_t port      # 0: absent
    Slice params       # after the first ';' of the URI's parameters, up to '?' or the end
    Slice headers      # after '?'
    uint16_t transport # Transport of ;transport= ; 0 (UDP) where absent, TRANSPORT_UNKNOWN for one that we do not speak
    bint has_transport
    bint lr
    Slice maddr

# Parses [start, end) of data; 0, or a negative Reason. SCHEME_OTHER sets text alone and is no error.
cdef int uri_parse(Uri* uri, const uint8_t* data, uint32_t start, uint32_t end) noexcept nogil
# The same up to where the URI ends, at an octet that cannot be in it or at `end`: its offset, 0 where it is malformed.
cdef uint32_t uri_read(Uri* uri, const uint8_t* data, uint32_t start, uint32_t end) noexcept nogil
# The value of a parameter (any case) inside params, empty where absent; found tells a flag without a value.
cdef Slice uri_param(const uint8_t* data, Slice params, const char* name, uint32_t length, bint* found) noexcept nogil
# The address-of-record, canonical (RFC 3261 10.3 step 5): "user@host", %HH of unreserved characters undone, others with
# upper-case digits, host in lower case, no port, no parameters; tel: the number without visual separators. Its length, or
# REASON_NO_ROOM.
cdef int uri_aor(const uint8_t* data, const Uri* uri, uint8_t* out, uint32_t room) noexcept nogil
cdef dict uri_dict(const uint8_t* data, const Uri* uri)  # for the Python-visible wrappers
