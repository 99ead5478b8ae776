"""Instants and hours: UTC, microseconds, and the one text form the outputs use."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

import polars as pl

HOUR: Final = timedelta(hours=1)
TILE: Final = timedelta(minutes=5)
FUTURE_TOLERANCE: Final = timedelta(minutes=15)
"""How far after the end of its arrival partition an event time may lie, unless a setting says otherwise.

Clocks differ, and Firehose names a partition by an object's oldest record, though it holds records up to 15 minutes.
"""

MICROSECOND: Final = timedelta(microseconds=1)
INSTANT: Final = pl.Datetime("us", "UTC")
"""The type of every column of instants."""

ISO_8601: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}(:?[0-9]{2})?)"
)
_PAST_MICROSECONDS: Final = re.compile(r"(\.[0-9]{6})[0-9]+")
_END_OF_TIME: Final = (
    datetime(9999, 12, 31, tzinfo=UTC) - datetime.fromtimestamp(0, UTC)
) // MICROSECOND + 86_400 * 10**6
"""The end of the year 9999, in microseconds since 1970."""

_FORMAT: Final = "%Y-%m-%dT%H:%M:%S"
_IN_UTC: Final = (
    r"^(?:19[7-9][0-9]|[2-9][0-9]{3})-[0-9]{2}-[0-9]{2}"
    r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?Z$"
)
_TIMESTAMP: Final = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]((?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])"
    r"(?:[.,]([0-9]{1,9}))?(?:[Zz]|([+-])([01][0-9]|2[0-3])(?::?([0-5][0-9]))?)$"
)


def parse_instant(text: str) -> datetime:
    """Read an ISO 8601 instant as UTC; digits beyond the microsecond are cut off.

    Parameters
    ----------
    text
        ``YYYY-MM-DDTHH:MM:SS``, 0 to 9 fractional digits, then ``Z`` or an offset.

    Returns
    -------
    datetime
        Aware, UTC.

    Raises
    ------
    ValueError
        If the text has another form, or names no real instant.

    Examples
    --------
    >>> parse_instant("2025-10-15T06:00:01.1234567-03:00").isoformat()
    '2025-10-15T09:00:01.123456+00:00'
    """
    if not ISO_8601.fullmatch(text):
        raise ValueError(f"{text!r} is not an instant such as 2025-10-15T09:00:00Z")
    try:
        return datetime.fromisoformat(_PAST_MICROSECONDS.sub(r"\1", text)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} names no real instant: {error}") from error


def format_instant(instant: datetime) -> str:
    """Write an instant as ``YYYY-MM-DDTHH:MM:SSZ``, dropping fractions of a second.

    Parameters
    ----------
    instant
        A time with a time zone.

    Returns
    -------
    str
        20 characters, UTC.

    Examples
    --------
    >>> format_instant(datetime(2025, 10, 15, 9, tzinfo=UTC))
    '2025-10-15T09:00:00Z'
    """
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def floor_to(instant: datetime, step: timedelta) -> datetime:
    """Floor an instant to a whole number of steps since midnight, UTC; ``step`` divides a day.

    Parameters
    ----------
    instant
        A time, UTC.
    step
        A length that divides a day.

    Returns
    -------
    datetime
        The latest whole number of steps since midnight that is not after the instant.

    Examples
    --------
    >>> floor_to(datetime(2025, 10, 15, 9, 34, 59, tzinfo=UTC), TILE).minute
    30
    """
    midnight = instant.replace(hour=0, minute=0, second=0, microsecond=0)
    return instant - (instant - midnight) % step


def ceil_to(instant: datetime, step: timedelta) -> datetime:
    """Ceil an instant to a whole number of steps since midnight, UTC; ``step`` divides a day."""
    floor = floor_to(instant, step)
    return floor if floor == instant else floor + step


def parse_timestamps(text: pl.Series) -> pl.Series:
    """Read ISO 8601 instants with ``Z`` or an offset, of the years 1970 to 9999 in UTC.

    Date and time are joined by ``T``, ``t`` or a space. 0 to 9 fractional digits follow a point or a comma, and those
    beyond the sixth are cut off.

    Parameters
    ----------
    text
        Strings, null where there is nothing to read.

    Returns
    -------
    pl.Series
        Datetime, µs, UTC; null where the text is not an instant.

    Examples
    --------
    >>> parse_timestamps(pl.Series(["2025-10-15T06:00:01.5-03:00", "yesterday"])).dt.to_string().to_list()
    ['2025-10-15 09:00:01.500000+00:00', None]
    """
    frame = text.alias("text").to_frame()
    is_common = frame.select(pl.col("text").str.contains(_IN_UTC)).to_series().fill_null(value=False)
    if is_common.all():
        return frame.select(_parse_in_utc()).to_series()
    parsed = frame.with_columns(
        pl.when(is_common).then(_parse_in_utc()).alias("common"),
    )
    rest = frame.filter(~is_common).select(_parse_with_offset()).to_series()
    return parsed.get_column("common").scatter((~is_common).arg_true(), rest)


def parse_epoch(number: float, microseconds: int) -> int | None:
    """Read a count of units since 1970 as microseconds, of the years 1970 to 9999; digits beyond are cut off.

    Parameters
    ----------
    number
        A whole number, or a double: its shortest decimal form is what counts.
    microseconds
        How many microseconds one unit is.

    Returns
    -------
    int or None
        Microseconds since 1970, UTC; None where the number is not finite, negative or beyond the year 9999.

    Examples
    --------
    >>> parse_epoch(1760518801.123456, 1_000_000)
    1760518801123456
    """
    if isinstance(number, int):
        count = number * microseconds
        return count if 0 <= count < _END_OF_TIME else None
    exact = Decimal(repr(number)) * microseconds
    return int(exact) if exact.is_finite() and 0 <= exact < _END_OF_TIME else None


def _parse_in_utc() -> pl.Expr:
    """Read a text that is known to have the form of an instant in UTC."""
    seconds = pl.col("text").str.slice(0, 19).str.to_datetime(_FORMAT, time_unit="us", time_zone="UTC", strict=False)
    digits = pl.col("text").str.slice(20).str.strip_suffix("Z").str.pad_end(6, "0").str.slice(0, 6)
    return seconds + pl.duration(microseconds=digits.cast(pl.Int64))


def _parse_with_offset() -> pl.Expr:
    """Read any text."""
    part = pl.col("text").str.extract_groups(_TIMESTAMP)
    text = pl.concat_str(part.struct[0], part.struct[1], separator="T")
    local = text.str.to_datetime(_FORMAT, time_unit="us", time_zone="UTC", strict=False)
    micros = part.struct[2].fill_null("").str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64)
    minutes = part.struct[4].cast(pl.Int64) * 60 + part.struct[5].fill_null("0").cast(pl.Int64)
    east = pl.when(part.struct[3] == "-").then(-minutes).otherwise(minutes).fill_null(0)
    instant = local + pl.duration(microseconds=micros) - pl.duration(minutes=east)
    return pl.when(instant.dt.year().is_between(1970, 9999)).then(instant)
