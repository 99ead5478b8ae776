"""Accepted lines as arrays; put by machine and time, equal lines are neighbours, and tiles segments."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress

import numpy as np
import polars as pl
from numpy.typing import NDArray

from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import INSTANT
from handler.tiles.compiled_tiles import split_segments, take_in_order
from handler.tiles.moments import Floats, Integers, Segments
from handler.tiles.ordering import to_array, to_sorted_enum


@dataclass(frozen=True)
class Lines:
    """Accepted lines in any order.

    Attributes
    ----------
    machine_ids
        Names of the machines, each once.
    machine
        Each line's machine, as an index into these.
    time
        The event time: microseconds since 1970, UTC.
    names
        The readings, sorted.
    values
        A row a reading; NaN where a line has none.
    """

    machine_ids: Sequence[str]
    machine: NDArray[np.int32]
    time: Integers
    names: tuple[str, ...]
    values: Floats

    def __len__(self) -> int:
        return len(self.time)

    @classmethod
    def from_frame(cls, readings: pl.DataFrame, spec: FeatureSpec) -> "Lines":
        """Take lines from a frame: ``machine_id``, ``event_time`` (Datetime, µs, UTC), a Float64 column a reading."""
        ids, machine_ids = to_sorted_enum(readings.get_column("machine_id"))
        names = tuple(sorted(spec.reading_names))
        values = np.empty((len(names), readings.height))
        for row, name in zip(values, names, strict=True):
            row[:] = readings.get_column(name).fill_null(np.nan).to_numpy()
        machine = to_array(ids).astype(np.int32)
        return cls(machine_ids.to_list(), machine, to_array(readings.get_column("event_time")), names, values)

    @classmethod
    def concatenate(cls, parts: "Sequence[Lines]") -> "Lines":
        """Put lines one after the other; there is at least one part."""
        if len(parts) == 1:
            return parts[0]
        numbers: dict[str, int] = {}
        machine = [
            np.array([numbers.setdefault(name, len(numbers)) for name in part.machine_ids], np.int32)[part.machine]
            for part in parts
        ]
        time = np.concatenate([part.time for part in parts])
        values = np.concatenate([part.values for part in parts], axis=1)
        return cls(list(numbers), np.concatenate(machine), time, parts[0].names, values)

    def to_frame(self) -> pl.DataFrame:
        """Lay the lines out as a frame, as :meth:`from_frame` takes it; equal lines are equal rows."""
        machine = pl.Series(self.machine_ids, dtype=pl.String).gather(self.machine)
        time = pl.Series(self.time, dtype=pl.Int64).cast(INSTANT)
        return pl.DataFrame(
            {"machine_id": machine, "event_time": time, **dict(zip(self.names, self.values, strict=True))}
        )


@dataclass(frozen=True)
class OrderedLines(Lines):
    """Lines in the order of machine and time, the machines' names sorted."""

    @cached_property
    def segments(self) -> Segments:
        """The lines of one machine and tile; there is at least one line."""
        return split_segments(self.machine, self.time)

    @cached_property
    def span(self) -> tuple[int, int]:
        """The first and the last time."""
        return int(self.time.min()), int(self.time.max())

    def take(self, rows: NDArray[np.bool_]) -> "OrderedLines":
        """Keep some of the lines."""
        return OrderedLines(self.machine_ids, self.machine[rows], self.time[rows], self.names, self.values[:, rows])


def order_lines(lines: Lines) -> OrderedLines:
    """Put lines in order; there is at least one."""
    order = sorted(range(len(lines.machine_ids)), key=lines.machine_ids.__getitem__)
    ranks = np.empty(len(order), np.int32)
    ranks[order] = np.arange(len(order))
    machine, time, values = take_in_order(lines.machine, ranks, lines.time, lines.values)
    return OrderedLines([lines.machine_ids[i] for i in order], machine, time, lines.names, values)


