"""Instants and hours: UTC, microseconds, and the one text form the outputs use."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

HOUR: Final = timedelta(hours=1)
TILE: Final = timedelta(minutes=5)

ISO_8601: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}(:?[0-9]{2})?)"
)
_PAST_MICROSECONDS: Final = re.compile(r"(\.[0-9]{6})[0-9]+")


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
