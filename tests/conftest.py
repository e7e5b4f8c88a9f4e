"""What every test shares: where the published vectors are, and what a missing tool or vector means."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI") == "true"


def missing(what: str, how: str) -> None:
    """Skip the test with the reason and how to get what is missing; in CI that is a failure."""
    reason = f"{what} is missing: {how}"
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The directory of published SIP messages, which are not part of this repository."""
    path = Path(os.environ.get("VIADUCT_VECTORS") or ROOT.parent / "shared" / "vectors")
    if not path.is_dir():
        missing(f"the directory {path}", "set VIADUCT_VECTORS to where the vectors are")
    return path
