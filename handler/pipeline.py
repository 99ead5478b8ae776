"""The flow of a run: plan → map (partition → tiles) → reduce (tiles → rows) → stores → answer."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import polars as pl

from handler.answer import Accounting
from handler.deadline import Deadline
from handler.definitions.errors import DamagedFileError
from handler.definitions.layout import training_key
from handler.definitions.schema import empty_frame, row_schema
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import format_instant
from handler.features.history import History
from handler.features.rows import compute_features
from handler.lake.lake import Lake
from handler.lake.parquet import Seal
from handler.plan import Plan, group_into_blocks
from handler.stores.online import OnlineResult
from handler.stores.training import Origin, count_rows, write_training_hours
from handler.tiles.files import PartitionFiles
from handler.tiles.partition import MappedPartition

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
    deadline
        When the run has to end.
    """

    lake: Lake
    write_online: WriteOnline
    spec: FeatureSpec
    now: datetime
    report: Report
    deadline: Deadline = field(default_factory=Deadline.never)


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
    LakeError, OnlineStoreError, OutOfTimeError
        If a store fails, or time runs out. What was written by then is whole and right, and the next try goes on from
        it.
    """
    started = time.monotonic()
    accounting = Accounting()
    files = PartitionFiles(job.lake, job.spec, plan)
    with closing(files.bring_up_to_date()) as built:
        for mapped in job.deadline.pace(built, accounting.describe_progress):
            note_built(mapped, plan, job, accounting)
    training = find_hours_to_write(plan, job, files)
    accounting.add_current(training.current)
    newest = compute_rows([plan.as_of], plan, job, files, accounting)
    accounting.add_newest(newest, job.spec)
    accounting.online = job.write_online(newest)
    blocks = [[plan.as_of]] if plan.as_of in training.to_write else []
    blocks += group_into_blocks(training.to_write.keys() - {plan.as_of}, machines=newest.height)
    accounting.training_hours_left = len(training.to_write)
    for block in job.deadline.pace(blocks, accounting.describe_progress):
        rows = newest if block == [plan.as_of] else compute_rows(block, plan, job, files, accounting)
        write_training_hours(job.lake, {hour: training.to_write[hour] for hour in block}, rows, job.now)
        accounting.add_written(len(block), rows.height)
        job.report("training hours written", {"first": format_instant(block[0]), "last": format_instant(block[-1])})
    files.require_same()
    accounting.add_files(files.counts)
    return accounting.to_answer(plan, duration_ms=round((time.monotonic() - started) * 1000))


def note_built(mapped: MappedPartition, plan: Plan, job: Job, accounting: Accounting) -> None:
    """Count and report a partition whose files were built."""
    accounting.add_partition(mapped, allowed_lateness=plan.allowed_lateness)
    job.report("partition read", {"partition": format_instant(mapped.hour), "lines": mapped.counts.lines})


class TrainingHours(NamedTuple):
    """The training files within reach.

    Attributes
    ----------
    to_write
        The hours that are to be written, and what each is made of.
    current
        The hours of the span that need not be written, and how many rows each has.
    """

    to_write: dict[datetime, Origin]
    current: dict[datetime, int]


def find_hours_to_write(plan: Plan, job: Job, files: PartitionFiles) -> TrainingHours:
    """Find the training hours to write: those within reach that are not there, or were made of other tiles.

    What a training file was made of stands in its footer. So it does not matter which run built the tiles anew, or
    whether it came as far as the training files.

    Parameters
    ----------
    plan
        What the run is to do.
    job
        What it works with.
    files
        The tiles of all partitions within reach.

    Returns
    -------
    TrainingHours
        Earlier hours than the span's only where a row may be in them.
    """
    seen_by: dict[datetime, dict[datetime, str]] = defaultdict(dict)
    for partition, manifest in files.manifests.items():
        for hour in plan.list_affected_hours(partition, manifest.lateness):
            seen_by[hour][partition] = manifest.fingerprint
    keys = {hour: training_key(hour) for hour in sorted(plan.reach)}
    stored = job.lake.look_up(keys.values())
    there = [hour for hour, key in keys.items() if key in stored]
    tails = dict(zip(there, job.lake.read_tails(keys[hour] for hour in there), strict=True))
    training = TrainingHours({}, {})
    for hour in keys:
        origin = Origin.describe(job.spec, plan.allowed_lateness, seen_by.get(hour, {}))
        found = Seal.read(tails[hour]) if hour in tails else None
        if found is not None and Origin.from_seal(found) == origin:
            if hour in plan.training_hours:
                training.current[hour] = count_rows(found)
        elif hour in plan.training_hours or hour in seen_by or hour in tails:
            training.to_write[hour] = origin
    return training


def compute_rows(
    instants: Sequence[datetime], plan: Plan, job: Job, files: PartitionFiles, accounting: Accounting
) -> pl.DataFrame:
    """Compute the feature rows of some instants from processed files, one machine group at a time.

    Parameters
    ----------
    instants
        The ``as_of`` of the rows, UTC.
    plan
        What the run is to do.
    job
        What it works with.
    files
        The tiles of all partitions within reach; a damaged file is built again.
    accounting
        Adds up the counts of the answer.

    Returns
    -------
    pl.DataFrame
        As :func:`handler.features.rows.compute_features`.
    """
    built_again: set[datetime] = set()
    while True:
        history = History(job.lake, job.spec, plan, instants, files)
        try:
            groups = [compute_features(tiles, instants, job.spec, hours) for tiles, hours in history.load()]
        except DamagedFileError as error:
            if error.partition in built_again:
                raise
            built_again.add(error.partition)
            note_built(files.build_again(error), plan, job, accounting)
        else:
            return pl.concat([empty_frame(row_schema(job.spec)), *groups]).sort("event_timestamp", "machine_id")
