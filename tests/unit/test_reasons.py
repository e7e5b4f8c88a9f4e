"""sipcore.reasons: every number of reasons.pxd has its row."""

import pathlib
import re

from sipcore import reasons

PXD = pathlib.Path(__file__).resolve().parents[2] / "sipcore" / "reasons.pxd"
DECLARED = {name: int(number) for name, number in re.findall(r"REASON_(\w+) = (-?\d+)", PXD.read_text())}


def test_rows_are_complete():
    assert {name: row[0] for name, row in reasons.REASONS.items()} | {"OK": 0} == DECLARED


def test_numbers_differ_and_statuses_are_sip():
    assert len(set(DECLARED.values())) == len(DECLARED)
    for name, (number, status, phrase) in reasons.REASONS.items():
        assert 400 <= status <= 599 or name == "KEEPALIVE"
        assert phrase.isascii() and phrase.isprintable()
        assert (reasons.status(number), reasons.phrase(number)) == (status, phrase)


def test_text_that_users_of_the_seed_expect():
    assert reasons.REASONS["NO_DESTINATION"][1:] == (500, "No FS Destinations")


def test_unknown_numbers_are_our_fault():
    for number in (-50, -200, 1, -2**31):
        assert (reasons.status(number), reasons.phrase(number)) == (500, "Server Internal Error")


def test_refused_tells_what_and_why():
    refused = reasons.Refused(DECLARED["VIA"], "Via b''")
    assert str(refused) == "Via b'': Malformed Via (VIA, 400)"
    assert refused.reason == DECLARED["VIA"]
