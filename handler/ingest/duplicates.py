"""Duplicates: the same machine, event time and readings once more, within one arrival partition."""

from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import NamedTuple

import polars as pl


class UniqueLines(NamedTuple):
    """Lines of a batch, each once.

    Attributes
    ----------
    lines
        As :func:`drop_repeated` takes them.
    has_ties
        Whether a machine may have several values of one reading at one time.
    """

    lines: pl.DataFrame
    has_ties: bool


def drop_repeated(lines: pl.DataFrame) -> UniqueLines:
    """Keep the first of equal lines.

    Parameters
    ----------
    lines
        ``machine_id`` (String or Enum), ``event_time`` (Datetime, µs, UTC), and a Float64 column a reading, NaN where
        absent.

    Returns
    -------
    UniqueLines
        Each line once, in any order, and whether ties remain.

    Examples
    --------
    >>> lines = pl.DataFrame({"machine_id": "P1", "event_time": [7, 7, 8], "vibration_rms": [1.5, 1.5, 2.0]})
    >>> drop_repeated(lines).lines.rows()
    [('P1', 8, 2.0), ('P1', 7, 1.5)]
    """
    keys = ["machine_id", "event_time"]
    hashes = lines.select(keys).hash_rows()
    if hashes.n_unique() == len(hashes):
        return UniqueLines(lines, has_ties=False)
    is_tied = hashes.is_duplicated()
    tied = lines.filter(is_tied).unique(keep="first", maintain_order=True)
    values_at_a_time = tied.group_by(keys).agg(pl.exclude(keys).is_not_nan().sum())
    has_ties = values_at_a_time.select((pl.max_horizontal(pl.exclude(keys)) > 1).any()).item()
    return UniqueLines(pl.concat([lines.filter(~is_tied), tied]), has_ties)


class SeenLines:
    """The lines of a partition so far, as a 64-bit hash a line.

    A partition of a million lines costs 8 MB, and takes one line for another with a chance of 1 in 40 million. Each
    run of hashes is at least twice as long as the next, so that there are few to look through. Only lines within a
    run's event times are looked for: hardly any where files follow each other.
    """

    def __init__(self) -> None:
        self._runs: list[SeenRun] = []

    def find_again(self, lines: pl.DataFrame) -> pl.Series:
        """Tell which lines of a batch an earlier batch had, and remember this batch's.

        Parameters
        ----------
        lines
            As :func:`drop_repeated` leaves them; at least one.

        Returns
        -------
        pl.Series
            Boolean, a value a line.
        """
        hashes, time = _hash_lines(lines), lines.get_column("event_time")
        is_again = pl.repeat(value=False, n=len(time), dtype=pl.Boolean, eager=True)
        for run in self._runs:
            suspects = time.is_between(run.first, run.last).arg_true()
            if len(suspects):
                is_again = is_again.scatter(suspects, is_again.gather(suspects) | run.find(hashes.gather(suspects)))
        first, last = lines.select(pl.min("event_time"), pl.max("event_time").alias("last")).row(0)
        self.add(SeenRun(hashes, first, last))
        return is_again

    def take(self) -> "SeenRun | None":
        """Give all hashes so far as one run; None before the first line."""
        return reduce(SeenRun.merge, self._runs) if self._runs else None

    def meets(self, other: "SeenRun") -> bool:
        """Tell whether any line of a run was seen before."""
        near = [run for run in self._runs if run.first <= other.last and other.first <= run.last]
        return any(run.find(other.hashes).any() for run in near)

    def add(self, run: "SeenRun") -> None:
        """Remember the lines of a run."""
        while self._runs and len(self._runs[-1].hashes) < 2 * len(run.hashes):
            run = self._runs.pop().merge(run)
        self._runs.append(run)


@dataclass(slots=True)
class SeenRun:
    """Hashes of lines, and the first and last event time of these lines."""

    hashes: pl.Series
    first: datetime
    last: datetime

    def merge(self, other: "SeenRun") -> "SeenRun":
        """Put two runs together."""
        return SeenRun(pl.concat([self.hashes, other.hashes]), min(self.first, other.first), max(self.last, other.last))

    def find(self, hashes: pl.Series) -> pl.Series:
        """Tell which of the hashes are in the run, which is sorted when it is first asked for."""
        self.hashes = self.hashes.sort()
        place = self.hashes.search_sorted(hashes).clip(upper_bound=len(self.hashes) - 1)
        return self.hashes.gather(place) == hashes


def _hash_lines(lines: pl.DataFrame) -> pl.Series:
    """Hash lines so that equal lines have equal hashes in every batch, whatever the type of ``machine_id``."""
    machines = lines.get_column("machine_id")
    if isinstance(machines.dtype, pl.Enum):  # hash each name once, not each line's
        hashed = machines.dtype.categories.hash().gather(machines.to_physical())
    else:
        hashed = machines.hash()
    return lines.with_columns(machine_id=hashed).hash_rows()
