"""The lake: listing and reading raw partitions, reading and writing processed files, over any object store."""

import asyncio
import gzip
import hashlib
import re
import zlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError, InvalidPathError
from obstore.store import LocalStore, ObjectStore, S3Store

from handler.errors import ConfigurationError, LakeError

RAW: Final = "raw"
BATCH_BYTES: Final = 32 * 2**20
"""How many raw bytes, as stored, are held at a time."""

_REQUESTS_IN_FLIGHT: Final = 128
_LIST_PAGE: Final = 1000
_TAIL_BYTES: Final = 64 * 2**10
_RAW_OBJECT: Final = re.compile(r"[^/]+\.jsonl(\.gz)?")
_LEVELS: Final = (r"year=[0-9]{4}", r"month=[01][0-9]", r"day=[0-3][0-9]", r"hour=([01][0-9]|2[0-3])")

T = TypeVar("T")
S = TypeVar("S")


def partition_path(hour: datetime) -> str:
    """Name the folder of an hour.

    Examples
    --------
    >>> from datetime import UTC
    >>> partition_path(datetime(2025, 10, 15, 9, tzinfo=UTC))
    'year=2025/month=10/day=15/hour=09'
    """
    return hour.strftime("year=%Y/month=%m/day=%d/hour=%H")


@dataclass(frozen=True, slots=True)
class RawObject:
    """One raw object as the listing shows it; ``version`` changes whenever its content does."""

    key: str
    size: int
    version: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies in one raw partition.

    Attributes
    ----------
    objects
        The ``.jsonl`` and ``.jsonl.gz`` objects, by key.
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


@dataclass(frozen=True, slots=True)
class RawContent:
    """A raw object's bytes, decompressed, or ``problem`` where it cannot be read."""

    key: str
    data: bytes | obstore.Bytes = b""
    problem: str | None = None


ReadBatch = Callable[[], Sequence[RawContent]]
"""Reads a batch of raw objects."""


