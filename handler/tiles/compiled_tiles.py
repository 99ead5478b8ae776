"""Lines in order, and as tiles, by compiled code (tiles.c); by numpy where there is none."""

import ctypes
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handler.definitions.timestamps import MICROSECOND, TILE
from handler.ingest.native import POINTER, address_of, load_function
from handler.tiles.moments import Floats, Integers, Segments, mark_changes, summarize_readings

TILE_WIDTH: Final = TILE // MICROSECOND
_WHOLE: Final = ("machine", "reading", "n", "time_min", "time_max")
_REAL: Final = (
    "first", "last", "value_min", "value_max", "value_centre", "value_m2", "value_m3", "value_m4",
    "time_centre", "time_m2", "cross",
)  # fmt: skip
_SCRATCH: Final = ("values", "own_times", "x", "y", "products")

Machines = NDArray[np.int32]


class _Order(ctypes.Structure):
    _fields_ = (
        ("machines", POINTER),  # of int32
        ("ranks", POINTER),  # of int32
        ("times", POINTER),  # of int64, as all whole numbers
        ("readings", POINTER),  # of double
        ("row_count", ctypes.c_int64),
        ("row_capacity", ctypes.c_int64),
        ("reading_count", ctypes.c_int64),
        ("machine_count", ctypes.c_int64),
        *((name, POINTER) for name in ("ends", "rows", "spare")),
        *((name, POINTER) for name in ("ordered_machines", "ordered_times", "ordered_readings")),
    )


class _Tiles(ctypes.Structure):
    _fields_ = tuple((name, POINTER) for name in (*_WHOLE, *_REAL))


class _Summarizer(ctypes.Structure):
    _fields_ = (
        ("machines", POINTER),  # of int32
        ("times", POINTER),  # of int64, as all whole numbers
        ("readings", POINTER),  # of double
        ("row_count", ctypes.c_int64),
        ("reading_count", ctypes.c_int64),
        ("starts", POINTER),
        ("segment_count", ctypes.c_int64),
        *((name, POINTER) for name in _SCRATCH),
        ("tiles", _Tiles),
    )


_order_lines: Final = load_function("order_lines", ctypes.POINTER(_Order))
_split_segments: Final = load_function(
    "split_segments", POINTER, POINTER, ctypes.c_int64, ctypes.c_int64, POINTER, result=ctypes.c_int64
)
_summarize_lines: Final = load_function("summarize_lines", ctypes.POINTER(_Summarizer), result=ctypes.c_int64)


def take_in_order(
    machines: Machines, ranks: Machines, times: Integers, readings: Floats
) -> tuple[Machines, Integers, Floats]:
    """Take rows in the order of their machine's rank and time, stable.

    Parameters
    ----------
    machines, times
        Of each row.
    ranks
        Where each machine comes in the order, from 0.
    readings
        A row a reading.

    Returns
    -------
    machines, times, readings
        In their new order; the machines by rank.
    """
    if _order_lines is None:
        rows = np.lexsort((times, ranks[machines]))
        return ranks[machines][rows], times[rows], readings[:, rows]
    machines, times = np.ascontiguousarray(machines, np.int32), np.ascontiguousarray(times, np.int64)
    if readings.strides[1] != readings.itemsize or readings.strides[0] < 0:
        readings = np.ascontiguousarray(readings)
    ends = np.zeros(len(ranks) + 1, np.int64)
    numbers, spare = np.empty(len(times), np.int64), np.empty(len(times), np.int64)
    ordered = np.empty_like(machines), np.empty_like(times), np.empty(readings.shape)
    order = _Order(
        machines=address_of(machines),
        ranks=address_of(ranks),
        times=address_of(times),
        readings=address_of(readings),
        row_count=len(times),
        row_capacity=readings.strides[0] // readings.itemsize,
        reading_count=len(readings),
        machine_count=len(ranks),
        ends=address_of(ends),
        rows=address_of(numbers),
        spare=address_of(spare),
        ordered_machines=address_of(ordered[0]),
        ordered_times=address_of(ordered[1]),
        ordered_readings=address_of(ordered[2]),
    )
    _order_lines(ctypes.byref(order))
    return ordered


def split_segments(machines: Machines, times: Integers) -> Segments:
    """Split rows that are in the order of machine and time, of which there is at least one, by machine and tile."""
    if _split_segments is None:
        return Segments.where(mark_changes(machines, times // TILE_WIDTH))
    machines, times = np.ascontiguousarray(machines, np.int32), np.ascontiguousarray(times, np.int64)
    room = np.empty(len(times), np.int64)
    count = _split_segments(address_of(machines), address_of(times), len(times), TILE_WIDTH, address_of(room))
    starts = room[:count]
    return Segments(starts, np.diff(starts, append=len(times)))


def summarize_segments(
    machines: Machines, times: Integers, readings: Floats, segments: Segments
) -> dict[str, NDArray[Any]]:
    """Summarize rows in the order of machine and time, as ``moments.summarize_readings`` does."""
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
