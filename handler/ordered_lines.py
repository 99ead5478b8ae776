"""Accepted lines as arrays, by machine and time: equal lines are neighbours then, and tiles segments."""

from collections.abc import Mapping
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
    """Takes out duplicates, within a batch and against the batches before it."""

    def __init__(self) -> None:
        self._earlier: list[OrderedLines] = []
        self.duplicates = 0

    def take_new(self, lines: OrderedLines) -> OrderedLines:
        """Keep one of equal lines, unless an earlier batch had it."""
        is_again = _find_repeated(lines)
        for earlier in self._earlier:
            is_again |= _find_common(lines, earlier)
        if is_again.any():
            self.duplicates += int(is_again.sum())
            lines = lines.take(~is_again)
        if len(lines):
            self._earlier.append(lines)
        return lines


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


def _find_common(lines: OrderedLines, earlier: OrderedLines) -> NDArray[np.bool_]:
    """Find lines that an earlier batch had too; only those of a time that both have can be."""
    first = max(lines.time.min(), earlier.time.min())
    last = min(lines.time.max(), earlier.time.max())
    may_be, may_have = ((each.time >= first) & (each.time <= last) for each in (lines, earlier))
    is_common = np.zeros(len(lines), np.bool_)
    if may_be.any() and may_have.any():
        rows = lines.take(may_be).to_frame()
        held = earlier.take(may_have).to_frame().unique().with_columns(is_common=True)
        found = rows.join(held, on=rows.columns, how="left", maintain_order="left").get_column("is_common")
        is_common[may_be] = found.is_not_null().to_numpy()
    return is_common
