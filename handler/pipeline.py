"""The flow of a run: plan → map (partition → tiles) → reduce (tiles → rows) → stores → answer."""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from handler.answer import Accounting
from handler.definitions.layout import failures_key, hours_key, quarantine_key, tiles_key, training_key
from handler.definitions.schema import empty_frame, row_schema
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import format_instant
from handler.features.history import History
from handler.features.rows import compute_features
from handler.lake.lake import Lake
from handler.lake.parquet import read_metadata
from handler.plan import Plan, group_into_blocks
from handler.stores.online import OnlineResult
from handler.stores.training import Origin, write_training_hours
from handler.tiles.manifest import Manifest, fingerprint_inputs
from handler.tiles.partition import RawPartition, map_partitions

WriteOnline = Callable[[pl.DataFrame], OnlineResult]
Report = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Job:
    """What a run works with: its stores, its spec and its clock reading.

    Attributes
    ----------
    lake, write_online
        The two stores.
    spec
        What features are.
    now
        The time of the call, UTC: ``created_timestamp``.
    report
        Told of each step done: a message and its fields.
    """

    lake: Lake
    write_online: WriteOnline
    spec: FeatureSpec
    now: datetime
    report: Report


def run_pipeline(plan: Plan, job: Job) -> dict[str, Any]:
    """Do one run and say what was done.

    Doing it again, or another run before or after it, leaves the same features. Tile files are pure functions of raw
    partitions, and feature rows are pure functions of tiles.

    Parameters
    ----------
    plan
        What the run answers for.
    job
        What it works with.

    Returns
    -------
    dict
        The run's answer, see :meth:`handler.answer.Accounting.to_answer`.

    Raises
    ------
    LakeError, OnlineStoreError
        If a store fails. What was written by then is whole and right, and the next try goes on from it.
    """
    started = time.monotonic()
    accounting = Accounting()
    manifests = bring_tiles_up_to_date(plan, job, accounting)
    origins = find_hours_to_write(plan, job, manifests)
    newest: pl.DataFrame | None = None
    for block in group_into_blocks(origins):
        rows = compute_rows(block, plan, job)
        write_training_hours(job.lake, {hour: origins[hour] for hour in block}, rows, job.now)
        accounting.training_files += len(block)
        accounting.training_rows += rows.height
        if plan.as_of in block:
            newest = rows.filter(pl.col("event_timestamp") == plan.as_of)
        job.report("training hours written", {"first": format_instant(block[0]), "last": format_instant(block[-1])})
    if newest is None:
        newest = compute_rows([plan.as_of], plan, job)
    accounting.add_newest(newest, job.spec)
    accounting.online = job.write_online(newest)
    return accounting.to_answer(plan, duration_ms=round((time.monotonic() - started) * 1000))


def bring_tiles_up_to_date(plan: Plan, job: Job, accounting: Accounting) -> dict[datetime, Manifest]:
    """Map every partition within reach whose listing changed.

    Parameters
    ----------
    plan
        What the run is to do.
    job
        What it works with.
    accounting
        Adds up the counts of the answer.

    Returns
    -------
    dict of datetime to Manifest
        What the tile files of all partitions within reach are made of, built or not.
    """
    needed = plan.list_contributors(plan.reach | {plan.as_of}) | plan.arrivals
    survey = _Survey(plan, job, accounting)
    built = _build_partitions(
        survey.find_stale([needed & plan.arrivals, needed - plan.arrivals]), plan, job, accounting
    )
    accounting.objects["skipped"] += sum(survey.strays.values())
    return {hour: manifest for hour, manifest in (survey.stored | built).items() if manifest is not None}


