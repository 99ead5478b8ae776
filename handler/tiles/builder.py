"""The state of a partition while its lines are read, and the files that become of it."""

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from handler.definitions.schema import FAILURE_KEYS, FAILURE_SCHEMA, HOUR_FILE_SCHEMA, REJECTED_SCHEMA, TILE_SCHEMA
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import HOUR, INSTANT, MICROSECOND
from handler.ingest.classes import UNREADABLE, ParsedLines
from handler.ingest.duplicates import SeenLines, SeenRun, UniqueLines
from handler.lake.parquet import seal
from handler.lake.spool import Spool
from handler.settings import MAX_HOURS
from handler.tiles.build import build_tiles
from handler.tiles.held import HeldTiles
from handler.tiles.hours import describe_hours, roll_up_hours
from handler.tiles.manifest import INCOMPLETE, Manifest

_MOST_MACHINES_COUNTED: Final = 20_000
"""Whose clocks are wrong: only a handful of them is named in the end."""

_TILES_A_SLICE: Final = 100_000
_ADDED_UP: Final = (
    "lateness", "reasons", "repeated_failures", "objects", "lines", "readings", "unknown_fields", "too_late",
    "from_the_future",
)  # fmt: skip
"""What two parts of a partition have together is the sum; failures are counted as they are added."""


@dataclass(frozen=True, slots=True)
class PartitionCounts:
    """What became of the objects and lines of one partition; sums of partitions add up.

    ``too_late`` and ``from_the_future`` count lines by machine: they tell of clocks.
    """

    objects_read: int = 0
    unreadable: int = 0
    lines: int = 0
    accepted: int = 0
    failures: int = 0
    duplicates: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    unknown_fields: int = 0
    too_late: Counter[str] = field(default_factory=Counter)
    from_the_future: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class MappedPartition:
    """What :func:`map_partitions` makes of a raw partition.

    Attributes
    ----------
    hour
        The partition's.
    tiles
        The tile file, as Parquet; it is sealed when the other files are stored.
    hours, failures, rejected
        The other processed files, as sealed Parquet.
    manifest
        What the tile file says of itself.
    counts
        What became of the lines.
    """

    hour: datetime
    tiles: bytes
    hours: bytes
    failures: bytes
    rejected: bytes
    manifest: Manifest
    counts: PartitionCounts


@dataclass(frozen=True, slots=True)
class PartialPartition:
    """What a builder knows after some batches of a partition.

    Attributes
    ----------
    tiles, failures, rejected
        As Parquet, not sealed.
    seen
        The hashes of its lines; None where it has no lines.
    counts
        The builder's counts, by name: numbers and counters.
    is_complete
        Whether every object was there.
    """

    tiles: bytes
    failures: bytes
    rejected: bytes
    seen: SeenRun | None
    counts: Mapping[str, Any]
    is_complete: bool


@dataclass(frozen=True, slots=True)
class SummarizedLines:
    """Lines of a batch with their own duplicates taken out, and their tiles."""

    batch: ParsedLines
    unique: UniqueLines
    tiles: pl.DataFrame


