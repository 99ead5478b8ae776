"""The processed files of raw partitions: which are there, which are stale, and writing these anew.

A partition has four files. The tile file is written last; its seal notes the versions of the other three. So one look
at the versions that the lake has tells whether a run died between them, another run wrote some, or one was damaged.
"""

from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import starmap
from typing import Any, Final

from handler.definitions.errors import DamagedFileError, OvertakenError
from handler.definitions.layout import failures_key, hours_key, quarantine_key, tiles_key
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import format_instant, parse_instant
from handler.lake.lake import Lake
from handler.lake.listing import Listing
from handler.lake.parquet import Seal, UnsealedFooter, is_whole, seal
from handler.plan import Plan
from handler.tiles.builder import MappedPartition
from handler.tiles.manifest import Manifest, fingerprint_inputs
from handler.tiles.partition import RawPartition, map_partitions

_KEYS = (tiles_key, hours_key, failures_key, quarantine_key)

_LISTED_AT_A_TIME: Final = 48
"""Partitions whose raw objects are in memory together, while it is found out which are stale."""


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


def read_unsealed_manifest(data: bytes) -> Manifest | None:
    """Read the manifest of a tile file that was written before files were sealed; None for any other file.

    Parameters
    ----------
    data
        The file, or its tail.

    Returns
    -------
    Manifest or None
        Its tiles are of an older format.
    """
    found = UnsealedFooter.read(data)
    return None if found is None else Manifest.from_metadata(found.metadata, {})


@dataclass(slots=True)
class PartitionFiles:
    """The files of all partitions that a run needs.

    Attributes
    ----------
    lake, spec, plan
        The store, the readings, and which partitions are needed.
    tell
        Told of each partition that was built, before its files are stored.
    manifests
        What the tile file of each partition holds, built by this run or not. ``beside`` names only the files that are
        there as they were written.
    states
        What became of each partition: ``built``, ``reused`` or ``kept``.
    unread
        The manifests of tile files of another format, of an older release or a newer one. They stand where raw is gone.
    damaged
        The partitions of which a file was not as it was written.
    skipped
        Raw objects that are no telemetry.
    """

    lake: Lake
    spec: FeatureSpec
    plan: Plan
    tell: Callable[[MappedPartition], object] = lambda _: None
    manifests: dict[datetime, Manifest] = field(default_factory=dict)
    states: dict[datetime, str] = field(default_factory=dict)
    unread: dict[datetime, Manifest] = field(default_factory=dict)
    damaged: set[datetime] = field(default_factory=set)
    skipped: int = 0
    _versions: dict[datetime, str] = field(default_factory=dict)
    _without_hours: set[datetime] = field(default_factory=set)

    @property
    def counts(self) -> Counter[str]:
        """Count the partitions ``built``, ``reused``, ``kept`` and ``damaged``, each once, and objects ``skipped``."""
        return Counter(self.states.values()) + Counter(damaged=len(self.damaged), skipped=self.skipped)

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
        partition = damaged.partition
        if partition is None:
            raise damaged
        self.damaged.add(partition)
        listings, _ = self.lake.list_partitions([] if self.plan.is_expired(partition) else [partition])
        listing = listings.get(partition, Listing())
        if not listing.objects:
            raise DamagedFileError(tiles_key(partition), partition, is_lost=True)
        before = self.manifests[partition].fingerprint
        (mapped,) = self.build([self.describe(partition, listing)])
        if mapped.manifest.fingerprint != before:
            raise OvertakenError(tiles_key(partition))
        return mapped

    def do_without_hours(self, partition: datetime) -> None:
        """Do without a partition's hour file, which is damaged: its tiles take its place."""
        manifest = self.manifests[partition]
        beside = {key: version for key, version in manifest.beside.items() if key != hours_key(partition)}
        self.manifests[partition] = replace(manifest, beside=beside)
        self.damaged.add(partition)
        self._without_hours.add(partition)

    def mend_hours(self) -> None:
        """Build partitions again whose hour files are damaged still, and whose raw objects are there.

        Raises
        ------
        LakeError
            If raw objects are not the same any more, or the store refuses or does not answer.
        """
        for partition in sorted(self._without_hours):
            (data,) = self.lake.read([hours_key(partition)])
            if not is_whole(data):  # else only that answer of the store was wrong
                with suppress(DamagedFileError):
                    self.build_again(DamagedFileError(hours_key(partition), partition))
        self._without_hours.clear()

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
            described = manifest or read_unsealed_manifest(tail)
            if described is not None and not described.is_of_this_format:
                self.unread[partition] = described
                continue
            if manifest is None:
                damaged.add(partition)
                continue
            whole = {key: version for key, version in manifest.beside.items() if versions.get(key) == version}
            if len(whole) < len(_KEYS) - 1:
                damaged.add(partition)
            self.manifests[partition] = replace(manifest, beside=whole)
            self._versions[partition] = versions[tiles_key(partition)]
        self.damaged |= damaged
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
        for group in (sorted(needed & self.plan.arrivals), sorted(needed - self.plan.arrivals)):
            for first in range(0, len(group), _LISTED_AT_A_TIME):
                some = group[first : first + _LISTED_AT_A_TIME]
                listings, strays = self.lake.list_partitions(h for h in some if not self.plan.is_expired(h))
                strays_of_all |= strays
                damaged = self.look_at(some)
                for hour in some:
                    listing = listings.get(hour, Listing())
                    self.skipped += listing.skipped
                    can_be_used = self._can_be_used(hour, damaged, has_raw=bool(listing.objects))
                    if listing.objects:
                        if can_be_used and self.manifests[hour].fingerprint == self._fingerprint(listing):
                            self.states[hour] = "reused"
                        else:
                            yield hour, listing
                    elif can_be_used or hour in self.unread:
                        self.states[hour] = "kept"
                    elif hour in damaged:
                        raise DamagedFileError(tiles_key(hour), hour, is_lost=True)
        self.skipped += sum(strays_of_all.values())

    def _can_be_used(self, hour: datetime, damaged: Collection[datetime], *, has_raw: bool) -> bool:
        """Tell whether the files of a partition will do; without raw objects to build them of, tiles alone do."""
        return hour in self.manifests and not (has_raw and hour in damaged)

    def require(self, fingerprints: Mapping[datetime, str]) -> None:
        """Look at the files of partitions that other processes of this run built, or found right.

        Parameters
        ----------
        fingerprints
            What the files of each are to be made of. :attr:`states` says which are kept without raw objects.

        Raises
        ------
        LakeError
            If files are not whole, or made of something else, or the store refuses or does not answer.
        """
        damaged = self.look_at(fingerprints)
        for hour, fingerprint in sorted(fingerprints.items()):
            is_kept = self.states.get(hour) == "kept"
            if is_kept and hour in self.unread:
                continue
            if not self._can_be_used(hour, damaged, has_raw=not is_kept):
                raise DamagedFileError(tiles_key(hour), hour, is_lost=is_kept)
            if not self.manifests[hour].is_of(fingerprint):
                raise OvertakenError(tiles_key(hour))

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
        self.tell(mapped)
        self.states[mapped.hour] = "built"
        self.unread.pop(mapped.hour, None)
        others = {failures_key: mapped.failures, quarantine_key: mapped.rejected, hours_key: mapped.hours}
        beside = self.lake.write({key(mapped.hour): data for key, data in others.items()})
        key = tiles_key(mapped.hour)
        self._versions[mapped.hour] = self.lake.write({key: seal(mapped.tiles, beside)})[key]
        self.manifests[mapped.hour] = replace(mapped.manifest, beside=beside)
