"""Instants and hours: UTC, microseconds, and the one text form the outputs use."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Final, Self

import polars as pl

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HOUR: Final = timedelta(hours=1)
TILE: Final = timedelta(minutes=5)
MICROSECOND: Final = timedelta(microseconds=1)
INSTANT: Final = pl.Datetime("us", "UTC")
"""The type of every column of instants."""

ISO_8601: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}(:?[0-9]{2})?)"
)
_PAST_MICROSECONDS: Final = re.compile(r"(\.[0-9]{6})[0-9]+")
_FORMAT: Final = "%Y-%m-%dT%H:%M:%S"
_IN_UTC: Final = (
    r"^(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])-[0-9]{2}-[0-9]{2}"
    r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?Z$"
)
_SECONDS_END: Final = 19
_HOUR_DIGITS: Final = 10
_FRACTION: Final = 6
_FIRST_INSTANT: Final = -62_135_596_800_000_000  # year 1
_TIMESTAMP: Final = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])"
    r"(?:\.([0-9]{1,9}))?(?:Z|([+-])([01][0-9]|2[0-3])(?::?([0-5][0-9]))?)$"
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

    Examples
    --------
    >>> format_instant(datetime(2025, 10, 15, 9, tzinfo=UTC))
    '2025-10-15T09:00:00Z'
    """
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def floor_to(instant: datetime, step: timedelta) -> datetime:
    """Floor an instant to a whole number of steps since midnight, UTC; ``step`` divides a day.

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
    """Read ISO 8601 instants with ``Z`` or an offset as Datetime, µs, UTC; null where the text is none.

    0 to 9 fractional digits; those beyond the sixth are cut off. Years run from 0001.

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


def _parse_in_utc() -> pl.Expr:
    """Read a text that is known to have the form of an instant in UTC."""
    seconds = pl.col("text").str.slice(0, 19).str.to_datetime(_FORMAT, time_unit="us", time_zone="UTC", strict=False)
    digits = pl.col("text").str.slice(20).str.strip_suffix("Z").str.pad_end(6, "0").str.slice(0, 6)
    return seconds + pl.duration(microseconds=digits.cast(pl.Int64))


def _parse_with_offset() -> pl.Expr:
    """Read any text."""
    part = pl.col("text").str.extract_groups(_TIMESTAMP)
    local = part.struct[0].str.to_datetime(_FORMAT, time_unit="us", time_zone="UTC", strict=False)
    micros = part.struct[1].fill_null("").str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64)
    minutes = part.struct[3].cast(pl.Int64) * 60 + part.struct[4].fill_null("0").cast(pl.Int64)
    east = pl.when(part.struct[2] == "-").then(-minutes).otherwise(minutes).fill_null(0)
    instant = local + pl.duration(microseconds=micros) - pl.duration(minutes=east)
    return pl.when(instant.dt.year() >= 1, part.struct[0].str.slice(0, 4) != "0000").then(instant)


@dataclass(frozen=True, slots=True)
class PlacedInstant:
    """Timestamps of one form in one place: where their digits are, and how far east of UTC their clock is.

    Attributes
    ----------
    places
        Of the digits: 14 down to the second, then those of the fraction.
    east
        Microseconds.
    """

    places: tuple[int, ...]
    east: int

    @classmethod
    def locate(cls, text: str, place: int) -> Self | None:
        """Lay out a timestamp that begins at a place; None where it is none."""
        match = re.fullmatch(_TIMESTAMP, text)
        if match is None:
            return None
        _, fraction, sign, hours, minutes = match.groups(default="")
        places = [place + i for i in range(_SECONDS_END) if text[i].isdigit()]
        places += [place + _SECONDS_END + 1 + i for i in range(len(fraction))]
        east = (int(hours or 0) * 60 + int(minutes or 0)) * 60_000_000
        return cls(tuple(places), -east if sign == "-" else east)

    def read(self, digits: "NDArray[np.uint8]") -> "tuple[NDArray[np.int64], NDArray[np.bool_]]":
        """Read the instant of each line: microseconds since 1970, UTC, and whether there is such an instant.

        Parameters
        ----------
        digits
            A row a place, a column a line; where it holds more than 9, no instant is meant.
        """
        import numpy as np  # noqa: PLC0415 - only large batches come here

        to_hour, past_hour = digits[:_HOUR_DIGITS], digits[_HOUR_DIGITS:]
        if (to_hour == to_hour[:, :1]).all():  # of one hour, as the lines of one partition mostly are
            to_hour = to_hour[:, :1]
        hours, is_real = _read_hours(to_hour)
        minute, second = (past_hour[i] * 10 + past_hour[i + 1] for i in (0, 2))
        micros = np.zeros(digits.shape[1], np.int64)
        fraction = past_hour[4 : 4 + _FRACTION]
        for digit in fraction:
            micros *= 10
            micros += digit
        micros *= 10 ** (_FRACTION - len(fraction))
        seconds = minute.astype(np.int64) * 60 + second
        instant = hours * 3_600_000_000 + seconds * 1_000_000 + micros - self.east
        is_real = is_real & (minute < 60) & (second < 60) & (instant >= _FIRST_INSTANT)
        return instant, is_real


def _read_hours(digits: "NDArray[np.uint8]") -> "tuple[NDArray[np.int64], NDArray[np.bool_]]":
    """Read year, month, day and hour: hours since 1970, and whether there is such an hour."""
    import numpy as np  # noqa: PLC0415

    first_days, lengths = _list_months()
    century, year, month, day, hour = (digits[i].astype(np.int64) * 10 + digits[i + 1] for i in range(0, 10, 2))
    year += century * 100
    index = year * 12 + (month - 1)
    is_real = (year >= 1) & (month >= 1) & (month <= 12) & (index < len(lengths))
    index[~is_real] = 0
    is_real &= (day >= 1) & (day <= lengths[index]) & (hour < 24)
    return (first_days[index] + (day - 1)) * 24 + hour, is_real


@cache
def _list_months() -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
    """List the first days, counted from 1970, and the lengths of the months of the years 0 to 9999."""
    import numpy as np  # noqa: PLC0415

    first_days = np.arange("0000-01", "10000-02", dtype="M8[M]").astype("M8[D]").astype(np.int64)
    return first_days[:-1], np.diff(first_days)