@dataclass(slots=True)
class PartitionBuilder:
    """The state of a partition between two batches."""

    hour: datetime
    spec: FeatureSpec
    allowed_lateness: timedelta
    lateness: Counter[int] = field(default_factory=Counter)
    seen: SeenLines = field(default_factory=SeenLines)
    tiles: HeldTiles = field(default_factory=HeldTiles)
    failures: Spool = field(default_factory=lambda: Spool(FAILURE_SCHEMA))
    rejected: Spool = field(default_factory=lambda: Spool(REJECTED_SCHEMA))
    seen_failures: SeenLines = field(default_factory=SeenLines)
    reasons: Counter[str] = field(default_factory=Counter)
    failure_count: int = 0
    repeated_failures: int = 0
    objects: int = 0
    lines: int = 0
    readings: int = 0
    unknown_fields: int = 0
    too_late: Counter[str] = field(default_factory=Counter)
    from_the_future: Counter[str] = field(default_factory=Counter)
    is_complete: bool = True

    def add(self, summarized: SummarizedLines) -> None:
        """Add a batch, less the lines that an earlier one had."""
        batch, (lines, has_ties), tiles = summarized.batch, summarized.unique, summarized.tiles
        self.objects += batch.objects
        self.lines += batch.lines
        self.readings += batch.readings.height
        self.unknown_fields += batch.unknown_fields
        self.rejected.add(batch.rejected)
        self.reasons.update(dict(batch.rejected.get_column("reason").value_counts().iter_rows()))
        self._add_failures(batch.failures)
        _count_machines(self.from_the_future, batch.from_the_future)
        self.is_complete &= batch.is_complete
        if lines.is_empty():
            return
        is_again = self.seen.find_again(lines)
        if is_again.any():
            lines = lines.filter(~is_again)
            tiles = build_tiles(UniqueLines(lines, has_ties), self.spec.reading_names)
        lateness = _count_lateness(lines, self.hour)
        self.lateness.update(lateness)
        if lateness and max(lateness) * HOUR > self.allowed_lateness:
            latest = pl.lit(self.hour - self.allowed_lateness, dtype=INSTANT)
            late = lines.filter(pl.col("event_time") < latest).get_column("machine_id").cast(pl.String)
            _count_machines(self.too_late, dict(late.value_counts().iter_rows()))
        self.tiles.add(tiles)

    def _add_failures(self, failures: pl.DataFrame) -> None:
        if failures.is_empty():
            return
        first = failures.unique(FAILURE_KEYS, keep="first", maintain_order=True)
        lines = first.select("machine_id", pl.col("event_timestamp").alias("event_time"), "codigo_evento")
        first = first.filter(~self.seen_failures.find_again(lines))
        self.failures.add(first)
        self.failure_count += first.height
        self.repeated_failures += failures.height - first.height

    def to_part(self) -> PartialPartition:
        """Give the state as it is, for :meth:`add_part` of another builder."""
        tiles = Spool(TILE_SCHEMA)
        for group in self.tiles.take():
            tiles.add(group)
        counts = {name: getattr(self, name) for name in _ADDED_UP}
        return PartialPartition(
            tiles=tiles.to_parquet(),
            seen=self.seen.take(),
            failures=self.failures.to_parquet(),
            rejected=self.rejected.to_parquet(),
            counts=counts,
            is_complete=self.is_complete,
        )

    def add_part(self, part: PartialPartition) -> bool:
        """Add lines that another builder read, unless one was here before.

        Parameters
        ----------
        part
            The other builder's state.

        Returns
        -------
        bool
            False where a line was here before: its tiles cannot be taken out again, so nothing was added.
        """
        if part.seen is not None:
            if self.seen.meets(part.seen):
                return False
            self.seen.add(part.seen)
        for tiles in pl.read_parquet(part.tiles).iter_slices(_TILES_A_SLICE):
            self.tiles.add(tiles)
        self._add_failures(pl.read_parquet(part.failures))
        self.rejected.add(pl.read_parquet(part.rejected))
        for name in _ADDED_UP:
            setattr(self, name, getattr(self, name) + part.counts[name])
        self.is_complete &= part.is_complete
        return True

    def finish(self, fingerprint: str) -> MappedPartition:
        """Merge the batches, and encode the files: the tile file in a thread, while tiles are rolled up."""
        state = fingerprint if self.is_complete else fingerprint + INCOMPLETE
        manifest = Manifest(state, dict(sorted(self.lateness.items())))
        tiles, hours = Spool(TILE_SCHEMA), Spool(HOUR_FILE_SCHEMA)
        with ThreadPoolExecutor(1, thread_name_prefix="encode") as pool:
            for group in self.tiles.take():
                added = pool.submit(tiles.add, group)
                hours.add(roll_up_hours(group, self.spec).with_columns(partition=pl.lit(self.hour, dtype=INSTANT)))
                added.result()  # raises what went wrong: no tile is lost in silence
            tile_file = pool.submit(tiles.to_parquet, manifest.to_metadata())
            hour_file = hours.to_parquet(describe_hours(self.spec, state))
        unreadable = self.reasons.pop(UNREADABLE, 0)
        accepted = self.lateness.total()
        return MappedPartition(
            hour=self.hour,
            tiles=tile_file.result(),
            hours=seal(hour_file),
            failures=seal(self.failures.to_parquet()),
            rejected=seal(self.rejected.to_parquet()),
            manifest=manifest,
            counts=PartitionCounts(
                objects_read=self.objects - unreadable,
                unreadable=unreadable,
                lines=self.lines,
                accepted=accepted,
                failures=self.failure_count,
                duplicates=self.readings - accepted + self.repeated_failures,
                rejected=self.reasons,
                unknown_fields=self.unknown_fields,
                too_late=self.too_late,
                from_the_future=self.from_the_future,
            ),
        )


def _count_machines(counts: Counter[str], more: Mapping[str, int]) -> None:
    """Add counts of machines; of very many, those with the fewest are forgotten."""
    counts.update(more)
    if len(counts) > _MOST_MACHINES_COUNTED:
        for machine, _ in counts.most_common()[_MOST_MACHINES_COUNTED // 2 :]:
            del counts[machine]


def _count_lateness(lines: pl.DataFrame, partition: datetime) -> dict[int, int]:
    """Count lines by lateness in hours: start of the arrival partition less start of the event time's hour."""
    since = (pl.col("event_time") - pl.lit(partition, dtype=INSTANT)).to_physical()
    lateness = (-(since // (HOUR // MICROSECOND))).clip(upper_bound=MAX_HOURS + 1)
    runs = lines.select(lateness.rle().struct.unnest())  # few: files hold the lines of an hour or two
    return dict(runs.group_by("value").agg(pl.sum("len")).iter_rows())
