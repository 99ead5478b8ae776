"""Instants and lengths of time as people write them."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from handler.definitions.timestamps import INSTANT, parse_instant

_LENGTH: Final = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d|w)")
_UNITS: Final = {
    "us": timedelta(microseconds=1),
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}

Instant = datetime | str
Length = timedelta | str


def read_instant(value: Instant) -> datetime:
    """Read an instant.

    Parameters
    ----------
    value
        A datetime with a zone, or ISO 8601 text with ``Z`` or an offset.

    Returns
    -------
    datetime
        UTC.

    Raises
    ------
    ValueError
        If it has no zone, or is no instant.

    Examples
    --------
    >>> read_instant("2025-10-15T09:00:00+02:00").isoformat()
    '2025-10-15T07:00:00+00:00'
    """
    if isinstance(value, str):
        return parse_instant(value)
    if value.tzinfo is None:
        raise ValueError(f"{value.isoformat()} has no zone; write datetime(..., tzinfo=UTC)")
    return value.astimezone(UTC)


def read_length(value: Length) -> timedelta:
    """Read a length of time.

    Parameters
    ----------
    value
        A timedelta, or text such as ``"30m"``, ``"6h"``, ``"2d"``; units are us, ms, s, m, h, d and w.

    Returns
    -------
    timedelta
        Not negative.

    Raises
    ------
    ValueError
        If it is something else, or negative.

    Examples
    --------
    >>> read_length("36h")
    datetime.timedelta(days=1, seconds=43200)
    """
    if isinstance(value, str):
        match = _LENGTH.fullmatch(value)
        if match is None:
            raise ValueError(f"{value!r} is no length of time; write it so: 30m, 6h, 2d")
        return float(match[1]) * _UNITS[match[2]]
    if value < timedelta(0):
        raise ValueError(f"{value} is negative")
    return value


def read_entities(entities: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """Check a frame of machines and instants.

    Parameters
    ----------
    entities
        ``machine_id`` (String, Categorical or Enum) and ``event_timestamp`` (Datetime with a zone), and any others.

    Returns
    -------
    pl.DataFrame
        The same, with ``machine_id`` as String and ``event_timestamp`` in microseconds, UTC.

    Raises
    ------
    ValueError
        If a column is missing, or the times have no zone.
    """
    frame = entities.lazy().collect()
    for name in ("machine_id", "event_timestamp"):
        if name not in frame.columns:
            raise ValueError(f"entities have no column {name}; they have {', '.join(frame.columns) or 'none'}")
    dtype = frame.schema["event_timestamp"]
    if not isinstance(dtype, pl.Datetime) or dtype.time_zone is None:
        raise ValueError(f"event_timestamp is {dtype}, not Datetime with a zone; use .dt.replace_time_zone('UTC')")
    time = pl.col("event_timestamp").dt.convert_time_zone("UTC").cast(INSTANT)
    return frame.with_columns(pl.col("machine_id").cast(pl.String), time)
