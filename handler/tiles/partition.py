"""Map: one raw partition → its tiles, failures and quarantine, and a small report. Pure, a batch at a time."""

import io
import json
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import tee
from typing import TYPE_CHECKING, Final, Literal, Self

import polars as pl

from handler.definitions.schema import FAILURE_SCHEMA, REJECTED_SCHEMA
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import HOUR
from handler.ingest.classes import UNREADABLE, ParsedBatch, parse_batch
from handler.lake.ahead import work_ahead
from handler.lake.lake import Listing, ReadBatch
from handler.tiles.hours import describe_hours

if TYPE_CHECKING:
    from handler.tiles.tile_builder import SummarizedLines

    _Parsed = tuple[ParsedBatch, SummarizedLines | None]

TILE_FORMAT: Final = 3
"""Counted up whenever equal raw lines would give other tiles, so that old ones are built again."""

_PARSERS: Final = 2
_PARSED_AHEAD: Final = 3
_SMALLEST_ROW_GROUP: Final = 4096
_MOST_ROW_GROUPS: Final = 16
"""So that some machines' rows are read without the others', and the footer stays within the tail that is read."""

_MANIFEST: Final = "manifest"
_FAILURE_KEYS: Final = ("machine_id", "event_timestamp", "codigo_evento")


def fingerprint_inputs(listing: Listing, spec: FeatureSpec) -> str:
    """Name all that a tile file is made of: what the partition holds, the readings, and the format."""
    return f"{TILE_FORMAT}:{spec.fingerprint}:{listing.fingerprint}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a tile file says of itself, in its Parquet footer.

    Attributes
    ----------
    fingerprint
        Of its inputs, see :func:`fingerprint_inputs`.
    lateness
        Accepted lines by lateness in hours; what is later than any setting allows is counted as one hour later.
    """

    fingerprint: str
    lateness: Mapping[int, int]

    def event_hours(self, partition: datetime, *, allowed_lateness: timedelta) -> list[datetime]:
        """List the hours of event time, as late as allowed, in which the partition holds readings."""
        return [partition - hours * HOUR for hours in self.lateness if hours * HOUR <= allowed_lateness]

    def to_metadata(self) -> dict[str, str]:
        """Write the manifest as Parquet key-value metadata."""
        return {_MANIFEST: json.dumps({"fingerprint": self.fingerprint, "lateness": dict(self.lateness)})}

    @classmethod
    def from_tail(cls, tail: bytes) -> Self | None:
        """Read the manifest from the last bytes of a tile file; None where they hold none."""
        try:
            document = json.loads(pl.read_parquet_metadata(io.BytesIO(tail))[_MANIFEST])
            return cls(document["fingerprint"], {int(h): n for h, n in document["lateness"].items()})
        except (pl.exceptions.PolarsError, KeyError, ValueError, OSError):
            return None


@dataclass(frozen=True, slots=True)
class PartitionCounts:
    """What became of the objects and lines of one partition; sums of partitions add up."""

    objects_read: int = 0
    unreadable: int = 0
    lines: int = 0
    accepted: int = 0
    failures: int = 0
    duplicates: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    unknown_fields: int = 0


@dataclass(frozen=True, slots=True)
class MappedPartition:
    """What :func:`map_partitions` makes of a raw partition.

    Attributes
    ----------
    hour
        The partition's.
    tiles, hours, failures, rejected
        The processed files, as Parquet.
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
    """

    hour: datetime
    batches: Iterable[ReadBatch]
    fingerprint: str


def map_partitions(partitions: Iterable[RawPartition], spec: FeatureSpec) -> Generator[MappedPartition, None, None]:
    """Turn raw partitions, one after the other, into their processed files.

    Few batches of lines are in memory at a time, some read and parsed while the one before is dealt with; the tiles of
    batches merge, and of earlier lines only what tells duplicates is kept. A line is a duplicate where the partition
    already had the same machine, event time and readings, or the same failure event.

    Parameters
    ----------
    partitions
        What is to be mapped; each is asked for while the one before is read.
    spec
        The readings.

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
            yield _map_partition(partition, iter(batches.__next__, None), spec)


def _map_partition(partition: RawPartition, batches: "Iterable[_Parsed]", spec: FeatureSpec) -> MappedPartition:
    from handler.tiles.tile_builder import TileBuilder  # noqa: PLC0415 - with numpy, which takes half as long as Polars

    builder = TileBuilder(partition.hour)
    all_failures, all_rejected = [_empty(FAILURE_SCHEMA)], [_empty(REJECTED_SCHEMA)]
    objects = lines = unknown_fields = 0
    for batch, summarized in batches:
        all_failures.append(batch.failures)
        all_rejected.append(batch.rejected)
        objects += batch.objects
        lines += batch.lines
        unknown_fields += batch.unknown_fields
        if summarized is not None:
            builder.add(summarized)
    failures, rejected = pl.concat(all_failures), pl.concat(all_rejected)
    first_failures = failures.unique(_FAILURE_KEYS, keep="first")
    reasons = Counter(dict(rejected.group_by("reason").len().iter_rows()))
    unreadable = reasons.pop(UNREADABLE, 0)
    manifest = Manifest(partition.fingerprint, dict(sorted(builder.lateness.items())))
    tiles = builder.finish()
    with ThreadPoolExecutor(1, thread_name_prefix="encode") as pool:
        tile_file = pool.submit(encode_parquet, tiles, manifest.to_metadata())
        hours = builder.roll_up(spec)
        hour_file = encode_parquet(hours, describe_hours(hours, spec), compression="lz4")
    return MappedPartition(
        hour=partition.hour,
        tiles=tile_file.result(),
        hours=hour_file,
        failures=encode_parquet(first_failures.sort(_FAILURE_KEYS)),
        rejected=encode_parquet(rejected.sort("source_key", "line_number", maintain_order=True)),
        manifest=manifest,
        counts=PartitionCounts(
            objects_read=objects - unreadable,
            unreadable=unreadable,
            lines=lines,
            accepted=builder.lateness.total(),
            failures=first_failures.height,
            duplicates=builder.duplicates + failures.height - first_failures.height,
            rejected=reasons,
            unknown_fields=unknown_fields,
        ),
    )


def _list_jobs(partitions: Iterable[RawPartition], spec: FeatureSpec) -> "Iterator[Callable[[], _Parsed | None]]":
    """List the jobs of parsing: one a batch, and one that does nothing after each partition."""
    for partition in partitions:
        for read in partition.batches:
            yield partial(_parse, read, spec, partition.hour)
        yield lambda: None


def _parse(read: ReadBatch, spec: FeatureSpec, partition: datetime) -> "_Parsed":
    """Read and parse a batch, and summarize its readings."""
    from handler.tiles.tile_builder import summarize_batch  # noqa: PLC0415 - with numpy, which takes half as long as Polars

    batch = parse_batch(read(), spec, partition)
    return batch, summarize_batch(batch.readings)


def encode_parquet(
    frame: pl.DataFrame, metadata: Mapping[str, str] | None = None, *, compression: Literal["zstd", "lz4"] = "zstd"
) -> bytes:
    """Write a frame as Parquet; equal frames give equal bytes. What each run reads again is better off with lz4."""
    buffer = io.BytesIO()
    group = max(_SMALLEST_ROW_GROUP, -(-frame.height // _MOST_ROW_GROUPS))
    frame.write_parquet(buffer, compression=compression, row_group_size=group, metadata=dict(metadata or {}))
    return buffer.getvalue()


def _empty(schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    return pl.DataFrame(schema=dict(schema))