def find_hours_to_write(plan: Plan, job: Job, manifests: Mapping[datetime, Manifest]) -> dict[datetime, Origin]:
    """Find the training hours to write: those of the span, and those within reach that were made of other tiles.

    What a training file was made of stands in its footer. So it does not matter which run built the tiles anew, or
    whether it came as far as the training files.

    Parameters
    ----------
    plan
        What the run is to do.
    job
        What it works with.
    manifests
        What the tile files of all partitions within reach are made of.

    Returns
    -------
    dict of datetime to Origin
        The hours, and what each is made of.
    """
    origins: dict[datetime, Origin] = {}
    earlier = sorted(plan.reach - plan.training_hours)
    tails = job.lake.read_tails(map(training_key, earlier))
    stored = dict(zip(earlier, tails, strict=True))
    seen_by: dict[datetime, dict[datetime, str]] = defaultdict(dict)
    for partition, manifest in manifests.items():
        for hour in plan.list_affected_hours(partition, manifest.lateness):
            seen_by[hour][partition] = manifest.fingerprint
    for hour in sorted(plan.reach):
        seen = seen_by.get(hour, {})
        origin = Origin.describe(job.spec, plan.allowed_lateness, seen)
        tail = stored.get(hour)
        is_made_of_this = tail is not None and Origin.from_metadata(read_metadata(tail)) == origin
        if hour in plan.training_hours or ((seen or tail is not None) and not is_made_of_this):
            origins[hour] = origin
    return origins


@dataclass(slots=True)
class _Survey:
    """The partitions that were looked at.

    Attributes
    ----------
    stored
        The manifest of each partition that has a tile file; None where the file holds no manifest.
    strays
        Objects that lie above the partitions, by folder.
    """

    plan: Plan
    job: Job
    accounting: Accounting
    stored: dict[datetime, Manifest | None] = field(default_factory=dict)
    strays: dict[str, int] = field(default_factory=dict)

    def find_stale(self, groups: Iterable[Collection[datetime]]) -> Iterator[RawPartition]:
        """Give the partitions whose listing is not the stored one; a group is looked at when its turn comes."""
        for group in filter(None, groups):
            expired = set(filter(self.plan.is_expired, group))
            listings, strays = self.job.lake.list_partitions(set(group) - expired)
            self.strays |= strays
            stored = self._read_manifests(sorted(group))
            self.stored |= stored
            self.accounting.tiles_kept += len(expired & stored.keys())
            for hour, listing in sorted(listings.items()):
                self.accounting.objects["skipped"] += listing.skipped
                fingerprint = fingerprint_inputs(listing.fingerprint, self.job.spec, self.plan.future_tolerance)
                manifest = self.stored.get(hour)
                if manifest is not None and manifest.fingerprint == fingerprint:
                    self.accounting.tiles_reused += 1
                elif listing.objects:
                    yield RawPartition(
                        hour, self.job.lake.split_batches(listing), fingerprint, self.plan.future_tolerance
                    )
                elif hour in self.stored:  # its raw objects have all gone, by a lifecycle rule: its files stand
                    self.accounting.tiles_kept += 1

    def _read_manifests(self, partitions: Sequence[datetime]) -> dict[datetime, Manifest | None]:
        tails = self.job.lake.read_tails(tiles_key(partition) for partition in partitions)
        found = zip(partitions, tails, strict=True)
        return {partition: Manifest.from_metadata(read_metadata(tail)) for partition, tail in found if tail is not None}


def _build_partitions(
    stale: Iterable[RawPartition], plan: Plan, job: Job, accounting: Accounting
) -> dict[datetime, Manifest]:
    """Build the files of partitions, and return their manifests."""
    built: dict[datetime, Manifest] = {}
    with closing(map_partitions(stale, job.spec, plan.allowed_lateness)) as partitions:
        for mapped in partitions:
            files = {failures_key: mapped.failures, quarantine_key: mapped.rejected, hours_key: mapped.hours}
            job.lake.write({name(mapped.hour): data for name, data in files.items()})
            job.lake.write({tiles_key(mapped.hour): mapped.tiles})  # last: it says that the others are there
            accounting.add_partition(mapped, allowed_lateness=plan.allowed_lateness)
            job.report("partition read", {"partition": format_instant(mapped.hour), "lines": mapped.counts.lines})
            built[mapped.hour] = mapped.manifest
    return built


def compute_rows(instants: Sequence[datetime], plan: Plan, job: Job) -> pl.DataFrame:
    """Compute the feature rows of some instants from processed files, one machine group at a time.

    Parameters
    ----------
    instants
        The ``as_of`` of the rows, UTC.
    plan
        What the run is to do.
    job
        What it works with.

    Returns
    -------
    pl.DataFrame
        As :func:`handler.features.rows.compute_features`.
    """
    history = History(job.lake, job.spec, plan, instants)
    groups = (compute_features(tiles, instants, job.spec, hours) for tiles, hours in history.load())
    return pl.concat([empty_frame(row_schema(job.spec)), *groups]).sort("event_timestamp", "machine_id")