class Lake:
    """A data lake in S3, in a local folder or in memory.

    Parameters
    ----------
    store
        Any obstore store, rooted at the lake.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @classmethod
    def open(
        cls, location: str, *, endpoint: str | None = None, region: str | None = None, max_retries: int = 6
    ) -> "Lake":
        """Open a bucket by its name, or a folder by its ``file://`` URL; credentials come from the environment.

        Parameters
        ----------
        location
            The bucket or folder.
        endpoint, region
            Of the store; None for what the environment says.
        max_retries
            How often a request that failed on the way is sent again, with exponential backoff and jitter.

        Raises
        ------
        ConfigurationError
            If the folder does not exist.
        """
        if location.startswith("file://"):
            folder = Path(unquote(urlsplit(location).path))
            if not folder.is_dir():
                raise ConfigurationError("lake", f"there is no folder {folder}; give one that holds {RAW}/")
            return cls(LocalStore(folder))
        return cls(
            S3Store(
                location,
                region=region,
                client_options={
                    "allow_http": (endpoint or "").startswith("http://"),
                    "connect_timeout": timedelta(seconds=5),
                    "timeout": timedelta(seconds=60),
                },
                retry_config={"max_retries": max_retries, "retry_timeout": timedelta(seconds=60)},
            )
        )

    def list_partitions(self, hours: Iterable[datetime]) -> tuple[dict[datetime, Listing], dict[str, int]]:
        """List raw partitions, many at a time.

        Only hours that the lake holds are listed page by page, so asking for empty ones costs next to nothing.

        Parameters
        ----------
        hours
            Starts of the hours of arrival.

        Returns
        -------
        listings : dict of datetime to Listing
            One for each hour asked for; empty where nothing lies.
        strays : dict of str to int
            Objects that lie above the partitions and so belong to none, counted by folder.

        Raises
        ------
        LakeError
            If the store refuses or does not answer.
        """
        return _run(self._list_partitions(sorted(set(hours))))

    async def _list_partitions(self, hours: Sequence[datetime]) -> tuple[dict[datetime, Listing], dict[str, int]]:
        paths = {hour: f"{RAW}/{partition_path(hour)}" for hour in hours}
        folders = sorted({"/".join(path.split("/")[:depth]) for path in paths.values() for depth in range(1, 5)})
        levels = await _gather(self._list_level, folders)
        is_known = all(prefixes is not None for prefixes, _ in levels)
        present = {prefix for prefixes, _ in levels for prefix in prefixes or ()}
        held = [hour for hour in hours if paths[hour] in present or not is_known]
        listings = dict.fromkeys(hours, Listing())
        found = await _gather(self._list_partition, [paths[hour] for hour in held])
        listings.update(zip(held, found, strict=True))
        return listings, {folder: strays for folder, (_, strays) in zip(folders, levels, strict=True) if strays}

    async def _list_level(self, folder: str) -> tuple[list[str] | None, int]:
        """List the folders one level down, and count what does not belong there (a stray folder: one page).

        A stray whose key obstore cannot hold hides the others: the folders are then not known.
        """
        depth = folder.count("/")
        with _turning_store_errors(f"list {folder}/"):
            try:
                level = await obstore.list_with_delimiter_async(self._store, folder)
            except InvalidPathError:
                return None, 1
            prefixes = list(level["common_prefixes"])
            strays = len(level["objects"])
            for prefix in prefixes:
                if not re.fullmatch(_LEVELS[depth], prefix.rsplit("/", 1)[-1]):
                    async for page in obstore.list(self._store, prefix, chunk_size=_LIST_PAGE):
                        strays += len(page)
                        break
        return prefixes, strays

    async def _list_partition(self, folder: str) -> Listing:
        objects: list[RawObject] = []
        skipped = 0
        with _turning_store_errors(f"list {folder}/"):
            async for page in obstore.list(self._store, folder, chunk_size=_LIST_PAGE):
                for meta in page:
                    if _RAW_OBJECT.fullmatch(meta["path"][len(folder) + 1 :]):
                        version = meta["e_tag"] or meta["last_modified"].isoformat()
                        objects.append(RawObject(meta["path"], meta["size"], version))
                    else:
                        skipped += 1
        return Listing(tuple(sorted(objects, key=lambda item: item.key)), skipped)

    def has_raw_objects(self) -> bool:
        """Tell whether anything at all lies under ``raw/``."""
        with _turning_store_errors(f"list {RAW}/"):
            return any(len(page) > 0 for page in obstore.list(self._store, RAW, chunk_size=1))

    def split_batches(self, listing: Listing, *, batch_bytes: int = BATCH_BYTES) -> Iterator[ReadBatch]:
        """Split a partition's objects, in the listing's order, into batches that are read when they are called.

        Reading raises :class:`LakeError` if the store refuses or does not answer. An object that is gone or no gzip
        is no error of the store: its content says what the problem is.

        Parameters
        ----------
        listing
            What to read.
        batch_bytes
            The stored size at which a batch is closed; one larger object is a batch of its own.
        """
        for batch in _split_by_size(listing.objects, batch_bytes):
            yield partial(self._read_batch, [item.key for item in batch])

    def _read_batch(self, keys: Sequence[str]) -> list[RawContent]:
        return _run(_gather(self._read_raw, keys))

    async def _read_raw(self, key: str) -> RawContent:
        data = await self._get_buffer(key)
        if data is None:
            return RawContent(key, problem="the object was listed, but is gone")
        if not key.endswith(".gz"):
            return RawContent(key, data)
        try:
            return RawContent(key, await asyncio.to_thread(gzip.decompress, data))
        except (EOFError, OSError, zlib.error) as error:
            return RawContent(key, problem=f"not readable as gzip: {error}")

    def read(self, keys: Iterable[str]) -> list[bytes | None]:
        """Read whole objects, many at a time; None for each that does not exist.

        Raises
        ------
        LakeError
            If the store refuses or does not answer.
        """
        return _run(self._read_existing(self._get, list(keys)))

    def read_tails(self, keys: Iterable[str]) -> list[bytes | None]:
        """Read the last 64 KiB of objects, many at a time; None for each that does not exist.

        Raises
        ------
        LakeError
            If the store refuses or does not answer.
        """
        return _run(self._read_existing(self._get_tail, list(keys)))

    async def _read_existing(
        self, get: Callable[[str], Awaitable[bytes | None]], keys: Sequence[str]
    ) -> list[bytes | None]:
        """Ask only for keys that a listing of their days' folders shows.

        To a role that may list some prefixes only, S3 answers 403, not 404, for a key that does not exist.
        """
        days = sorted({key.rsplit("/", 2)[0] for key in keys})
        present = {key for found in await _gather(self._list_keys, days) for key in found}

        async def get_present(key: str) -> bytes | None:
            return await get(key) if key in present else None

        return await _gather(get_present, keys)

    async def _list_keys(self, folder: str) -> list[str]:
        with _turning_store_errors(f"list {folder}/"):
            pages = obstore.list(self._store, folder, chunk_size=_LIST_PAGE)
            return [meta["path"] async for page in pages for meta in page]

    async def _get(self, key: str) -> bytes | None:
        data = await self._get_buffer(key)
        return None if data is None else bytes(data)

    async def _get_buffer(self, key: str) -> obstore.Bytes | None:
        with _turning_store_errors(f"read {key}"):
            try:
                response = await obstore.get_async(self._store, key)
                return await response.bytes_async()
            except FileNotFoundError:
                return None

    async def _get_tail(self, key: str) -> bytes | None:
        with _turning_store_errors(f"read {key}"):
            try:
                response = await obstore.get_async(self._store, key, options={"range": {"suffix": _TAIL_BYTES}})
                return bytes(await response.bytes_async())
            except FileNotFoundError:
                return None

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write objects whole, many at a time, replacing what is there.

        Raises
        ------
        LakeError
            If the store refuses or does not answer; some of the objects may have been written.
        """
        _run(_gather(self._put, list(files.items())))

    async def _put(self, file: tuple[str, bytes]) -> None:
        key, data = file
        with _turning_store_errors(f"write {key}"):
            await obstore.put_async(self._store, key, data)


