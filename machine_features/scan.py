"""Processed files as lazy frames, in a folder or in a bucket."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

import polars as pl
from polars.exceptions import PanicException, PolarsError
from polars.io.plugins import register_io_source

from handler.definitions.layout import RAW, parse_folder, parse_processed_key
from handler.definitions.schema import Schema
from handler.lake.lake import Lake
from handler.lake.parquet import UnsealedFooter, is_whole
from machine_features.errors import LakeError

if TYPE_CHECKING:
    from handler.aws import Endpoint


_FILES_AT_A_TIME: Final = 512
_SMALL_FILES_AT_A_TIME: Final = 64
_SMALL_BYTES: Final = 128 * 2**10
"""Bytes of a file up to which it and those that follow are read whole."""

_LEVELS: Final = 4
"""Folders from a kind's own to that of an hour: year, month, day and hour."""


@dataclass(frozen=True, slots=True)
class FileScanner:
    """Scans a lake's files; of each only the columns that are asked for are read.

    Attributes
    ----------
    lake
        The lake: it tells which file is damaged, where Polars only says that one is.
    location
        The folder, or ``s3://bucket``; without a slash at its end.
    options
        What Polars is to know of the store.
    """

    lake: Lake
    location: str
    options: dict[str, Any]

    @classmethod
    def open(cls, lake: Lake, location: str, region: str | None) -> Self:
        """Find out where the files are, and with which credentials they are read.

        Parameters
        ----------
        lake
            As in the class.
        location
            As in the class.
        region
            Of the bucket; None leaves it to the environment.

        Returns
        -------
        FileScanner
            Nothing has been read yet.

        Raises
        ------
        ConfigurationError
            If there are no region, profile or credentials.
        """
        bucket = location.removeprefix("s3://")
        if bucket == location:
            return cls(lake, location, {})
        from handler.aws import find_bucket  # noqa: PLC0415 - it imports botocore

        found = find_bucket(bucket, os.environ.get("AWS_ENDPOINT_URL"), region)
        return cls(lake, location, _describe_store(found, bucket))

    def scan(self, keys: Sequence[str], schema: Schema, *, paths: str | None = None) -> pl.LazyFrame:
        """Scan files.

        Parameters
        ----------
        keys
            The files' keys.
        schema
            The columns; null where a file does not have one.
        paths
            The name of one more column, with the path of each row's file; None for no such column.

        Returns
        -------
        pl.LazyFrame
            The rows of all files, in this order. Nothing is read before it is collected.

        Raises
        ------
        LakeError
            When it is collected: names the file that is damaged or gone.
        """
        whole = {**schema, **({} if paths is None else {paths: pl.String()})}

        def read(
            columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _: int | None
        ) -> Iterator[pl.DataFrame]:
            left = list(keys)
            while left:
                data = self._read_small(left[:_SMALL_FILES_AT_A_TIME]) if paths is None else []
                some, left = left[: len(data) or _FILES_AT_A_TIME], left[len(data) or _FILES_AT_A_TIME :]
                rows = self._scan(data or [f"{self.location}/{key}" for key in some], schema, paths)
                rows = rows if predicate is None else rows.filter(predicate)
                rows = rows if columns is None else rows.select(columns)
                frame = self._collect(rows if n_rows is None else rows.head(n_rows), some)
                yield frame
                n_rows = None if n_rows is None else n_rows - frame.height
                if n_rows == 0:
                    return

        return register_io_source(read, schema=whole) if keys else pl.LazyFrame(schema=whole)

    def _read_small(self, keys: Sequence[str]) -> list[bytes]:
        """Read small files whole, which takes no longer than to read some columns, and check every bit."""
        data = self.lake.read(keys[:1])
        if len(data[0]) > _SMALL_BYTES:
            return []
        data += self.lake.read(keys[1:])
        for key, each in zip(keys, data, strict=True):
            if not (is_whole(each) or UnsealedFooter.read(each)):
                raise _describe_damage(key)
        return data

    def _scan(self, sources: list[str] | list[bytes], schema: Schema, paths: str | None) -> pl.LazyFrame:
        return pl.scan_parquet(
            sources,
            schema=dict(schema),
            glob=False,
            hive_partitioning=False,
            missing_columns="insert",
            extra_columns="ignore",
            include_file_paths=paths,
            **self.options,
        )

    def _collect(self, rows: pl.LazyFrame, keys: Sequence[str]) -> pl.DataFrame:
        """Collect rows of files; of a failure, find the file that is the reason."""
        try:
            return rows.collect()
        except (PolarsError, PanicException, OSError) as error:
            for key in keys:
                data = self.lake.read([key])[0]
                if not (is_whole(data) or _can_be_decoded(data)):
                    raise _describe_damage(key) from error
            if isinstance(error, OSError):
                raise LakeError(f"read {keys[0]} and {len(keys) - 1} more", f"{error}; try again") from error
            raise  # it is of the caller's own expressions


