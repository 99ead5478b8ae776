"""The flow of a run: plan → map (partition → tiles) → reduce (tiles → rows) → online, training → answer."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from handler.answer import Accounting
from handler.definitions.layout import failures_key, hours_key, quarantine_key, tiles_key
from handler.definitions.schema import row_schema
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import format_instant
from handler.features.history import History
from handler.features.rows import compute_features
from handler.lake.lake import Lake
from handler.memory import give_back
from handler.plan import (
    Run,
    group_into_blocks,
    list_affected_hours,
    list_arrivals,
    list_contributors,
    list_training_hours,
)
from handler.stores.online import OnlineResult
from handler.stores.training import write_training_hours
from handler.tiles.partition import Manifest, RawPartition, fingerprint_inputs, map_partitions

_FEW_PARTITIONS: Final = 6
"""After so many the memory is kept for the next ones, of this run or another: clean pages would cost a tenth of it."""

BLOCK: Final = timedelta(hours=24)
"""How much of the training set is computed from tiles in memory at a time."""

WriteOnline = Callable[[pl.DataFrame], OnlineResult]
Report = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Job:
    """What a run works with: its stores, its settings and its clock reading.

    Attributes
    ----------
    lake, write_online
        The two stores.
    spec, allowed_lateness
        What features are, and which readings are too late for them.
    now
        The time of the call, UTC: ``created_timestamp``.
    report
        Told of each step done: a message and its fields.
    """

    lake: Lake
    write_online: WriteOnline
    spec: FeatureSpec
    allowed_lateness: timedelta
    now: datetime
    report: Report


def run_pipeline(run: Run, job: Job) -> dict[str, Any]:
    """Do one run and say what was done.

    Doing it again, or another run before or after it, leaves the same features: tile files are pure functions of raw
    partitions, feature rows pure functions of tiles.

    Raises
    ------
    LakeError, OnlineStoreError
        If a store fails. What was written by then is whole and right, and the next try goes on from it.
    """
    started = time.monotonic()
    accounting = Accounting()
    hours = bring_tiles_up_to_date(run, job, accounting)
    newest: pl.DataFrame | None = None
    for block in group_into_blocks(hours, longest=BLOCK):
        rows = compute_rows(block, job)
        write_training_hours(job.lake, block, rows, job.now)
        accounting.training_files += len(block)
        accounting.training_rows += rows.height
        if run.as_of in block:
            newest = rows.filter(pl.col("event_timestamp") == run.as_of)
        job.report("training hours written", {"first": format_instant(block[0]), "last": format_instant(block[-1])})
    if newest is None:
        newest = compute_rows([run.as_of], job)
    accounting.machines = newest.height
    accounting.stalest_seconds = _find_stalest(newest, job.spec)
    accounting.online = job.write_online(newest)
    return accounting.to_answer(run, duration_ms=round((time.monotonic() - started) * 1000))


def bring_tiles_up_to_date(run: Run, job: Job, accounting: Accounting) -> set[datetime]:
    """Map every partition the run needs whose listing changed, and find the training hours to write.

    These are the whole hours of the span, and each earlier hour that can see a late reading: one that arrived in the
    span, or one in a partition that was found changed. Those hours may need more partitions, which are brought up to
    date in turn.

    Returns
    -------
    set of datetime
        The training hours to write.
    """
    arrivals = set(list_arrivals(run))
    hours = set(list_training_hours(run))
    done: set[datetime] = set()
    needed = arrivals | _contributors(hours | {run.as_of}, job)
    strays: dict[str, int] = {}
    while needed:
        survey = _Survey(job, accounting)
        built = _build_partitions(survey.find_stale([needed & arrivals, needed - arrivals]), job, accounting)
        for partition, manifest in (survey.stored | built).items():
            is_changed = partition in built and partition in survey.stored
            if manifest is not None and (partition in arrivals or is_changed):
                event_hours = manifest.event_hours(partition, allowed_lateness=job.allowed_lateness)
                hours |= list_affected_hours(event_hours, lookback=job.spec.lookback, until=run.end)
        strays |= survey.strays
        done |= needed
        needed = _contributors(hours, job) - done
    accounting.objects["skipped"] += sum(strays.values())
    return hours


@dataclass(slots=True)
class _Survey:
    """What is found of partitions that are looked at.

    Attributes
    ----------
    stored
        What their tile files say of themselves: None of a file that says nothing; nothing where there is no file.
    strays
        Objects that lie above the partitions, by folder.
    """

    job: Job
    accounting: Accounting
    stored: dict[datetime, Manifest | None] = field(default_factory=dict)
    strays: dict[str, int] = field(default_factory=dict)

    def find_stale(self, groups: Iterable[Collection[datetime]]) -> Iterator[RawPartition]:
        """Give the partitions whose listing is not the stored one; a group is looked at when its turn comes."""
        for group in filter(None, groups):
            listings, strays = self.job.lake.list_partitions(group)
            self.strays |= strays
            self.stored |= self._read_manifests(sorted(listings))
            for hour, listing in sorted(listings.items()):
                self.accounting.objects["skipped"] += listing.skipped
                fingerprint = fingerprint_inputs(listing, self.job.spec)
                manifest = self.stored.get(hour)
                if manifest is not None and manifest.fingerprint == fingerprint:
                    self.accounting.tiles_reused += 1
                elif hour in self.stored or listing.objects:
                    yield RawPartition(hour, self.job.lake.split_batches(listing), fingerprint)

    def _read_manifests(self, partitions: Sequence[datetime]) -> dict[datetime, Manifest | None]:
        tails = self.job.lake.read_tails(tiles_key(partition) for partition in partitions)
        found = zip(partitions, tails, strict=True)
        return {partition: Manifest.from_tail(tail) for partition, tail in found if tail is not None}


def _build_partitions(stale: Iterable[RawPartition], job: Job, accounting: Accounting) -> dict[datetime, Manifest]:
    """Build the files of partitions, and return their manifests."""
    built: dict[datetime, Manifest] = {}
    with closing(map_partitions(stale, job.spec)) as partitions:
        for mapped in partitions:
            files = {failures_key: mapped.failures, quarantine_key: mapped.rejected, hours_key: mapped.hours}
            job.lake.write({name(mapped.hour): data for name, data in files.items()})
            job.lake.write({tiles_key(mapped.hour): mapped.tiles})  # last: it says that the others are there
            accounting.add_partition(mapped, allowed_lateness=job.allowed_lateness)
            job.report("partition read", {"partition": format_instant(mapped.hour), "lines": mapped.counts.lines})
            built[mapped.hour] = mapped.manifest
    if len(built) > _FEW_PARTITIONS:
        give_back()
    return built


def compute_rows(instants: Sequence[datetime], job: Job) -> pl.DataFrame:
    """Compute the feature rows of some instants from processed files, some machines at a time.

    Returns
    -------
    pl.DataFrame
        As :func:`handler.features.rows.compute_features`.
    """
    history = History(job.lake, job.spec, job.allowed_lateness, instants, sorted(_contributors(instants, job)))
    shares = (compute_features(tiles, instants, job.spec, hours) for tiles, hours in history.load())
    rows = pl.concat([pl.DataFrame(schema=row_schema(job.spec)), *shares])
    return rows.sort("event_timestamp", "machine_id")


def _contributors(instants: Iterable[datetime], job: Job) -> set[datetime]:
    return {
        partition
        for instant in instants
        for partition in list_contributors(instant, lookback=job.spec.lookback, allowed_lateness=job.allowed_lateness)
    }


def _find_stalest(rows: pl.DataFrame, spec: FeatureSpec) -> float | None:
    """Find the longest time, in seconds, since any machine's latest reading; None without machines."""
    staleness = rows.select(pl.min_horizontal(f"{name}_staleness_seconds" for name in spec.reading_names).max())
    return None if rows.is_empty() else float(staleness.item())
