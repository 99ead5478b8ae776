"""Tiles as arrays: how they are while they are made, merged and rolled up; frames are what files hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from handler.definitions.schema import TILE_KEYS, TILE_SCHEMA
from handler.tiles.compiled_merge import take_rows
from handler.tiles.compiled_tiles import TILE_WIDTH, summarize_segments
from handler.tiles.moments import Integers, merge
from handler.tiles.ordered_lines import OrderedLines
from handler.tiles.ordering import order_numbers, to_array, to_sorted_enum


@dataclass(frozen=True, slots=True)
class TileArrays:
    """Tiles by machine, reading and start.

    Attributes
    ----------
    machine_ids, readings
        Names, sorted.
    machine, reading
        Of each tile, as indexes into these.
    start
        Microseconds since 1970, UTC.
    columns
        The other columns of ``TILE_SCHEMA``; instants as microseconds.
    """

    machine_ids: Sequence[str]
    readings: Sequence[str]
    machine: Integers
    reading: Integers
    start: Integers
    columns: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.start)

    @classmethod
    def summarize(cls, lines: OrderedLines) -> "TileArrays":
        """Summarize lines, at least one."""
        columns = summarize_segments(lines.machine, lines.time, lines.values, lines.segments)
        start = columns["time_min"] // TILE_WIDTH * TILE_WIDTH
        machine, reading = columns.pop("machine"), columns.pop("reading")
        return cls(lines.machine_ids, lines.names, machine, reading, start, columns)

    @classmethod
    def from_frame(cls, tiles: pl.DataFrame, readings: Sequence[str]) -> "TileArrays":
        """Take tiles, sorted by machine, reading and start, from a frame: columns of ``TILE_SCHEMA``.

        ``machine_id`` may be an Enum of sorted names; ``readings`` are the names of the readings.
        """
        readings = sorted(readings)
        ids, names = to_sorted_enum(tiles.get_column("machine_id"))
        keys = (ids, tiles.get_column("reading").cast(pl.Enum(readings)), tiles.get_column("tile_start"))
        machine, reading, start = map(to_array, keys)
        columns = {name: to_array(tiles.get_column(name)) for name in TILE_SCHEMA if name not in TILE_KEYS}
        return cls(names.to_list(), readings, machine, reading, start, columns)

    def to_frame(self) -> pl.DataFrame:
        """Lay the tiles out as a frame: columns of ``TILE_SCHEMA``."""
        keys = {
            "machine_id": pl.Series(self.machine_ids, dtype=pl.String).gather(self.machine),
            "reading": pl.Series(self.readings, dtype=pl.String).gather(self.reading),
            "tile_start": self.start,
        }
        columns = {**self.columns, **keys}
        return pl.DataFrame({name: columns[name] for name in TILE_SCHEMA}).cast(pl.Schema(TILE_SCHEMA))


def unite(parts: Sequence[TileArrays]) -> TileArrays:
    """Merge what parts, at least one, hold of the same tile; of equal readings, in the parts' order."""
    if len(parts) == 1:
        return parts[0]
    machine_ids = sorted(set(chain.from_iterable(part.machine_ids for part in parts)))
    numbers = {name: number for number, name in enumerate(machine_ids)}
    machine = np.concatenate([np.array([numbers[name] for name in part.machine_ids])[part.machine] for part in parts])
    reading, start = (np.concatenate([getattr(part, name) for part in parts]) for name in ("reading", "start"))
    ordering = order_numbers([machine, reading, start])
    first = ordering.order[ordering.begins]
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    merged = merge(take_rows(columns, ordering.order), ordering.segments, x="value", y="time")
    return TileArrays(machine_ids, parts[0].readings, machine[first], reading[first], start[first], merged)
