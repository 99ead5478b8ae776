"""Stage 1, lock: which releases the layer ships, and the hashes of their files."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from packaging.markers import InvalidMarker, Marker
from packaging.utils import canonicalize_name

from layer_build.errors import LockError
from layer_build.target import Target

CATEGORY: Final = "layer"
_MEND: Final = "run `make lock`"


@dataclass(frozen=True, slots=True, order=True)
class Requirement:
    """One locked release.

    Attributes
    ----------
    name
        Canonical, for example ``"python-dateutil"``.
    version
        Exact.
    hashes
        SHA-256 of every file of the release, sorted.
    """

    name: str
    version: str
    hashes: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


def read_lock(path: Path, target: Target, category: str = CATEGORY) -> tuple[Requirement, ...]:
    """Read the releases that one category of a ``Pipfile.lock`` names for the target.

    Parameters
    ----------
    path
        The lock file.
    target
        Whose markers hold: a release that is locked for other systems only is skipped.
    category
        The lock's category.

    Returns
    -------
    tuple of Requirement
        Sorted by name.

    Raises
    ------
    LockError
        If the file cannot be read, or a release has no exact version or no hash.
    """
    try:
        packages = json.loads(path.read_text(encoding="utf-8"))[category]
    except FileNotFoundError:
        raise LockError(f"there is no {path.name}; {_MEND}") from None
    except (ValueError, TypeError, KeyError) as error:
        raise LockError(f"{path.name} has no category {category!r} that can be read; {_MEND}") from error
    environment = _describe(target)
    found = [_read_package(path, name, package) for name, package in packages.items() if _holds(package, environment)]
    if not found:
        raise LockError(f"{path.name} locks nothing in the category {category!r}; {_MEND}")
    return tuple(sorted(found))


def _read_package(path: Path, name: str, package: dict[str, Any]) -> Requirement:
    version = str(package.get("version", ""))
    if not version.startswith("=="):
        raise LockError(f"{path.name}: {name} has no exact version; {_MEND}")
    hashes = sorted(str(text).removeprefix("sha256:") for text in package.get("hashes", ()))
    if not hashes or any(len(digest) != 64 for digest in hashes):
        raise LockError(f"{path.name}: {name} has no SHA-256; {_MEND}")
    return Requirement(canonicalize_name(name), version.removeprefix("=="), tuple(hashes))


def _holds(package: dict[str, Any], environment: dict[str, str]) -> bool:
    text = package.get("markers")
    try:
        return text is None or Marker(text).evaluate(environment)
    except InvalidMarker as error:
        raise LockError(f"the marker {text!r} cannot be read; {_MEND}") from error


def _describe(target: Target) -> dict[str, str]:
    """Describe the target as markers see it."""
    return {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": target.linux,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{target.python}.0",
        "python_version": target.python,
        "sys_platform": "linux",
        "extra": "",
    }
