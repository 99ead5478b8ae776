"""Compiled code merges moments as numpy does, to the bit but for the sign of zeros."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from handler.tiles.compiled_merge import is_compiled
from handler.tiles.moments import Segments, merge
from tests.harness import without_compiled_code

ENDS = st.sampled_from([0.0, -0.0, 1e9, 1e9 + 1e-7, 5e-324, -5e-324, 1e30, -1e30, 2.5, 71.25])
SPANS = st.sampled_from([0.0, 5e-324, 1e-7, 0.5, 3.0, 1e30])
LENGTHS = (2, 3, 8, 9, 10, 129, 130, 137, 257, 1000)
"""Around those at which numpy's sums are grouped in another way."""


def test_library_has_it() -> None:
    assert is_compiled()


@settings(max_examples=200)
@given(
    ends=st.lists(st.tuples(ENDS, SPANS), min_size=1, max_size=30),
    begins=st.lists(st.booleans(), min_size=30, max_size=30),
    seed=st.integers(0, 2**32),
    is_whole=st.booleans(),
    has_more=st.booleans(),
)
def test_segments_are_merged_as_by_numpy(
    ends: list[tuple[float, float]], begins: list[bool], seed: int, *, is_whole: bool, has_more: bool
) -> None:
    low = np.array([each[0] for each in ends])
    rows = make_rows(low, low + [each[1] for each in ends], seed, is_whole=is_whole, has_more=has_more)
    check_same(rows, Segments.where(np.array([True, *begins[1 : len(low)]])))


@pytest.mark.parametrize("length", LENGTHS)
def test_long_segments_are_merged_as_by_numpy(length: int) -> None:
    low = np.random.default_rng(length).normal(70, 3, 3 * length)
    rows = make_rows(low, low + 1, length, is_whole=True, has_more=True)
    starts = np.array([0, length, 2 * length])
    check_same(rows, Segments(starts, np.full(3, length)))


def make_rows(
    low: NDArray[np.float64], high: NDArray[np.float64], seed: int, *, is_whole: bool, has_more: bool
) -> dict[str, NDArray[Any]]:
    draw = np.random.default_rng(seed)
    count = len(low)
    begin = draw.integers(-(10**15), 10**15, count) if is_whole else low[::-1].copy()
    rows = {
        "n": draw.integers(1, 400, count),
        "x_min": low,
        "x_max": high,
        "y_min": begin,
        "y_max": begin + draw.integers(0, 3, count),
        **{name: draw.random(count) for name in ("x_centre", "x_m2", "x_m4", "y_centre", "y_m2")},
        **{name: draw.normal(size=count) for name in ("x_m3", "cross")},
    }
    more = {"tiles": draw.integers(1, 13, count), "first": draw.normal(size=count), "last": draw.normal(size=count)}
    return rows | more if has_more else rows


@np.errstate(all="ignore")
def check_same(rows: dict[str, NDArray[Any]], segments: Segments) -> None:
    compiled = merge(rows, segments, x="x", y="y")
    with without_compiled_code():
        plain = merge(rows, segments, x="x", y="y")
    assert list(compiled) == list(plain) == list(rows)
    for name, values in plain.items():
        assert compiled[name].dtype == values.dtype, name
        assert np.array_equal(compiled[name], values, equal_nan=True), name
