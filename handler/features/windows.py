"""Series of summaries, merged into hours and into the windows that end at an instant: arrays, row after row."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from handler.tiles.compiled_merge import take_rows
from handler.tiles.moments import Columns, Floats, Integers, Segments, mark_changes, merge


@dataclass(frozen=True, slots=True)
class Summaries:
    """Moments of two variables, ``x`` and ``y``; the rows of a group are together, in the order of their places.

    Attributes
    ----------
    group
        The number of the machine.
    place
        Where the row's time begins, in microseconds since 1970; or the number of a part of a window.
    columns
        Moments, see :func:`handler.tiles.moments.merge`.
    """

    group: Integers
    place: Integers
    columns: Columns

    def __len__(self) -> int:
        return len(self.group)

    def take(self, rows: NDArray[np.bool_] | Integers | Sequence[int]) -> Self:
        """Keep some of the rows, or put them in an order."""
        taken = take_rows({"group": self.group, "place": self.place, **self.columns}, rows)
        return type(self)(taken.pop("group"), taken.pop("place"), taken)

    def merge_at(self, place: Integers) -> Self:
        """Move the rows to other places, in the same order, and merge those of a group that come together."""
        begins = mark_changes(self.group, place)
        columns = self.columns if begins.all() else merge(self.columns, Segments.where(begins), x="x", y="y")
        return type(self)(self.group[begins], place[begins], columns)

    def roll_up(self, width: int) -> Self:
        """Merge rows into bins of so many microseconds, counted from 1970."""
        return self.merge_at(self.place // width * width)

    def replace_split(self, parts: "Summaries", split: Iterable[int], width: int) -> "Summaries":
        """Put rows of shorter times, ``parts``, in the places of the bins that begin at ``split``."""
        starts = np.array(sorted(split), np.int64)
        whole = self.take(~np.isin(self.place, starts))
        parts = parts.take(np.isin(parts.place // width * width, starts))
        both = concatenate([whole, parts])
        return both.take(np.lexsort((both.place, both.group)))

    def merge_windows(self, as_of: int, lengths: Sequence[int]) -> Iterator[Self]:
        """Merge rows into the windows ``[as_of - length, as_of)``, for ascending lengths none of which splits a row.

        The windows end together, so each is the next shorter one and a ring around it: every row is merged into its
        ring once, and the rings are merged into windows.
        """
        is_seen = (self.place < as_of) & (self.place >= as_of - lengths[-1])
        seen = self if is_seen.all() else self.take(is_seen)
        rings = seen.merge_at(np.searchsorted(lengths, as_of - seen.place))
        for index in range(len(lengths)):
            ring = rings.take(rings.place <= index)
            yield ring.merge_at(np.zeros_like(ring.place))


def concatenate(parts: Sequence[Summaries]) -> Summaries:
    """Put summaries one below the other."""
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    return Summaries(
        np.concatenate([part.group for part in parts]), np.concatenate([part.place for part in parts]), columns
    )


def pair_means(a: Summaries, b: Summaries) -> Summaries:
    """Pair the means of the tiles that two readings both have, each pair a sample of one."""
    last = max(a.place.max(initial=0), b.place.max(initial=0)) + 1
    keys_a, keys_b = (each.group * last + each.place for each in (a, b))
    found = np.searchsorted(keys_b, keys_a)
    is_paired = np.append(keys_b, -1)[found] == keys_a
    a, b = a.take(is_paired), b.take(found[is_paired])
    columns: dict[str, Floats | Integers] = dict.fromkeys(("n", "tiles"), np.ones(len(a), np.int64))
    for axis, side in (("x", a), ("y", b)):
        columns |= {f"{axis}_{part}": side.columns[f"x_{part}"] for part in ("min", "max", "centre")}
    columns |= dict.fromkeys(("x_m2", "x_m3", "x_m4", "y_m2", "cross"), np.zeros(len(a)))
    return Summaries(a.group, a.place, columns)
