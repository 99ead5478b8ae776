"""What holds for any runs on any lake: order, retries and repetition leave the same features."""

import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from random import Random

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.definitions.errors import OnlineStoreError
from handler.plan import Plan
from handler.stores.online import OnlineResult
from tests.frames import assert_close, assert_rows_close
from tests.harness import T0, Pipeline, at, check_sums, write_raw
from tests.profiles import examples
from tests.property.test_against_reference import BAD_LINES, SPAN_HOURS, lakes, write_lake

Lake = dict[int, list[list[bytes]]]


def assert_same_training(one: dict[str, pl.DataFrame], other: dict[str, pl.DataFrame]) -> None:
    """The same files, whose features are equal but for rounding."""
    assert list(one) == list(other)
    for name, frame in one.items():
        assert_close(frame, other[name])


LAST = SPAN_HOURS + 6
retried = st.lists(st.tuples(st.integers(12, 2 * LAST).map(lambda k: k / 2), st.booleans()), max_size=4)


@settings(max_examples=examples(25))
@given(lake=lakes(), extra=retried, order=st.randoms(use_true_random=False))
def test_runs_in_any_order_with_retries_leave_what_one_backfill_leaves(
    lake: Lake, extra: list[tuple[float, bool]], order: Random
) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        write_lake(Path(one), lake)
        write_lake(Path(other), lake)
        at_once, by_run = Pipeline(Path(one)), Pipeline(Path(other))
        at_once.backfill(T0, at(LAST))
        runs = [(float(hours), False) for hours in range(6, LAST + 1, 6)] + extra
        order.shuffle(runs)
        for hours, loses_the_table in runs:
            if loses_the_table:
                run_and_lose_the_table(by_run, at(hours))
            check_sums(by_run.run(at(hours)))
        assert_same_training(by_run.training(), at_once.training())


def run_and_lose_the_table(pipeline: Pipeline, as_of: datetime) -> None:
    """A run that fails at its very end, as when DynamoDB throttles."""

    class Closed:
        def writer(self, plan: Plan) -> Callable[[pl.DataFrame], OnlineResult]:
            def write(rows: pl.DataFrame) -> OnlineResult:
                raise OnlineStoreError("features", "throttled")

            return write

    table, pipeline.table = pipeline.table, Closed()  # type: ignore[assignment]
    try:
        pipeline.run(as_of)
    except OnlineStoreError:
        pass
    finally:
        pipeline.table = table


@settings(max_examples=examples(15))
@given(lake=lakes(), hours=st.integers(1, SPAN_HOURS))
def test_a_run_twice_changes_nothing_and_reads_nothing(lake: Lake, hours: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_lake(Path(folder), lake)
        pipeline = Pipeline(Path(folder))
        first = pipeline.run(at(hours))
        training, online = pipeline.training(), pipeline.online_rows()
        second = pipeline.run(at(hours))
        assert second["lines"]["read"] == 0
        assert second["tiles"] == {"built": 0, "reused": first["tiles"]["built"], "kept": 0}
        assert (second["training"]["files"], second["machines"]) == (6, first["machines"])
        assert_same_training(pipeline.training(), training)
        assert_rows_close(pipeline.online_rows(), online)


@settings(max_examples=examples(15))
@given(lake=lakes(), hours=st.lists(st.integers(1, SPAN_HOURS), min_size=2, max_size=2, unique=True))
def test_an_older_run_after_a_newer_leaves_the_online_items_alone(lake: Lake, hours: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_lake(Path(folder), lake)
        pipeline = Pipeline(Path(folder))
        older, newer = sorted(hours)
        answer = pipeline.run(at(newer))
        items = dict(pipeline.table.items)
        again = pipeline.run(at(older))
        kept = {machine: pipeline.table.items[machine] for machine in items}
        assert kept == items
        assert answer["online"]["written"] == len(items)
        assert again["online"]["stale_skipped"] == len(items.keys() & pipeline.rows_at(at(older)).keys())


@settings(max_examples=examples(15))
@given(lake=lakes(), bad=st.sampled_from([b for b in BAD_LINES if b.strip()]), data=st.data())
def test_one_bad_line_more_changes_nothing_but_its_count(lake: Lake, bad: bytes, data: st.DataObject) -> None:
    hour = data.draw(st.sampled_from(sorted(lake)))
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        clean, dirty = Pipeline(Path(one)), Pipeline(Path(other))
        write_lake(Path(one), lake)
        lines = lake[hour][0]
        place = data.draw(st.integers(0, len(lines)))
        write_lake(Path(other), lake | {hour: [[*lines[:place], bad, *lines[place:]], lake[hour][1]]})
        answers = [pipeline.backfill(T0, at(SPAN_HOURS)) for pipeline in (clean, dirty)]
        assert_same_training(clean.training(), dirty.training())
        assert_rows_close(clean.online_rows(), dirty.online_rows())
        rejected = [sum(answer["lines"].pop("rejected").values()) for answer in answers]
        assert rejected[1] == rejected[0] + 1
        read = [answer["lines"].pop("read") for answer in answers]
        assert read[1] == read[0] + 1
        for answer in answers:
            answer.pop("duration_ms")
            answer.pop("clocks")
            answer["lines"].pop("unknown_fields")
        assert answers[0] == answers[1]


@settings(max_examples=examples(15))
@given(early=lakes(), late=lakes(), hours=st.integers(7, SPAN_HOURS))
def test_objects_that_come_later_are_caught_up_with(early: Lake, late: Lake, hours: int) -> None:
    """The lake grows between runs; the next runs bring the training set to what a backfill of the whole gives."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        grown, whole = Pipeline(Path(one)), Pipeline(Path(other))
        write_lake(Path(one), {hour: objects for hour, objects in early.items() if hour < hours})
        for as_of in range(6, hours + 1, 6):
            grown.run(at(as_of))
        for root in (Path(one), Path(other)):
            write_lake(root, early)
        for root in (Path(one), Path(other)):
            for hour, objects in late.items():
                if hour >= hours - 6:
                    write_raw(root, at(hour), "late.jsonl", [raw for lines in objects for raw in lines])
        for as_of in range(hours - hours % 6, LAST + 1, 6):
            if as_of:
                grown.run(at(as_of))
        whole.backfill(T0, at(LAST))
        expected = whole.training()
        assert_same_training({k: v for k, v in grown.training().items() if k in expected}, expected)
