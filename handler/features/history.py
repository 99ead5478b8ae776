"""What the processed files hold of the time that a set of feature rows looks back on.

Hours are loaded where they will do, tiles elsewhere. An hour of a machine is taken whole from an hour file, with three
exceptions. Its tiles are loaded where a window begins or ends within the hour, and where several partitions hold parts
of it (late readings). They are also loaded where a partition has no hour file that fits the spec.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import polars as pl

from handler.definitions.errors import DamagedFileError, OvertakenError
from handler.definitions.layout import hours_key, tiles_key
from handler.definitions.schema import HOUR_FILE_SCHEMA, HOUR_SCHEMA, TILE_SCHEMA, Schema, empty_frame
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import HOUR, INSTANT, floor_to
from handler.features.rows import find_split_hours
from handler.lake.lake import Lake
from handler.lake.parquet import Seal, is_whole
from handler.plan import Plan
from handler.tiles.files import PartitionFiles, read_manifest
from handler.tiles.groups import ALL_MACHINES, MachineRange, divide_machines
from handler.tiles.hours import describe_hours
from handler.tiles.merge import merge_tiles

_GROUP_ROWS: Final = 100_000
"""Rows of hour and tile files that the rows of one machine group are computed from: bytes say nothing of memory."""

_INSTANTS: Final = 2
"""How many share the memory of one machine group: each has windows of its own."""

_MACHINE_HOUR: Final = ("machine_id", "hour_start")
_ORIGIN: Final[Schema] = {"hour_start": INSTANT, "partition": INSTANT}
"""Which hour of event time a row belongs to, and its partition: the start of the hour of arrival."""


@dataclass(frozen=True, slots=True)
class History:
    """The time that the rows of some instants look back on.

    Attributes
    ----------
    lake, spec, plan
        Where the files are, what features are, and which partitions and lateness count.
    instants
        The rows' ``as_of``.
    files
        What the tile file of each partition is to hold, and whether it has an hour file beside it.
    machines
        Whose time.
    """

    lake: Lake
    spec: FeatureSpec
    plan: Plan
    instants: Sequence[datetime]
    files: PartitionFiles
    machines: MachineRange = ALL_MACHINES
    _hour_files: dict[datetime, bytes] = field(init=False, default_factory=dict)
    _tile_files: dict[datetime, bytes] = field(init=False, default_factory=dict)

    def load(self) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Load it, one machine group at a time.

        Yields
        ------
        tiles : pl.DataFrame
            Columns of ``TILE_SCHEMA``, each tile once: where hours will not do.
        hours : pl.DataFrame
            Columns of ``HOUR_SCHEMA``: all other hours.

        Raises
        ------
        LakeError
            If the store refuses or does not answer, or a tile file is damaged or not the one that is looked for.
        """
        self._read_files()
        files = [*self._hour_files.values(), *self._tile_files.values()]
        rows = self._count_rows(self._hour_files.values()) + self._count_rows(self._tile_files.values())
        groups = -(-rows * max(1, len(self.instants) // _INSTANTS) // _GROUP_ROWS)
        for machines in divide_machines(map(pl.scan_parquet, files), groups, self.machines):
            yield self._load_group(machines.holds())

    def list_machines(self) -> pl.Series:
        """List the machines that the files know, each once: no instant has rows of others."""
        self._read_files()
        files = [*self._hour_files.values(), *self._tile_files.values()]
        machines = [pl.scan_parquet(data).filter(self.machines.holds()).select("machine_id") for data in files]
        found = pl.concat([empty_frame({"machine_id": pl.String()}).lazy(), *machines])
        return found.unique().collect(engine="streaming").to_series()

    def _read_files(self) -> None:
        if self._hour_files or self._tile_files:
            return
        partitions = sorted(self.plan.list_contributors(self.instants) & self.files.manifests.keys())
        self._read_hour_files([p for p in partitions if hours_key(p) in self.files.manifests[p].beside])
        self._read_tile_files(set(partitions) - self._hour_files.keys())

    def _read_hour_files(self, partitions: Sequence[datetime]) -> None:
        for partition, data in zip(partitions, self.lake.read(map(hours_key, partitions)), strict=True):
            described = describe_hours(self.spec, self.files.manifests[partition].fingerprint)
            seal = Seal.read(data) if is_whole(data) else None
            if seal is None:
                self.files.do_without_hours(partition)
            elif described.items() <= seal.metadata.items():
                self._hour_files[partition] = data

    def _read_tile_files(self, partitions: Iterable[datetime]) -> None:
        missing = sorted(set(partitions) - self._tile_files.keys())
        for partition, data in zip(missing, self.lake.read(map(tiles_key, missing)), strict=True):
            manifest = read_manifest(data) if is_whole(data) else None
            if manifest is None:
                raise DamagedFileError(tiles_key(partition), partition)
            if manifest.fingerprint != self.files.manifests[partition].fingerprint:
                raise OvertakenError(tiles_key(partition))
            self._tile_files[partition] = data

    def _load_group(self, machines: pl.Expr) -> tuple[pl.DataFrame, pl.DataFrame]:
        hours = self._load_hours(machines)
        without = {p: data for p, data in self._tile_files.items() if p not in self._hour_files}
        places = self._load_tiles(without, machines).select(*_MACHINE_HOUR, "partition")
        needed = self._find_needed(hours, places)
        if needed.is_empty():
            return empty_frame(TILE_SCHEMA), hours.select(*HOUR_SCHEMA)
        partitions = needed.get_column("partition").unique()
        self._read_tile_files(partitions)
        files = {p: self._tile_files[p] for p in partitions}
        tiles = self._load_tiles(files, machines).join(needed, on=_MACHINE_HOUR, how="semi")
        hours = hours.join(needed, on=_MACHINE_HOUR, how="anti")
        return merge_tiles(tiles.select(*TILE_SCHEMA)), hours.select(*HOUR_SCHEMA)

    def _find_needed(self, hours: pl.DataFrame, places: pl.DataFrame) -> pl.DataFrame:
        """Find the hours of machines, and their partitions, for which tiles are needed.

        Only hours that are split, late, or without an hour file somewhere are looked at one by one: mostly there are
        few of these.
        """
        split = find_split_hours(self.instants, self.spec)
        late = hours.filter(pl.col("hour_start") != pl.col("partition")).get_column("hour_start")
        doubtful = {*split, *late.unique(), *places.get_column("hour_start").unique()}
        found = hours.filter(pl.col("hour_start").is_in(doubtful)).select(*_MACHINE_HOUR, "partition")
        found = found.with_columns(has_hours=pl.lit(value=True)).unique()
        without = places.unique().with_columns(has_hours=pl.lit(value=False))
        is_split = pl.col("hour_start").is_in(split)
        is_needed = (pl.col("partition").n_unique() > 1) | ~pl.col("has_hours").all()
        return pl.concat([found, without]).filter(is_needed.over(_MACHINE_HOUR) | is_split)

    def _load_hours(self, machines: pl.Expr) -> pl.DataFrame:
        """Load the hours of some machines, with their partition, that a window sees and that are not too late."""
        if not self._hour_files:
            return empty_frame(HOUR_FILE_SCHEMA)
        files = [data for _, data in sorted(self._hour_files.items())]
        return pl.scan_parquet(files).filter(machines, *self._find_seen()).collect()

    def _load_tiles(self, files: Mapping[datetime, bytes], machines: pl.Expr) -> pl.DataFrame:
        """Load the tiles of some machines, with their origin, that a window sees and that are not too late."""
        hour = pl.col("tile_start").dt.truncate(HOUR)
        scans = [
            pl.scan_parquet(data)
            .filter(machines)
            .with_columns(hour_start=hour, partition=pl.lit(partition, dtype=INSTANT))
            .filter(*self._find_seen())
            for partition, data in sorted(files.items())
        ]
        return pl.concat([empty_frame({**TILE_SCHEMA, **_ORIGIN}), *pl.collect_all(scans)])

    def _count_rows(self, files: Collection[bytes]) -> int:
        """Count the machines' rows in files; of all machines, their footers say it."""
        if not files:
            return 0
        rows = pl.scan_parquet(list(files))
        rows = rows if self.machines == ALL_MACHINES else rows.filter(self.machines.holds())
        return int(rows.select(pl.len()).collect().item())

    def _find_seen(self) -> Iterator[pl.Expr]:
        """Tell which rows lie in a window of an instant, and arrived early enough."""
        start, end = floor_to(min(self.instants) - self.plan.lookback, HOUR), max(self.instants)
        yield pl.col("hour_start").is_between(start, end, closed="left")
        yield pl.col("partition") - pl.col("hour_start") <= self.plan.allowed_lateness
