"""The arithmetic of tiles, on arrays whose rows lie in segments: one a tile, or a window.

Compiled code (tiles.c, merge.c) does the same in a fraction of the time; what it does is defined here.

All sums are of one segment's values in their order, by ``ufunc.reduceat``: their rounding depends on nothing else.
The sums of a dataframe's groups do not have that property: they depend on how many threads shared the rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from handler.tiles.compiled_merge import is_compiled, merge_segments

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Columns = Mapping[str, NDArray[np.float64] | NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Segments:
    """Rows ``[starts[i], starts[i] + counts[i])`` belong together; all rows belong to one, none is empty."""

    starts: Integers
    counts: Integers

    @classmethod
    def where(cls, begins: NDArray[np.bool_]) -> Self:
        """Begin a segment at each row that says so; the first does."""
        starts = np.flatnonzero(begins)
        return cls(starts, np.diff(starts, append=len(begins)))

    def add(self, values: NDArray) -> NDArray:  # type: ignore[type-arg]
        """Sum each segment."""
        return np.add.reduceat(values, self.starts)

    def find_lowest(self, values: NDArray) -> NDArray:  # type: ignore[type-arg]
        """Find each segment's lowest value."""
        return np.minimum.reduceat(values, self.starts)

    def find_highest(self, values: NDArray) -> NDArray:  # type: ignore[type-arg]
        """Find each segment's highest value."""
        return np.maximum.reduceat(values, self.starts)

    def spread(self, values: NDArray) -> NDArray:  # type: ignore[type-arg]
        """Give each row the value of its segment."""
        return np.repeat(values, self.counts)


def mark_changes(*keys: NDArray) -> NDArray[np.bool_]:  # type: ignore[type-arg]
    """Tell which rows differ from the one before them in a key; the first one counts as such."""
    changes = np.ones(len(keys[0]), np.bool_)
    np.not_equal(keys[0][1:], keys[0][:-1], out=changes[1:])
    for key in keys[1:]:
        changes[1:] |= key[1:] != key[:-1]
    return changes


def divide(part: NDArray, whole: NDArray) -> Floats:  # type: ignore[type-arg]
    """Divide as doubles; 0 where the whole is 0."""
    quotient = np.zeros(len(part))
    np.divide(part, whole, out=quotient, where=whole != 0)
    return quotient


def summarize(values: Floats, times: Integers, segments: Segments) -> dict[str, NDArray]:  # type: ignore[type-arg]
    """Compute each segment's tile, see :data:`handler.tiles.merge.TILE_SCHEMA`.

    Parameters
    ----------
    values, times
        Of each reading; times in microseconds.
    segments
        The tiles.
    """
    n = segments.counts
    value_min, value_max = segments.find_lowest(values), segments.find_highest(values)
    time_min, time_max = segments.find_lowest(times), segments.find_highest(times)
    x = divide(values - segments.spread(value_min), segments.spread(value_max - value_min))
    y = divide(times - segments.spread(time_min), segments.spread(time_max - time_min))
    value_centre, time_centre = segments.add(x) / n, segments.add(y) / n
    x -= segments.spread(value_centre)
    y -= segments.spread(time_centre)
    x2 = x * x
    return {
        "n": n,
        "first": _pick(values, times == segments.spread(time_min), segments),
        "last": _pick(values, times == segments.spread(time_max), segments),
        "value_min": value_min,
        "value_max": value_max,
        "value_centre": value_centre,
        "value_m2": segments.add(x2),
        "value_m3": segments.add(x2 * x),
        "value_m4": segments.add(x2 * x2),
        "time_min": time_min,
        "time_max": time_max,
        "time_centre": time_centre,
        "time_m2": segments.add(y * y),
        "cross": segments.add(x * y),
    }


