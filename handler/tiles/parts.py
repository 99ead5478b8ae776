"""Map a partition that is too large for one process: its parts, each by itself, and then all together."""

from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple

from handler.definitions.spec import FeatureSpec
from handler.tiles.builder import MappedPartition, PartialPartition, PartitionBuilder
from handler.tiles.partition import RawPartition, read_partition


class Part(NamedTuple):
    """A part of a partition: its objects, as a partition of their own, and the state they led to."""

    raw: RawPartition
    mapped: PartialPartition


def map_part(raw: RawPartition, spec: FeatureSpec, allowed_lateness: timedelta) -> PartialPartition:
    """Map some of the objects of a partition.

    Parameters
    ----------
    raw
        The part: the partition's hour, and the batches of some of its objects.
    spec
        The readings.
    allowed_lateness
        Beyond which lines count as too late.

    Returns
    -------
    PartialPartition
        For :func:`combine_parts`.

    Raises
    ------
    LakeError
        If the store refuses or does not answer.
    """
    builder = PartitionBuilder(raw.hour, spec, allowed_lateness)
    read_partition(raw, spec, builder)
    return builder.to_part()


def combine_parts(
    parts: Iterable[Part], spec: FeatureSpec, allowed_lateness: timedelta, fingerprint: str
) -> MappedPartition:
    """Make the files of a partition of its parts, as if one process had read all its objects.

    A line may be in two parts. Its readings are in the tiles of both, and nothing can be taken out of a tile. So the
    later part is read again, this time knowing the lines before it.

    Parameters
    ----------
    parts
        All of a partition, one at least, in the order of its objects.
    spec
        The readings.
    allowed_lateness
        Beyond which lines count as too late.
    fingerprint
        Of the inputs of all parts.

    Returns
    -------
    MappedPartition
        As of :func:`handler.tiles.partition.map_partitions`; the moments agree to 1e-12.

    Raises
    ------
    LakeError
        If a part is read again, and the store refuses or does not answer.
    """
    builder: PartitionBuilder | None = None
    for raw, mapped in parts:
        builder = builder or PartitionBuilder(raw.hour, spec, allowed_lateness)
        if not builder.add_part(mapped):
            read_partition(raw, spec, builder)
    if builder is None:
        raise ValueError("a partition has one part at least")
    return builder.finish(fingerprint)
