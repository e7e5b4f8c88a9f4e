"""Which bytes belong to which token class of RFC 3261 25.1: one table of bit masks."""

from libc.stdint cimport uint8_t, uint16_t

cdef enum CharClass:
    CHAR_TOKEN = 1       # token
    CHAR_DIGIT = 2
    CHAR_ALPHA = 4
    CHAR_HEX = 8
    CHAR_USER = 16       # user, without the escape %
    CHAR_HOST = 32       # alphanumeric - . and [ ] :
    CHAR_LWS = 64        # SP HTAB CR LF
    CHAR_WORD = 128      # word: what a Call-ID is made of
    CHAR_PARAM = 256     # paramchar of a URI parameter, without the escape %
    CHAR_SCHEME = 512    # ALPHA DIGIT + - .

cdef const uint16_t[256] CHARCLASS


cdef inline bint char_is(uint8_t c, uint16_t classes) noexcept nogil:
    return (CHARCLASS[c] & classes) != 0