def summarize_readings(
    machines: NDArray[np.int32], times: Integers, readings: Floats, segments: Segments
) -> dict[str, NDArray]:  # type: ignore[type-arg]
    """Compute the tiles of every reading.

    Parameters
    ----------
    machines, times
        Of each row, in their order; times in microseconds.
    readings
        A row a reading, NaN where it has none.
    segments
        Rows of one machine and tile.

    Returns
    -------
    dict of str to array
        As :func:`summarize`, with ``machine`` and ``reading`` as numbers, sorted by machine, reading and time; a tile
        for each reading that a segment has.
    """
    segment = segments.spread(np.arange(len(segments.starts)))
    parts = []
    for reading, values in enumerate(readings):
        rows = np.flatnonzero(~np.isnan(values))
        if len(rows):
            own = Segments.where(np.diff(segment[rows], prepend=-1) != 0)
            tiles = summarize(values[rows], times[rows], own)
            place = {"machine": machines[rows][own.starts], "reading": np.full(len(own.starts), reading)}
            parts.append(place | tiles)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((columns["reading"], columns["machine"]))
    return {name: values[order] for name, values in columns.items()}


def merge(rows: Columns, segments: Segments, *, x: str, y: str) -> dict[str, NDArray]:  # type: ignore[type-arg]
    """Merge the moments of each segment's rows into one, see :func:`handler.tiles.merge.merge_moments`.

    A segment of one row is left as it is, to the bit. ``first`` and ``last`` are merged where they are there.
    """
    if is_compiled():
        return merge_segments(rows, segments.starts, segments.counts, x=x, y=y)
    merged = {name: values[segments.starts] for name, values in rows.items()}
    is_merged = segments.counts > 1
    if is_merged.any():
        counts = segments.counts[is_merged]
        several = {name: values[segments.spread(is_merged)] for name, values in rows.items()}
        parts = _merge_several(several, Segments(np.cumsum(counts) - counts, counts), x=x, y=y)
        for name, values in parts.items():
            merged[name][is_merged] = values
    return merged


def _merge_several(rows: Columns, segments: Segments, *, x: str, y: str) -> dict[str, NDArray]:  # type: ignore[type-arg]
    n, total = rows["n"], segments.add(rows["n"])
    merged: dict[str, NDArray] = {"n": total}  # type: ignore[type-arg]
    if "tiles" in rows:
        merged["tiles"] = segments.add(rows["tiles"])
    scales: list[Floats] = []
    offsets: list[Floats] = []
    for axis in (x, y):
        low, high, centre = rows[f"{axis}_min"], rows[f"{axis}_max"], rows[f"{axis}_centre"]
        lowest, highest = segments.find_lowest(low), segments.find_highest(high)
        length = segments.spread(highest - lowest)
        scale = divide(high - low, length)
        # each divided before they are added: a subnormal length times a centre is no position any more
        position = divide(low - segments.spread(lowest), length) + scale * centre
        middle = divide(segments.add(position * n), total)
        merged |= {f"{axis}_min": lowest, f"{axis}_max": highest, f"{axis}_centre": middle}
        scales.append(scale)
        offsets.append(position - segments.spread(middle))
    (r, q), (d, e) = scales, offsets
    r2, d2 = r * r, d * d
    m2, m3, m4 = r2 * rows[f"{x}_m2"], r2 * r * rows[f"{x}_m3"], r2 * r2 * rows[f"{x}_m4"]
    moments = {
        f"{x}_m2": m2 + n * d2,
        f"{x}_m3": m3 + 3 * d * m2 + n * d2 * d,
        f"{x}_m4": m4 + 4 * d * m3 + 6 * d2 * m2 + n * d2 * d2,
        f"{y}_m2": q * q * rows[f"{y}_m2"] + n * e * e,
        "cross": r * q * rows["cross"] + n * d * e,
    }
    merged |= {name: segments.add(values) for name, values in moments.items()}
    for name, end in (("first", "min"), ("last", "max")):
        if name in rows:
            is_there = rows[f"{y}_{end}"] == segments.spread(merged[f"{y}_{end}"])
            merged[name] = _pick(rows[name], is_there, segments)
    return merged


def _pick(values: NDArray, is_there: NDArray[np.bool_], segments: Segments) -> NDArray:  # type: ignore[type-arg]
    """Take each segment's value from the row that is there; of several, the highest."""
    return segments.find_highest(np.where(is_there, values, -np.inf))