@contextmanager
def _turning_store_errors(action: str) -> Iterator[None]:
    """Turn what obstore raises into a :class:`LakeError` that says what was being done."""
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        raise LakeError(action, _explain(error)) from error


def _explain(error: BaseException) -> str:
    message = " ".join(str(error).split("\n\nDebug source")[0].split())
    for code, advice in (
        ("NoSuchBucket", "the bucket does not exist; check DATA_LAKE_BUCKET"),
        ("AccessDenied", "access is denied; check the role's permissions"),
        ("error sending request", "the store does not answer; check the network and AWS_ENDPOINT_URL"),
    ):
        if code in message:
            return f"{advice} ({message[:300]})"
    return message[:500] or type(error).__name__


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a loop of its own.

    Not ``asyncio.run``: taking back its handler of SIGINT writes out the task's result, megabytes of raw lines, for
    the message of an exception that it then drops.
    """
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def _gather(work: Callable[[S], Awaitable[T]], items: Sequence[S]) -> list[T]:
    """Do ``work`` on every item, a bounded number at a time; results in the items' order."""
    limit = asyncio.Semaphore(_REQUESTS_IN_FLIGHT)

    async def bounded(item: S) -> T:
        async with limit:
            return await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(bounded(item)) for item in items]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _split_by_size(objects: Sequence[RawObject], batch_bytes: int) -> Iterator[list[RawObject]]:
    batch: list[RawObject] = []
    size = 0
    for item in objects:
        if batch and size + item.size > batch_bytes:
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item.size
    if batch:
        yield batch
