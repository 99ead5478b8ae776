"""Machine groups: a fleet too large for memory is dealt with some machines at a time. Pure."""

from collections.abc import Iterable, Iterator

import polars as pl


def divide_machines(parts: Iterable[pl.LazyFrame], groups: int) -> Iterator[pl.Expr]:
    """Divide machines into groups of as many.

    Parameters
    ----------
    parts
        Frames with a ``machine_id``, looked at one by one, and only where there is more than one group.
    groups
        How many there are to be.

    Yields
    ------
    pl.Expr
        A condition on ``machine_id`` for each group, in the order of the ids; each id meets one.

    Examples
    --------
    >>> rows = pl.LazyFrame({"machine_id": ["P1", "P1", "P2", "P3", "P4"]})
    >>> [rows.filter(machines).collect().to_series().to_list() for machines in divide_machines([rows], 2)]
    [['P1', 'P1', 'P2'], ['P3', 'P4']]
    """
    if groups <= 1:
        yield pl.lit(value=True)
        return
    machines = pl.Series("machine_id", dtype=pl.String)
    for part in parts:
        machines = machines.append(part.select(pl.col("machine_id").unique()).collect().to_series()).unique()
    for group in machines.sort().to_frame().iter_slices(-(-len(machines) // groups) or 1):
        yield pl.col("machine_id").is_between(pl.lit(group.item(0, 0)), pl.lit(group.item(-1, 0)))
