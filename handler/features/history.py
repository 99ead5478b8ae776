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

from handler.definitions.layout import hours_key, tiles_key
from handler.definitions.schema import HOUR_SCHEMA, TILE_SCHEMA
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import HOUR, INSTANT, floor_to
from handler.features.rows import find_split_hours, unite_tiles
from handler.lake.lake import Lake
from handler.tiles.hours import count_described

_BYTES_AT_A_TIME: Final = 8 * 2**20
"""How much of hour and tile files, some 70 bytes a row, rows are computed from at a time."""

_TILE_HOUR: Final = pl.col("tile_start").dt.truncate(HOUR)
_ROW: Final = "row"
_MACHINE_HOUR: Final = ("machine_id", "hour_start")
_PLACE: Final = {"machine_id": pl.String(), "hour_start": INSTANT, "partition": INSTANT}


@dataclass(frozen=True, slots=True)
class HourFile:
    """An hour file: its bytes, and how many rows it has."""

    data: bytes
    rows: int

    @classmethod
    def open(cls, data: bytes, spec: FeatureSpec) -> "HourFile | None":
        """Take a file, unless its hours are not those of the spec."""
        rows = count_described(pl.read_parquet_metadata(io.BytesIO(data)), spec)
        return None if rows is None else cls(data, rows)


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
    _hour_files: dict[datetime, HourFile] = field(init=False, default_factory=dict)
    _tile_files: dict[datetime, bytes] = field(init=False, default_factory=dict)

    def load(self) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Load it, some machines at a time: tiles, each once, and the hours of machines whose tiles are not needed.

        Both are as :func:`handler.features.rows.compute_features` takes them.

        Raises
        ------
        LakeError
            If the store refuses or does not answer.
        """
        for partition, data in zip(self.partitions, self.lake.read(map(hours_key, self.partitions)), strict=True):
            file = None if data is None else HourFile.open(data, self.spec)
            if file is not None:
                self._hour_files[partition] = file
        self._read_tile_files(set(self.partitions) - self._hour_files.keys())
        for machines in _share_out([*(file.data for file in self._hour_files.values()), *self._tile_files.values()]):
            yield self._load_share(machines)

    def _read_tile_files(self, partitions: Iterable[datetime]) -> None:
        missing = sorted(set(partitions) - self._tile_files.keys())
        read = zip(missing, self.lake.read(map(tiles_key, missing)), strict=True) if missing else ()
        self._tile_files.update((partition, data) for partition, data in read if data is not None)

    def _load_share(self, machines: pl.Expr | None) -> tuple[pl.DataFrame, pl.DataFrame]:
        hours = self._load_hours(machines)
        without = {p: data for p, data in self._tile_files.items() if p not in self._hour_files}
        places = self._load_tiles(without, machines).select(*_PLACE)
        split = find_split_hours(self.instants, self.spec)
        late = hours.filter(pl.col("hour_start") != pl.col("partition")).get_column("hour_start")
        doubtful = {*split, *late.unique(), *places.get_column("hour_start").unique()}
        if not doubtful:
            return pl.DataFrame(schema=dict(TILE_SCHEMA)), hours.select(*HOUR_SCHEMA)
        is_doubtful = pl.col("hour_start").is_in(doubtful)
        places = pl.concat([hours.filter(is_doubtful).select(*_PLACE), places]).unique()
        is_needed = (pl.len() > 1) | pl.col("partition").is_in(without).any() | pl.col("hour_start").is_in(split).any()
        needed = places.group_by(_MACHINE_HOUR).agg(is_needed=is_needed).filter("is_needed").select(*_MACHINE_HOUR)
        if needed.is_empty():
            return pl.DataFrame(schema=dict(TILE_SCHEMA)), hours.select(*HOUR_SCHEMA)
        partitions = places.join(needed, on=_MACHINE_HOUR, how="semi").get_column("partition").unique()
        self._read_tile_files(partitions)
        files = {p: self._tile_files[p] for p in sorted(partitions) if p in self._tile_files}
        tiles = self._load_tiles(files, machines)
        tiles = tiles.join(needed, on=_MACHINE_HOUR, how="semi", maintain_order="left")
        hours = hours.join(needed, on=_MACHINE_HOUR, how="anti")
        return unite_tiles(tiles.select(*TILE_SCHEMA)), hours.select(*HOUR_SCHEMA)

    def _load_hours(self, machines: pl.Expr | None) -> pl.DataFrame:
        """Load the hours of some machines, less those later than allowed, with their ``partition``."""
        if not self._hour_files:
            return pl.DataFrame(schema={**HOUR_SCHEMA, "partition": INSTANT})
        import numpy as np  # noqa: PLC0415 - it takes half as long as Polars to load

        partitions = sorted(self._hour_files)
        files = [self._hour_files[partition] for partition in partitions]
        scan = pl.scan_parquet([file.data for file in files], row_index_name=_ROW)
        rows = (scan if machines is None else scan.filter(machines)).collect()
        number = np.searchsorted(
            np.cumsum([file.rows for file in files]), rows.get_column(_ROW).to_numpy(), side="right"
        )
        partition = pl.Series("partition", partitions, dtype=INSTANT).gather(number)
        return self._keep_seen(rows.drop(_ROW).hstack([partition]), pl.col("hour_start"))

    def _load_tiles(self, files: Mapping[datetime, bytes], machines: pl.Expr | None) -> pl.DataFrame:
        """Load the tiles of some machines, less those later than allowed, with ``hour_start`` and ``partition``."""
        if not files:
            return pl.DataFrame(schema={**TILE_SCHEMA, "partition": INSTANT, "hour_start": INSTANT})

        import numpy as np  # noqa: PLC0415 - it takes half as long as Polars to load

        scans = [pl.scan_parquet(files[partition]) for partition in sorted(files)]
        parts = pl.collect_all(scans if machines is None else [scan.filter(machines) for scan in scans])
        number = np.repeat(np.arange(len(parts)), [part.height for part in parts])
        partition = pl.Series("partition", sorted(files), dtype=INSTANT).gather(number)
        rows = pl.concat(parts).hstack([partition])
        return self._keep_seen(rows, _TILE_HOUR).with_columns(hour_start=_TILE_HOUR)

    def _keep_seen(self, rows: pl.DataFrame, hour: pl.Expr) -> pl.DataFrame:
        """Leave out what no window sees, and what is later than allowed."""
        start, end = floor_to(min(self.instants) - self.spec.lookback, HOUR), max(self.instants)
        is_seen = hour.is_between(start, end, closed="left")
        is_kept = rows.select(is_seen & (pl.col("partition") - hour <= self.allowed_lateness)).to_series()
        return rows if is_kept.all() else rows.filter(is_kept)  # mostly all are: nothing to copy


def _share_out(files: Sequence[bytes]) -> Iterator[pl.Expr | None]:
    """Divide the machines of files so that each share has as many rows as are well dealt with at a time; None: all."""
    shares = -(-sum(map(len, files)) // _BYTES_AT_A_TIME)
    if shares <= 1:
        yield None
        return
    ids = (pl.read_parquet(io.BytesIO(data), columns=["machine_id"]).to_series() for data in files)
    rows = pl.concat(each.value_counts() for each in ids).group_by("machine_id").sum().sort("machine_id")
    number = (pl.col("count").cum_sum() - 1) * shares // pl.col("count").sum()
    for share in rows.group_by(number.alias("share"), maintain_order=True).agg("machine_id").get_column("machine_id"):
        yield pl.col("machine_id").is_between(pl.lit(share[0]), pl.lit(share[-1]))
