"""Map: one raw partition → its tiles, failures and quarantine, and a small report. Pure, a batch at a time."""

import io
import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Self

import polars as pl

from handler.hours import describe_hours, roll_up_hours
from handler.lake import Listing, ReadBatch, partition_path
from handler.parse import FAILURE_SCHEMA, REJECTED_SCHEMA, UNREADABLE, ParsedBatch, parse_batch
from handler.settings import MAX_HOURS
from handler.spec import FeatureSpec
from handler.tiles import TILE_KEYS, TILE_SCHEMA, merge_tiles, summarize_lines
from handler.timestamps import HOUR, MICROSECOND

if TYPE_CHECKING:
    from handler.ordered_lines import OrderedLines

    _Parsed = tuple[ParsedBatch, OrderedLines | None, pl.DataFrame]

TILE_FORMAT: Final = 3
"""Counted up whenever equal raw lines would give other tiles, so that old ones are built again."""

_TILES_HELD: Final = 100_000
"""Tiles of batches are merged when there are more: seldom, for merging costs as much as building."""

_PARSED_AHEAD: Final = 2
_SMALLEST_ROW_GROUP: Final = 4096
_MOST_ROW_GROUPS: Final = 16
"""So that some machines' rows are read without the others', and the footer stays within the tail that is read."""

_MANIFEST: Final = "manifest"
_FAILURE_KEYS: Final = ("machine_id", "event_timestamp", "codigo_evento")


def tiles_key(partition: datetime) -> str:
    """Name the tile file of a partition."""
    return f"processed/tiles/{partition_path(partition)}/tiles.parquet"


def hours_key(partition: datetime) -> str:
    """Name the hour file of a partition."""
    return f"processed/hours/{partition_path(partition)}/hours.parquet"


def failures_key(partition: datetime) -> str:
    """Name the failure file of a partition."""
    return f"processed/failures/{partition_path(partition)}/failures.parquet"


def quarantine_key(partition: datetime) -> str:
    """Name the quarantine file of a partition."""
    return f"processed/quarantine/{partition_path(partition)}/rejected.parquet"


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
    """The outcome of :func:`map_partition`.

    Attributes
    ----------
    tiles, hours, failures, rejected
        The processed files, as Parquet.
    manifest
        What the tile file says of itself.
    counts
        What became of the lines.
    """

    tiles: bytes
    hours: bytes
    failures: bytes
    rejected: bytes
    manifest: Manifest
    counts: PartitionCounts


