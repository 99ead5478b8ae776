"""The flow of a run: plan → map (partition → tiles) → reduce (tiles → rows) → stores → answer."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Self

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
from handler.tiles.builder import MappedPartition
from handler.tiles.files import PartitionFiles
from handler.tiles.groups import ALL_MACHINES, MachineRange

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
    run = Run.begin(plan, job)
    run.build_tiles()
    training = run.find_hours_to_write()
    run.accounting.add_current(training.current)
    run.accounting.training_hours_left = len(training.to_write)
    run.write_newest(training)
    run.write_other_hours(training)
    run.files.require_same()
    run.accounting.add_files(run.files.counts)
    return run.accounting.to_answer(plan, duration_ms=round((time.monotonic() - started) * 1000))


@dataclass(frozen=True, slots=True)
class Run:
    """The steps of a run, and what they share. Stages of a scaled run take the same steps, each in its own process.

    Attributes
    ----------
    plan, job
        The work, and what it is done with.
    files
        The tiles of all partitions within reach; a damaged file is built again.
    accounting
        Adds up the counts of the answer.
    """

    plan: Plan
    job: Job
    files: PartitionFiles
    accounting: Accounting = field(default_factory=Accounting)

    @classmethod
    def begin(cls, plan: Plan, job: Job) -> Self:
        """Begin a run, or a stage of one: nothing is known of any partition."""
        return cls(plan, job, PartitionFiles(job.lake, job.spec, plan))

    def build_tiles(self) -> None:
        """Bring the files of all partitions within reach up to date."""
        with closing(self.files.bring_up_to_date()) as built:
            for mapped in self.job.deadline.pace(built, self.accounting.describe_progress):
                self.note_built(mapped)

    def note_built(self, mapped: MappedPartition) -> None:
        """Count a partition that was built, and tell of it."""
        self.accounting.add_partition(mapped, allowed_lateness=self.plan.allowed_lateness)
        fields = {"partition": format_instant(mapped.hour), "lines": mapped.counts.lines}
        self.job.report("partition read", fields)

    def find_hours_to_write(self) -> TrainingHours:
        """Find the training hours to write: those within reach that are not there, or were made of other tiles.

        What a training file was made of stands in its footer. So it does not matter which run built the tiles anew, or
        whether it came as far as the training files. Earlier hours than the span's are written only where a row may be
        in them.
        """
        plan, lake = self.plan, self.job.lake
        seen_by: dict[datetime, dict[datetime, str]] = defaultdict(dict)
        for partition, manifest in self.files.manifests.items():
            for hour in plan.list_affected_hours(partition, manifest.lateness):
                seen_by[hour][partition] = manifest.fingerprint
        keys = {hour: training_key(hour) for hour in sorted(plan.reach)}
        stored = lake.look_up(keys.values())
        there = [hour for hour, key in keys.items() if key in stored]
        tails = dict(zip(there, lake.read_tails(keys[hour] for hour in there), strict=True))
        training = TrainingHours({}, {})
        for hour in keys:
            origin = Origin.describe(self.job.spec, plan.allowed_lateness, seen_by.get(hour, {}))
            found = Seal.read(tails[hour]) if hour in tails else None
            if found is not None and Origin.from_seal(found) == origin:
                if hour in plan.training_hours:
                    training.current[hour] = count_rows(found)
            elif hour in plan.training_hours or hour in seen_by or hour in tails:
                training.to_write[hour] = origin
        return training

    def write_newest(self, training: TrainingHours) -> None:
        """Write the rows of ``as_of``: the online items first, then, if it is to be written, the training hour."""
        rows = self.compute_rows([self.plan.as_of])
        self.accounting.add_newest(rows, self.job.spec)
        self.accounting.online = self.job.write_online(rows)
        if self.plan.as_of in training.to_write:
            self.write_training(training.to_write, [self.plan.as_of], rows)

    def write_other_hours(self, training: TrainingHours) -> None:
        """Write all other training hours, the newest first; the rows of one block are in memory at a time."""
        hours = training.to_write.keys() - {self.plan.as_of}
        blocks = list(group_into_blocks(hours, machines=self.accounting.machines))
        for block in self.job.deadline.pace(blocks, self.accounting.describe_progress):
            self.write_training(training.to_write, block, self.compute_rows(block))

    def write_training(self, origins: Mapping[datetime, Origin], hours: Sequence[datetime], rows: pl.DataFrame) -> None:
        """Write the training files of some hours, each with its origin."""
        write_training_hours(self.job.lake, {hour: origins[hour] for hour in hours}, rows, self.job.now)
        self.accounting.add_written(len(hours), rows.height)
        fields = {"first": format_instant(hours[0]), "last": format_instant(hours[-1])}
        self.job.report("training hours written", fields)

    def compute_rows(self, instants: Sequence[datetime], machines: MachineRange = ALL_MACHINES) -> pl.DataFrame:
        """Compute the feature rows of some instants from processed files, one machine group at a time.

        Parameters
        ----------
        instants
            The rows' ``as_of``, UTC.
        machines
            Whose rows.

        Returns
        -------
        pl.DataFrame
            As of :func:`handler.features.rows.compute_features`; the rows of one instant are sorted by machine.

        Raises
        ------
        LakeError
            If the store fails, or a file is damaged that cannot be built again.
        """
        built_again: set[datetime] = set()
        while True:
            history = History(self.job.lake, self.job.spec, self.plan, instants, self.files, machines)
            try:
                groups = [compute_features(tiles, instants, self.job.spec, hours) for tiles, hours in history.load()]
            except DamagedFileError as error:
                if error.partition in built_again:
                    raise
                built_again.add(error.partition)
                self.note_built(self.files.build_again(error))
            else:
                return pl.concat([empty_frame(row_schema(self.job.spec)), *groups])
