"""What the processed files hold of the time that some rows look back on: hours where they do, tiles elsewhere.

An hour of a machine is taken whole from an hour file, unless a window begins or ends within it, several partitions
hold parts of it (late readings), or a partition has no hour file that fits: then its tiles are read. Rows are the same
either way, to the bit.
"""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from handler.features import find_split_hours, unite_tiles
from handler.hours import HOUR_SCHEMA, is_described
from handler.lake import Lake
from handler.partition import hours_key, tiles_key
from handler.spec import FeatureSpec
from handler.tiles import TILE_SCHEMA
from handler.timestamps import HOUR, INSTANT, floor_to

_BYTES_AT_A_TIME: Final = 8 * 2**20
"""How much of hour and tile files, some 70 bytes a row, rows are computed from at a time."""

_TILE_HOUR: Final = pl.col("tile_start").dt.truncate(HOUR)
_MACHINE_HOUR: Final = ("machine_id", "hour_start")
_PLACE: Final = {"machine_id": pl.String(), "hour_start": INSTANT, "partition": INSTANT}


@dataclass(frozen=True, slots=True)
class History:
    """The time that the rows of some instants look back on.

    Attributes
    ----------
    lake
        Where the files are.
    spec, allowed_lateness
        What features are, and which readings are too late for them.
    instants
        The rows' ``as_of``.
    partitions
        The partitions that can hold what they look back on, ascending.
    """

    lake: Lake
    spec: FeatureSpec
    allowed_lateness: timedelta
    instants: Sequence[datetime]
    partitions: Sequence[datetime]
    _hour_files: dict[datetime, bytes] = field(init=False, default_factory=dict)
    _tile_files: dict[datetime, bytes] = field(init=False, default_factory=dict)

    def load(self) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Load it, some machines at a time: tiles, each once, and the hours of machines whose tiles are not needed.

        Both are as :func:`handler.features.compute_features` takes them.

        Raises
        ------
        LakeError
            If the store refuses or does not answer.
        """
        for partition, data in zip(self.partitions, self.lake.read(map(hours_key, self.partitions)), strict=True):
            if data is not None and is_described(pl.read_parquet_metadata(io.BytesIO(data)), self.spec):
                self._hour_files[partition] = data
        self._read_tile_files(set(self.partitions) - self._hour_files.keys())
        for machines in _share_out([*self._hour_files.values(), *self._tile_files.values()]):
            yield self._load_share(machines)

    def _read_tile_files(self, partitions: Iterable[datetime]) -> None:
        missing = sorted(set(partitions) - self._tile_files.keys())
        read = zip(missing, self.lake.read(map(tiles_key, missing)), strict=True) if missing else ()
        self._tile_files.update((partition, data) for partition, data in read if data is not None)

    def _load_share(self, machines: pl.Expr) -> tuple[pl.DataFrame, pl.DataFrame]:
        hours = self._scan(self._hour_files, machines, pl.col("hour_start"), HOUR_SCHEMA)
        without = {p: data for p, data in self._tile_files.items() if p not in self._hour_files}
        places = pl.concat(
            [hours.select(*_PLACE), self._scan(without, machines, _TILE_HOUR, TILE_SCHEMA).select(*_PLACE)]
        ).unique()
        split = find_split_hours(self.instants, self.spec)
        is_needed = (pl.len() > 1) | pl.col("partition").is_in(without).any() | pl.col("hour_start").is_in(split).any()
        needed = places.group_by(_MACHINE_HOUR).agg(is_needed=is_needed).filter("is_needed").select(*_MACHINE_HOUR)
        if needed.is_empty():
            return pl.DataFrame(schema=dict(TILE_SCHEMA)), hours.select(*HOUR_SCHEMA)
        partitions = places.join(needed, on=_MACHINE_HOUR, how="semi").get_column("partition").unique()
        self._read_tile_files(partitions)
        files = {p: self._tile_files[p] for p in sorted(partitions) if p in self._tile_files}
        tiles = self._scan(files, machines, _TILE_HOUR, TILE_SCHEMA)
        tiles = tiles.join(needed, on=_MACHINE_HOUR, how="semi", maintain_order="left")
        hours = hours.join(needed, on=_MACHINE_HOUR, how="anti")
        return unite_tiles(tiles.select(*TILE_SCHEMA)), hours.select(*HOUR_SCHEMA)

    def _scan(
        self, files: Mapping[datetime, bytes], machines: pl.Expr, hour: pl.Expr, schema: Mapping[str, pl.DataType]
    ) -> pl.DataFrame:
        """Load the rows of some machines, less those later than allowed, with ``hour_start`` and ``partition``."""
        if not files:
            return pl.DataFrame(schema={**schema, "partition": INSTANT, "hour_start": INSTANT})
        start, end = floor_to(min(self.instants) - self.spec.lookback, HOUR), max(self.instants)
        is_seen = hour.is_between(start, end, closed="left")
        is_seen &= pl.col("partition") - hour <= self.allowed_lateness
        partitions = pl.Series(sorted(files), dtype=INSTANT)
        parts = pl.collect_all([pl.scan_parquet(io.BytesIO(files[each])).filter(machines) for each in partitions])
        number = pl.Series([part.height for part in parts], dtype=pl.Int64)
        rows = pl.concat(parts)
        partition = partitions.to_frame("partition").select(pl.all().repeat_by(number).explode())
        return rows.hstack(partition).filter(is_seen).with_columns(hour_start=hour)


def _share_out(files: Sequence[bytes]) -> Iterator[pl.Expr]:
    """Divide the machines of files so that each share has as many rows as are well dealt with at a time."""
    shares = -(-sum(map(len, files)) // _BYTES_AT_A_TIME)
    if shares <= 1:
        yield pl.lit(value=True)
        return
    ids = (pl.read_parquet(io.BytesIO(data), columns=["machine_id"]).to_series() for data in files)
    rows = pl.concat(each.value_counts() for each in ids).group_by("machine_id").sum().sort("machine_id")
    number = (pl.col("count").cum_sum() - 1) * shares // pl.col("count").sum()
    for share in rows.group_by(number.alias("share"), maintain_order=True).agg("machine_id").get_column("machine_id"):
        yield pl.col("machine_id").is_between(pl.lit(share[0]), pl.lit(share[-1]))
