"""Compiled code orders lines and makes tiles as numpy does, to the bit but for the sign of zeros."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from handler import compiled_tiles
from handler.compiled_tiles import find_order, summarize_segments
from handler.moments import Floats, Integers, Segments, summarize_readings

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
    assert compiled_tiles._summarize_lines is not None


@given(rows=st.lists(st.tuples(st.integers(0, 5), st.integers(-9, 9)), min_size=1, max_size=60))
def test_order_is_by_machine_and_time_and_stable(rows: list[tuple[int, int]]) -> None:
    machines, times = np.array([row[0] for row in rows], np.int32), np.array([row[1] for row in rows])
    assert find_order(machines, times, 6).tolist() == sorted(range(len(rows)), key=rows.__getitem__)


@pytest.mark.parametrize("step", [1, -1, 7919])
def test_long_columns_are_ordered(step: int) -> None:
    times = np.arange(50_000) * step % 50_021
    machines = (np.arange(50_000) % 3).astype(np.int32)
    assert np.array_equal(find_order(machines, times, 3), np.lexsort((times, machines)))


def test_arrays_that_are_not_contiguous_are_read_right() -> None:
    pairs = np.array([[3, 9], [1, 9], [2, 9]])
    assert find_order(np.zeros(6, np.int32)[::2], pairs[:, 0], 1).tolist() == [1, 2, 0]


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
