"""Event → plan: which instants a run answers for, and which partitions and training hours follow from them. Pure.

All intervals of event time are ``[start, end)``. Only a run's span is ``(start, end]``: a feature row at an instant
speaks of the time before it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from handler.definitions.errors import EventError
from handler.definitions.timestamps import (
    FUTURE_TOLERANCE,
    HOUR,
    TILE,
    ceil_to,
    floor_to,
    format_instant,
    parse_instant,
)

BLOCK: Final = timedelta(hours=24)
"""The training hours of less than this are computed together."""

_MOST_ROWS: Final = 20_000
"""Of a block: some 15 MB with the packaged features, and what they are computed from many times as much."""

_YEARS: Final = range(1971, 9999)

_AHEAD: Final = timedelta(minutes=5)
"""An instant further after the time of the call has not happened, whatever clocks differ by."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run answers for.

    Attributes
    ----------
    start, end
        The span ``(start, end]``, whole tiles, UTC. ``end`` is the run's ``as_of``.
    lookback
        How far before its ``as_of`` a feature row can see.
    allowed_lateness
        How late a reading may arrive and still count in features.
    future_tolerance
        How far after the end of its arrival partition an event time may lie.
    raw_kept_from
        Raw objects of earlier partitions may have expired: these are not looked at again. None where raw is kept.
    is_backfill
        Whether the event named a span; an online item is then replaced only by a newer one.
    accept_loss
        Whether training hours may lose rows, since this features.toml no longer accepts the lines of these.
    arrivals
        The partitions whose hour of arrival touches the span.
    training_hours
        The whole hours in the span.
    reach
        The training hours that readings which arrive in the span can change, those of the span included.
    """

    start: datetime
    end: datetime
    lookback: timedelta
    allowed_lateness: timedelta
    future_tolerance: timedelta = FUTURE_TOLERANCE
    raw_kept_from: datetime | None = None
    is_backfill: bool = False
    accept_loss: bool = False
    arrivals: frozenset[datetime] = field(init=False)
    training_hours: frozenset[datetime] = field(init=False)
    reach: frozenset[datetime] = field(init=False)

    def __post_init__(self) -> None:
        after = self.end + TILE
        first = floor_to(self.start, HOUR)
        object.__setattr__(self, "arrivals", frozenset(_iterate_hours(first, after)))
        object.__setattr__(self, "training_hours", frozenset(_iterate_hours(first + HOUR, after)))
        object.__setattr__(self, "reach", frozenset(_iterate_hours(first + HOUR - self.allowed_lateness, after)))

    @property
    def as_of(self) -> datetime:
        """The instant the online features speak of."""
        return self.end

    def is_expired(self, partition: datetime) -> bool:
        """Tell whether raw objects of a partition may have expired."""
        return self.raw_kept_from is not None and partition < self.raw_kept_from

    def list_contributors(self, instants: Iterable[datetime]) -> set[datetime]:
        """List the partitions that can hold event times which the rows of some instants see.

        The first is the hour before the longest window, or the one before it, for event times ahead of their arrival.
        The last is as late as a reading may be. Partitions after an instant count as well: what has arrived, counts.

        Parameters
        ----------
        instants
            The ``as_of`` of rows, UTC.

        Returns
        -------
        set of datetime
            Starts of hours of arrival, UTC.

        Examples
        --------
        >>> from datetime import UTC
        >>> at = lambda hour: datetime(2025, 10, 15, hour, tzinfo=UTC)
        >>> plan = Plan(at(6), at(9), lookback=2 * HOUR, allowed_lateness=HOUR)
        >>> sorted(partition.hour for partition in plan.list_contributors([at(9)]))
        [6, 7, 8, 9]
        """
        return {
            partition
            for instant in instants
            for partition in _iterate_hours(
                ceil_to(instant - self.lookback - self.future_tolerance, HOUR) - HOUR,
                ceil_to(instant, HOUR) + self.allowed_lateness,
            )
        }

    def list_affected_hours(self, partition: datetime, lateness: Iterable[int]) -> set[datetime]:
        """List the training hours, up to the span's end, that can see readings of a partition.

        Parameters
        ----------
        partition
            Start of the hour of arrival.
        lateness
            The hours by which its readings are late; those later than allowed are left out.

        Returns
        -------
        set of datetime
            Starts of event hours, UTC, which name the training files.
        """
        event_hours = [partition - hours * HOUR for hours in lateness if hours * HOUR <= self.allowed_lateness]
        return {
            hour
            for event_hour in event_hours
            for hour in _iterate_hours(event_hour + HOUR, event_hour + HOUR + self.lookback)
            if hour <= self.end
        }


def make_plan(
    event: Mapping[str, Any],
    *,
    now: datetime,
    time_window: timedelta,
    lookback: timedelta,
    allowed_lateness: timedelta = timedelta(hours=24),
    future_tolerance: timedelta = FUTURE_TOLERANCE,
    raw_retention: timedelta | None = None,
) -> Plan:
    """Read the event that started a run.

    Parameters
    ----------
    event
        ``{}``, ``{"as_of": instant}`` or ``{"start": instant, "end": instant}``; instants are ISO 8601 text and are
        floored to five minutes. Each may have ``"accept_loss": true`` besides.
    now
        The time of the call, UTC: the ``as_of`` of an empty event. Instants five minutes later have not happened.
    time_window
        The span of a run that is no backfill.
    lookback
        As in :class:`Plan`.
    allowed_lateness
        As in :class:`Plan`.
    future_tolerance
        As in :class:`Plan`.
    raw_retention
        How long raw objects are kept; None where they do not expire.

    Returns
    -------
    Plan
        What the run is to do.

    Raises
    ------
    EventError
        If the event has other fields, a field that is no instant, an instant of the future, or a span without any.

    Examples
    --------
    >>> from datetime import UTC
    >>> now = datetime(2025, 10, 15, 9, 2, tzinfo=UTC)
    >>> plan = make_plan({}, now=now, time_window=timedelta(hours=3), lookback=timedelta(hours=24))
    >>> plan.as_of.minute, sorted(hour.hour for hour in plan.training_hours)
    (0, [7, 8, 9])
    """
    if not isinstance(event, Mapping):
        raise EventError(f'event: {event!r} is no object; send {{}}, {{"as_of"}} or {{"start", "end"}}')
    raw_kept_from = None if raw_retention is None else now - raw_retention
    settings = (lookback, allowed_lateness, future_tolerance, raw_kept_from)
    given = {name: value for name, value in event.items() if value is not None}
    accept_loss = given.pop("accept_loss", False)
    if not isinstance(accept_loss, bool):
        raise EventError(f"event: accept_loss {accept_loss!r} must be true or false")
    fields = given.keys()
    if fields == {"start", "end"}:
        start, end = _read_instant(event, "start", now), _read_instant(event, "end", now)
        if start >= end:
            raise EventError(f"event: start {event['start']!r} is not five minutes or more before end {event['end']!r}")
        return Plan(start, end, *settings, is_backfill=True, accept_loss=accept_loss)
    if fields <= {"as_of"}:
        as_of = _read_instant(event, "as_of", now) if fields else floor_to(now, TILE)
        return Plan(as_of - time_window, as_of, *settings, accept_loss=accept_loss)
    raise EventError(
        f"event: fields {', '.join(sorted(map(str, fields)))} name no run; send {{}}, "
        '{"as_of"}, or "start" and "end" together'
    )


def _read_instant(event: Mapping[str, Any], field: str, now: datetime) -> datetime:
    value = event[field]
    if not isinstance(value, str):
        raise EventError(f"event: {field} {value!r} is no text; write an instant such as 2025-10-15T09:00:00Z")
    try:
        instant = parse_instant(value)
    except ValueError as error:
        raise EventError(f"event: {field} {error}; write it so, with Z or an offset") from error
    if instant.year not in _YEARS:
        raise EventError(f"event: {field} {value!r} lies outside the years {_YEARS[0]} to {_YEARS[-1]}")
    require_past(field, instant, now)
    return floor_to(instant, TILE)


def require_past(field: str, instant: datetime, now: datetime) -> None:
    """Refuse an instant that has not happened."""
    if instant > now + _AHEAD:
        told = format_instant(instant)
        raise EventError(f"event: {field} {told!r} lies in the future: it is {format_instant(now)}; wait until then")


def group_into_blocks(hours: Iterable[datetime], machines: int) -> Iterator[list[datetime]]:
    """Group training hours into blocks, the newest first, of so few hours and machines that memory holds their rows.

    Parameters
    ----------
    hours
        Starts of hours, UTC.
    machines
        How many rows an hour has, more or less.

    Yields
    ------
    list of datetime
        Ascending hours, which span less than a day.
    """
    most = limit_hours(machines)
    block: list[datetime] = []
    for hour in sorted(hours, reverse=True):
        if block and (block[0] - hour >= BLOCK or len(block) == most):
            yield block[::-1]
            block = []
        block.append(hour)
    if block:
        yield block[::-1]


def limit_hours(machines: int) -> int:
    """Limit the training hours of a block, by the rows that each has."""
    return max(1, _MOST_ROWS // max(1, machines))


def _iterate_hours(start: datetime, end: datetime) -> Iterator[datetime]:
    hour = start
    while hour < end:
        yield hour
        hour += HOUR
