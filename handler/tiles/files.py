"""The processed files of raw partitions: which are there, which are stale, and writing these anew.

A partition has four files. The tile file is written last; its seal notes the versions of the other three. So one look
at the versions that the lake has tells whether a run died between them, another run wrote some, or one was damaged.
"""

from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import starmap
from typing import Any

from handler.definitions.errors import DamagedFileError, OvertakenError
from handler.definitions.layout import failures_key, hours_key, quarantine_key, tiles_key
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import format_instant, parse_instant
from handler.lake.lake import Lake
from handler.lake.listing import Listing
from handler.lake.parquet import Seal, seal
from handler.plan import Plan
from handler.tiles.builder import MappedPartition
from handler.tiles.manifest import Manifest, fingerprint_inputs
from handler.tiles.partition import RawPartition, map_partitions

_KEYS = (tiles_key, hours_key, failures_key, quarantine_key)


def read_manifest(data: bytes) -> Manifest | None:
    """Read the manifest of a tile file.

    Parameters
    ----------
    data
        The file, or its tail.

    Returns
    -------
    Manifest or None
        None where the file is damaged, or not written by us.
    """
    found = Seal.read(data)
    return None if found is None else Manifest.from_metadata(found.metadata, found.note)


@dataclass(slots=True)
class PartitionFiles:
    """The files of all partitions that a run needs.

    Attributes
    ----------
    lake, spec, plan
        The store, the readings, and which partitions are needed.
    manifests
        What the tile file of each partition holds, built by this run or not. ``beside`` names only the files that are
        there as they were written.
    counts
        Partitions ``reused`` and ``kept``, files ``damaged``, raw objects ``skipped``.
    """

    lake: Lake
    spec: FeatureSpec
    plan: Plan
    manifests: dict[datetime, Manifest] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    _versions: dict[datetime, str] = field(default_factory=dict)

    def bring_up_to_date(self) -> Generator[MappedPartition, None, None]:
        """Build the files of each partition within reach whose listing changed, or whose files are not whole.

        Yields
        ------
        MappedPartition
            Each that was built, when its files are stored.

        Raises
        ------
        LakeError
            If the store refuses or does not answer, or a damaged file cannot be built again.
        """
        yield from self.build(starmap(self.describe, self.find_stale()))

    def build_again(self, damaged: DamagedFileError) -> MappedPartition:
        """Build the files of a partition again, of which one is damaged.

        Parameters
        ----------
        damaged
            Tells which.

        Returns
        -------
        MappedPartition
            What was built.

        Raises
        ------
        LakeError
            If its raw objects are gone or not the same any more, or the store refuses or does not answer.
        """
        self.counts["damaged"] += 1
        partition = damaged.partition
        listings, _ = self.lake.list_partitions([] if self.plan.is_expired(partition) else [partition])
        listing = listings.get(partition, Listing())
        if not listing.objects:
            raise DamagedFileError(tiles_key(partition), partition, is_lost=True)
        before = self.manifests[partition].fingerprint
        (mapped,) = self.build([self.describe(partition, listing)])
        if mapped.manifest.fingerprint != before:
            raise OvertakenError(tiles_key(partition))
        return mapped

    def require_same(self) -> None:
        """Look whether the tile files are still those that this run knows.

        Raises
        ------
        OvertakenError
            If another run wrote one anew.
        """
        versions = self.lake.look_up(map(tiles_key, self._versions))
        for partition, version in self._versions.items():
            if versions.get(tiles_key(partition)) != version:
                raise OvertakenError(tiles_key(partition))

    def to_document(self) -> dict[str, Any]:
        """Write all that is known of the partitions, as JSON takes it; another process can :meth:`restore` it."""
        return {
            format_instant(partition): {
                "fingerprint": manifest.fingerprint,
                "lateness": dict(manifest.lateness),
                "beside": dict(manifest.beside),
                "version": self._versions[partition],
            }
            for partition, manifest in self.manifests.items()
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Take over what another process knew."""
        for text, known in document.items():
            partition = parse_instant(text)
            lateness = {int(hours): lines for hours, lines in known["lateness"].items()}
            self.manifests[partition] = Manifest(known["fingerprint"], lateness, known["beside"])
            self._versions[partition] = known["version"]

    def look_at(self, partitions: Collection[datetime]) -> set[datetime]:
        """Read the manifests of partitions.

        Parameters
        ----------
        partitions
            Starts of hours of arrival, UTC.

        Returns
        -------
        set of datetime
            Those of which not all files are as they were written.

        Raises
        ------
        LakeError
            If the store refuses or does not answer.
        """
        versions = self.lake.look_up(key(partition) for partition in partitions for key in _KEYS)
        stored = [partition for partition in sorted(partitions) if tiles_key(partition) in versions]
        damaged = set()
        for partition, tail in zip(stored, self.lake.read_tails(map(tiles_key, stored)), strict=True):
            manifest = read_manifest(tail)
            if manifest is None:
                damaged.add(partition)
                continue
            whole = {key: version for key, version in manifest.beside.items() if versions.get(key) == version}
            if len(whole) < len(_KEYS) - 1:
                damaged.add(partition)
            self.manifests[partition] = replace(manifest, beside=whole)
            self._versions[partition] = versions[tiles_key(partition)]
        self.counts["damaged"] += len(damaged)
        return damaged

    def list_needed(self) -> set[datetime]:
        """List the partitions within reach: those of the span, and all that rows look back on."""
        return self.plan.list_contributors(self.plan.reach | {self.plan.as_of}) | self.plan.arrivals

    def find_stale(self) -> Iterator[tuple[datetime, Listing]]:
        """Find the partitions within reach that are to be built: the span's first, others when their turn comes.

        Yields
        ------
        datetime, Listing
            Start of the hour of arrival, UTC, and what lies there.

        Raises
        ------
        LakeError
            If the store refuses or does not answer, or a damaged file cannot be built again.
        """
        needed, strays_of_all = self.list_needed(), dict[str, int]()
        for group in filter(None, (needed & self.plan.arrivals, needed - self.plan.arrivals)):
            listings, strays = self.lake.list_partitions(h for h in group if not self.plan.is_expired(h))
            strays_of_all |= strays
            damaged = self.look_at(group)
            for hour in sorted(group):
                listing = listings.get(hour, Listing())
                self.counts["skipped"] += listing.skipped
                manifest = self.manifests.get(hour)
                if not listing.objects:  # its raw objects have all gone, by a lifecycle rule: its files stand
                    if hour in damaged and manifest is None:
                        raise DamagedFileError(tiles_key(hour), hour, is_lost=True)
                    self.counts["kept"] += manifest is not None
                elif manifest is None or hour in damaged or manifest.fingerprint != self._fingerprint(listing):
                    yield hour, listing
                else:
                    self.counts["reused"] += 1
        self.counts["skipped"] += sum(strays_of_all.values())

    def _fingerprint(self, listing: Listing) -> str:
        return fingerprint_inputs(listing.fingerprint, self.spec, self.plan.future_tolerance)

    def describe(self, partition: datetime, listing: Listing) -> RawPartition:
        """Describe a partition that is to be built.

        Parameters
        ----------
        partition
            Start of the hour of arrival, UTC.
        listing
            What lies there.

        Returns
        -------
        RawPartition
            What :meth:`build` takes.
        """
        batches = self.lake.split_batches(listing)
        return RawPartition(partition, batches, self._fingerprint(listing), self.plan.future_tolerance)

    def build(self, stale: Iterable[RawPartition]) -> Iterator[MappedPartition]:
        """Build the files of partitions and store them; yields each when it is stored."""
        with closing(map_partitions(stale, self.spec, self.plan.allowed_lateness)) as partitions:
            for mapped in partitions:
                self.store(mapped)
                yield mapped

    def store(self, mapped: MappedPartition) -> None:
        """Store the files of a partition, the tile file last, with the versions of the others in its seal."""
        others = {failures_key: mapped.failures, quarantine_key: mapped.rejected, hours_key: mapped.hours}
        beside = self.lake.write({key(mapped.hour): data for key, data in others.items()})
        key = tiles_key(mapped.hour)
        self._versions[mapped.hour] = self.lake.write({key: seal(mapped.tiles, beside)})[key]
        self.manifests[mapped.hour] = replace(mapped.manifest, beside=beside)
