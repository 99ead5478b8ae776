"""Rows in the order of their keys, and duplicates among them."""

from datetime import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.definitions.spec import FeatureSpec
from handler.tiles.ordered_lines import Lines, OrderedLines, SeenLines, order_lines
from handler.tiles.ordering import order_rows
from tests.harness import at

SPEC = FeatureSpec.load()
SCHEMA = {
    "machine_id": pl.String(),
    "event_time": pl.Datetime("us", "UTC"),
    "temperature_celsius": pl.Float64(),
    "vibration_rms": pl.Float64(),
}
Line = tuple[str, datetime, float | None, float | None]

keys = st.tuples(
    st.sampled_from(["", "P1", "P10", "P2", "ñ"]),
    st.one_of(st.integers(-3, 3), st.sampled_from([-(2**62), 2**61])),
    st.integers(-2, 2),
)


@given(rows=st.lists(keys, min_size=1, max_size=30))
def test_order_is_that_of_a_stable_sort_whatever_the_keys_need(rows: list[tuple[str, int, int]]) -> None:
    frame = pl.DataFrame(rows, schema={"text": pl.String, "far": pl.Int64, "near": pl.Int64}, orient="row")
    ordering = order_rows(frame, ["text", "far", "near"])
    expected = sorted(range(len(rows)), key=lambda row: (rows[row][0].encode(), *rows[row][1:]))
    assert ordering.order.tolist() == expected
    assert ordering.begins.tolist() == [
        place == 0 or rows[row] != rows[expected[place - 1]] for place, row in enumerate(expected)
    ]


def ordered(*lines: Line) -> OrderedLines:
    return order_lines(Lines.from_frame(pl.DataFrame(lines, schema=SCHEMA, orient="row"), SPEC))


def to_lines(lines: OrderedLines) -> list[tuple[object, ...]]:
    """The lines as rows; no zero is negative, so that equal ones look alike."""
    return sorted(lines.to_frame().fill_nan(None).with_columns(pl.selectors.float() + 0.0).rows(), key=repr)


@pytest.mark.parametrize(
    "values",
    [
        [(1.0, None), (1.0, None)],
        [(1.0, None), (None, 1.0)],
        [(1.0, None), (2.0, None), (1.0, None)],
        [(0.0, 1.0), (-0.0, 1.0), (None, 1.0), (None, 1.0)],
        [(1.0, 2.0), (1.0, 2.0), (1.0, None), (1.0, 2.0)],
    ],
)
def test_equal_lines_of_a_batch_are_one(values: list[tuple[float | None, float | None]]) -> None:
    lines: list[Line] = [("P1", at(1), *each) for each in values]
    seen = SeenLines()
    kept = seen.take_new(ordered(("P0", at(1), 1.0, None), *lines, ("P1", at(2), 1.0, None)))
    different = {("P1", at(1), *each) for each in values}
    rest = {("P0", at(1), 1.0, None), ("P1", at(2), 1.0, None)}
    assert set(to_lines(kept)) == different | rest
    assert len(kept) == len(different | rest)
    assert seen.duplicates == len(values) - len(different)


drawn = st.lists(
    st.tuples(
        st.sampled_from(["P1", "P2"]),
        st.integers(0, 4).map(lambda hour: at(hour)),
        st.sampled_from([None, 0.0, -0.0, 1.0]),
        st.sampled_from([None, 2.0]),
    ),
    min_size=1,
    max_size=12,
)


@given(batches=st.lists(drawn, min_size=1, max_size=4))
def test_lines_of_many_batches_are_each_kept_once(batches: list[list[Line]]) -> None:
    seen = SeenLines()
    kept = [row for batch in batches for row in to_lines(seen.take_new(ordered(*batch)))]
    every = [(machine, time, a, b) for batch in batches for machine, time, a, b in batch]
    assert len(kept) == len(set(kept))
    assert set(kept) == set(every)
    assert seen.duplicates == len(every) - len(kept)


def test_lines_keep_their_order_within_a_machine_and_an_instant() -> None:
    lines = ordered(("P2", at(1), 3.0, None), ("P1", at(2), 2.0, None), ("P1", at(2), 1.0, None), ("P1", at(1), 5, 7))
    assert lines.machine_ids == ["P1", "P2"]
    assert lines.machine.tolist() == [0, 0, 0, 1]
    assert lines.values[0].tolist() == [5.0, 2.0, 1.0, 3.0]
    assert np.isnan(lines.values[1]).tolist() == [False, True, True, True]
