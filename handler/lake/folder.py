"""Files of a lake that is a folder of this machine."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG


def read_file(path: Path, most: int | None = None) -> bytes:
    """Read a file, or the last bytes of it.

    Parameters
    ----------
    path
        Where it is.
    most
        How many bytes at most; None for all.

    Returns
    -------
    bytes
        Of the file.
    """
    with path.open("rb", buffering=0) as file:
        if most is not None:
            file.seek(max(0, file.seek(0, os.SEEK_END) - most))
        return file.read()


def write_file(path: Path, data: bytes) -> str:
    """Write a file in the place of an earlier one, all at once.

    It is written beside its place first, under one name whoever writes: a writer that dies leaves what the next one
    takes. Writers of the same file wait for each other.

    Parameters
    ----------
    path
        Where it is to be; folders are made.
    data
        All of it.

    Returns
    -------
    str
        Its version.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    while True:
        with beside.open("ab", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(file.fileno(), beside):  # another writer has moved it while this one waited
                continue
            file.truncate(0)
            file.write(data)
            beside.replace(path)
            return name_version(os.fstat(file.fileno()))


def list_versions(folder: Path) -> dict[str, str]:
    """List the files below a folder.

    Parameters
    ----------
    folder
        It need not be there.

    Returns
    -------
    dict of str to str
        The version of each file, by its path from the folder.
    """
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = f"{place}/{name}"
            with suppress(OSError):  # it is gone since the names were listed, or a link to itself
                stat = Path(path).stat()
                if S_ISREG(stat.st_mode):
                    found[path[len(str(folder)) + 1 :]] = name_version(stat)
    return found


def name_version(stat: os.stat_result) -> str:
    """Name the version of a file: another one whenever it is written."""
    return f"{stat.st_ino:x}-{stat.st_mtime_ns:x}-{stat.st_size:x}"


def is_overwritten(version: str | None, stat: os.stat_result) -> bool:
    """Tell whether a file is another one than that of a version, which may have been added to since."""
    inode, _, size = name_version(stat).split("-")
    known = (version or "").split("-")
    return version not in (None, name_version(stat)) and (known[0] != inode or int(size, 16) <= int(known[-1], 16))


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
