"""What lies under a prefix of the lake: raw objects, and how many others, whoever can name them.

obstore refuses to list a prefix that holds one key it cannot name: an empty segment, ``..``, a control character. Then
botocore lists it. A folder is looked at with Python's own functions, which also tell where links lead.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import obstore
from obstore.exceptions import InvalidPathError
from obstore.store import ObjectStore

from handler.aws import ListedKeys
from handler.definitions.raw import RawObject, is_telemetry
from handler.lake.folder import name_version

_PAGE: Final = 1000
_UNNAMEABLE: Final = re.compile(r"[\x00-\x1f\x7f\udc80-\udcff]")

ListKeys = Callable[[str, str], Iterable[ListedKeys]]
"""Lists the keys under a prefix, up to a delimiter, page by page."""


class Level(NamedTuple):
    """One level of folders: their paths without a slash at the end, and the number of objects between them."""

    folders: list[str]
    objects: int


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies in one raw partition.

    Attributes
    ----------
    objects
        The telemetry objects, by key.
    skipped
        How many other objects lie there.
    """

    objects: tuple[RawObject, ...] = ()
    skipped: int = 0

    @property
    def fingerprint(self) -> str:
        """A digest of the objects' keys, sizes and versions; equal listings have equal ones."""
        digest = hashlib.sha256()
        for item in self.objects:
            digest.update(f"{item.key}\0{item.size}\0{item.version}\0".encode())
        return digest.hexdigest()


class Lister(Protocol):
    """A way to list."""

    async def list_level(self, folder: str) -> Level:
        """List the folders one level down."""

    async def list_below(self, folder: str, *, is_sample: bool = False) -> Listing:
        """List all objects below a folder, or one page; those that are no telemetry are only counted."""


class StoreLister:
    """Lists an object store through obstore, and prefixes that it refuses through another client.

    Parameters
    ----------
    store
        The store, rooted at the lake.
    list_keys
        The other client; without one, such a prefix is an error.
    """

    def __init__(self, store: ObjectStore, list_keys: ListKeys | None = None) -> None:
        self._store = store
        self._list_keys = list_keys

    async def list_level(self, folder: str) -> Level:
        """List the folders one level down."""
        try:
            level = await obstore.list_with_delimiter_async(self._store, folder)
        except InvalidPathError:
            if self._list_keys is None:
                raise
            pages = list(self._list_keys(f"{folder}/", "/"))
            folders = [prefix.rstrip("/") for page in pages for prefix in page.prefixes if is_nameable(prefix[:-1])]
            strange = sum(not is_nameable(prefix[:-1]) for page in pages for prefix in page.prefixes)
            return Level(folders, strange + sum(len(page.objects) for page in pages))
        return Level(list(level["common_prefixes"]), len(level["objects"]))

    async def list_below(self, folder: str, *, is_sample: bool = False) -> Listing:
        """List all objects below a folder, or one page; those that are no telemetry are only counted."""
        found: list[RawObject | None] = []
        try:
            async for page in obstore.list(self._store, folder, chunk_size=_PAGE):
                found += [
                    RawObject(meta["path"], meta["size"], meta["e_tag"], meta["last_modified"].isoformat())
                    for meta in page
                ]
                if is_sample:
                    break
        except InvalidPathError:
            if self._list_keys is None:
                raise
            found = []
            for keys in self._list_keys(f"{folder}/", ""):
                found += keys.objects
                if is_sample:
                    break
        return _sort_out(folder, found)


class FolderLister:
    """Lists a folder of this machine.

    Parameters
    ----------
    root
        The lake's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    async def list_level(self, folder: str) -> Level:
        """List the folders one level down."""
        folders, objects = [], 0
        for entry in self._scan(self._root / folder):
            path = f"{folder}/{entry.name}"
            if is_nameable(path) and self._is_inside(entry) and entry.is_dir():
                folders.append(path)
            else:
                objects += 1
        return Level(folders, objects)

    async def list_below(self, folder: str, *, is_sample: bool = False) -> Listing:
        """List all objects below a folder, or one page; those that are no telemetry are only counted."""
        return _sort_out(folder, islice(self._walk(folder), _PAGE if is_sample else None))

    def _walk(self, folder: str) -> Iterator[RawObject | None]:
        """Give each file below a folder; None for a link out of the lake, a pipe or a socket."""
        for entry in self._scan(self._root / folder):
            path = f"{folder}/{entry.name}"
            if not self._is_inside(entry):
                yield None
            elif entry.is_dir():
                yield from self._walk(path)
            elif entry.is_file():
                stat = entry.stat()
                yield RawObject(path, stat.st_size, name_version(stat))
            else:
                yield None

    def _is_inside(self, entry: "os.DirEntry[str]") -> bool:
        """Tell whether an entry is no link, or one to a file of the lake that is there."""
        if not entry.is_symlink():
            return True
        target = Path(os.path.realpath(entry.path))  # of a link to itself: itself
        return target.is_file() and target.is_relative_to(self._root.resolve())

    @staticmethod
    def _scan(folder: Path) -> list["os.DirEntry[str]"]:
        try:
            with os.scandir(folder) as entries:
                return list(entries)
        except (FileNotFoundError, NotADirectoryError):
            return []


def is_nameable(key: str) -> bool:
    r"""Tell whether every client can name a key: no empty segment, no ``.`` or ``..``, no control character.

    Parameters
    ----------
    key
        The whole key, without a slash at its end.

    Returns
    -------
    bool
        False also for names that are no Unicode.

    Examples
    --------
    >>> [is_nameable(key) for key in ("raw/a b.jsonl", "raw//a", "raw/../a", "raw/a\tb", "raw/a..b")]
    [True, False, False, False, True]
    """
    return _UNNAMEABLE.search(key) is None and not {"", ".", ".."}.intersection(key.split("/"))


def _sort_out(folder: str, found: Iterable[RawObject | None]) -> Listing:
    objects, skipped = [], 0
    for item in found:
        if item is not None and is_nameable(item.key) and is_telemetry(item.key[len(folder) + 1 :]):
            objects.append(item)
        else:
            skipped += 1
    return Listing(tuple(sorted(objects, key=lambda item: item.key)), skipped)
