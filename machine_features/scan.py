"""Processed files as lazy frames, in a folder or in a bucket."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import polars as pl

from handler.definitions.layout import parse_processed_key
from handler.definitions.schema import Schema
from handler.lake.lake import Lake

if TYPE_CHECKING:
    from handler.aws import Endpoint


@dataclass(frozen=True, slots=True)
class FileScanner:
    """Scans a lake's files; of each only the columns that are asked for are read.

    Attributes
    ----------
    location
        The folder, or ``s3://bucket``; without a slash at its end.
    options
        What Polars is to know of the store.
    """

    location: str
    options: dict[str, Any]

    @classmethod
    def open(cls, location: str, region: str | None) -> Self:
        """Find out where the files are, and with which credentials they are read.

        Parameters
        ----------
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
            return cls(location, {})
        from handler.aws import find_bucket  # noqa: PLC0415 - it imports botocore

        return cls(location, _describe_store(find_bucket(bucket, os.environ.get("AWS_ENDPOINT_URL"), region), bucket))

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
        """
        if not keys:
            return pl.LazyFrame(schema={**schema, **({} if paths is None else {paths: pl.String()})})
        return pl.scan_parquet(
            [f"{self.location}/{key}" for key in keys],
            schema=dict(schema),
            glob=False,
            hive_partitioning=False,
            missing_columns="insert",
            extra_columns="ignore",
            include_file_paths=paths,
            **self.options,
        )


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
