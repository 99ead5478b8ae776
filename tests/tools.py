"""Tools that have an environment of their own below ``.tools/``; ``make verify`` installs each."""

from pathlib import Path

import pytest

from handler.ingest.library import LIBRARY
from tests.builds import ROOT

needs_library = pytest.mark.skipif(
    not LIBRARY.exists(),
    reason="there is no compiled decoder: this machine has no compiler; `make verify` installs one",
)


def find_tool(environment: str, program: str) -> Path:
    """Find a program in a tool's environment; without it, the test that asks is skipped.

    Parameters
    ----------
    environment
        The folder below ``.tools/``.
    program
        Its path in there.
    """
    found = ROOT / ".tools" / environment / program
    if not found.exists():
        pytest.skip(
            f"{found.name} is not installed: `make .tools/{environment}/.ready` installs it, as `make verify` does"
        )
    return found
