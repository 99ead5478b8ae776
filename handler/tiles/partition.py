"""Map: one raw partition → its tiles, hours, failures and quarantine, and what became of its lines."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import chain, tee
from typing import Final

from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import FUTURE_TOLERANCE
from handler.ingest.classes import ParsedLines, parse_lines
from handler.ingest.duplicates import UniqueLines, drop_repeated
from handler.lake.ahead import work_ahead
from handler.lake.lake import ReadBatch
from handler.tiles.build import build_tiles
from handler.tiles.builder import MappedPartition, PartitionBuilder, SummarizedLines

_ALLOWED_LATENESS: Final = timedelta(hours=24)
_PARSERS: Final = 2
_PARSED_AHEAD: Final = 2

_Batch = Iterator[SummarizedLines]


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
    with closing(_parse_ahead(to_parse, spec)) as batches:
        for partition in to_map:
            builder = PartitionBuilder(partition.hour, spec, allowed_lateness)
            _add_batches(batches, builder)
            yield builder.finish(partition.fingerprint)


def read_partition(partition: RawPartition, spec: FeatureSpec, builder: PartitionBuilder) -> None:
    """Read the batches of one partition into a builder.

    Parameters
    ----------
    partition
        What to read.
    spec
        The readings.
    builder
        Where the lines are added.

    Raises
    ------
    LakeError
        If the store refuses or does not answer.
    """
    with closing(_parse_ahead([partition], spec)) as batches:
        _add_batches(batches, builder)


def _parse_ahead(partitions: Iterable[RawPartition], spec: FeatureSpec) -> Generator[_Batch | None, None, None]:
    """Parse the batches of partitions in threads, a few ahead; None follows the last of each partition."""
    return work_ahead(_list_jobs(partitions, spec), threads=_PARSERS, ahead=_PARSED_AHEAD, name="parse")


def _add_batches(batches: Iterator[_Batch | None], builder: PartitionBuilder) -> None:
    """Add the batches of one partition to a builder, and take the None that follows them."""
    for batch in iter(batches.__next__, None):
        for lines in batch:
            builder.add(lines)


def _list_jobs(partitions: Iterable[RawPartition], spec: FeatureSpec) -> Iterator[Callable[[], _Batch | None]]:
    """List the jobs of parsing: one a batch, and one that does nothing after each partition."""
    for partition in partitions:
        for read in partition.batches:
            yield partial(_summarize_batch, read, spec, partition)
        yield lambda: None


def _summarize_batch(read: ReadBatch, spec: FeatureSpec, partition: RawPartition) -> _Batch:
    """Summarize a batch: its first lines now, and others, which only few batches have, when they are asked for."""
    parsed = parse_lines(read(), spec, partition.hour, partition.future_tolerance)
    summarized = (_summarize_lines(lines, spec) for lines in parsed)
    return chain([next(summarized)], summarized)


def _summarize_lines(lines: ParsedLines, spec: FeatureSpec) -> SummarizedLines:
    unique = UniqueLines(lines.readings, has_ties=False) if lines.is_ordered else drop_repeated(lines.readings)
    return SummarizedLines(lines, unique, build_tiles(unique, spec.reading_names))
