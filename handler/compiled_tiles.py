"""Lines in order, and as tiles, by compiled code (tiles.c); by numpy where there is none."""

import ctypes
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handler.moments import Columns, Floats, Integers, Segments, summarize_readings
from handler.native import address_of, load_function

_POINTER: Final = ctypes.c_void_p
_WHOLE: Final = ("machine", "reading", "n", "time_min", "time_max")
_REAL: Final = (
    "first", "last", "value_min", "value_max", "value_centre", "value_m2", "value_m3", "value_m4",
    "time_centre", "time_m2", "cross",
)  # fmt: skip
_SCRATCH: Final = ("values", "own_times", "x", "y", "products")


class _Tiles(ctypes.Structure):
    _fields_ = tuple((name, _POINTER) for name in (*_WHOLE, *_REAL))


class _Summarizer(ctypes.Structure):
    _fields_ = (
        ("machines", _POINTER),  # of int32
        ("times", _POINTER),  # of int64, as all whole numbers
        ("readings", _POINTER),  # of double
        ("row_count", ctypes.c_int64),
        ("reading_count", ctypes.c_int64),
        ("starts", _POINTER),
        ("segment_count", ctypes.c_int64),
        *((name, _POINTER) for name in _SCRATCH),
        ("tiles", _Tiles),
    )


_order_lines: Final = load_function("order_lines", *[_POINTER] * 2, *[ctypes.c_int64] * 2, *[_POINTER] * 3)
_summarize_lines: Final = load_function("summarize_lines", ctypes.POINTER(_Summarizer), result=ctypes.c_int64)


def find_order(machines: NDArray[np.int32], times: Integers, machine_count: int) -> Integers:
    """Order rows by machine (numbers below ``machine_count``) and time, stable."""
    if _order_lines is None:
        by_machine: Integers = np.lexsort((times, machines))
        return by_machine
    machines, times = np.ascontiguousarray(machines, np.int32), np.ascontiguousarray(times, np.int64)
    ends = np.zeros(machine_count + 1, np.int64)
    order, spare = np.empty(len(times), np.int64), np.empty(len(times), np.int64)
    _order_lines(
        address_of(machines), address_of(times), len(times), machine_count,
        address_of(ends), address_of(order), address_of(spare),
    )  # fmt: skip
    return order


def summarize_segments(machines: NDArray[np.int32], times: Integers, readings: Floats, segments: Segments) -> Columns:
    """Summarize rows that are in the order of machine and time, as :func:`handler.moments.summarize_readings` does."""
    if _summarize_lines is None:
        return summarize_readings(machines, times, readings, segments)
    machines, times = np.ascontiguousarray(machines, np.int32), np.ascontiguousarray(times, np.int64)
    readings = np.ascontiguousarray(readings)
    starts = np.append(segments.starts, len(times))
    capacity = len(readings) * len(segments.starts)
    whole, real = np.empty((len(_WHOLE), capacity), np.int64), np.empty((len(_REAL), capacity))
    scratch = np.empty((len(_SCRATCH), segments.counts.max()))
    columns = dict(zip((*_WHOLE, *_REAL), (*whole, *real), strict=True))
    summarizer = _Summarizer(
        machines=address_of(machines),
        times=address_of(times),
        readings=address_of(readings),
        row_count=len(times),
        reading_count=len(readings),
        starts=address_of(starts),
        segment_count=len(segments.starts),
        tiles=_Tiles(**{name: address_of(column) for name, column in columns.items()}),
        **{name: address_of(room) for name, room in zip(_SCRATCH, scratch, strict=True)},
    )
    count = _summarize_lines(ctypes.byref(summarizer))
    return {name: column[:count] for name, column in columns.items()}
