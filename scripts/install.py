"""Install categories of ``Pipfile.lock`` into this environment, by hash: ``python -m scripts.install packages local``.

The Makefile's commands call it with what each needs. A category is skipped as long as the lock says the same of it.
Two commands at a time wait for each other. pip's own configuration says where packages come from.
"""

import argparse
import fcntl
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from scripts import attempt
from scripts.attempt import InstallError

ROOT: Final = Path(__file__).resolve().parents[1]
_NAMES_IN_LOCK: Final = {"packages": "default", "dev-packages": "develop"}
_PIP: Final = (sys.executable, "-m", "pip")
_NO_WHEEL: Final = "No matching distribution found"
_WHAT: Final = "packages of Pipfile.lock"

Package = Mapping[str, Any]


class MissingWheelError(InstallError):
    """No release that the lock names runs on this machine."""


def read_categories(lock: Path, names: Iterable[str]) -> dict[str, dict[str, Package]]:
    """Read what a lock says of some categories.

    Parameters
    ----------
    lock
        The lock file.
    names
        Categories, as the Pipfile calls them.

    Returns
    -------
    dict of str to dict
        By category: its packages by name, each as the lock describes it.
    """
    document = json.loads(lock.read_text(encoding="utf-8"))
    return {name: document[_NAMES_IN_LOCK.get(name, name)] for name in names}


def write_requirements(packages: Mapping[str, Package]) -> str:
    """Write packages of the lock as pip's requirements, one a line, sorted by name.

    Parameters
    ----------
    packages
        By name, each with ``version`` and ``hashes``, and where it needs them ``extras`` and ``markers``.

    Returns
    -------
    str
        For ``pip install --require-hashes --no-deps -r``.

    Examples
    --------
    >>> print(write_requirements({"moto": {"version": "==5.2.5", "hashes": ["sha256:0f"], "extras": ["s3"]}}), end="")
    moto[s3]==5.2.5 --hash=sha256:0f
    """
    lines = []
    for name, package in sorted(packages.items()):
        extras = f"[{','.join(package['extras'])}]" if "extras" in package else ""
        markers = f" ; {package['markers']}" if "markers" in package else ""
        hashes = "".join(f" --hash={digest}" for digest in package["hashes"])
        lines.append(f"{name}{extras}{package['version']}{markers}{hashes}\n")
    return "".join(lines)


def install_categories(categories: Mapping[str, Mapping[str, Package]], state: Path) -> None:
    """Install those categories that have changed since they were installed, and note it.

    Parameters
    ----------
    categories
        By name: packages by name.
    state
        The folder of notes, one a category: the digest of what was installed.

    Raises
    ------
    MissingWheelError
        If pip finds no file of a package for this machine.
    InstallError
        If pip fails otherwise.
    """
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        digests = {name: _digest(packages) for name, packages in categories.items()}
        missing = [name for name, digest in digests.items() if _read_note(state / name) != digest]
        if missing:
            _run_pip({name: package for category in missing for name, package in categories[category].items()})
        for name in missing:
            (state / name).write_text(digests[name])


def _digest(packages: Mapping[str, Package]) -> str:
    return hashlib.sha256(json.dumps(packages, sort_keys=True).encode()).hexdigest()


def _read_note(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _run_pip(packages: Mapping[str, Package]) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(write_requirements(packages))
        file.flush()
        command = [*_PIP, "install", "-qq", "--no-input", "--disable-pip-version-check"]
        command += ["--require-hashes", "--no-deps", "--no-compile", "-r", file.name]
        try:
            attempt.run(_WHAT, command)
        except InstallError as error:
            raise (MissingWheelError(_WHAT, error.output) if _NO_WHEEL in error.output else error) from None


def main() -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("categories", nargs="+", help="as the Pipfile calls them")
    parser.add_argument("--optional", action="store_true", help="go on where there is no wheel for this machine")
    arguments = parser.parse_args()
    categories = read_categories(ROOT / "Pipfile.lock", arguments.categories)
    try:
        install_categories(categories, Path(sys.prefix) / ".installed")
    except InstallError as error:
        sys.stderr.write(f"install: {error}\n")
        return 0 if arguments.optional and isinstance(error, MissingWheelError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