class SeenLines:
    """Takes out duplicates, within a batch and against the batches before it.

    An earlier batch is compared as it is, as far as its times overlap with those of the new one: hardly ever, where
    files follow each other. Once that took as many rows as it has, hashes take its place, so that the time of a
    partition does not grow with the square of its batches.
    """

    def __init__(self) -> None:
        self._earlier: list[OrderedLines] = []
        self._compared: list[int] = []
        self._runs: list[_Hashes] = []
        self.duplicates = 0

    def take_new(self, lines: OrderedLines) -> OrderedLines:
        """Keep one of equal lines, unless an earlier batch had it."""
        is_again = _find_repeated(lines)
        for number, earlier in enumerate(self._earlier):
            self._compared[number] += _mark_common(lines, earlier, is_again)
        if self._runs:
            is_again |= _Hashes.of(lines).find_in(self._runs)
        self._hash_often_compared()
        if is_again.any():
            self.duplicates += int(is_again.sum())
            lines = lines.take(~is_again)
        if len(lines):
            self._earlier.append(lines)
            self._compared.append(0)
        return lines

    def forget(self) -> None:
        """Let go of the lines of earlier batches, of which none is asked for any more."""
        self._earlier.clear()
        self._compared.clear()
        self._runs.clear()

    def _hash_often_compared(self) -> None:
        kept = [compared < len(lines) for lines, compared in zip(self._earlier, self._compared, strict=True)]
        for lines, is_kept in zip(self._earlier, kept, strict=True):
            if not is_kept:
                self._keep(_Hashes.of(lines))
        self._earlier = list(compress(self._earlier, kept))
        self._compared = list(compress(self._compared, kept))

    def _keep(self, hashes: "_Hashes") -> None:
        """Keep runs each of which is at least twice as long as the next, so that there are few to look through."""
        while self._runs and len(self._runs[-1].hash) < 2 * len(hashes.hash):
            hashes = self._runs.pop().merge(hashes)
        self._runs.append(replace(hashes, order=hashes.order[:0]))


@dataclass(frozen=True, slots=True)
class _Hashes:
    """A 64-bit hash and the time of each line, sorted by hash; ``order`` says which line each is of.

    Lines of one time and one hash are taken for equal: a billion lines of one hour make some 1e11 pairs of one
    millisecond, so the chance that this is wrong once is 1e-8.
    """

    hash: NDArray[np.uint64]
    time: Integers
    order: Integers

    @classmethod
    def of(cls, lines: OrderedLines) -> "_Hashes":
        hashes = lines.to_frame().hash_rows().to_numpy()
        order = np.argsort(hashes)
        return cls(hashes[order], lines.time[order], order)

    def merge(self, other: "_Hashes") -> "_Hashes":
        hashes, time = np.r_[self.hash, other.hash], np.r_[self.time, other.time]
        order = np.argsort(hashes, kind="stable")  # merges what is sorted in runs
        return _Hashes(hashes[order], time[order], order)

    def find_in(self, runs: "Sequence[_Hashes]") -> NDArray[np.bool_]:
        """Tell which lines one of the runs has."""
        is_there = np.zeros(len(self.hash), np.bool_)
        for run in runs:
            place = np.searchsorted(run.hash, self.hash).clip(max=len(run.hash) - 1)
            is_there[self.order] |= (run.hash[place] == self.hash) & (run.time[place] == self.time)
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
    for values in lines.values:
        is_tied &= (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))
    is_again[1:] = is_tied
    return is_again


def _mark_common(lines: OrderedLines, earlier: OrderedLines, is_again: NDArray[np.bool_]) -> int:
    """Mark the lines that an earlier batch had too, of the times that both have; return how many it had of these."""
    first, last = max(lines.span[0], earlier.span[0]), min(lines.span[1], earlier.span[1])
    if first > last:
        return 0
    may_be, may_have = ((each.time >= first) & (each.time <= last) for each in (lines, earlier))
    if not (may_be.any() and may_have.any()):
        return 0
    rows = lines.take(may_be).to_frame()
    held = earlier.take(may_have).to_frame().unique().with_columns(is_common=True)
    found = rows.join(held, on=rows.columns, how="left", maintain_order="left").get_column("is_common")
    is_again[may_be] |= found.is_not_null().to_numpy()
    return int(may_have.sum())
