"""Machine groups: what is too large for memory is dealt with some machines at a time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from handler.definitions.schema import TILE_SCHEMA
from handler.lake.spool import Spool
from handler.tiles.merge import merge_tiles

_TILES_HELD: Final = 500_000
"""Tiles are merged when there are more new ones, and more than old ones: the time stays linear."""

_TILES_A_GROUP: Final = 100_000
_BYTES_UNPACKED: Final = 32 * 2**20


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


def _hold_tiles() -> Spool:
    return Spool(TILE_SCHEMA, _BYTES_UNPACKED, sort_by="machine_id")


@dataclass(slots=True)
class HeldTiles:
    """The tiles of the batches so far, merged now and then, so that they do not grow with the lines."""

    _held: Spool = field(default_factory=_hold_tiles)
    _merged: int = 0

    def add(self, tiles: pl.DataFrame) -> None:
        """Add the tiles of a batch: columns of ``TILE_SCHEMA``."""
        self._held.add(tiles)
        if self._held.rows - self._merged > max(_TILES_HELD, self._merged):
            merged = _hold_tiles()
            for group in self.take():
                merged.add(group)
            self._held, self._merged = merged, merged.rows

    def take(self) -> Iterator[pl.DataFrame]:
        """Take all tiles, one machine group at a time.

        Yields
        ------
        pl.DataFrame
            Columns of ``TILE_SCHEMA``, each tile once, sorted by machine, reading and start; one frame at least.
        """
        parts = self._held.scan()
        for machines in divide_machines(parts, -(-self._held.rows // _TILES_A_GROUP)):
            yield merge_tiles(pl.concat(part.filter(machines) for part in parts).collect())
