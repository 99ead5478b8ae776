"""The tiles of a partition while its batches are read."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from handler.definitions.schema import TILE_SCHEMA
from handler.lake.spool import Spool
from handler.tiles.groups import divide_machines
from handler.tiles.merge import merge_tiles

_TILES_HELD: Final = 500_000
"""Tiles are merged when there are more new ones, and more than old ones: the time stays linear."""

_TILES_A_GROUP: Final = 100_000
_BYTES_UNPACKED: Final = 32 * 2**20


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
            yield merge_tiles(pl.concat(part.filter(machines.holds()) for part in parts).collect())
