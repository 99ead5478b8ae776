"""Accepted lines as arrays, by machine and time: equal lines are neighbours then, and tiles segments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from handler.moments import Floats, Integers
from handler.ordering import order_rows
from handler.spec import FeatureSpec


@dataclass(frozen=True, slots=True)
class OrderedLines:
    """Lines in the order of machine and time.

    Attributes
    ----------
    machine_ids
        Names of the machines, sorted.
    machine
        Each line's machine, as an index into these.
    time
        Microseconds since 1970, UTC.
    readings
        The values by reading; NaN where the line has none.
    """

    machine_ids: pl.Series
    machine: NDArray[np.int32]
    time: Integers
    readings: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(self.time)

    def take(self, rows: NDArray[np.bool_]) -> "OrderedLines":
        """Keep some of the lines."""
        readings = {name: values[rows] for name, values in self.readings.items()}
        return replace(self, machine=self.machine[rows], time=self.time[rows], readings=readings)

    def to_frame(self) -> pl.DataFrame:
        """Lay the lines out as a frame; equal lines are equal rows."""
        return pl.DataFrame({"machine_id": self.machine_ids.gather(self.machine), "time": self.time, **self.readings})


def order_lines(readings: pl.DataFrame, spec: FeatureSpec) -> OrderedLines:
    """Put accepted lines (:attr:`handler.parse.ParsedBatch.readings`) in order; there is at least one."""
    ids = readings.get_column("machine_id")
    machine_ids = ids.unique().sort()
    machine = ids.cast(pl.Enum(machine_ids)).to_physical().cast(pl.Int32)
    order = order_rows(readings.select(machine, "event_time"), ("machine_id", "event_time")).order
    time = readings.get_column("event_time").to_physical().to_numpy()
    values = {name: readings.get_column(name).fill_null(np.nan).to_numpy()[order] for name in spec.reading_names}
    return OrderedLines(machine_ids, machine.to_numpy()[order], time[order], values)


class SeenLines:
    """Takes out duplicates, within a batch and against the batches before it.

    Of earlier batches 16 bytes a line are kept: two hashes under different seeds, whose equality is taken for that of
    the lines (in a billion lines, the chance that this is wrong once is 1e-21).
    """

    def __init__(self) -> None:
        self._unhashed: OrderedLines | None = None
        self._runs: list[_Hashes] = []
        self.duplicates = 0

    def take_new(self, lines: OrderedLines) -> OrderedLines:
        """Keep one of equal lines, unless an earlier batch had it."""
        is_again = _find_repeated(lines)
        if self._unhashed is not None:  # most partitions are one batch: theirs need no hashes
            self._keep(_Hashes.of(self._unhashed))
            self._unhashed = None
        if self._runs:
            hashes = _Hashes.of(lines)
            is_again |= hashes.find_in(self._runs)
            self._keep(hashes)
        else:
            self._unhashed = lines
        if not is_again.any():
            return lines
        self.duplicates += int(is_again.sum())
        return lines.take(~is_again)

    def _keep(self, hashes: "_Hashes") -> None:
        """Keep runs each of which is at least twice as long as the next, so that there are few to look through."""
        while self._runs and len(self._runs[-1].first) < 2 * len(hashes.first):
            hashes = self._runs.pop().merge(hashes)
        self._runs.append(replace(hashes, order=hashes.order[:0]))


@dataclass(frozen=True, slots=True)
class _Hashes:
    """Two hashes a line, sorted by the first; ``order`` says which line each is of."""

    first: NDArray[np.uint64]
    second: NDArray[np.uint64]
    order: Integers

    @classmethod
    def of(cls, lines: OrderedLines) -> "_Hashes":
        machine = lines.machine_ids.hash().gather(lines.machine)
        values = pl.DataFrame({"machine": machine, "time": lines.time, **lines.readings})
        first, second = (values.hash_rows(seed).to_numpy() for seed in (1, 2))
        order = np.argsort(first)
        return cls(first[order], second[order], order)

    def merge(self, other: "_Hashes") -> "_Hashes":
        first, second = np.r_[self.first, other.first], np.r_[self.second, other.second]
        order = np.argsort(first, kind="stable")  # merges what is sorted in runs
        return _Hashes(first[order], second[order], order)

    def find_in(self, runs: "Sequence[_Hashes]") -> NDArray[np.bool_]:
        """Tell which lines one of the runs has."""
        is_there = np.zeros(len(self.first), np.bool_)
        for run in runs:
            place = np.searchsorted(run.first, self.first).clip(max=len(run.first) - 1)
            is_there[self.order] |= (run.first[place] == self.first) & (run.second[place] == self.second)
        return is_there


def _find_repeated(lines: OrderedLines) -> NDArray[np.bool_]:
    """Find lines that are equal to one before them."""
    is_again = np.zeros(len(lines), np.bool_)
    is_tied = (lines.machine[1:] == lines.machine[:-1]) & (lines.time[1:] == lines.time[:-1])
    if not is_tied.any():
        return is_again
    if (is_tied[1:] & is_tied[:-1]).any():  # three at one time: equal ones need not be neighbours
        tied = np.r_[is_tied, False] | np.r_[False, is_tied]
        is_first = lines.take(tied).to_frame().select(pl.struct(pl.all()).is_first_distinct()).to_series()
        is_again[tied] = ~is_first.to_numpy()
        return is_again
    for values in lines.readings.values():
        is_tied &= (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))
    is_again[1:] = is_tied
    return is_again
