"""The lake: listing and reading raw partitions, reading and writing processed files, over any object store."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, S3Store

from handler.aws import Endpoint, find_bucket, list_bucket
from handler.definitions.errors import ConfigurationError
from handler.definitions.layout import RAW, parse_folder, parse_folder_url, partition_path
from handler.definitions.raw import RawContent
from handler.lake.folder import list_versions, read_file, write_file
from handler.lake.listing import FolderLister, Lister, Listing, ListKeys, StoreLister
from handler.lake.objects import read_files, read_objects, split_by_size
from handler.lake.parquet import TAIL_BYTES, measure_tail
from handler.lake.requests import gather, insist, run, turning_store_errors

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import BackoffConfig, ClientConfig, S3Credential

BATCH_BYTES: Final = 64 * 2**20
"""How many raw bytes, as stored, are one batch."""

_REQUEST_TIME: Final = timedelta(seconds=15)
"""A request that takes longer hangs; it is sent again."""

_STORE_TIME: Final = timedelta(minutes=3)
"""For so long a request is sent again: a store that is throttled or away for a minute costs no run."""

_BACKOFF: Final["BackoffConfig"] = {
    "init_backoff": timedelta(milliseconds=100),
    "max_backoff": timedelta(seconds=15),
    "base": 3,
}
"""Each pause is drawn between the first and three times the one before: a dozen retries take about a minute."""

_CREDENTIALS_HELD: Final = timedelta(minutes=5)
"""botocore renews credentials ten minutes before they end, or earlier."""

_TAILS_AT_A_TIME: Final = 64
"""Tails that are in memory together: of a hundred features some 64 KiB each, of the most features 3 MiB."""

_WITHOUT_BYTES: Final = ("InvalidRange", "non-partial response")
"""Signs, in obstore's error, that an object is empty: S3 refuses to give the last bytes of it."""

ReadBatch = Callable[[], Iterable[RawContent]]
"""Reads a batch of raw objects, some at a time."""


