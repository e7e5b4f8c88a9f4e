"""Branches as the field's user agents write them (the text behind the magic cookie), for simulations."""

from __future__ import annotations

import random
from collections.abc import Callable

MAGIC = b"z9hG4bK"
HEX = "0123456789abcdef"
ALNUM = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
BELLE = ALNUM + "-~"
TRANSACTIONS = 3  # of a call: INVITE, ACK to its 2xx, BYE

# Of the datagrams that reach the edge for a call: INVITE 180 200, ACK, BYE 200.
RECEIVED = (3, 1, 2)

Style = Callable[[random.Random, int], str]  # a source of chance, and how many transactions there were before


def text(chance: random.Random, letters: str, length: int) -> str:
    return "".join(chance.choices(letters, k=length))


def pjsip(chance: random.Random, _: int) -> str:
    bits = text(chance, HEX, 32)
    return f"Pj{bits[:8]}-{bits[8:12]}-{bits[12:16]}-{bits[16:20]}-{bits[20:]}"


def kamailio(chance: random.Random, _: int) -> str:
    return f"{text(chance, HEX, 4)}.{text(chance, HEX, 32)}.0"


def sipp(_: random.Random, number: int) -> str:
    """Process id, call number, index of the message in the scenario: only digits that count."""
    call, part = divmod(number, TRANSACTIONS)
    return f"-23170-{call + 1}-{(0, 4, 6)[part]}"


STYLES: dict[str, Style] = {
    "PJSIP": pjsip,
    "reSIProcate": lambda chance, _: f"-524287-1---{text(chance, HEX, 16)}",
    "older reSIProcate": lambda chance, _: f"-d8754z-{text(chance, HEX, 16)}-1---d8754z-",
    "Sofia (FreeSWITCH)": lambda chance, _: text(chance, ALNUM, 13),
    "Asterisk chan_sip": lambda chance, _: text(chance, HEX, 8),
    "belle-sip (Linphone)": lambda chance, _: "." + text(chance, BELLE, 9),
    "baresip": lambda chance, _: text(chance, HEX, 16),
    "snom": lambda chance, _: "-" + text(chance, ALNUM, 12),
    "decimal, random": lambda chance, _: str(chance.getrandbits(31)),
    "Kamailio": kamailio,
    "SIPp, counts": sipp,
    "hexadecimal, counts": lambda _, number: f"{0x1A2B3C + number:X}",
}


def branches(style: str, transactions: int, seed: int = 1) -> list[bytes]:
    """Whole branches in the order in which one user agent would make them."""
    chance, make = random.Random(seed), STYLES[style]
    return [MAGIC + make(chance, number).encode() for number in range(transactions)]
