"""Tiles: built from lines, merged without loss."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.definitions.schema import TILE_SCHEMA
from handler.tiles.merge import merge_moments, merge_tiles
from tests import reference
from tests.frames import assert_close, frame, tiles_of
from tests.harness import T0, at, feature_spec

SPEC = feature_spec(temperature_celsius=(-1e30, 1e30), vibration_rms=(0, 1e30))


def temperatures(*points: tuple[float, float]) -> pl.DataFrame:
    return frame(*(("M1", at(0, seconds=seconds), value, None) for seconds, value in points))


def only(tiles: pl.DataFrame) -> dict[str, Any]:
    (row,) = tiles.iter_rows(named=True)
    return row


def test_no_lines_make_no_tiles() -> None:
    tiles = tiles_of(frame(), SPEC)
    assert dict(tiles.schema) == dict(TILE_SCHEMA)
    assert tiles.is_empty()
    assert dict(merge_tiles(tiles).schema) == dict(TILE_SCHEMA)


def test_late_reading_lands_in_its_own_tile() -> None:
    tiles = tiles_of(frame(("M1", at(-20, seconds=1), 1.0, None), ("M1", at(0, minutes=5), 2.0, None)), SPEC)
    assert tiles["tile_start"].to_list() == [at(-20), at(0, minutes=5)]


def test_tile_ends_are_left_closed_and_right_open() -> None:
    tiles = tiles_of(temperatures((0, 1), (299.999999, 1), (300, 1)), SPEC)
    assert tiles.select("tile_start", "n").rows() == [(T0, 2), (at(0, minutes=5), 1)]


def test_readings_of_one_line_make_tiles_of_their_own_and_nulls_make_none() -> None:
    tiles = tiles_of(frame(("M2", T0, 5.0, 1.0), ("M1", T0, None, 2.0)), SPEC)
    assert tiles.select("machine_id", "reading", "n").rows() == [
        ("M1", "vibration_rms", 1),
        ("M2", "temperature_celsius", 1),
        ("M2", "vibration_rms", 1),
    ]


def test_first_and_last_are_by_time_and_the_largest_of_equal_times() -> None:
    tile = only(tiles_of(temperatures((9, 1), (3, 7), (3, 8), (3, 2), (9, 0)), SPEC))
    assert (tile["first"], tile["last"]) == (8.0, 1.0)


def test_constant_values_have_no_spread_at_any_size() -> None:
    for value in (0.0, 0.1, 1e30, 5e-324):
        tile = only(tiles_of(temperatures((0, value), (1, value), (2, value)), SPEC))
        assert [tile[f"x_m{p}"] for p in (2, 3, 4)] == [0.0, 0.0, 0.0]
        assert (tile["x_min"], tile["x_max"], tile["cross"]) == (value, value, 0.0)


values = st.one_of(
    st.floats(-1e30, 1e30),
    st.floats(0, 100),
    st.sampled_from([0.0, 5e-324, 1e9, 1e9 + 2**-22, 1e9 + 2**-21]),
)
points = st.lists(st.tuples(st.integers(0, 600 * 10**6), values), min_size=1, max_size=30)


@given(points=points, cuts=st.lists(st.integers(0, 30), max_size=4))
def test_merging_parts_in_any_cut_gives_the_statistics_of_the_whole(
    points: list[tuple[int, float]], cuts: list[int]
) -> None:
    lines = frame(*(("M1", T0 + timedelta(microseconds=us), value, None) for us, value in points))
    edges = [0, *sorted(min(cut, len(points)) for cut in cuts), len(points)]
    parts = [tiles_of(lines[a:b], SPEC) for a, b in pairwise(edges)]
    since_start = (pl.col("tile_start") - T0).dt.total_microseconds()
    tiles = merge_tiles(pl.concat(parts)).with_columns(pl.col("y_min", "y_max") + since_start)
    whole = only(merge_moments(tiles.lazy(), ("machine_id", "reading")).collect())
    expected = reference.compute_statistics(sorted((T0 + timedelta(microseconds=us), v) for us, v in points))
    assert (whole["n"], whole["x_min"], whole["x_max"]) == (
        expected["count"],
        expected["min"],
        expected["max"],
    )
    assert (whole["first"], whole["last"]) == (expected["first"], expected["last"])
    spread = whole["x_max"] - whole["x_min"]
    mean = whole["x_min"] + spread * whole["x_centre"]
    assert mean == pytest.approx(expected["mean"], rel=1e-12, abs=1e-15 * max(abs(v) for _, v in points))
    if len(points) > 1:
        std = spread * (whole["x_m2"] / (len(points) - 1)) ** 0.5
        assert std == pytest.approx(expected["std"], rel=1e-12)


def test_merging_is_the_same_in_any_order_but_for_rounding() -> None:
    rows = [("M1", at(0, seconds=k * 7 % 3600), float(k * k % 17), float(k % 5)) for k in range(500)]
    tiles = tiles_of(frame(*rows), SPEC).lazy()
    keys = ("machine_id", "reading")
    assert_close(merge_moments(tiles.reverse(), keys).collect(), merge_moments(tiles, keys).collect())
