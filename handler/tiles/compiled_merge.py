"""Rows taken and their moments merged by compiled code (merge.c); by numpy where there is none."""

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handler.ingest.native import POINTER, address_of, load_function

_WHOLE: Final = ("n", "tiles")
_ENDS: Final = ("first", "last")
_MOMENTS: Final = ("x_m2", "x_m3", "x_m4", "y_m2", "cross")
_SCRATCH: Final = 5


class _Axis(ctypes.Structure):
    _fields_ = (("low", POINTER), ("high", POINTER), ("centre", POINTER), ("is_whole", ctypes.c_bool))


class _Rows(ctypes.Structure):
    _fields_ = (("x", _Axis), ("y", _Axis), *((name, POINTER) for name in (*_WHOLE, *_ENDS, *_MOMENTS)))


class _Merger(ctypes.Structure):
    _fields_ = (
        ("rows", _Rows),
        ("starts", POINTER),  # of int64: the segments', and the end of the last
        ("segment_count", ctypes.c_int64),
        ("scratch", POINTER),
        ("longest", ctypes.c_int64),
        ("merged", _Rows),
    )


_merge_segments: Final = load_function("merge_segments", ctypes.POINTER(_Merger))


_take_rows: Final = load_function("take_rows", POINTER, POINTER, ctypes.c_int64, POINTER, ctypes.c_int64)


def take_rows(columns: Mapping[str, NDArray[Any]], rows: NDArray[Any] | Sequence[int]) -> dict[str, NDArray[Any]]:
    """Take some rows of columns of int64 or double, by their numbers or by a mask; in a sixth of numpy's time."""
    rows = np.asarray(rows)
    rows = np.flatnonzero(rows) if rows.dtype == np.bool_ else np.ascontiguousarray(rows, np.int64)
    if _take_rows is None or not columns:
        return {name: values[rows] for name, values in columns.items()}
    sources = [np.ascontiguousarray(values) for values in columns.values()]
    taken = [np.empty(len(rows), values.dtype) for values in sources]
    froms, to = (np.array([address_of(each) for each in arrays], np.uint64) for arrays in (sources, taken))
    _take_rows(address_of(froms), address_of(to), len(taken), address_of(rows), len(rows))
    return dict(zip(columns, taken, strict=True))


def is_compiled() -> bool:
    """Tell whether there is compiled code."""
    return _merge_segments is not None


def merge_segments(
    rows: Mapping[str, NDArray[Any]], starts: NDArray[np.int64], counts: NDArray[np.int64], *, x: str, y: str
) -> dict[str, NDArray[Any]]:
    """Merge the moments of each segment's rows, as :func:`handler.tiles.moments.merge` does, to the bit."""
    rows = {name: np.ascontiguousarray(values) for name, values in rows.items()}
    merged = {name: np.empty(len(starts), values.dtype) for name, values in rows.items()}
    ends = np.append(starts, starts[-1] + counts[-1])
    longest = int(counts.max())
    scratch = np.empty(_SCRATCH * longest)
    merger = _Merger(
        rows=_point_to(rows, x, y),
        starts=address_of(ends),
        segment_count=len(starts),
        scratch=address_of(scratch),
        longest=longest,
        merged=_point_to(merged, x, y),
    )
    _merge_segments(ctypes.byref(merger))
    return merged


def _point_to(columns: Mapping[str, NDArray[Any]], x: str, y: str) -> _Rows:
    names = {name: f"{x}{name[1:]}" if name[0] == "x" else f"{y}{name[1:]}" for name in _MOMENTS[:-1]}
    there = {name: names.get(name, name) for name in (*_WHOLE, *_ENDS, *_MOMENTS)}
    pointers = {name: address_of(columns[own]) for name, own in there.items() if own in columns}
    return _Rows(x=_point_to_axis(columns, x), y=_point_to_axis(columns, y), **pointers)


def _point_to_axis(columns: Mapping[str, NDArray[Any]], axis: str) -> _Axis:
    low, high, centre = (columns[f"{axis}_{part}"] for part in ("min", "max", "centre"))
    return _Axis(address_of(low), address_of(high), address_of(centre), low.dtype == np.int64)
