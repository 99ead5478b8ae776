"""Every key of the lake, once: where raw partitions lie, and where processed files do."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from handler.definitions.errors import ConfigurationError

RAW: Final = "raw"
"""The folder of raw partitions, which is only ever read."""

_OF_HOUR: Final = re.compile(r"/year=([0-9]{4})/month=([0-9]{2})/day=([0-9]{2})/hour=([0-9]{2})/[^/]+\.parquet")
_FOLDER: Final = re.compile(RAW + r"/year=([0-9]{4})(?:/month=([0-9]{2})(?:/day=([0-9]{2})(?:/hour=([0-9]{2}))?)?)?")


def partition_path(hour: datetime) -> str:
    """Name the folder of an hour.

    Parameters
    ----------
    hour
        Start of the hour of arrival, UTC.

    Returns
    -------
    str
        Four folders in Hive's style, without a slash at either end.

    Examples
    --------
    >>> from datetime import UTC
    >>> partition_path(datetime(2025, 10, 15, 9, tzinfo=UTC))
    'year=2025/month=10/day=15/hour=09'
    """
    return hour.strftime("year=%Y/month=%m/day=%d/hour=%H")


def parse_folder(folder: str) -> datetime | None:
    """Read which time a folder of raw partitions names.

    Parameters
    ----------
    folder
        A path from the lake's root: of a year, a month, a day or an hour.

    Returns
    -------
    datetime or None
        Its start, UTC; None where the folder names no date.

    Examples
    --------
    >>> parse_folder("raw/year=2025/month=10").isoformat()
    '2025-10-01T00:00:00+00:00'
    >>> parse_folder("raw/year=2025/month=02/day=30") is None
    True
    """
    parts = _FOLDER.fullmatch(folder)
    if parts is None:
        return None
    try:
        year, month, day, hour = (int(part or least) for part, least in zip(parts.groups(), (1, 1, 1, 0), strict=True))
        return datetime(year, month, day, hour, tzinfo=UTC)
    except ValueError:
        return None


def parse_folder_url(url: str) -> Path:
    """Read the folder that a ``file://`` URL names.

    Parameters
    ----------
    url
        It begins with ``file:/``; whether the folder exists is not looked at.

    Returns
    -------
    Path
        An absolute path.

    Raises
    ------
    ConfigurationError
        If it has a host, no path, or a query or fragment, which would be left out of the path.

    Examples
    --------
    >>> parse_folder_url("file:///plant%231").as_posix()
    '/plant#1'
    """
    path = re.fullmatch(r"(?i:file):(?://(?:localhost)?+)?+(/[^?#]*)", url)
    if path is None:
        raise ConfigurationError("lake", f"{url!r} names no folder; write file:///folder, %23 for # and %3F for ?")
    return Path(unquote(path[1]))


def tiles_key(partition: datetime) -> str:
    """Name the tile file of a partition."""
    return f"processed/tiles/{partition_path(partition)}/tiles.parquet"


def hours_key(partition: datetime) -> str:
    """Name the hour file of a partition."""
    return f"processed/hours/{partition_path(partition)}/hours.parquet"


def failures_key(partition: datetime) -> str:
    """Name the failure file of a partition."""
    return f"processed/failures/{partition_path(partition)}/failures.parquet"


def quarantine_key(partition: datetime) -> str:
    """Name the quarantine file of a partition."""
    return f"processed/quarantine/{partition_path(partition)}/rejected.parquet"


def training_key(hour: datetime) -> str:
    """Name the training file of an as_of hour."""
    return f"processed/training/{partition_path(hour)}/features.parquet"


def parse_processed_key(key: str) -> datetime | None:
    """Read which hour a processed file is of.

    Parameters
    ----------
    key
        From the lake's root.

    Returns
    -------
    datetime or None
        Start of the hour, UTC; None for other files.

    Examples
    --------
    >>> parse_processed_key("processed/training/year=2025/month=10/day=15/hour=09/features.parquet").hour
    9
    >>> parse_processed_key("processed/notes.txt") is None
    True
    """
    parts = _OF_HOUR.search(key)
    try:
        return None if parts is None else datetime(*map(int, parts.groups()), tzinfo=UTC)  # type: ignore[misc, arg-type]
    except ValueError:
        return None
