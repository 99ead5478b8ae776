"""Which instants a run answers for, and which partitions and training hours follow from them: pure.

All intervals of event time are ``[start, end)``; only a run's span is ``(start, end]``, since a feature row at an
instant speaks of what came before it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from handler.definitions.errors import EventError
from handler.definitions.timestamps import HOUR, TILE, ceil_to, floor_to, parse_instant

FUTURE_TOLERANCE: Final = timedelta(minutes=5)
"""How far after the end of its arrival partition an event time may lie: clocks differ."""

_YEARS: Final = range(1971, 9999)


@dataclass(frozen=True, slots=True)
class Run:
    """The instants one run answers for.

    Attributes
    ----------
    start, end
        The span ``(start, end]``, whole tiles, UTC. ``end`` is the run's ``as_of``.
    is_backfill
        Whether the event named a span; an online item is then replaced only by a newer one.
    """

    start: datetime
    end: datetime
    is_backfill: bool = False

    @property
    def as_of(self) -> datetime:
        """The instant the online features speak of."""
        return self.end


def plan_run(event: Mapping[str, Any], *, now: datetime, time_window: timedelta) -> Run:
    """Read the event that started a run.

    Parameters
    ----------
    event
        ``{}``, ``{"as_of": instant}`` or ``{"start": instant, "end": instant}``; instants are ISO 8601 text and
        are floored to five minutes.
    now
        The time of the call, UTC: the ``as_of`` of an empty event.
    time_window
        The span of a run that is no backfill.

    Raises
    ------
    EventError
        If the event has other fields, or a field that is no instant, or a span that holds none.
    """
    if not isinstance(event, Mapping):
        raise EventError(f'event: {event!r} is no object; send {{}}, {{"as_of"}} or {{"start", "end"}}')
    fields = {name for name, value in event.items() if value is not None}
    if fields == {"start", "end"}:
        start, end = _read_instant(event, "start"), _read_instant(event, "end")
        if start >= end:
            raise EventError(f"event: start {event['start']!r} is not five minutes or more before end {event['end']!r}")
        return Run(start, end, is_backfill=True)
    if fields <= {"as_of"}:
        as_of = _read_instant(event, "as_of") if fields else floor_to(now, TILE)
        return Run(as_of - time_window, as_of)
    raise EventError(
        f"event: fields {', '.join(sorted(map(str, fields)))} name no run; send {{}}, "
        '{"as_of"}, or "start" and "end" together'
    )


def _read_instant(event: Mapping[str, Any], field: str) -> datetime:
    value = event[field]
    if not isinstance(value, str):
        raise EventError(f"event: {field} {value!r} is no text; write an instant such as 2025-10-15T09:00:00Z")
    try:
        instant = parse_instant(value)
    except ValueError as error:
        raise EventError(f"event: {field} {error}; write it so, with Z or an offset") from error
    if instant.year not in _YEARS:
        raise EventError(f"event: {field} {value!r} lies outside the years {_YEARS[0]} to {_YEARS[-1]}")
    return floor_to(instant, TILE)


def list_arrivals(run: Run) -> list[datetime]:
    """List the partitions whose hour of arrival touches the span ``(start, end]``, ascending.

    Examples
    --------
    >>> from datetime import UTC
    >>> at = lambda hour: datetime(2025, 10, 15, hour, tzinfo=UTC)
    >>> [p.hour for p in list_arrivals(Run(at(6), at(9)))]
    [6, 7, 8, 9]
    """
    return list(_iterate_hours(floor_to(run.start, HOUR), run.end + TILE))


def list_training_hours(run: Run) -> list[datetime]:
    """List the whole hours in the span ``(start, end]``, ascending.

    Examples
    --------
    >>> from datetime import UTC
    >>> at = lambda hour: datetime(2025, 10, 15, hour, tzinfo=UTC)
    >>> [hour.hour for hour in list_training_hours(Run(at(6), at(9)))]
    [7, 8, 9]
    """
    return list(_iterate_hours(floor_to(run.start, HOUR) + HOUR, run.end + TILE))


def list_contributors(as_of: datetime, *, lookback: timedelta, allowed_lateness: timedelta) -> list[datetime]:
    """List the partitions that can hold event times in ``[as_of - lookback, as_of)``, ascending.

    The first is an hour before the window, for event times a little ahead of their arrival; the last is as late
    as a reading may be. Those after ``as_of`` count as well: what has arrived, counts.
    """
    first = floor_to(as_of - lookback, HOUR) - HOUR
    return list(_iterate_hours(first, ceil_to(as_of, HOUR) + allowed_lateness))


def list_affected_hours(event_hours: Iterable[datetime], *, lookback: timedelta, until: datetime) -> set[datetime]:
    """Find the training hours, up to ``until`` inclusive, that can see readings of the given event hours.

    Parameters
    ----------
    event_hours
        Starts of hours of event time in which a reading changed.
    lookback
        The spec's lookback.
    until
        The end of the run's span.
    """
    return {
        hour
        for event_hour in event_hours
        for hour in _iterate_hours(event_hour + HOUR, event_hour + HOUR + lookback)
        if hour <= until
    }


def group_into_blocks(hours: Iterable[datetime], *, longest: timedelta) -> Iterator[list[datetime]]:
    """Group training hours, ascending, into blocks that each span less than ``longest``.

    A block is what the reduce step holds in memory at a time, however long the backfill.
    """
    block: list[datetime] = []
    for hour in sorted(hours):
        if block and hour - block[0] >= longest:
            yield block
            block = []
        block.append(hour)
    if block:
        yield block


def _iterate_hours(start: datetime, end: datetime) -> Iterator[datetime]:
    hour = start
    while hour < end:
        yield hour
        hour += HOUR
