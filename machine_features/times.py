"""Instants, lengths of time and entities as people write them."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import polars as pl
from polars.exceptions import PolarsError

from handler.definitions.timestamps import HOUR, INSTANT, floor_to, parse_instant, parse_timestamps
from machine_features.errors import ArgumentError

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

_KEYS: Final = ("machine_id", "event_timestamp")

_MILLISECONDS: Final = (-62_135_510_400_000, 253_402_214_400_000)
"""The second day of the year 1 and the last day of 9999, which are in these years in every zone, since 1970."""

Instant = datetime | str
Length = timedelta | str
Entities = pl.DataFrame | pl.LazyFrame | Mapping[str, Sequence[Any]] | Sequence[Any] | Any
"""Rows with ``machine_id`` and ``event_timestamp``: a frame of Polars or pandas, columns by name, or a list of rows."""


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
    ArgumentError
        If it has no zone, or is no instant.

    Examples
    --------
    >>> read_instant("2025-10-15T09:00:00+02:00").isoformat()
    '2025-10-15T07:00:00+00:00'
    """
    try:
        if isinstance(value, str):
            return parse_instant(value)
        if isinstance(value, datetime) and value.tzinfo is not None:
            return value.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ArgumentError(str(error)) from error
    if isinstance(value, datetime):
        raise ArgumentError(f"{value.isoformat()} has no zone; write datetime(..., tzinfo=UTC)")
    raise ArgumentError(f"{value!r} is no instant; give a datetime with a zone, or text such as 2025-10-15T09:00:00Z")


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
    ArgumentError
        If it is something else, or negative.

    Examples
    --------
    >>> read_length("36h")
    datetime.timedelta(days=1, seconds=43200)
    """
    match = _LENGTH.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        try:
            return float(match[1]) * _UNITS[match[2]]
        except OverflowError as error:
            raise ArgumentError(f"{value!r} is longer than any calendar") from error
    if not isinstance(value, timedelta):
        raise ArgumentError(f"{value!r} is no length of time; write it so: 30m, 6h, 2d")
    if value < timedelta(0):
        raise ArgumentError(f"{value} is negative")
    return value


def list_whole_hours(start: datetime, end: datetime) -> list[datetime]:
    """List the whole hours in ``(start, end]``, UTC."""
    first = floor_to(start, HOUR)
    return [first + k * HOUR for k in range(1, (end - first) // HOUR + 1)]


def read_frame(entities: Entities) -> pl.DataFrame:
    """Take rows in any form as a frame of Polars.

    Parameters
    ----------
    entities
        As of :func:`read_entities`; columns need not be those of entities.

    Returns
    -------
    pl.DataFrame
        The same columns and rows.

    Raises
    ------
    ArgumentError
        If it is no form of rows.
    """
    if isinstance(entities, pl.DataFrame | pl.LazyFrame):
        return entities.lazy().collect()
    if type(entities).__module__.partition(".")[0] == "pandas":
        from machine_features.pandas_boundary import from_pandas  # noqa: PLC0415 - whoever has pandas has imported it

        try:
            return from_pandas(entities)
        except (AttributeError, TypeError) as error:
            raise ArgumentError(f"entities: {error}") from error
    is_pairs = isinstance(entities, Sequence) and all(isinstance(row, tuple | list) for row in entities)
    times: Any = [row[1] for row in entities if len(row) > 1] if is_pairs else None
    times = entities.get("event_timestamp") if isinstance(entities, Mapping) else times
    if isinstance(times, list | tuple):
        have_zone("event_timestamp", times)
    try:
        return pl.DataFrame(entities, schema=_KEYS, orient="row") if is_pairs else pl.DataFrame(entities)
    except (PolarsError, TypeError, ValueError) as error:
        raise ArgumentError(f"entities must be a frame, or rows with {' and '.join(_KEYS)}: {error}") from error


def have_zone(name: str, values: Sequence[Any]) -> bool:
    """Tell whether the times of a column have a zone; Polars would take those without one as UTC beside others."""
    found = {value.tzinfo is not None for value in values if isinstance(value, datetime)}
    if len(found) > 1:
        raise ArgumentError(f"column {name} has times with a zone and times without; give each of them a zone")
    return True in found


def read_entities(entities: Entities, timezone: str | None = None) -> pl.DataFrame:
    """Check rows of machines and instants.

    Parameters
    ----------
    entities
        ``machine_id`` (text, or whole numbers) and ``event_timestamp`` (times or ISO 8601 texts), and any others. A
        list may also hold pairs of the two.
    timezone
        The zone of times without one, such as ``"America/Sao_Paulo"``; None refuses them. A local time that occurs
        twice is the earlier one.

    Returns
    -------
    pl.DataFrame
        The same, with ``machine_id`` as String and ``event_timestamp`` in microseconds, UTC.

    Raises
    ------
    ArgumentError
        If a column is missing or of another kind, a time has no zone, or does not exist.
    """
    frame = read_frame(entities)
    for name in _KEYS:
        if name not in frame.columns:
            raise ArgumentError(f"entities have no column {name}; they have {', '.join(frame.columns) or 'none'}")
    machines = frame.get_column("machine_id")
    if not (machines.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null) or machines.dtype.is_integer()):
        raise ArgumentError(f"machine_id is {machines.dtype}, and should be text")
    return frame.with_columns(machines.cast(pl.String), _read_times(frame.get_column("event_timestamp"), timezone))


def _read_times(times: pl.Series, timezone: str | None) -> pl.Series:
    dtype = times.dtype
    if timezone is not None and not (isinstance(timezone, str) and timezone):
        raise ArgumentError(f"timezone {timezone!r} is no zone; give a name such as America/Sao_Paulo, or None")
    if dtype == pl.String:
        instants = parse_timestamps(times)
        local = parse_timestamps(times.filter(instants.is_null()) + "Z")  # texts without a zone
        if not local.is_empty():
            found = _place(local.dt.replace_time_zone(None), timezone, times.filter(instants.is_null()))
            instants = instants.scatter(instants.is_null().arg_true(), found)
    elif isinstance(dtype, pl.Datetime):
        if not times.dt.epoch("ms").is_between(*_MILLISECONDS).all():
            raise ArgumentError("event_timestamp has times outside the years 1 to 9999; mend or drop these rows")
        instants = times if dtype.time_zone else _place(times, timezone, times)
    elif dtype == pl.Null:
        instants = times
    else:
        raise ArgumentError(f"event_timestamp is {dtype}, and should be times with a zone, or ISO 8601 texts")
    return instants.cast(INSTANT).alias("event_timestamp")


def _place(local: pl.Series, timezone: str | None, written: pl.Series) -> pl.Series:
    """Place times that state no zone in one; every time that is written has to exist there."""
    if timezone is None and local.null_count() < len(local):
        first = written.filter(local.is_not_null())[0]
        raise ArgumentError(f"event_timestamp {first} is not Datetime with a zone; give timezone='UTC', or another")
    try:
        placed = local.dt.replace_time_zone(timezone or "UTC", ambiguous="earliest", non_existent="null")
    except PolarsError as error:
        raise ArgumentError(f"timezone {timezone!r} is no zone such as America/Sao_Paulo") from error
    wrong = written.filter(placed.is_null() & written.is_not_null())
    if not wrong.is_empty():
        where = f" of {timezone}" if timezone else ""
        raise ArgumentError(f"event_timestamp {wrong[0]} is no time{where}; write it so: 2025-10-15T09:00:00Z")
    return placed
