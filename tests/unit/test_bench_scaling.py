"""The simulations say what the edge does: same owners, same choices; and the page holds what they say."""

import numpy as np
import pytest

from benchmarks import branches, scaling
from sipcore import message, steering

CALLS = 2_000
KEYS = scaling.call_keys(4_000)


@pytest.mark.parametrize("style", branches.STYLES)
def test_every_style_is_steered_as_the_whole_request_is(style):
    made = branches.branches(style, 60)
    assert len(set(made)) == 60
    found = scaling.owners(style, 20, 7)
    for branch, owner in zip(made, found, strict=True):
        request = (
            b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=%b;rport\r\nFrom: <sip:a@b>;tag=1\r\n"
            b"To: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n" % branch
        )
        assert message.parse(request).reason == 0
        assert steering.owner(request, 7) == owner


@pytest.mark.parametrize("style", branches.STYLES)
def test_every_style_spreads_as_by_lot(style):
    """Five standard deviations of the busiest of eight: no honest hash is beyond."""
    weights = np.array(branches.RECEIVED)
    deviation = (7 * CALLS * (weights**2).sum()) ** 0.5 / (CALLS * weights.sum())
    assert 1 <= scaling.imbalance(scaling.owners(style, CALLS, 8), 8) < 1 + 5 * deviation


def test_imbalance_weighs_transactions():
    assert scaling.imbalance(np.array([0, 1, 1]), 2) == 1.0  # INVITE against ACK and BYE
    assert scaling.imbalance(np.array([0, 0, 0]), 4) == 4.0


def test_few_calls_are_uneven():
    values = scaling.hashes("baresip", CALLS)
    assert scaling.windowed(values, 16, 20) > scaling.windowed(values, 16, 200) > scaling.windowed(values, 16, 2_000)


def test_without_the_filter_sources_decide():
    assert scaling.by_address(64, 1) > 30
    assert scaling.by_address(64, 1, destinations=1_000) > scaling.by_address(64, 1_000, destinations=1_000)


def test_a_change_moves_what_it_must():
    row = scaling.rendezvous_row(5, KEYS)
    assert row[7] == "0"
    assert float(row[4]) == pytest.approx(0.2, abs=0.03) and float(row[5]) == pytest.approx(1 / 6, abs=0.03)
    assert float(row[9]) > 0.8


def test_shares_follow_weights():
    row = scaling.weights_row(5, KEYS)
    assert all(float(cell) == pytest.approx(1, abs=0.2) for cell in row[1:6])
    assert row[-1] == "0" and float(row[6]) == pytest.approx(float(row[7]), abs=0.02)


def test_needless_moves_are_found():
    before, after = np.array([1, 1, 2, 3]), np.array([1, 2, 3, 3])
    assert scaling.change_of(before, after, gone=1) == (0.5, 1)


def test_a_block_of_the_page_is_replaced():
    page = "a\n<!-- x -->\nold\n<!-- end -->\nb\n<!-- y -->\nstays\n<!-- end -->\n"
    assert scaling.put(page, {"x": "new"}) == page.replace("old", "new")
    with pytest.raises(ValueError, match="found 0 blocks <!-- z -->"):
        scaling.put(page, {"z": ""})


def test_the_page_says_what_the_simulation_says():
    page = scaling.PAGE.read_text()
    row = ["SIPp, counts"]
    values = scaling.hashes("SIPp, counts", scaling.CALLS)
    row += [f"{scaling.imbalance(values % number, number):.3f}" for number in scaling.WORKERS]
    assert scaling.markdown(row, []).splitlines()[0] in page, "run python -m benchmarks.scaling --write"
