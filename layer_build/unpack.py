"""Stage 3, unpack: a wheel's files as they would lie in a site folder, each checked against its RECORD."""

import base64
import csv
import hashlib
import io
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath
from typing import Self

from layer_build.errors import HashError, WheelError


@dataclass(frozen=True, slots=True)
class Distribution:
    """One distribution, somewhere on its way into the layer.

    Attributes
    ----------
    name, version, licence
        As its metadata says.
    files
        Bytes by path, relative to the site folder.
    """

    name: str
    version: str
    licence: str
    files: Mapping[str, bytes]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(map(len, self.files.values()))

    def with_files(self, files: Mapping[str, bytes]) -> Self:
        """Return the same distribution with other files."""
        return replace(self, files=files)


def unpack_wheel(path: Path) -> Distribution:
    """Read a wheel into memory, as installing it would lay it out.

    Scripts go to ``bin/``, what belongs to other schemes (headers, data) to a folder of the scheme's name.

    Parameters
    ----------
    path
        The wheel.

    Returns
    -------
    Distribution
        Its name, release and files.

    Raises
    ------
    WheelError
        If it is no zip file, lacks RECORD or METADATA, or holds a link or an unlisted file. Also if a path leads out of
        the site folder.
    HashError
        If a file is not as RECORD says.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            for info in infos:
                _check_entry(path, info)
            packed = {info.filename: archive.read(info) for info in infos}
    except (zipfile.BadZipFile, OSError) as error:
        raise WheelError(f"{path.name} is no wheel that can be read: {error}") from error
    folder = _find_dist_info(path, packed)
    _check_record(path, packed, f"{folder}/RECORD")
    metadata = HeaderParser().parsestr(packed.get(f"{folder}/METADATA", b"").decode("utf-8", "replace"))
    name, version = metadata.get("Name"), metadata.get("Version")
    if not name or not version:
        raise WheelError(f"{path.name}: {folder}/METADATA names no distribution and version")
    files = {_place(entry, folder): data for entry, data in packed.items()}
    if len(files) != len(packed):
        raise WheelError(f"{path.name} holds two files for one place")
    return Distribution(name, version, _read_licence(metadata.items()), files)


def _check_entry(path: Path, info: zipfile.ZipInfo) -> None:
    name = info.filename
    parts = PurePosixPath(name).parts
    if name.startswith("/") or "\\" in name or ":" in name or ".." in parts or str(PurePosixPath(name)) != name:
        raise WheelError(f"{path.name} holds {name!r}, which leads out of the site folder")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise WheelError(f"{path.name} holds {name!r}, a symbolic link")


def _find_dist_info(path: Path, packed: Mapping[str, bytes]) -> str:
    folders = {name.partition("/")[0] for name in packed if name.endswith(".dist-info/RECORD") and name.count("/") == 1}
    if len(folders) != 1:
        raise WheelError(f"{path.name} has {len(folders)} RECORD files, not one")
    return folders.pop()


def _check_record(path: Path, packed: Mapping[str, bytes], record: str) -> None:
    """Check that RECORD lists exactly the wheel's files, and that each is as listed."""
    rows = [row for row in csv.reader(io.StringIO(packed[record].decode("utf-8", "replace"))) if row]
    listed = {row[0]: row[1] if len(row) > 1 else "" for row in rows}
    signatures = {record, f"{record}.jws", f"{record}.p7s"}
    for name in sorted(listed.keys() - packed.keys() - signatures):
        raise WheelError(f"{path.name}: RECORD lists {name}, which is not there")
    for name in sorted(packed.keys() - signatures):
        algorithm, _, digest = listed.get(name, "").partition("=")
        if not digest or algorithm not in ("sha256", "sha384", "sha512"):
            raise WheelError(f"{path.name}: RECORD has no SHA-2 hash of {name}")
        found = base64.urlsafe_b64encode(hashlib.new(algorithm, packed[name]).digest()).rstrip(b"=").decode()
        if found != digest.rstrip("="):
            raise HashError(f"{path.name}: {name} is not the file that RECORD lists")


def _place(entry: str, dist_info: str) -> str:
    """Say where a wheel's entry lies once installed."""
    data = dist_info.removesuffix(".dist-info") + ".data/"
    if not entry.startswith(data):
        return entry
    scheme, _, rest = entry.removeprefix(data).partition("/")
    return {"purelib": rest, "platlib": rest, "scripts": f"bin/{rest}"}.get(scheme, f"{scheme}/{rest}")


def _read_licence(headers: list[tuple[str, str]]) -> str:
    """Name the licence: by SPDX expression, else the classifiers, else the first line of the free text."""
    expression = next((value for key, value in headers if key == "License-Expression"), "")
    classifiers = [
        value.rpartition(" :: ")[2] for key, value in headers if key == "Classifier" and value.startswith("License")
    ]
    text = next((value.splitlines()[0] for key, value in headers if key == "License" and value.strip()), "")
    return expression or ", ".join(classifiers) or text or "unknown"
