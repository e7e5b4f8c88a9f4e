"""The table of charclass.pxd, for Python."""


def classes(int byte):
    """The classes of one byte, as a sum of CharClass bits."""
    return CHARCLASS[byte & 0xFF]
