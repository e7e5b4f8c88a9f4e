"""The runs of scan.pxd over octets that lie at an address: for tests of where they end and of what they may touch."""


def text_end_at(size_t address, uint32_t at, uint32_t end):
    return text_end(<const uint8_t*>address, at, end)


def visible_end_at(size_t address, uint32_t at, uint32_t end):
    return visible_end(<const uint8_t*>address, at, end)


def octet_find_at(size_t address, uint32_t at, uint32_t end, uint8_t octet):
    return octet_find(<const uint8_t*>address, at, end, octet)


def class_end_at(size_t address, uint32_t at, uint32_t end, uint16_t whole):
    """`whole` is a CharClass that holds letters, digits, - and ."""
    return class_end(<const uint8_t*>address, at, end, whole)
