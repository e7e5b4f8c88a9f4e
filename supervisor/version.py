"""Which version this is."""

import re
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "viaduct-sip"


def installed_version() -> str:
    """Of the installed distribution, or of the source tree around this file."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return source_version()


def source_version() -> str:
    project = Path(__file__).resolve().parents[1] / "pyproject.toml"
    found = re.search(r'^version = "(.+)"$', project.read_text() if project.exists() else "", re.M)
    return f"{found[1]} (source)" if found else "unknown (not installed)"
