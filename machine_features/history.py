"""Rows as they could be known at their own instant, or off the hour as they are known now: computed, never stored."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Literal

import polars as pl
from polars.io.plugins import register_io_source

from handler.definitions.layout import RAW, failures_key, hours_key, partition_path, tiles_key, training_key
from handler.definitions.schema import HOUR_FILE_SCHEMA, TILE_SCHEMA, empty_frame, row_schema
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import FUTURE_TOLERANCE, HOUR, INSTANT, floor_to
from handler.features.rows import list_lengths
from handler.lake.lake import Lake
from handler.lake.listing import Listing
from handler.lake.parquet import Seal, is_whole
from handler.plan import Plan
from handler.stores.training import Origin
from handler.tiles.files import read_manifest, read_unsealed_manifest
from handler.tiles.hours import describe_hours, roll_up_hours
from handler.tiles.manifest import INCOMPLETE, TILE_FORMAT, Manifest, fingerprint_inputs
from handler.tiles.partition import RawPartition, map_partitions
from machine_features.catalogue import list_features
from machine_features.errors import LakeError, OvertakenError, UnknownPastError
from machine_features.times import list_whole_hours
from machine_features.training import KEYS
from machine_features.windows import MACHINE_HOUR, compute_rows, find_doubtful_hours, narrow_spec

Missing = Literal["error", "null"]
ListMachines = Callable[[Sequence[datetime]], pl.DataFrame]
"""Gives the machines of the training files of some hours: ``machine_id`` and ``event_timestamp``."""

_WINDOW_ROWS: Final = 700_000
"""Hours of series that the windows of one block see, each counted for every window that sees it."""

_MOST_FILES: Final = 128
_FILE_BYTES: Final = 64 * 2**20
"""Files that are read together, and the bytes that they should not pass."""

_LITTLE_BYTES: Final = 8 * 2**20
"""Bytes of files below which all their rows are read: to sort out the machines of many small files takes longer."""

_EXPIRED: Final = "neither tiles nor raw objects are there any more"
_DAMAGED: Final = "the tiles are damaged, and the raw objects are gone"
_FOREIGN: Final = "the tiles are of another features.toml or release, and the raw objects are gone"


@dataclass(frozen=True, slots=True)
class PastRows:
    """Computes rows from tiles, and from raw objects where these are missing, damaged or foreign.

    Attributes
    ----------
    lake, spec
        Where the tiles are, and what features are.
    allowed_lateness
        The function's setting.
    machines
        Whose rows; None for all.
    missing
        Whether partitions that cannot be read any more are an error, or leave nulls in the rows that see them.
    is_latest
        Whether all that is known by now counts, and not only partitions that began before an instant.
    """

    lake: Lake
    spec: FeatureSpec
    allowed_lateness: timedelta
    machines: Sequence[str] | None = None
    missing: Missing = "error"
    is_latest: bool = False

    def scan(
        self,
        list_instants: Callable[[], Sequence[datetime]],
        list_machines: ListMachines,
    ) -> pl.LazyFrame:
        """Give the rows of some instants, computed when they are collected.

        Parameters
        ----------
        list_instants
            Gives the instants, UTC, ascending.
        list_machines
            Asked only where partitions are gone: rows may be hidden there.

        Returns
        -------
        pl.LazyFrame
            As training rows; ``created_timestamp`` is null, since nobody wrote them.

        Raises
        ------
        UnknownPastError
            When it is collected, if partitions cannot be read any more.
        """
        schema = {**KEYS, **{name: dtype for name, dtype in row_schema(self.spec).items() if name not in KEYS}}

        def compute(
            with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _: int | None
        ) -> Iterator[pl.DataFrame]:
            names = list(schema) if with_columns is None else with_columns
            asked = narrow_spec(self.spec, names)
            for computed in _Reading(self, asked).compute(list_instants(), list_machines):
                rows = computed.with_columns(created_timestamp=pl.lit(None, INSTANT)).select(names)
                kept = rows if predicate is None else rows.filter(predicate)
                kept = kept if n_rows is None else kept.head(n_rows)
                yield kept
                n_rows = None if n_rows is None else n_rows - kept.height
                if n_rows == 0:
                    return

        return register_io_source(compute, schema=schema)


@dataclass(slots=True)
class _Reading:
    """What one collection has read of the lake, reused from block to block.

    Attributes
    ----------
    source, asked
        The rows, and the features that were asked for.
    manifests
        What the good tile files hold.
    raw
        The partitions that are computed from raw objects, and what lies there.
    gone
        Why each partition that cannot be read any more cannot be.
    built
        Tile files of partitions that were computed from raw objects.
    hours
        Columns of ``HOUR_FILE_SCHEMA``: all that was loaded.
    loaded
        The partitions whose hours were loaded.
    """

    source: PastRows
    asked: FeatureSpec
    manifests: dict[datetime, Manifest] = field(default_factory=dict)
    raw: dict[datetime, Listing] = field(default_factory=dict)
    gone: dict[datetime, str] = field(default_factory=dict)
    built: dict[datetime, bytes] = field(default_factory=dict)
    hours: pl.DataFrame = field(default_factory=lambda: empty_frame(HOUR_FILE_SCHEMA))
    loaded: set[datetime] = field(default_factory=set)
    future_tolerance: timedelta = FUTURE_TOLERANCE

    def compute(self, instants: Sequence[datetime], list_machines: ListMachines) -> Iterator[pl.DataFrame]:
        """Compute the rows, some instants at a time."""
        seen = {instant: self._list_seen(instant) for instant in instants}
        self._look_at(seen)
        while instants:
            self._load(seen[instants[0]])
            size = self._choose_block()
            block, instants = instants[:size], instants[size:]
            partitions = set().union(*(seen[instant] for instant in block))
            self._forget(min(partitions))
            self._load(partitions)
            hours = self.hours.filter(
                pl.col("partition") - pl.col("hour_start") <= self.source.allowed_lateness,
                pl.col("hour_start") >= floor_to(block[0] - self.asked.lookback, HOUR),
                pl.col("partition") <= max(partitions),
            )
            doubtful = find_doubtful_hours(hours, block, self.asked)
            tiles = self._load_tiles(doubtful)
            self._refuse_gone({instant: seen[instant] for instant in block})
            rows = compute_rows(hours, tiles, doubtful, block, self.asked, is_latest=self.source.is_latest)
            yield self._leave_null(rows, {instant: seen[instant] for instant in block}, list_machines)

    def _list_seen(self, instant: datetime) -> set[datetime]:
        """List the partitions that the rows of an instant may see."""
        plan = Plan(instant - HOUR, instant, self.asked.lookback, self.source.allowed_lateness)
        found = plan.list_contributors([instant])
        return found if self.source.is_latest else {partition for partition in found if partition < instant}

    def _choose_block(self) -> int:
        """Choose how many instants are computed together, by the hours that are loaded for the first."""
        hours = self.hours.height / max(1, len(self.loaded))
        per_instant = hours * sum(length / HOUR for length in list_lengths(self.asked))
        return max(1, int(_WINDOW_ROWS / max(1, per_instant)))

    def _look_at(self, seen: Mapping[datetime, Collection[datetime]]) -> None:
        """Find out which partitions have tiles, which raw objects only, and which cannot be read any more."""
        partitions = set().union(*seen.values())
        lake, asked = self.source.lake, (str(TILE_FORMAT), self.source.spec.fingerprint)
        versions = lake.look_up(key(partition) for partition in partitions for key in (tiles_key, hours_key))
        stored = [partition for partition in sorted(partitions) if tiles_key(partition) in versions]
        bad, incomplete = dict[datetime, str](), set[datetime]()
        for partition, tail in zip(stored, lake.read_tails(map(tiles_key, stored)), strict=True):
            manifest = read_manifest(tail) or read_unsealed_manifest(tail)
            if manifest is None:
                bad[partition] = _DAMAGED
                continue
            release, tolerance, features = (*manifest.fingerprint.split(":"), "", "")[:3]
            if release == str(TILE_FORMAT):
                self.future_tolerance = int(tolerance) * timedelta(minutes=1)
            if (release, features) != asked:
                bad[partition] = _FOREIGN
                continue
            beside = {key: version for key, version in manifest.beside.items() if versions.get(key) == version}
            self.manifests[partition] = replace(manifest, beside=beside)
            if manifest.fingerprint.endswith(INCOMPLETE):  # raw objects were deleted while it was built
                incomplete.add(partition)
        absent = partitions.difference(stored)
        listings, _ = lake.list_partitions(absent | bad.keys() | incomplete)
        self.raw = {partition: listing for partition, listing in listings.items() if listing.objects}
        self.manifests = {partition: each for partition, each in self.manifests.items() if partition not in self.raw}
        absent -= self.raw.keys()
        self.gone = {partition: cause for partition, cause in bad.items() if partition not in self.raw}
        self.gone |= dict.fromkeys(self._find_expired(seen, absent), _EXPIRED)
        self._refuse_gone(seen)

    def _find_expired(self, seen: Mapping[datetime, Collection[datetime]], absent: set[datetime]) -> set[datetime]:
        """Find the absent partitions that were there: failure files, or training files up to the hours, say it."""
        lake = self.source.lake
        hours = {floor_to(each, HOUR) for each, some in seen.items() if not absent.isdisjoint(some)}
        if hours:  # those before may have been written when more was there
            hours.update(list_whole_hours(min(absent), min(hours)))
        keys = sorted(map(training_key, hours))
        stored = lake.look_up([*keys, *map(failures_key, absent)])
        found = {partition for partition in absent if failures_key(partition) in stored}
        for tail in lake.read_tails(key for key in keys if key in stored):
            origin = Origin.from_seal(Seal.read(tail))
            found |= absent & (origin.list_partitions() or set() if origin else set())
        return found

    def _refuse_gone(self, seen: Mapping[datetime, Collection[datetime]]) -> None:
        if self.source.missing == "error":
            hours = [instant for instant, partitions in seen.items() if not self.gone.keys().isdisjoint(partitions)]
            causes = {each: cause for each, cause in self.gone.items() if any(each in seen[hour] for hour in hours)}
            if hours:
                raise UnknownPastError(hours, causes)

    def _forget(self, before: datetime) -> None:
        """Forget what no later instant sees."""
        self.hours = self.hours.filter(pl.col("partition") >= before)
        self.loaded = {partition for partition in self.loaded if partition >= before}
        self.built = {partition: data for partition, data in self.built.items() if partition >= before}

    def _load(self, partitions: Collection[datetime]) -> None:
        """Load the hours of partitions that are not there yet: from hour files, else from tiles, else from raw."""
        new = set(partitions) - self.loaded
        self.loaded |= new
        good = [each for each in sorted(new) if hours_key(each) in self._get_beside(each)]
        found = [self.hours]
        others = sorted(new - set(good))
        for some in self._read_in_groups(good, hours_key):
            whole = {each: data for each, data in some.items() if self._is_fitting(each, data)}
            others += some.keys() - whole.keys()
            if whole:
                rows = pl.scan_parquet(list(whole.values()))
                is_little = sum(map(len, whole.values())) < _LITTLE_BYTES
                found.append(self._take_machines(rows.collect().lazy() if is_little else rows).collect())
        for tiles in self._read_tiles(others):
            for (partition,), some_tiles in (
                self._take_machines(tiles.lazy())
                .collect()
                .partition_by("partition", as_dict=True, include_key=False)
                .items()
            ):
                hours = roll_up_hours(some_tiles, self.source.spec)
                found.append(hours.with_columns(partition=pl.lit(partition, INSTANT)))
        self.hours = pl.concat(found)

    def _get_beside(self, partition: datetime) -> Mapping[str, str]:
        return self.manifests[partition].beside if partition in self.manifests else {}

    def _is_fitting(self, partition: datetime, data: bytes) -> bool:
        seal = Seal.read(data) if is_whole(data) else None
        described = describe_hours(self.source.spec, self.manifests[partition].fingerprint)
        return seal is not None and described.items() <= seal.metadata.items()

    def _load_tiles(self, doubtful: pl.DataFrame) -> pl.DataFrame:
        """Load the tiles of some hours of machines, with ``hour_start`` and ``partition``."""
        partitions = doubtful.get_column("partition").unique().sort().to_list()
        found = [empty_frame({**TILE_SCHEMA, "partition": INSTANT, "hour_start": INSTANT})]
        for tiles in self._read_tiles(partitions):
            placed = tiles.with_columns(hour_start=pl.col("tile_start").dt.truncate("1h"))
            found.append(placed.join(doubtful, on=[*MACHINE_HOUR, "partition"], how="semi"))
        return pl.concat(found)

    def _read_tiles(self, partitions: Collection[datetime]) -> Iterator[pl.DataFrame]:
        """Read the tiles of partitions, with ``partition``, some files together; of those that are gone nothing."""
        kept = [each for each in partitions if each in self.manifests]
        damaged = []
        for some in self._read_in_groups(kept, tiles_key):
            whole = {}
            for partition, data in some.items():
                manifest = read_manifest(data) if is_whole(data) else None
                if manifest is None:
                    damaged.append(partition)
                elif manifest.fingerprint != self.manifests[partition].fingerprint:
                    raise OvertakenError(tiles_key(partition))
                else:
                    whole[partition] = data
            yield self._decode_tiles(whole)
        if damaged:
            listings, _ = self.source.lake.list_partitions(damaged)
            for partition, listing in listings.items():
                del self.manifests[partition]
                if listing.objects:
                    self.raw[partition] = listing
                else:
                    self.gone[partition] = _DAMAGED
        for partition in sorted(each for each in partitions if each in self.raw):
            if partition not in self.built:
                self.built[partition] = self._build(partition)
            yield self._decode_tiles({partition: self.built[partition]})

    def _decode_tiles(self, files: Mapping[datetime, bytes]) -> pl.DataFrame:
        is_little = sum(map(len, files.values())) < _LITTLE_BYTES
        scans = [pl.scan_parquet(data).with_columns(partition=place) for place, data in enumerate(files.values())]
        tiles = pl.collect_all(scans if is_little else map(self._take_machines, scans))
        numbered = pl.concat([empty_frame({**TILE_SCHEMA, "partition": pl.Int32()}), *tiles])
        return numbered.with_columns(partition=pl.lit(pl.Series(list(files), dtype=INSTANT)).gather("partition"))

    def _build(self, partition: datetime) -> bytes:
        """Build a tile file from raw objects, and keep it in memory only."""
        listing, spec, tolerance = self.raw[partition], self.source.spec, self.future_tolerance
        fingerprint = fingerprint_inputs(listing.fingerprint, spec, tolerance)
        batches = self.source.lake.split_batches(listing)
        (mapped,) = map_partitions(
            [RawPartition(partition, batches, fingerprint, tolerance)], spec, self.source.allowed_lateness
        )
        if mapped.manifest.fingerprint != fingerprint:
            raise LakeError(f"read {RAW}/{partition_path(partition)}/", "objects were deleted meanwhile; read again")
        return mapped.tiles

    def _take_machines(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        machines = self.source.machines
        return rows if machines is None else rows.filter(pl.col("machine_id").is_in(list(machines)))

    def _read_in_groups(
        self, partitions: Sequence[datetime], make_key: Callable[[datetime], str]
    ) -> Iterator[dict[datetime, bytes]]:
        """Read files, as many together as memory holds well, by the sizes of those before."""
        first, size = 0, min(8, _MOST_FILES)
        while first < len(partitions):
            some = partitions[first : first + size]
            read = dict(zip(some, self.source.lake.read(map(make_key, some)), strict=True))
            yield read
            mean = sum(map(len, read.values())) // len(read)
            first, size = first + size, max(1, min(_MOST_FILES, _FILE_BYTES // max(1, mean)))

    def _leave_null(
        self,
        rows: pl.DataFrame,
        seen: Mapping[datetime, Collection[datetime]],
        list_machines: ListMachines,
    ) -> pl.DataFrame:
        """Put null where a window may hold readings of a partition that is gone, and add the machines it may hide."""
        ends = {
            instant: max(hidden) + HOUR + self.future_tolerance
            for instant, partitions in seen.items()
            if (hidden := self.gone.keys() & partitions)
        }
        if not ends:
            return rows
        machines = list_machines(list(ends))
        if self.source.machines is not None:
            machines = machines.filter(pl.col("machine_id").is_in(list(self.source.machines)))
        features = [each for each in list_features(self.asked) if each.name in rows.columns]
        zeros = [each.name for each in features if each.statistic in ("count", "coverage")]
        clear = pl.DataFrame(
            {"event_timestamp": list(ends), "clear": [(instant - end) / HOUR for instant, end in ends.items()]},
            schema={"event_timestamp": INSTANT, "clear": pl.Float64()},
        )
        is_untouched = pl.col("clear").is_null()
        is_clear = [pl.when(is_untouched | (pl.col("clear") >= each.hours)).then(each.name) for each in features]
        keys = ["event_timestamp", "machine_id"]
        return (
            rows.join(machines.select(keys).unique(), on=keys, how="full", coalesce=True)
            .with_columns(pl.col(zeros).fill_null(0))
            .join(clear, on="event_timestamp", how="left")
            .with_columns(is_clear)
            .select(rows.columns)
            .sort(keys)
        )
