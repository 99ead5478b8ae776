"""Compiled code orders lines and makes tiles as numpy does, to the bit but for the sign of zeros."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from handler.tiles import compiled_tiles
from handler.tiles.compiled_tiles import split_segments, summarize_segments, take_in_order
from handler.tiles.moments import Floats, Integers, Segments, summarize_readings
from tests.harness import without_compiled_code

VALUES = st.one_of(
    st.just(float("nan")),
    st.sampled_from([0.0, -0.0, 1e9, 1e9 + 1e-7, 5e-324, -5e-324, 1e308, -1e308]),
    st.floats(-100, 100),
)
ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(-3, 20), VALUES, VALUES), min_size=1, max_size=40)
LENGTHS = (1, 2, 7, 8, 9, 15, 16, 17, 127, 128, 129, 130, 137, 200, 257, 258, 1000, 5000)
"""Around those at which numpy's sums are grouped in another way."""


def test_library_has_both() -> None:
    assert compiled_tiles._order_lines is not None
    assert compiled_tiles._split_segments is not None
    assert compiled_tiles._summarize_lines is not None


def check_order(machines: NDArray[np.int32], times: Integers, ranks: NDArray[np.int32]) -> None:
    """Check that rows come in order; a reading that counts them tells those of equal times apart."""
    readings = np.array([np.arange(len(times)), -np.arange(len(times))], np.float64)
    wider = np.empty((2, len(times) + 3))
    wider[:, : len(times)] = readings
    expected = np.lexsort((times, ranks[machines]))
    for values in (readings, wider[:, : len(times)], readings[::-1][::-1], np.asfortranarray(readings)):
        ordered_machines, ordered_times, ordered = take_in_order(machines, ranks, times, values)
        assert np.array_equal(ordered, readings[:, expected])
        assert np.array_equal(ordered_machines, ranks[machines][expected])
        assert np.array_equal(ordered_times, times[expected])


@given(
    rows=st.lists(st.tuples(st.integers(0, 4), st.integers(-9, 9)), min_size=1, max_size=60),
    ranks=st.permutations(range(5)),
)
def test_order_is_by_machine_and_time_and_stable(rows: list[tuple[int, int]], ranks: list[int]) -> None:
    machines, times = np.array([row[0] for row in rows], np.int32), np.array([row[1] for row in rows])
    check_order(machines, times, np.array(ranks, np.int32))


@pytest.mark.parametrize("step", [1, -1, 7919])
@pytest.mark.parametrize("jitter", [0, 3, 40])
def test_long_columns_are_ordered(step: int, jitter: int) -> None:
    times = np.arange(50_000) * step % 50_021 + np.random.default_rng(1).integers(0, jitter + 1, 50_000)
    check_order((np.arange(50_000) % 3).astype(np.int32), times, np.array([2, 0, 1], np.int32))


def test_arrays_that_are_not_contiguous_are_read_right() -> None:
    pairs = np.array([[3, 9], [1, 9], [2, 9]])
    check_order(np.zeros(6, np.int32)[::2], pairs[:, 0], np.zeros(1, np.int32))


@given(rows=st.lists(st.tuples(st.integers(0, 2), st.integers(-(10**9), 10**9)), min_size=1, max_size=40))
def test_segments_are_of_one_machine_and_tile(rows: list[tuple[int, int]]) -> None:
    rows.sort()
    machines, times = np.array([row[0] for row in rows], np.int32), np.array([row[1] for row in rows])
    compiled = split_segments(machines, times)
    with without_compiled_code():
        plain = split_segments(machines, times)
    assert compiled.starts.tolist() == plain.starts.tolist()
    assert compiled.counts.tolist() == plain.counts.tolist()


@given(rows=ROWS)
def test_tiles_are_those_of_numpy(rows: list[tuple[int, int, float, float]]) -> None:
    rows = sorted(rows, key=lambda row: row[:2])
    machines, times = np.array([row[0] for row in rows], np.int32), np.array([row[1] for row in rows])
    readings = np.array([[row[2] for row in rows], [row[3] for row in rows]])
    if not np.isnan(readings).all():
        check_same(machines, times, readings, width=5)


@pytest.mark.parametrize("length", LENGTHS)
def test_long_tiles_are_those_of_numpy(length: int) -> None:
    draw = np.random.default_rng(length)
    readings = draw.normal(70, 3, (2, 3 * length))
    readings[0, draw.random(3 * length) < 0.3] = np.nan
    machines = np.repeat(np.arange(3, dtype=np.int32), length)
    times = np.sort(draw.integers(0, 299_999_999, (3, length))).ravel()
    check_same(machines, times, readings, width=300_000_000)


@np.errstate(all="ignore")
def check_same(machines: NDArray[np.int32], times: Integers, readings: Floats, *, width: int) -> None:
    tile = times // width
    segments = Segments.where(np.r_[True, (np.diff(machines) != 0) | (np.diff(tile) != 0)])
    compiled = summarize_segments(machines, times, readings, segments)
    plain = summarize_readings(machines, times, readings, segments)
    assert sorted(compiled) == sorted(plain)
    for name, values in plain.items():
        assert np.array_equal(compiled[name], values, equal_nan=True), name