def map_partition(
    batches: Iterable[ReadBatch], spec: FeatureSpec, partition: datetime, fingerprint: str
) -> MappedPartition:
    """Turn a raw partition into its processed files.

    Few batches of lines are in memory at a time, some read and parsed while the one before is summarized; the tiles of
    batches merge, and of earlier lines only what tells duplicates is kept. A line is a duplicate where the partition
    already had the same machine, event time and readings, or the same failure event.

    Parameters
    ----------
    batches
        The partition's objects, in the listing's order; each batch is read once.
    spec
        The readings.
    partition
        Start of the hour of arrival, UTC.
    fingerprint
        Of the inputs, kept in the tile file.
    """
    from handler.ordered_lines import SeenLines  # noqa: PLC0415 - numpy takes half as long as Polars

    seen = SeenLines()
    all_failures, all_rejected = [_empty(FAILURE_SCHEMA)], [_empty(REJECTED_SCHEMA)]
    parts = [_empty(TILE_SCHEMA)]
    lateness: Counter[int] = Counter()
    objects = lines = unknown_fields = 0
    for batch, ordered, tiles in _parse_ahead(batches, spec, partition):
        all_failures.append(batch.failures)
        all_rejected.append(batch.rejected)
        objects += batch.objects
        lines += batch.lines
        unknown_fields += batch.unknown_fields
        if ordered is None:
            continue
        new = seen.take_new(ordered)
        lateness.update(_count_lateness(new, partition))
        parts.append(tiles if new is ordered else summarize_lines(new))
        if sum(part.height for part in parts[1:]) > _TILES_HELD:
            parts = [_unite(parts)]
    failures, rejected = pl.concat(all_failures), pl.concat(all_rejected)
    first_failures = failures.unique(_FAILURE_KEYS, keep="first")
    reasons = Counter(dict(rejected.group_by("reason").len().iter_rows()))
    unreadable = reasons.pop(UNREADABLE, 0)
    manifest = Manifest(fingerprint, dict(sorted(lateness.items())))
    tiles = _unite(parts)
    with ThreadPoolExecutor(1, thread_name_prefix="encode") as pool:
        tile_file = pool.submit(encode_parquet, tiles, manifest.to_metadata())
        hours = encode_parquet(roll_up_hours(tiles, spec), describe_hours(spec))
    return MappedPartition(
        tiles=tile_file.result(),
        hours=hours,
        failures=encode_parquet(first_failures.sort(_FAILURE_KEYS)),
        rejected=encode_parquet(rejected.sort("source_key", "line_number", maintain_order=True)),
        manifest=manifest,
        counts=PartitionCounts(
            objects_read=objects - unreadable,
            unreadable=unreadable,
            lines=lines,
            accepted=lateness.total(),
            failures=first_failures.height,
            duplicates=seen.duplicates + failures.height - first_failures.height,
            rejected=reasons,
            unknown_fields=unknown_fields,
        ),
    )


def _parse_ahead(batches: Iterable[ReadBatch], spec: FeatureSpec, partition: datetime) -> "Iterator[_Parsed]":
    """Read and parse batches in their order, some in threads of their own while the one before is dealt with."""
    with ThreadPoolExecutor(_PARSED_AHEAD, thread_name_prefix="parse") as pool:
        ahead: deque[Future[_Parsed]] = deque()
        for read in batches:
            ahead.append(pool.submit(_parse, read, spec, partition))
            if len(ahead) > _PARSED_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _parse(read: ReadBatch, spec: FeatureSpec, partition: datetime) -> "_Parsed":
    """Read and parse a batch; put its readings in order, if there are any, and summarize them as if all were new."""
    from handler.ordered_lines import order_lines  # noqa: PLC0415 - numpy takes half as long as Polars

    batch = parse_batch(read(), spec, partition)
    if batch.readings.is_empty():
        return batch, None, _empty(TILE_SCHEMA)
    ordered = order_lines(batch.readings, spec)
    return batch, ordered, summarize_lines(ordered)


def encode_parquet(frame: pl.DataFrame, metadata: Mapping[str, str] | None = None) -> bytes:
    """Write a frame as Parquet, zstd; equal frames give equal bytes."""
    buffer = io.BytesIO()
    group = max(_SMALLEST_ROW_GROUP, -(-frame.height // _MOST_ROW_GROUPS))
    frame.write_parquet(buffer, compression="zstd", row_group_size=group, metadata=dict(metadata or {}))
    return buffer.getvalue()


def _empty(schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    return pl.DataFrame(schema=dict(schema))


def _unite(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Merge the tiles of batches; those of one batch are left as they are."""
    filled = [part for part in parts if not part.is_empty()]
    return merge_tiles(pl.concat(filled), TILE_KEYS) if len(filled) > 1 else (filled or list(parts))[0]


def _count_lateness(lines: "OrderedLines", partition: datetime) -> dict[int, int]:
    """Count lines by lateness: start of the arrival partition less start of the event time's hour, in hours."""
    import numpy as np  # noqa: PLC0415

    arrival = (partition - datetime.fromtimestamp(0, UTC)) // HOUR
    hours = arrival - lines.time // (HOUR // MICROSECOND)
    counted = np.unique(hours.clip(max=MAX_HOURS + 1), return_counts=True)
    return dict(zip(*(each.tolist() for each in counted), strict=True))
