"""Machine groups: a fleet too large for memory is dealt with some machines at a time. Pure."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Final, NamedTuple

import polars as pl

from handler.definitions.errors import TooManyMachinesError


class MachineRange(NamedTuple):
    """Machines by their ids, ``[first, end)``; None where there is no bound."""

    first: str | None = None
    end: str | None = None

    def holds(self) -> pl.Expr:
        """Write the condition on ``machine_id`` that a machine of the range meets."""
        machine = pl.col("machine_id")
        after = pl.lit(value=True) if self.first is None else machine >= pl.lit(self.first)
        return after if self.end is None else after & (machine < pl.lit(self.end))


ALL_MACHINES: Final = MachineRange()


def require_few_machines(machines: pl.Series, most: int) -> None:
    """Refuse more machines than there may be; say which prefix of ids brought most.

    Parameters
    ----------
    machines
        Ids, each once.
    most
        How many there may be.

    Raises
    ------
    TooManyMachinesError
        With the longest prefix that more than half of the ids before its last character share, one character at least.
    """
    if len(machines) <= most:
        return
    prefix, alike = "", machines
    while True:
        following = alike.str.slice(len(prefix), 1).value_counts(sort=True, name="ids")
        character, ids = following.row(0)
        if not character or (prefix and 2 * ids <= len(alike)):
            raise TooManyMachinesError(len(machines), most, prefix, len(alike))
        prefix += character
        alike = alike.filter(alike.str.starts_with(prefix))


def divide_machines(
    parts: Iterable[pl.LazyFrame], groups: int, within: MachineRange = ALL_MACHINES
) -> list[MachineRange]:
    """Divide machines into groups of as many.

    Parameters
    ----------
    parts
        Frames with a ``machine_id``, looked at one by one, and only where there is more than one group.
    groups
        How many there are to be.
    within
        The range to divide.

    Returns
    -------
    list of MachineRange
        Ranges that follow each other, from the first bound of ``within`` to its last.

    Examples
    --------
    >>> rows = pl.LazyFrame({"machine_id": ["P1", "P1", "P2", "P3", "P4"]})
    >>> [rows.filter(group.holds()).collect().to_series().to_list() for group in divide_machines([rows], 2)]
    [['P1', 'P1', 'P2'], ['P3', 'P4']]
    """
    if groups <= 1:
        return [within]
    machines = pl.Series("machine_id", dtype=pl.String)
    for part in parts:
        found = part.filter(within.holds()).select(pl.col("machine_id").unique()).collect().to_series()
        machines = machines.append(found).unique()
    starts = machines.sort().gather_every(-(-len(machines) // groups) or 1).to_list()[1:]
    return [MachineRange(*bounds) for bounds in pairwise([within.first, *starts, within.end])]
