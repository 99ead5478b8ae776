"""Labels: each border moved by a microsecond, late and repeated failures, and machines that never failed."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from handler.definitions.timestamps import INSTANT
from machine_features.labels import find_episodes, find_observed_until, label_entities
from machine_features.times import read_length
from tests.harness import HOUR, at

MICROSECOND = timedelta(microseconds=1)
SCHEMA = {"machine_id": pl.String(), "event_timestamp": INSTANT, "codigo_evento": pl.String()}


def label(time: datetime, *failures: tuple[datetime, str], until: datetime | None = None) -> dict[str, Any]:
    """Label one row of M1; another machine fails all the time."""
    entities = pl.DataFrame([("M1", time)], {"machine_id": pl.String(), "event_timestamp": INSTANT}, orient="row")
    others = [("M0", at(k / 10), "X") for k in range(1000)]
    events = pl.DataFrame([*(("M1", *failure) for failure in failures), *others], schema=SCHEMA, orient="row")
    episodes = find_episodes(events.sample(fraction=1, shuffle=True, seed=1), HOUR)
    (row,) = label_entities(
        entities, episodes, horizon=6 * HOUR, gap=HOUR, merge_within=HOUR, observed_until=until or at(100)
    ).iter_rows(named=True)
    return {name: row[name] for name in ("label", "time_to_failure", "failure_code", "status")}


NOTHING = {"label": 0, "time_to_failure": None, "failure_code": None, "status": "observed"}
UNKNOWN = {"label": None, "time_to_failure": None, "failure_code": None}


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (HOUR, 0), (HOUR + MICROSECOND, 1), (7 * HOUR, 1), (7 * HOUR + MICROSECOND, 0), (MICROSECOND, 0),
    ],
)  # fmt: skip
def test_horizon_begins_after_the_gap_and_holds_its_end(after: timedelta, expected: int) -> None:
    found = label(at(10), (at(10) + after, "A"))
    assert found == ({**NOTHING, "label": 1, "time_to_failure": after, "failure_code": "A"} if expected else NOTHING)


@pytest.mark.parametrize(
    ("until", "status"),
    [(at(17), "observed"), (at(17) - MICROSECOND, "censored"), (at(9), "censored")],
)
def test_row_is_censored_where_the_horizon_passes_what_is_known(until: datetime, status: str) -> None:
    assert label(at(10), until=until) == {**(NOTHING if status == "observed" else UNKNOWN), "status": status}


def test_failure_that_was_seen_counts_though_the_horizon_passes_what_is_known() -> None:
    assert label(at(10), (at(12), "A"), until=at(13))["label"] == 1
    assert label(at(10), (at(12), "A"), until=at(12))["label"] == 1
    assert label(at(10), (at(12), "A"), until=at(12) - MICROSECOND) == {**UNKNOWN, "status": "censored"}


@pytest.mark.parametrize(
    ("before", "is_after"),
    [(timedelta(0), True), (HOUR, True), (HOUR + MICROSECOND, False), (-MICROSECOND, False)],
)
def test_row_soon_after_a_failure_is_no_example(before: timedelta, is_after: bool) -> None:
    found = label(at(10), (at(10) - before, "A"))
    assert found == ({**UNKNOWN, "status": "after_failure"} if is_after else NOTHING)
    assert label(at(10), (at(10) - before, "A"), (at(12), "B"))["label"] == (None if is_after else 1)


@pytest.mark.parametrize(("between", "episodes"), [(HOUR, 1), (HOUR + MICROSECOND, 2)])
def test_repeated_failures_are_one_episode(between: timedelta, episodes: int) -> None:
    events = pl.DataFrame([("M1", at(3) + k * between, f"C{k}") for k in range(2)], schema=SCHEMA, orient="row")
    found = find_episodes(events, HOUR)
    assert found.height == episodes
    assert found.get_column("failure_code").to_list()[0] == "C0"
    row = label(at(10), *((at(9.5) + k * between, "A") for k in range(3)))  # the second lies in the horizon
    assert row["status"] == "after_failure"


def test_row_after_a_failure_of_another_code_is_no_example() -> None:
    entities = pl.DataFrame({"machine_id": ["M1", "M1"], "event_timestamp": [at(10.5), at(11) + MICROSECOND]})
    events = pl.DataFrame([("M1", at(10), "A"), ("M1", at(13), "B")], schema=SCHEMA, orient="row")
    found = label_entities(
        entities, find_episodes(events.filter(pl.col("codigo_evento") == "B"), HOUR), horizon=HOUR, gap=0 * HOUR,
        merge_within=HOUR, observed_until=at(100), all_episodes=find_episodes(events, HOUR),
    )  # fmt: skip
    assert found.select("label", "status").rows() == [(None, "after_failure"), (0, "observed")]


@pytest.mark.parametrize("kind", ["fails_within", "time_to_failure"])
def test_row_without_machine_or_time_has_no_label(kind: Any) -> None:
    entities = pl.DataFrame(
        {"machine_id": [None, "M1", "M1"], "event_timestamp": [at(9), None, at(9)]},
        schema={"machine_id": pl.String(), "event_timestamp": INSTANT},
    )
    events = pl.DataFrame([("M1", at(10), "A")], schema=SCHEMA, orient="row")
    found = label_entities(
        entities, find_episodes(events, HOUR), horizon=HOUR, gap=0 * HOUR, merge_within=HOUR, observed_until=at(100),
        kind=kind,
    )  # fmt: skip
    assert found.drop(entities.columns).rows() == [(None,) * 4, (None,) * 4, (1, HOUR, "A", "observed")]


@pytest.mark.parametrize(
    ("time", "horizon", "until", "expected"),
    [
        (7.5, None, 100, (2.5, "observed")),
        (7.5, 2, 100, (None, "censored")),
        (7.5, 2.5, 100, (2.5, "observed")),
        (7.5, None, 9, (None, "censored")),
        (10.5, None, 100, (None, "after_failure")),
        (12, None, 100, (8.0, "observed")),
        (21.5, None, 100, (None, "censored")),
    ],
)
def test_time_to_failure_is_hours_to_the_next_episode(
    time: float, horizon: float | None, until: float, expected: tuple[float | None, str]
) -> None:
    entities = pl.DataFrame({"machine_id": ["M1"], "event_timestamp": [at(time)]})
    events = pl.DataFrame([("M1", at(hour), "A") for hour in (10, 10.9, 20)], schema=SCHEMA, orient="row")
    found = label_entities(
        entities, find_episodes(events, HOUR), horizon=None if horizon is None else horizon * HOUR, gap=0 * HOUR,
        merge_within=HOUR, observed_until=at(until), kind="time_to_failure",
    )  # fmt: skip
    assert found.schema["label"] == pl.Float64()
    assert found.select("label", "status").row(0) == expected


def test_known_until_the_first_gap() -> None:
    times = pl.Series([at(0.5), at(1), at(4.99), at(5), at(7), None], dtype=INSTANT)
    found = find_observed_until(times, [at(hour) for hour in (0, 1, 2, 5, 6)])
    assert found.to_list() == [at(3), at(3), at(4), at(7), at(7), None]
    assert find_observed_until(times, []).to_list() == [at(0), at(1), at(4), at(5), at(7), None]


@pytest.mark.parametrize("text", ["", "1", "h", "-1h", "1 h", "1y"])
def test_wrong_length_gets_one_line(text: str) -> None:
    with pytest.raises(ValueError, match="is no length of time; write it so: 30m, 6h, 2d"):
        read_length(text)
