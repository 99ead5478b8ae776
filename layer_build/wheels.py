"""Stage 2, wheels: fetch exactly the locked wheels that load on the target, once."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from layer_build.errors import DownloadError, HashError, NoWheelError
from layer_build.lock import Requirement
from layer_build.target import Target

_PIP: Final = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")


@dataclass(frozen=True, slots=True)
class Wheel:
    """One fetched wheel.

    Attributes
    ----------
    requirement
        The locked release it is of.
    path
        Where it lies, under its own file name.
    sha256
        One of the locked hashes, and the file's.
    """

    requirement: Requirement
    path: Path
    sha256: str


class WheelCache:
    """Wheels by hash, in a folder that any number of builds may share.

    Parameters
    ----------
    root
        The folder; made when something is put in.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, requirement: Requirement, target: Target) -> Wheel | None:
        """Find the wheel pip once chose for this release and target; one that was damaged since is as if absent."""
        try:
            digest = self._choice(requirement, target).read_text(encoding="ascii").strip()
            (path,) = self._folder(digest).iterdir()
        except (FileNotFoundError, ValueError):
            return None
        if digest not in requirement.hashes or hash_file(path) != digest:
            return None
        return Wheel(requirement, path, digest)

    def add(self, requirement: Requirement, target: Target, downloaded: Path) -> Wheel:
        """Move a downloaded wheel in, if it is a locked one.

        Parameters
        ----------
        requirement
            The locked release.
        target
            The architecture it is for.
        downloaded
            The file, which is moved.

        Returns
        -------
        Wheel
            The wheel in the cache.

        Raises
        ------
        HashError
            If it is not.
        """
        digest = hash_file(downloaded)
        if digest not in requirement.hashes:
            raise HashError(
                f"{downloaded.name} has the SHA-256 {digest}, which Pipfile.lock does not name; do not use it: "
                "ask where this copy comes from, or lock again"
            )
        path = self._folder(digest) / downloaded.name
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir(parents=True)
        shutil.move(downloaded, path)
        choice = self._choice(requirement, target)
        choice.parent.mkdir(parents=True, exist_ok=True)
        choice.write_text(digest + "\n", encoding="ascii")
        return Wheel(requirement, path, digest)

    def _folder(self, digest: str) -> Path:
        return self._root / "files" / digest

    def _choice(self, requirement: Requirement, target: Target) -> Path:
        asked = json.dumps([requirement.name, requirement.version, requirement.hashes, target.python, target.platforms])
        return self._root / "chosen" / hashlib.sha256(asked.encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Compute a file's SHA-256, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fetch_wheels(
    requirements: Sequence[Requirement], target: Target, cache: WheelCache, *, report: Callable[[str], object]
) -> tuple[Wheel, ...]:
    """Take the wheels from the cache, and those it lacks from where pip is configured to look.

    Without a missing wheel, pip is not run and no network is used.

    Parameters
    ----------
    requirements
        The locked releases.
    target
        What the wheels must load on; this machine's own platform does not matter.
    cache
        Where they are kept.
    report
        Told of each download.

    Returns
    -------
    tuple of Wheel
        One for each requirement, in their order.

    Raises
    ------
    DownloadError
        If pip cannot fetch one.
    NoWheelError
        If a locked release has no fitting wheel.
    HashError
        If what came is not what was locked.
    """
    found = {requirement: cache.find(requirement, target) for requirement in requirements}
    missing = [requirement for requirement, wheel in found.items() if wheel is None]
    if missing:
        report(f"downloading {len(missing)} wheels: {', '.join(map(str, missing))}")
        found |= _download(missing, target, cache)
    return tuple(wheel for wheel in found.values() if wheel is not None)


def _download(missing: Sequence[Requirement], target: Target, cache: WheelCache) -> Mapping[Requirement, Wheel]:
    by_name = {requirement.name: requirement for requirement in missing}
    with tempfile.TemporaryDirectory() as folder:
        listing = Path(folder) / "requirements.txt"
        listing.write_text(
            "".join(f"{item} {' '.join(f'--hash=sha256:{digest}' for digest in item.hashes)}\n" for item in missing),
            encoding="ascii",
        )
        into = Path(folder) / "wheels"
        result = _run_pip(
            "download", "--quiet", "--no-deps", "--require-hashes", "--dest", str(into), "--requirement", str(listing),
            *_select(target),
        )  # fmt: skip
        if result.returncode:
            raise _explain(result.stderr, by_name, target)
        fetched = {}
        for path in sorted(into.glob("*.whl")):
            name = re.sub(r"[-_.]+", "-", path.name.partition("-")[0]).lower()
            requirement = by_name.pop(name)
            fetched[requirement] = cache.add(requirement, target, path)
    if by_name:
        raise DownloadError(f"pip fetched no wheel of {', '.join(map(str, by_name.values()))}")
    return fetched


def _select(target: Target) -> list[str]:
    """Tell pip to choose for the target and never for this machine."""
    options = ["--only-binary=:all:", f"--python-version={target.python}", "--implementation=cp"]
    options += [f"--abi={abi}" for abi in (target.abi, "abi3", "none")]
    return options + [f"--platform={platform}" for platform in target.platforms]


def _run_pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "NO_COLOR": "1"}
    return subprocess.run([*_PIP, *arguments], capture_output=True, text=True, check=False, env=environment)  # noqa: S603


def _explain(stderr: str, by_name: Mapping[str, Requirement], target: Target) -> Exception:
    """Turn pip's complaint into one of ours."""
    errors = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.startswith("ERROR: ")]
    if "THESE PACKAGES DO NOT MATCH THE HASHES" in stderr:
        named = re.search(r"^\s+(\S+==\S+) from ", stderr, re.MULTILINE)
        what = named.group(1) if named else "a downloaded file"
        return HashError(f"{what} does not match its hash in Pipfile.lock; do not use it: ask where this copy is from")
    unmatched = re.search(r"No matching distribution found for ([A-Za-z0-9._-]+)==", stderr)
    if unmatched:
        requirement = by_name[re.sub(r"[-_.]+", "-", unmatched.group(1)).lower()]
        newest, tags = _find_newest(requirement, target), _list_tags(requirement, target)
        if newest or tags:
            return NoWheelError(str(requirement), str(target), newest, tags)
        return DownloadError(f"pip finds no files of {requirement}: is the registry that pip is configured with there?")
    return DownloadError(f"pip could not download: {errors[-1] if errors else 'it gave no reason'}")


def _find_newest(requirement: Requirement, target: Target) -> str | None:
    """Ask pip for the newest release that has a wheel for the target."""
    result = _run_pip("index", "versions", requirement.name, *_select(target))
    match = re.match(r"\S+ \((\S+)\)", result.stdout)
    return match.group(1) if match and not result.returncode else None


def _list_tags(requirement: Requirement, target: Target) -> tuple[str, ...]:
    """Read, from the links that pip passes over, the tags of the wheels a release has."""
    with tempfile.TemporaryDirectory() as folder:
        result = _run_pip("download", "-vv", "--no-deps", "--dest", folder, str(requirement), *_select(target))
    stem = re.escape(requirement.name).replace(r"\-", "[-_.]+")
    pattern = rf"/{stem}-{re.escape(requirement.version)}(?:-\d\w*)?-([\w.]+-[\w.]+-[\w.]+)\.whl"
    return tuple(sorted(set(re.findall(pattern, result.stdout + result.stderr, re.IGNORECASE))))