class Lake:
    """A data lake in S3, in a local folder or in memory.

    Parameters
    ----------
    store
        Any obstore store, rooted at the lake.
    folder
        Where it is on this machine, if it is: objects are then read as files, and nothing is asked for ahead.
    list_keys
        Another way to list the store, for prefixes that obstore refuses.
    """

    def __init__(self, store: ObjectStore, folder: Path | None = None, list_keys: ListKeys | None = None) -> None:
        self._store = store
        self._folder = folder
        self._lister: Lister = StoreLister(store, list_keys) if folder is None else FolderLister(folder)

    @classmethod
    def open(
        cls, location: str, *, endpoint: str | None = None, region: str | None = None, max_retries: int = 20
    ) -> "Lake":
        """Open a bucket by its name, or a folder by its ``file://`` URL.

        Parameters
        ----------
        location
            The bucket or folder.
        endpoint
            URL of the bucket's service; None leaves it to botocore's rules.
        region
            The bucket's region; None leaves it to botocore's rules.
        max_retries
            How often a request that failed on the way is sent again, with exponential backoff and jitter.

        Returns
        -------
        Lake
            Nothing has been read yet.

        Raises
        ------
        ConfigurationError
            If it names no folder, the folder does not exist, or botocore finds no region, profile or credentials.
        """
        if location.startswith("file://"):
            folder = parse_folder_url(location)
            if not folder.is_dir():
                raise ConfigurationError("lake", f"there is no folder {folder}; give one that holds {RAW}/")
            return cls(LocalStore(folder), folder)
        found = find_bucket(location, endpoint, region)
        return cls(
            _open_bucket(location, found, max_retries), list_keys=partial(list_bucket, location, endpoint, region)
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
            Objects that lie above the partitions and so belong to no partition, counted by folder.

        Raises
        ------
        LakeError
            If the store refuses or does not answer.
        """
        return run(self._list_partitions(sorted(set(hours))))

    async def _list_partitions(self, hours: Sequence[datetime]) -> tuple[dict[datetime, Listing], dict[str, int]]:
        paths = {hour: f"{RAW}/{partition_path(hour)}" for hour in hours}
        folders = sorted({"/".join(path.split("/")[:depth]) for path in paths.values() for depth in range(1, 5)})
        levels = await gather(self._list_level, folders)
        held = [hour for hour in hours if any(paths[hour] in found for found, _ in levels)]
        listings = dict.fromkeys(hours, Listing())
        found = await gather(self._list_below, [paths[hour] for hour in held])
        listings.update(zip(held, found, strict=True))
        return listings, {folder: strays for folder, (_, strays) in zip(folders, levels, strict=True) if strays}

    async def _list_level(self, folder: str) -> tuple[set[str], int]:
        """List the dated folders one level down, and count objects elsewhere (in a stray folder: one page)."""
        with turning_store_errors(f"list {folder}/"):
            level = await insist(partial(self._lister.list_level, folder))
            strays = level.objects
            for each in level.folders:
                if parse_folder(each) is None:
                    page = await insist(partial(self._lister.list_below, each, is_sample=True))
                    strays += len(page.objects) + page.skipped
        return set(level.folders), strays

    async def _list_below(self, folder: str) -> Listing:
        with turning_store_errors(f"list {folder}/"):
            return await insist(partial(self._lister.list_below, folder))

    def list_folders(self, folder: str) -> list[str]:
        """List the folders one level down, as paths from the lake's root."""
        with turning_store_errors(f"list {folder}/"):
            return run(insist(partial(self._lister.list_level, folder))).folders

    def has_raw_objects(self) -> bool:
        """Tell whether anything at all lies under ``raw/``."""
        with turning_store_errors(f"list {RAW}/"):
            found = run(insist(partial(self._lister.list_below, RAW, is_sample=True)))
        return bool(found.objects or found.skipped)

    def split_batches(self, listing: Listing, *, batch_bytes: int = BATCH_BYTES) -> Iterator[ReadBatch]:
        """Split a partition's objects, in the listing's order, into batches that are read when they are called.

        Reading raises as :func:`handler.lake.objects.read_objects` and :func:`handler.lake.objects.read_files` do.

        Parameters
        ----------
        listing
            What to read.
        batch_bytes
            The stored size at which a batch is closed; one larger object is a batch of its own.

        Yields
        ------
        ReadBatch
            A function that reads the objects of one batch.
        """
        for batch in split_by_size(listing.objects, batch_bytes):
            if self._folder is None:
                yield partial(read_objects, self._store, batch)
            else:
                yield partial(read_files, self._folder, batch)

    def look_up(self, keys: Iterable[str]) -> dict[str, str]:
        """Find out which objects exist, from a listing of their days' folders.

        To a role that may list some prefixes only, S3 answers 403, not 404, for a key that does not exist.

        Parameters
        ----------
        keys
            Keys from the lake's root, such as ``processed/tiles/year=…/month=…/day=…/hour=…/tiles.parquet``.

        Returns
        -------
        dict of str to str
            The version of each object that exists: the store's entity tag.

        Raises
        ------
        LakeError
            If the store refuses or does not answer.
        """
        wanted = set(keys)
        found = run(gather(self._list_versions, sorted({key.rsplit("/", 2)[0] for key in wanted})))
        return {key: version for versions in found for key, version in versions.items() if key in wanted}

    def list_versions(self, folder: str) -> dict[str, str]:
        """List all objects below a folder.

        Parameters
        ----------
        folder
            From the lake's root, such as ``processed/failures``.

        Returns
        -------
        dict of str to str
            The version of each object by its key.

        Raises
        ------
        LakeError
            If the store refuses or does not answer.
        """
        return run(self._list_versions(folder))

    async def _list_versions(self, folder: str) -> dict[str, str]:
        with turning_store_errors(f"list {folder}/"):
            if self._folder is not None:
                versions = list_versions(self._folder / folder)
                return {f"{folder}/{path}": version for path, version in versions.items()}

            async def list_all() -> dict[str, str]:
                pages = obstore.list(self._store, folder)
                return {meta["path"]: _name_version(meta["e_tag"]) async for page in pages for meta in page}

            return await insist(list_all)

    def read(self, keys: Iterable[str]) -> list[bytes]:
        """Read whole objects, many at a time.

        Parameters
        ----------
        keys
            Keys of objects that exist, from the lake's root.

        Returns
        -------
        list of bytes
            In the order of the keys.

        Raises
        ------
        LakeError
            If the store refuses, does not answer, or does not find an object.
        """
        return self._read([(key, None) for key in keys])

    def read_tails(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Read the ends of sealed files, with all of the footer and the seal, many at a time.

        Parameters
        ----------
        keys
            Keys of objects that exist, from the lake's root.

        Yields
        ------
        bytes
            In the order of the keys; the last 64 KiB at least, or all of a shorter file.

        Raises
        ------
        LakeError
            If the store refuses, does not answer, or does not find an object.
        """
        left = iter(keys)
        while some := list(islice(left, _TAILS_AT_A_TIME)):
            tails: dict[str, bytes] = {}
            wanted = dict.fromkeys(some, TAIL_BYTES)
            while wanted:
                tails.update(zip(wanted, self._read(list(wanted.items())), strict=True))
                wanted = {
                    key: measure_tail(tails[key])
                    for key, most in wanted.items()
                    if most <= len(tails[key]) < measure_tail(tails[key])
                }
            yield from map(tails.__getitem__, some)

    def _read(self, ends: Sequence[tuple[str, int | None]]) -> list[bytes]:
        """Read the last bytes of objects: the number beside each key, or all where that is None."""
        if self._folder is not None:
            return [self._read_file(self._folder, *end) for end in ends]
        return run(gather(self._get, ends))

    @staticmethod
    def _read_file(folder: Path, key: str, most: int | None) -> bytes:
        with turning_store_errors(f"read {key}"):
            return read_file(folder / key, most)

    async def _get(self, end: tuple[str, int | None]) -> bytes:
        key, most = end
        options: GetOptions = {"range": {"suffix": most}} if most is not None else {}

        async def get() -> bytes:
            try:
                response = await obstore.get_async(self._store, key, options=options)
            except BaseError as error:
                if not options or not any(sign in str(error) for sign in _WITHOUT_BYTES):
                    raise
                response = await obstore.get_async(self._store, key)
            return bytes(await response.bytes_async())

        with turning_store_errors(f"read {key}"):
            return await insist(get)

    def write(self, files: Mapping[str, bytes]) -> dict[str, str]:
        """Write objects whole, many at a time, in the place of earlier ones.

        Parameters
        ----------
        files
            Bytes by key.

        Returns
        -------
        dict of str to str
            The version of each, as :meth:`look_up` finds it.

        Raises
        ------
        LakeError
            If the store refuses or does not answer; some of the objects may have been written.
        """
        return dict(zip(files, run(gather(self._put, list(files.items()))), strict=True))

    async def _put(self, file: tuple[str, bytes]) -> str:
        key, data = file
        with turning_store_errors(f"write {key}"):
            if self._folder is not None:
                return write_file(self._folder / key, data)
            result = await obstore.put_async(self._store, key, data)
            return _name_version(result["e_tag"])


def _name_version(entity_tag: str | None) -> str:
    """Name an object's version; not every store puts its tags in quotation marks everywhere."""
    return (entity_tag or "").strip('"')


def _open_bucket(bucket: str, endpoint: Endpoint, max_retries: int) -> S3Store:
    def read_credentials() -> "S3Credential":
        keys = endpoint.read_credentials()
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.token,
            "expires_at": datetime.now(UTC) + _CREDENTIALS_HELD,
        }

    url, in_path = endpoint.url.rstrip("/"), f"/{bucket}"
    options: ClientConfig = {
        "allow_http": not endpoint.is_encrypted,
        "connect_timeout": timedelta(seconds=5),
        "timeout": _REQUEST_TIME,
    }
    certificates = endpoint.read_certificates() if endpoint.is_encrypted else None
    if certificates is not None:
        options["root_certificate"] = certificates
    if endpoint.proxy is not None:
        options["proxy_url"] = endpoint.proxy
    return S3Store(
        bucket,
        endpoint=url.removesuffix(in_path),
        virtual_hosted_style_request=not url.endswith(in_path),
        region=endpoint.region,
        credential_provider=read_credentials,
        client_options=options,
        retry_config={"max_retries": max_retries, "retry_timeout": _STORE_TIME, "backoff": _BACKOFF},
    )
