"""sipcore.message: one pass over a datagram, held to our vectors and to RFC 4475."""

import csv
import ctypes
import mmap
import os
import pathlib
import re

import pytest

from sipcore import message
from sipcore.reasons import REASONS
from tests.vectors.messages import MESSAGES
from tests.vectors.messages import message as make

ROOT = pathlib.Path(__file__).resolve().parents[2]
NUMBERS = {name: row[0] for name, row in REASONS.items()} | {"OK": 0}
NAMES = {number: name for name, number in NUMBERS.items()}
# What other modules find: the edits (ROUTE), the registrar (CONTACT through address_parse, EXPIRES), building, routing.
ELSEWHERE = {"ROUTE", "CONTACT", "EXPIRES"} | {name for name, number in NUMBERS.items() if number <= NUMBERS["NO_ROOM"]}
PROT_NONE = 0


def vectors_directory():
    if "VIADUCT_VECTORS" in os.environ:
        return pathlib.Path(os.environ["VIADUCT_VECTORS"]) / "rfc4475"
    return ROOT.parent / "shared" / "vectors" / "rfc4475"


def torture():
    index = vectors_directory() / "index.tsv"
    if not index.is_file():
        return []
    with index.open(encoding="utf-8", newline="") as rows:
        return list(csv.DictReader(rows, delimiter="\t", quoting=csv.QUOTE_NONE))


TORTURE = torture()


def torture_status(row):
    """What the proxy's answer in the index asks of the parser: the status of its reason, 0 where it accepts."""
    if row["name"] in ("baddate", "regbadct"):
        return 0  # a proxy reads neither Date nor Contact
    if row["name"] in ("mismatch02", "badbranch"):
        return 400  # the index allows it
    if row["class"] == "invalid":
        return int(re.search(r"\b(400|505)\b", row["proxy_must"] + " 400").group())
    return 416 if row["proxy_must"].startswith("416") else 0


@pytest.mark.parametrize("vector", MESSAGES, ids=lambda vector: vector.name)
def test_vector(vector):
    parsed = message.parse(vector.data)
    assert NAMES[parsed.reason] == vector.reason, vector.why
    for field, expected in vector.fields.items():
        wanted = NUMBERS[expected] if isinstance(expected, str) else expected
        assert getattr(parsed, field) == wanted, f"{field}: {vector.why}"


def test_every_parser_reason_has_a_vector():
    covered = {vector.reason for vector in MESSAGES}
    covered |= {value for vector in MESSAGES for value in vector.fields.values() if isinstance(value, str)}
    assert set(NUMBERS) - covered - ELSEWHERE == set()


def test_names_of_vectors_are_unique():
    assert len({vector.name for vector in MESSAGES}) == len(MESSAGES)


def test_torture_vectors_are_there():
    if not TORTURE:
        assert os.environ.get("CI") != "true", f"RFC 4475 vectors are missing in {vectors_directory()}"
        pytest.skip(f"RFC 4475 vectors are missing in {vectors_directory()}")
    assert len(TORTURE) >= 49


@pytest.mark.parametrize("row", TORTURE, ids=lambda row: row["name"])
def test_torture(row):
    parsed = message.parse((vectors_directory() / row["file"]).read_bytes())
    reason = parsed.reason or (parsed.request_uri_reason if parsed.is_request else 0)
    assert (REASONS[NAMES[reason]][1] if reason else 0) == torture_status(row)
    assert parsed.answerable == (parsed.is_request and parsed.header(b"Via") is not None)


def test_torture_fields():
    if not TORTURE:
        pytest.skip(f"RFC 4475 vectors are missing in {vectors_directory()}")
    files = {row["name"]: (vectors_directory() / row["file"]).read_bytes() for row in TORTURE}
    wsinv = message.parse(files["wsinv"])
    assert (wsinv.to_tag, wsinv.from_tag, wsinv.cseq, wsinv.max_forwards) == (b"1918181833n", b"98asjd8", 9, 68)
    assert (wsinv.content_length, wsinv.via["host"], wsinv.via["branch"]) == (150, b"192.0.2.2", b"390skdjuw")
    assert len(wsinv.values(b"Via")) == 3
    assert len(message.parse(files["longreq"]).values(b"v")) == 34
    intmeth = message.parse(files["intmeth"])
    assert intmeth.method == b"!interesting-Method0123456789_*+`.%indeed'~"
    assert intmeth.from_tag == b"_token~1'+`*%!-."
    assert b"\x00" in intmeth.header(b"To")
    dblreq = message.parse(files["dblreq"])
    assert (dblreq.body, dblreq.size) == (b"", files["dblreq"].index(b"\r\n\r\n") + 4)
    assert len(message.parse(files["mpart01"]).body) == 553


def test_headers_in_order_and_by_name():
    parsed = message.parse(make(b"Route : <sip:a,b;lr>,\r\n <sip:c>", b"X-One: 1", b"Supported:", b"k: path"))
    assert [name for name, _ in parsed.headers][-4:] == [b"Route", b"X-One", b"Supported", b"k"]
    assert parsed.values(b"route") == [b"<sip:a,b;lr>", b"<sip:c>"]
    assert parsed.header(b"x-one") == b"1"
    assert parsed.values(b"supported") == [b"path"]
    assert parsed.header(b"Supported") == b""
    assert parsed.header(b"X-Two") is None


def test_the_first_fault_counts_and_parsing_goes_on():
    parsed = message.parse(make(b"broken", b"CSeq: x", without=(b"CSeq", b"To")))
    assert NAMES[parsed.reason] == "HEADER_LINE"
    assert (parsed.call_id, parsed.from_tag, parsed.answerable) == (b"1@192.0.2.1", b"77", True)


def test_a_faulty_line_is_not_indexed():
    parsed = message.parse(make(b"Subject: a\nVia: SIP/2.0/UDP evil"))
    assert b"Subject" not in [name for name, _ in parsed.headers]


@pytest.mark.parametrize("line", [b"Call\rID: 1", b"Max\rForwards: 1", b"Via\0: x", b"Via,: x", b"V ia: x", b": x"])
def test_a_name_that_is_no_token_is_no_header(line):
    parsed = message.parse(make(line))
    assert NAMES[parsed.reason] == "HEADER_LINE"
    assert len(parsed.headers) == len(message.parse(make()).headers)


def test_a_line_that_begins_with_a_bare_cr_may_have_folds():
    assert NAMES[message.parse(make(b"\r\r\n folded: x")).reason] == "HEADER_LINE"
    assert NAMES[message.parse(make()[:-2] + b"\r\r\n ").reason] == "NO_END_OF_HEADERS"


def test_every_prefix_may_lie_in_front_of_a_forbidden_page():
    """A read past the end would end this process."""
    libc = ctypes.CDLL(None)
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    page = mmap.PAGESIZE
    room = -(-max(len(vector.data) for vector in MESSAGES) // page) * page
    area = mmap.mmap(-1, room + page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    assert libc.mprotect(start + room, page, PROT_NONE) == 0
    try:
        for vector in MESSAGES:
            for length in range(0, len(vector.data) + 1, 1 if len(vector.data) < 1000 else 7):
                area[room - length:room] = vector.data[:length]
                assert message.parse_at(start + room - length, length) in NAMES
    finally:
        libc.mprotect(start + room, page, mmap.PROT_READ | mmap.PROT_WRITE)


def test_parsing_again_is_the_same():
    assert message.repeat(make(), 3) == 0