def _can_be_decoded(data: bytes) -> bool:
    """Tell whether a file of an earlier release, which was not sealed, has pages that can be decoded."""
    try:
        pl.read_parquet(data)
    except (PolarsError, PanicException):
        return False
    return UnsealedFooter.read(data) is not None


def _describe_damage(key: str) -> LakeError:
    remedy = "run a backfill over its hour" if "/training/" in key else "run the function over its hour"
    return LakeError(f"read {key}", f"it is not as it was written; {remedy}")


def list_hours(lake: Lake, folder: str, make_key: Callable[[datetime], str]) -> dict[datetime, str]:
    """List the hours that have a processed file of one kind.

    Parameters
    ----------
    lake
        The lake.
    folder
        The kind's folder, such as ``processed/training``.
    make_key
        Names the file of an hour, as :mod:`handler.definitions.layout` does.

    Returns
    -------
    dict of datetime to str
        The version of each hour's file; other files in the folder are passed over.
    """
    return {
        hour: version
        for key, version in lake.list_versions(folder).items()
        if (hour := parse_processed_key(key)) is not None and key == make_key(hour)
    }


def find_end(lake: Lake, folder: str, *, is_first: bool = False) -> datetime | None:
    """Find the newest hour that a folder has something of, or the first, without listing all of it.

    Parameters
    ----------
    lake
        The lake.
    folder
        ``raw``, or a kind's folder, such as ``processed/tiles``.
    is_first
        Whether the first is wanted.

    Returns
    -------
    datetime or None
        Start of the hour, UTC; None where there is nothing.
    """
    return next(_descend(lake, folder, "", is_first=is_first), None)


def _descend(lake: Lake, root: str, below: str, *, is_first: bool) -> Iterator[datetime]:
    if below.count("/") == _LEVELS:
        hour = parse_folder(f"{RAW}{below}")
        if hour is not None and lake.list_versions(f"{root}{below}"):  # a folder of this machine may be empty
            yield hour
        return
    for folder in sorted(lake.list_folders(f"{root}{below}"), reverse=not is_first):
        yield from _descend(lake, root, folder.removeprefix(root), is_first=is_first)


def _describe_store(endpoint: "Endpoint", bucket: str) -> dict[str, Any]:
    """Tell Polars where a bucket is, as botocore does."""

    def read_credentials() -> tuple[dict[str, str | None], int]:
        keys = endpoint.read_credentials()
        found = {
            "aws_access_key_id": keys.access_key,
            "aws_secret_access_key": keys.secret_key,
            "aws_session_token": keys.token,
        }
        return {name: value for name, value in found.items() if value}, int(datetime.now(UTC).timestamp()) + 300

    url = endpoint.url.rstrip("/")
    in_path = url.endswith(f"/{bucket}")
    options = {
        "aws_endpoint_url": url.removesuffix(f"/{bucket}"),
        "aws_region": endpoint.region,
        "aws_virtual_hosted_style_request": str(not in_path).lower(),
        "aws_allow_http": str(not endpoint.is_encrypted).lower(),
    }
    return {"storage_options": options, "credential_provider": read_credentials}
