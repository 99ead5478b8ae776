"""Stage 8, archive: zip files whose bytes depend on nothing but their content."""

import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from layer_build.wheels import hash_file

EPOCH: Final = (1980, 1, 1, 0, 0, 0)
LEVEL: Final = 6
_UNIX: Final = 3


def write_archive(path: Path, files: Mapping[str, bytes]) -> str:
    """Write a zip file: sorted entries, one fixed time, mode 0644, one compression.

    Parameters
    ----------
    path
        Where to; replaced at once when it is complete, never half written.
    files
        Bytes by path in the archive.

    Returns
    -------
    str
        Its SHA-256.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with zipfile.ZipFile(partial, "w") as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system = _UNIX
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, files[name], zipfile.ZIP_DEFLATED, LEVEL)
    partial.replace(path)
    return hash_file(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file, replaced at once when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
