"""Where each key, table and list element of a TOML text stands: tomllib says what the text means, this says where.

The text has passed tomllib, so the scan takes it as well-formed and only follows its shape.
"""

import re
from bisect import bisect_right

Path = tuple[str | int, ...]
Place = tuple[int, int]  # line and column, from 1

BARE = re.compile(r"[A-Za-z0-9_-]+")
SCALAR = re.compile(r"[^,\]}#\n]*")  # a number, a date, true or false
BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
STRINGS = (  # the long ones first; a basic string may hold escaped quotes, a literal one holds no escapes
    re.compile(r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})', re.S),
    re.compile(r"'''.*?'''(?:'{0,2})", re.S),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
)


def places(text: str) -> dict[Path, Place]:
    """Path of each key ("edge", "listen"), table ("edge",) and element ("edge", "listen", 0) -> its line and column."""
    return Scan(text).run()


class Scan:
    """One walk over a text. `at` is the offset of the next character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[Path, Place] = {}
        self.tables: dict[Path, int] = {}  # arrays of tables: how many so far
        self.line_starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def run(self) -> dict[Path, Place]:
        table: Path = ()
        while True:
            self.blank()
            if self.at >= len(self.text):
                return self.found
            table = self.header() if self.text[self.at] == "[" else self.pair(table)

    def header(self) -> Path:
        start = self.at
        double = self.text.startswith("[[", start)
        self.at += 2 if double else 1
        path = self.dotted(())
        self.at = self.text.index("]", self.at) + (2 if double else 1)
        if double:
            index = self.tables.get(path, 0)
            self.tables[path] = index + 1
            path = (*path, index)
        self.mark(path, start)
        return path

    def pair(self, table: Path) -> Path:
        """One `key = value`; the path of the table it is in, back."""
        start = self.at
        path = self.dotted(table)
        self.mark(path, start)
        self.at = self.text.index("=", self.at) + 1
        self.value(path)
        return table

    def dotted(self, path: Path) -> Path:
        """a."b c".d behind `path`; intermediate tables get the place of their first mention."""
        start = self.at
        while True:
            self.blank()
            path = (*path, self.name())
            self.blank()
            if not self.text.startswith(".", self.at):
                return path
            self.mark(path, start)
            self.at += 1

    def name(self) -> str:
        for quoted in STRINGS[2:]:
            match = quoted.match(self.text, self.at)
            if match:
                self.at = match.end()
                return match.group()[1:-1]
        match = BARE.match(self.text, self.at)
        if not match:  # cannot be after tomllib; never stand still
            self.at += 1
            return self.text[self.at - 1 : self.at]
        self.at = match.end()
        return match.group()

    def value(self, path: Path) -> None:
        self.blank()
        opening = self.text[self.at : self.at + 1]
        if opening == "[":
            self.items(path, "]")
        elif opening == "{":
            self.items(path, "}")
        else:
            for pattern in (*STRINGS, SCALAR):
                match = pattern.match(self.text, self.at)
                if match:
                    self.at = match.end()
                    return

    def items(self, path: Path, closing: str) -> None:
        """The elements of a list, or the pairs of an inline table."""
        self.at += 1
        index = 0
        while self.at < len(self.text):
            self.blank()
            if self.text.startswith(closing, self.at):
                self.at += 1
                return
            if self.text.startswith(",", self.at):
                self.at += 1
            elif closing == "]":
                self.mark((*path, index), self.at)
                self.value((*path, index))
                index += 1
            else:
                self.pair(path)

    def blank(self) -> None:
        self.at = BLANK.match(self.text, self.at).end()

    def mark(self, path: Path, offset: int) -> None:
        line = bisect_right(self.line_starts, offset)
        self.found.setdefault(path, (line, offset - self.line_starts[line - 1] + 1))
