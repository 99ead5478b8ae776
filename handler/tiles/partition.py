"""Map: one raw partition → its tiles, hours, failures and quarantine, and what became of its lines."""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import chain, tee
from typing import Final

import polars as pl

from handler.definitions.schema import FAILURE_KEYS, FAILURE_SCHEMA, HOUR_FILE_SCHEMA, REJECTED_SCHEMA, TILE_SCHEMA
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import FUTURE_TOLERANCE, HOUR, INSTANT, MICROSECOND
from handler.ingest.classes import UNREADABLE, ParsedLines, parse_lines
from handler.ingest.duplicates import SeenLines, UniqueLines, drop_repeated
from handler.lake.ahead import work_ahead
from handler.lake.lake import ReadBatch
from handler.lake.parquet import seal
from handler.lake.spool import Spool
from handler.settings import MAX_HOURS
from handler.tiles.build import build_tiles
from handler.tiles.held import HeldTiles
from handler.tiles.hours import describe_hours, roll_up_hours
from handler.tiles.manifest import Manifest

_ALLOWED_LATENESS: Final = timedelta(hours=24)
_PARSERS: Final = 2
_PARSED_AHEAD: Final = 2
_MOST_MACHINES_COUNTED: Final = 20_000
"""Whose clocks are wrong: only a handful of them is named in the end."""


@dataclass(frozen=True, slots=True)
class RawPartition:
    """A raw partition that is to be mapped.

    Attributes
    ----------
    hour
        Start of the hour of arrival, UTC.
    batches
        Its objects, in the listing's order; each batch is read once.
    fingerprint
        Of the inputs, kept in the tile file.
    future_tolerance
        How far after the end of the partition an event time may lie.
    """

    hour: datetime
    batches: Iterable[ReadBatch]
    fingerprint: str
    future_tolerance: timedelta = FUTURE_TOLERANCE


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


def map_partitions(
    partitions: Iterable[RawPartition], spec: FeatureSpec, allowed_lateness: timedelta = _ALLOWED_LATENESS
) -> Generator[MappedPartition, None, None]:
    """Turn raw partitions, one after the other, into their processed files.

    Few batches are in memory at a time: some are read and parsed in threads while the one before is merged. Of earlier
    batches only tiles and the hashes that tell duplicates are kept. A line is a duplicate where the partition already
    had the same machine, event time and readings, or the same failure event.

    Parameters
    ----------
    partitions
        The partitions to map; each is asked for while the one before is read.
    spec
        The readings.
    allowed_lateness
        Beyond which lines count as too late; their tiles hold them all the same.

    Yields
    ------
    MappedPartition
        Of each in turn, while the first batches of the next are already being read.

    Raises
    ------
    LakeError
        If the store refuses or does not answer.
    """
    to_parse, to_map = tee(partitions)
    parsed = work_ahead(_list_jobs(to_parse, spec), threads=_PARSERS, ahead=_PARSED_AHEAD, name="parse")
    with closing(parsed) as batches:
        for partition in to_map:
            builder = _PartitionBuilder(partition.hour, spec, allowed_lateness)
            for batch in iter(batches.__next__, None):
                for lines in batch:
                    builder.add(lines)
            yield builder.finish(partition.fingerprint)


@dataclass(frozen=True, slots=True)
class _SummarizedLines:
    """Lines of a batch with their own duplicates taken out, and their tiles."""

    batch: ParsedLines
    unique: UniqueLines
    tiles: pl.DataFrame


def _list_jobs(
    partitions: Iterable[RawPartition], spec: FeatureSpec
) -> "Iterator[Callable[[], Iterator[_SummarizedLines] | None]]":
    """List the jobs of parsing: one a batch, and one that does nothing after each partition."""
    for partition in partitions:
        for read in partition.batches:
            yield partial(_summarize_batch, read, spec, partition)
        yield lambda: None


def _summarize_batch(read: ReadBatch, spec: FeatureSpec, partition: RawPartition) -> Iterator[_SummarizedLines]:
    """Summarize a batch: its first lines now, and others, which only few batches have, when they are asked for."""
    parsed = parse_lines(read(), spec, partition.hour, partition.future_tolerance)
    summarized = (_summarize_lines(lines, spec) for lines in parsed)
    return chain([next(summarized)], summarized)


def _summarize_lines(lines: ParsedLines, spec: FeatureSpec) -> _SummarizedLines:
    unique = UniqueLines(lines.readings, has_ties=False) if lines.is_ordered else drop_repeated(lines.readings)
    return _SummarizedLines(lines, unique, build_tiles(unique, spec.reading_names))


@dataclass(slots=True)
class _PartitionBuilder:
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

    def add(self, summarized: _SummarizedLines) -> None:
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

    def finish(self, fingerprint: str) -> MappedPartition:
        """Merge the batches, and encode the files: the tile file in a thread, while tiles are rolled up."""
        state = fingerprint if self.is_complete else f"{fingerprint}:incomplete"  # so that it is built again
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
