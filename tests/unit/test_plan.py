"""Instants, spans, partitions and training hours."""

from datetime import UTC, datetime, timedelta

import pytest

from handler.definitions.errors import EventError
from handler.plan import (
    Run,
    group_into_blocks,
    list_affected_hours,
    list_arrivals,
    list_contributors,
    list_training_hours,
    plan_run,
)
from tests.harness import HOUR, at

DAY = 24 * HOUR
SIX_HOURS = 6 * HOUR


def plan(event: object) -> Run:
    return plan_run(event, now=at(9, minutes=34, seconds=59.9), time_window=SIX_HOURS)  # type: ignore[arg-type]


def test_empty_event_means_now_floored_to_five_minutes() -> None:
    assert plan({}) == plan({"as_of": None}) == Run(at(3, minutes=30), at(9, minutes=30))


def test_as_of_of_the_schedule_is_floored_to_five_minutes() -> None:
    assert plan({"as_of": "2025-10-15T09:04:59Z"}).as_of == at(9)
    assert plan({"as_of": "2025-10-15T06:07:00.5-03:00"}).as_of == at(9, minutes=5)


def test_backfill_has_its_own_span() -> None:
    run = plan({"start": "2025-10-14T00:00:00Z", "end": "2025-10-15T12:03:00Z"})
    assert run == Run(at(-24), at(12), is_backfill=True)


@pytest.mark.parametrize(
    "event",
    [
        {"as_of": "yesterday"},
        {"as_of": "2025-10-15"},
        {"as_of": "2025-10-15T09:00:00"},
        {"as_of": "2025-02-30T09:00:00Z"},
        {"as_of": 1760518800},
        {"as_of": "1969-01-01T00:00:00Z"},
        {"asof": "2025-10-15T09:00:00Z"},
        {"start": "2025-10-15T09:00:00Z"},
        {"start": "2025-10-15T09:00:00Z", "end": "2025-10-15T09:04:00Z"},
        {"start": "2025-10-15T09:00:00Z", "end": "2025-10-14T09:00:00Z"},
        {"as_of": "2025-10-15T09:00:00Z", "end": "2025-10-15T10:00:00Z"},
        [],
        "2025-10-15T09:00:00Z",
        None,
    ],
)
def test_event_that_names_no_run_is_refused_in_one_line(event: object) -> None:
    with pytest.raises(EventError, match=r"^event: ") as caught:
        plan(event)
    assert "\n" not in str(caught.value)


def test_arrivals_touch_the_span() -> None:
    assert list_arrivals(Run(at(6), at(9))) == [at(6), at(7), at(8), at(9)]
    assert list_arrivals(Run(at(6, minutes=5), at(8, minutes=55))) == [at(6), at(7), at(8)]


def test_training_hours_are_those_in_the_span_with_its_end() -> None:
    assert list_training_hours(Run(at(6), at(9))) == [at(7), at(8), at(9)]
    assert list_training_hours(Run(at(6, minutes=35), at(8, minutes=55))) == [at(7), at(8)]
    assert list_training_hours(Run(at(6, minutes=35), at(6, minutes=55))) == []


def test_spans_of_a_schedule_cover_every_hour_once() -> None:
    hours = [
        hour for k in range(8) for hour in list_training_hours(Run(at(6 * k, minutes=35), at(6 * k + 6, minutes=35)))
    ]
    assert hours == [at(h) for h in range(1, 49)]


def test_contributors_reach_from_early_clocks_to_the_latest_allowed() -> None:
    partitions = list_contributors(at(9), lookback=DAY, allowed_lateness=2 * HOUR)
    assert partitions[0] == at(9 - 24 - 1)
    assert partitions[-1] == at(8 + 2)
    partitions = list_contributors(at(9, minutes=5), lookback=HOUR, allowed_lateness=timedelta(0))
    assert partitions == [at(7), at(8), at(9)]


def test_a_reading_affects_the_hours_after_it_that_can_see_it() -> None:
    affected = list_affected_hours([at(3)], lookback=2 * HOUR, until=at(20))
    assert affected == {at(4), at(5)}
    assert list_affected_hours([at(3)], lookback=timedelta(minutes=90), until=at(20)) == {at(4), at(5)}
    assert list_affected_hours([at(3)], lookback=DAY, until=at(5)) == {at(4), at(5)}


def test_blocks_are_shorter_than_asked_for_and_hold_every_hour() -> None:
    hours = [at(0), at(1), at(23), at(24), at(60)]
    blocks = list(group_into_blocks(reversed(hours), longest=DAY))
    assert blocks == [[at(0), at(1), at(23)], [at(24)], [at(60)]]


def test_far_future_is_refused_before_arithmetic_overflows() -> None:
    with pytest.raises(EventError, match="outside the years"):
        plan({"as_of": datetime(9999, 12, 31, tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")})
