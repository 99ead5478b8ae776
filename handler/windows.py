"""Summaries of tiles, merged into bins and into the windows that end at an instant: arrays, one row after the other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from handler.moments import Columns, Integers, Segments, merge


@dataclass(frozen=True, slots=True)
class Summaries:
    """Moments of two variables; the rows of a group are together, in the order of their places.

    Attributes
    ----------
    group
        What the row is about, as a number.
    place
        Where its time begins, in microseconds since 1970; or the number of a part of a window.
    columns
        Moments, see :func:`handler.moments.merge`.
    x, y
        The variables' prefixes there.
    """

    group: Integers
    place: Integers
    columns: Columns
    x: str
    y: str

    def __len__(self) -> int:
        return len(self.group)

    def take(self, rows: NDArray[np.bool_]) -> Self:
        """Keep some of the rows."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        return type(self)(self.group[rows], self.place[rows], columns, self.x, self.y)

    def merge_at(self, place: Integers) -> Self:
        """Move the rows to other places, in the same order, and merge those of a group that come together."""
        begins = np.ones(len(self), np.bool_)
        begins[1:] = (self.group[1:] != self.group[:-1]) | (place[1:] != place[:-1])
        columns = self.columns
        if not begins.all():
            columns = merge(columns, Segments.where(begins), x=self.x, y=self.y)
        return type(self)(self.group[begins], place[begins], columns, self.x, self.y)

    def roll_up(self, width: int, *, until: int) -> Self:
        """Merge rows into bins ``[start, start + width)``, of which one ends at ``until``; microseconds."""
        return self.merge_at(self.place - (self.place - until) % width)

    def merge_windows(self, as_of: int, lengths: Sequence[int]) -> Iterator[Self]:
        """Merge bins into the windows ``[as_of - length, as_of)``, for ascending lengths of whole bins.

        The windows end together, so each is the next shorter one and a ring around it: every bin is merged into its
        ring once, and the rings are merged into windows.
        """
        seen = self.take((self.place < as_of) & (self.place >= as_of - lengths[-1]))
        rings = seen.merge_at(np.searchsorted(lengths, as_of - seen.place))
        for index in range(len(lengths)):
            ring = rings.take(rings.place <= index)
            yield ring.merge_at(np.zeros_like(ring.place))


def pair_means(tiles: Summaries, a: NDArray[np.bool_], b: NDArray[np.bool_]) -> Summaries:
    """Pair the means of tiles that two readings both have, each pair a sample of one.

    Parameters
    ----------
    tiles
        With their machines as groups, and their starts as places.
    a, b
        Which of them are of the one reading, and of the other.
    """
    rows_a, rows_b = np.flatnonzero(a), np.flatnonzero(b)
    keys = tiles.group * (tiles.place.max(initial=0) + 1) + tiles.place
    found = np.searchsorted(keys[rows_b], keys[rows_a])
    found[found == len(rows_b)] = 0
    is_paired = keys[rows_b][found] == keys[rows_a] if len(rows_b) else np.zeros(len(rows_a), np.bool_)
    rows_a, rows_b = rows_a[is_paired], rows_b[found[is_paired]]
    nothing = np.zeros(len(rows_a))
    columns: dict[str, NDArray] = {"n": np.ones(len(rows_a), np.int64)}  # type: ignore[type-arg]
    columns |= dict.fromkeys(("a_m2", "a_m3", "a_m4", "b_m2", "cross"), nothing)
    for side, rows in (("a", rows_a), ("b", rows_b)):
        columns |= {f"{side}_{part}": tiles.columns[f"{tiles.x}_{part}"][rows] for part in ("min", "max", "centre")}
    return Summaries(tiles.group[rows_a], tiles.place[rows_a], columns, "a", "b")
