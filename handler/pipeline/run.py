"""The flow of a run: plan → map (partition → tiles) → reduce (tiles → rows) → stores → answer."""

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Self

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
from handler.pipeline.inputs import KnownInputs
from handler.pipeline.loss import require_no_loss
from handler.plan import Plan, group_into_blocks, limit_hours
from handler.stores.online import OnlineResult
from handler.stores.training import Origin, write_training_hours
from handler.tiles.builder import MappedPartition
from handler.tiles.files import PartitionFiles
from handler.tiles.groups import ALL_MACHINES, MachineRange, require_few_machines

_MANY_FAILURES: Final = (
    "more than half of the lines are failure events; a code on every line is none: check codigo_evento in features.toml"
)

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
    warn
        Told of what a person should look at, likewise.
    max_machines
        How many machines may have rows at an instant.
    deadline
        When the run has to end.
    """

    lake: Lake
    write_online: WriteOnline
    spec: FeatureSpec
    now: datetime
    report: Report
    warn: Report = lambda *_: None
    max_machines: int = sys.maxsize
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
    run = Run.begin(plan, job)
    run.build_tiles()
    to_write = run.find_hours_to_write()
    run.accounting.training_hours_left = len(to_write)
    run.write_newest(to_write)
    run.write_other_hours(to_write)
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
        run = cls(plan, job, PartitionFiles(job.lake, job.spec, plan))
        run.files.tell = run.note_built
        return run

    def build_tiles(self) -> None:
        """Bring the files of all partitions within reach up to date."""
        with closing(self.files.bring_up_to_date()) as built:
            for _ in self.job.deadline.pace(built, self.accounting.describe_progress):
                pass

    def note_built(self, mapped: MappedPartition) -> None:
        """Count a partition that was built, and tell of it."""
        self.accounting.add_partition(mapped, allowed_lateness=self.plan.allowed_lateness)
        fields = {"partition": format_instant(mapped.hour), "lines": mapped.counts.lines}
        self.job.report("partition read", fields)
        if 2 * mapped.counts.failures > mapped.counts.lines:
            self.job.warn(_MANY_FAILURES, fields | {"failures": mapped.counts.failures})

    def find_hours_to_write(self, set_out: Collection[datetime] = ()) -> dict[datetime, Origin]:
        """Find the training hours to write: those within reach that are not there, or were made of other tiles.

        What a training file was made of stands in its footer. So it does not matter which run built the tiles anew, or
        whether it came as far as the training files. Earlier hours than the span's are written only where a row may be
        in them. A file stands where less is there than it was made of. The accounting counts all that is not written.

        Parameters
        ----------
        set_out
            Hours that an earlier try of this run was to write: those that are right now are counted as written.

        Returns
        -------
        dict of datetime to Origin
            The hours, ascending, and what each is made of.

        Raises
        ------
        LossError
            If hours would lose rows to another features.toml.
        """
        plan, lake = self.plan, self.job.lake
        seen_by: dict[datetime, dict[datetime, str]] = defaultdict(dict)
        for partition, manifest in self.files.manifests.items():
            for hour in plan.list_affected_hours(partition, manifest.lateness):
                seen_by[hour][partition] = manifest.fingerprint
        keys = {hour: training_key(hour) for hour in sorted(plan.reach)}
        stored = lake.look_up(keys.values())
        there = [hour for hour, key in keys.items() if key in stored]
        before = dict(zip(there, map(Origin.read, lake.read_tails(keys[hour] for hour in there)), strict=True))
        inputs = KnownInputs.find(self.files, before.values())
        to_write: dict[datetime, Origin] = {}
        right: dict[datetime, int] = {}
        left: list[datetime] = []
        for hour in keys:
            origin = Origin.describe(self.job.spec, plan.allowed_lateness, seen_by.get(hour, {}))
            known = before.get(hour)
            if known == origin:
                right[hour] = known.rows
            elif hour in plan.training_hours or hour in seen_by or hour in before:
                must_be_written = hour in plan.training_hours and hour not in before and not plan.is_backfill
                if not must_be_written and inputs.are_fewer(hour, origin, known):
                    left.append(hour)
                else:
                    to_write[hour] = origin
        if not plan.accept_loss:
            origins = {hour: known for hour in to_write if (known := before.get(hour)) is not None}
            require_no_loss(self.files, origins)
        written = [rows for hour, rows in right.items() if hour in set_out]
        current = {hour: rows for hour, rows in right.items() if hour in plan.training_hours.difference(set_out)}
        self.accounting.add_standing(current, kept=[hour for hour in left if hour in before], not_written=left)
        self.accounting.add_written(len(written), sum(written))
        return to_write

    def write_newest(self, to_write: Mapping[datetime, Origin]) -> None:
        """Write the rows of ``as_of``: the online items first, then, if it is to be written, the training hour."""
        _, rows = self.compute_block([self.plan.as_of])
        self.accounting.add_newest(rows, self.job.spec)
        self.accounting.online = self.job.write_online(rows)
        if self.plan.as_of in to_write:
            self.write_training(to_write, [self.plan.as_of], rows)

    def write_other_hours(self, to_write: Mapping[datetime, Origin]) -> None:
        """Write all other training hours, the newest first; the rows of one block are in memory at a time."""
        hours = to_write.keys() - {self.plan.as_of}
        blocks = list(group_into_blocks(hours, machines=self.accounting.machines))
        for number, block in enumerate(self.job.deadline.pace(blocks, self.accounting.describe_progress), 1):
            done, rows = self.compute_block(block)
            rest = range(len(block) - len(done), 0, -len(done))
            blocks[number:number] = [block[max(0, end - len(done)) : end] for end in rest]
            self.write_training(to_write, done, rows)

    def write_training(self, origins: Mapping[datetime, Origin], hours: Sequence[datetime], rows: pl.DataFrame) -> None:
        """Write the training files of some hours, each with its origin."""
        write_training_hours(self.job.lake, {hour: origins[hour] for hour in hours}, rows, self.job.now)
        self.accounting.add_written(len(hours), rows.height)
        fields = {"first": format_instant(hours[0]), "last": format_instant(hours[-1])}
        self.job.report("training hours written", fields)

    def compute_block(
        self, instants: Sequence[datetime], machines: MachineRange = ALL_MACHINES
    ) -> tuple[Sequence[datetime], pl.DataFrame]:
        """Compute the feature rows of some instants from processed files, one machine group at a time.

        Parameters
        ----------
        instants
            The rows' ``as_of``, UTC, ascending.
        machines
            Whose rows.

        Returns
        -------
        instants : sequence of datetime
            The newest, as many as memory holds the rows of; one at least.
        rows : pl.DataFrame
            As of :func:`handler.features.rows.compute_features`; the rows of one instant are sorted by machine.

        Raises
        ------
        LakeError
            If the store fails, or a file is damaged that cannot be built again.
        TooManyMachinesError
            If an instant has the rows of more machines than it may.
        """
        built_again: set[datetime | None] = set()
        while True:
            history = History(self.job.lake, self.job.spec, self.plan, instants, self.files, machines)
            try:
                if len(instants) > 1 and (most := limit_hours(len(history.list_machines()))) < len(instants):
                    instants = instants[-most:]
                    history = replace(history, instants=instants)
                groups, rows = [], Counter[datetime]()
                for tiles, hours in history.load():
                    groups.append(compute_features(tiles, instants, self.job.spec, hours))
                    rows.update(dict(groups[-1].group_by("event_timestamp").len().iter_rows()))
                    if max(rows.values(), default=0) > self.job.max_machines:
                        require_few_machines(history.list_machines(), self.job.max_machines)
            except DamagedFileError as error:
                if error.partition in built_again:
                    raise
                built_again.add(error.partition)
                self.files.build_again(error)
            else:
                self.files.mend_hours()
                return instants, pl.concat([empty_frame(row_schema(self.job.spec)), *groups])
