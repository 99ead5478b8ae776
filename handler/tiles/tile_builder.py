"""The tiles of a partition, built batch by batch: duplicates taken out, lateness counted, tiles of batches merged."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import numpy as np
import polars as pl

from handler.definitions.schema import HOUR_SCHEMA, TILE_SCHEMA
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import HOUR, MICROSECOND
from handler.settings import MAX_HOURS
from handler.tiles.hours import roll_up_arrays
from handler.tiles.ordered_lines import Lines, OrderedLines, SeenLines, order_lines
from handler.tiles.tile_arrays import TileArrays, unite

_TILES_HELD: Final = 100_000
"""Tiles of batches are merged when there are more, and as many as were merged before: the time stays linear."""


@dataclass(frozen=True, slots=True)
class SummarizedLines:
    """The lines of a batch in order, and their tiles as if none were a duplicate of an earlier batch."""

    lines: OrderedLines
    tiles: TileArrays


def summarize_batch(readings: Lines) -> SummarizedLines | None:
    """Put the lines of a batch in order, and summarize them; None where there are none."""
    if not len(readings):
        return None
    lines = order_lines(readings)
    return SummarizedLines(lines, TileArrays.summarize(lines))


@dataclass(slots=True)
class TileBuilder:
    """What a partition has come to so far.

    Attributes
    ----------
    partition
        Start of the hour of arrival, UTC.
    lateness
        Accepted lines by lateness in hours: start of the arrival partition less start of the event time's hour.
    """

    partition: datetime
    lateness: Counter[int] = field(default_factory=Counter)
    _seen: SeenLines = field(default_factory=SeenLines)
    _parts: list[TileArrays] = field(default_factory=list)

    @property
    def duplicates(self) -> int:
        """How many lines were left out."""
        return self._seen.duplicates

    def add(self, batch: SummarizedLines) -> None:
        """Add a batch, less the lines that it or an earlier one had already."""
        new = self._seen.take_new(batch.lines)
        if not len(new):
            return
        self._count_lateness(new)
        self._parts.append(batch.tiles if new is batch.lines else TileArrays.summarize(new))
        if sum(map(len, self._parts[1:])) > max(_TILES_HELD, len(self._parts[0])):
            self._parts = [unite(self._parts)]

    def _count_lateness(self, lines: OrderedLines) -> None:
        arrival = (self.partition - datetime.fromtimestamp(0, UTC)) // HOUR
        hours = arrival - lines.time[lines.segments.starts] // (HOUR // MICROSECOND)
        found, place = np.unique(hours.clip(max=MAX_HOURS + 1), return_inverse=True)
        counts = np.bincount(place, lines.segments.counts).astype(np.int64)
        self.lateness.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))

    def finish(self) -> pl.DataFrame:
        """Give the tiles: columns of ``TILE_SCHEMA``, sorted by machine, reading and start."""
        self._seen.forget()
        if not self._parts:
            return pl.DataFrame(schema=dict(TILE_SCHEMA))
        self._parts = [unite(self._parts)]
        return self._parts[0].to_frame()

    def roll_up(self, spec: FeatureSpec) -> pl.DataFrame:
        """Give the hours that the finished tiles come to, see :func:`handler.tiles.hours.roll_up_hours`."""
        return roll_up_arrays(self._parts[0], spec) if self._parts else pl.DataFrame(schema=dict(HOUR_SCHEMA))
