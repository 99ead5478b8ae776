"""Instants, spans, partitions and training hours."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from handler.definitions.errors import EventError
from handler.plan import Plan, group_into_blocks, make_plan
from tests.harness import HOUR, at, stamp

DAY = 24 * HOUR
SIX_HOURS = 6 * HOUR


def plan(event: object) -> Plan:
    now = at(9, minutes=34, seconds=59.9)
    return make_plan(event, now=now, time_window=SIX_HOURS, lookback=DAY)  # type: ignore[arg-type]


def test_empty_event_means_now_floored_to_five_minutes() -> None:
    assert plan({}) == plan({"as_of": None}) == Plan(at(3, minutes=30), at(9, minutes=30), DAY, DAY)


def test_as_of_of_the_schedule_is_floored_to_five_minutes() -> None:
    assert plan({"as_of": "2025-10-15T09:04:59Z"}).as_of == at(9)
    assert plan({"as_of": "2025-10-15T06:07:00.5-03:00"}).as_of == at(9, minutes=5)


def test_backfill_has_its_own_span() -> None:
    run = plan({"start": "2025-10-14T00:00:00Z", "end": "2025-10-15T09:03:00Z"})
    assert run == Plan(at(-24), at(9), DAY, DAY, is_backfill=True)


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


def spanning(start: float, end: float) -> Plan:
    """The plan of a span, in hours after T0."""
    return Plan(at(start), at(end), lookback=DAY, allowed_lateness=DAY)


def test_arrivals_touch_the_span() -> None:
    assert spanning(6, 9).arrivals == {at(6), at(7), at(8), at(9)}
    assert spanning(6 + 1 / 12, 8 + 11 / 12).arrivals == {at(6), at(7), at(8)}


def test_training_hours_are_those_in_the_span_with_its_end() -> None:
    assert spanning(6, 9).training_hours == {at(7), at(8), at(9)}
    assert spanning(6.5, 8.75).training_hours == {at(7), at(8)}
    assert spanning(6.5, 6.75).training_hours == set()


def test_spans_of_a_schedule_cover_every_hour_once() -> None:
    hours = [hour for k in range(8) for hour in spanning(6 * k + 0.5, 6 * k + 6.5).training_hours]
    assert sorted(hours) == [at(h) for h in range(1, 49)]


def test_contributors_reach_from_early_clocks_to_the_latest_allowed() -> None:
    partitions = Plan(at(6), at(9), DAY, allowed_lateness=2 * HOUR).list_contributors([at(9)])
    assert min(partitions) == at(9 - 24 - 1)
    assert max(partitions) == at(8 + 2)
    strict = Plan(at(6), at(9), lookback=HOUR, allowed_lateness=timedelta(0))
    assert strict.list_contributors([at(9, minutes=5)]) == {at(7), at(8), at(9)}


@pytest.mark.parametrize(("minutes", "first"), [(0, 9), (4, 9), (5, 8), (60, 8)])
def test_contributors_begin_where_an_event_ahead_of_its_arrival_may_lie(minutes: int, first: int) -> None:
    """The window begins at 09:05: partition 8 holds event times up to 09:00 and the tolerance, ends included."""
    plan = Plan(at(0), at(12), HOUR, timedelta(0), future_tolerance=timedelta(minutes=minutes))
    assert min(plan.list_contributors([at(10, minutes=5)])) == at(first)
    assert min(plan.list_contributors([at(10)])) == (at(7) if minutes == 60 else at(8))


def test_partitions_whose_raw_may_have_expired_are_known() -> None:
    plan = make_plan({}, now=at(48, minutes=1), time_window=HOUR, lookback=DAY, raw_retention=DAY)
    assert [hour for hour in (23, 24, 25) if plan.is_expired(at(hour))] == [23, 24]
    assert not make_plan({}, now=at(48), time_window=HOUR, lookback=DAY).is_expired(at(-9999))


def test_a_reading_affects_the_hours_after_it_that_can_see_it() -> None:
    def affected(lookback: timedelta, end: float, lateness: list[int]) -> set[datetime]:
        return Plan(at(0), at(end), lookback, allowed_lateness=4 * HOUR).list_affected_hours(at(6), lateness)

    assert affected(2 * HOUR, 20, [3]) == {at(4), at(5)}
    assert affected(timedelta(minutes=90), 20, [3]) == {at(4), at(5)}
    assert affected(DAY, 5, [3]) == {at(4), at(5)}
    assert affected(2 * HOUR, 20, [5]) == set()


def test_blocks_go_back_in_time_and_hold_few_hours_of_many_machines() -> None:
    hours = [at(0), at(1), at(23), at(24), at(60)]
    assert list(group_into_blocks(hours, machines=0)) == [[at(60)], [at(1), at(23), at(24)], [at(0)]]
    assert list(group_into_blocks(hours, machines=10_000)) == [[at(60)], [at(23), at(24)], [at(0), at(1)]]
    assert list(group_into_blocks(hours, machines=10**6)) == [[at(60)], [at(24)], [at(23)], [at(1)], [at(0)]]


def test_far_future_is_refused_before_arithmetic_overflows() -> None:
    with pytest.raises(EventError, match="outside the years"):
        plan({"as_of": datetime(9999, 12, 31, tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")})


@pytest.mark.parametrize("field", ["as_of", "end", "start"])
def test_instant_that_has_not_happened_is_refused(field: str) -> None:
    """The clock says 09:34:59.9: five minutes more may be a clock that is ahead."""
    event = {"as_of": {}, "end": {"start": "2025-10-14T00:00:00Z"}, "start": {"end": "2025-10-15T12:00:00Z"}}[field]
    with pytest.raises(
        EventError, match=rf"^event: {field} '2025-10-15T09:40:00Z' lies in the future: it is 2025-10-15T"
    ):
        plan({**event, field: "2025-10-15T09:40:00Z"})
    if field != "start":
        assert plan({**event, field: "2025-10-15T09:39:59.9Z"}).as_of == at(9, minutes=35)


@pytest.mark.parametrize("event", [{}, {"as_of": stamp(at(9))}, {"start": stamp(at(-24)), "end": stamp(at(9))}])
def test_every_event_may_accept_loss(event: dict[str, str]) -> None:
    assert not plan(event).accept_loss
    assert plan({**event, "accept_loss": True}) == replace(plan(event), accept_loss=True)
    assert plan({**event, "accept_loss": None}) == plan({**event, "accept_loss": False}) == plan(event)
    wrong: list[object] = ["true", 1, 0, []]
    for value in wrong:
        with pytest.raises(EventError, match=r"^event: accept_loss .* must be true or false"):
            plan({**event, "accept_loss": value})
