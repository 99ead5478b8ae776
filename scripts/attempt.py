"""Run a command that installs something: ``python -m scripts.attempt checkov pip install -r scripts/checkov.txt``.

Where it fails, one line says why and what to do. What it printed is kept in ``.tools/install.log``.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
LOG: Final = ROOT / ".tools" / "install.log"
_REASONS: Final = (r"ERROR: (No matching.*)", r"ERROR: (.*)", r"npm error (.*)", r"(\w*Error\b.*)")
_UNREACHABLE: Final = re.compile(
    "Retrying|NewConnectionError|ConnectTimeout|ENOTFOUND|ECONNREFUSED|EAI_AGAIN|ETIMEDOUT", re.ASCII
)


class InstallError(Exception):
    """An installer failed; ``output`` is all that it printed."""

    def __init__(self, what: str, output: str) -> None:
        self.output = output
        if _UNREACHABLE.search(output):
            mend = "its registry does not answer: see `pip config list`, `npm config get registry` and the network"
        elif output.endswith("on the PATH"):
            mend = "install it"
        else:
            mend = f"the whole story is in {LOG}"
        super().__init__(f"{what} could not be installed ({find_reason(output)}); {mend}; then run make again")


def find_reason(output: str) -> str:
    """Find the line in which pip, npm or Python says why it failed."""
    for reason in _REASONS:
        found = re.search(reason, output)
        if found:
            return found[1].strip()
    lines = output.split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def run(what: str, command: Sequence[str]) -> None:
    """Run an installer; nothing that it prints is shown.

    Parameters
    ----------
    what
        What it installs, for the error.
    command
        The program and its arguments.

    Raises
    ------
    InstallError
        If it fails, or there is no such program.
    """
    if shutil.which(command[0]) is None:
        raise InstallError(what, f"there is no {command[0]} on the PATH")
    result = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # noqa: S603 - the Makefile's command
    if result.returncode:
        LOG.parent.mkdir(exist_ok=True)
        LOG.write_text(result.stdout)
        raise InstallError(what, result.stdout)


if __name__ == "__main__":
    try:
        run(sys.argv[1], sys.argv[2:])
    except InstallError as error:
        sys.exit(f"install: {error}")
