"""A run in stages, each an event of the same function: what one process cannot do in its time or memory, many do.

=============================================================  =====================================================
``{"stage": "plan", "run": …, "event": {…}}``                  finds the partitions to build, and cuts large ones
``{"stage": "map", "run": …, "partition": …, "part": n}``      builds the files of a partition, or a part's
``{"stage": "combine", "run": …, "partition": …}``             makes a partition's files of its parts
``{"stage": "divide", "run": …}``                              finds the training hours to write, and divides machines
``{"stage": "reduce", "run": …, "hours": […], "shard": n, …}`` computes rows, and puts the newest into the table
``{"stage": "finish", "run": …, "hour": …, "shards": n}``      writes a training file of its shards' rows
``{"stage": "answer", "run": …}``                              adds up what was done
=============================================================  =====================================================

Started in this order, they do what one run would have done. They take the same steps on the same partitions, those of
:class:`handler.pipeline.run.Run`. Stages of one kind may run side by side. A stage that is tried again, whenever, does
the same once more. Two runs at a time converge as two runs of one process do.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import polars as pl

from handler.definitions.errors import DamagedFileError, EventError
from handler.definitions.layout import hours_key, tiles_key
from handler.definitions.spec import PRESENCE
from handler.definitions.timestamps import HOUR, format_instant, parse_instant
from handler.lake.objects import split_by_size
from handler.lake.parquet import is_whole
from handler.pipeline.exchange import Exchange
from handler.pipeline.run import Job, Run
from handler.plan import Plan, group_into_blocks
from handler.tiles.groups import MachineRange, divide_machines, require_few_machines
from handler.tiles.parts import Part, combine_parts, map_part

PART_BYTES: Final = 256 * 2**20
"""Stored bytes of raw objects that one ``map`` reads; a larger object is a part of its own."""

MACHINES: Final = 10_000
"""Machines that one ``reduce`` computes the rows of."""

_OTHER_PARTITIONS: Final = 24
"""Partitions before the newest rows that are looked at, to divide a fleet that has fallen silent by then."""

Event = Mapping[str, Any]
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a run.

    Attributes
    ----------
    exchange
        What the stages leave for each other.
    run
        The steps, and what they share within this stage.
    """

    exchange: Exchange
    run: Run

    def plan(self, event: Event) -> Answer:
        """Find the partitions to build, and cut those into parts that are too large for one process.

        Parameters
        ----------
        event
            May have ``part_bytes``: the stored bytes of a part at most.

        Returns
        -------
        dict
            How many there are, and the keys of two lists: ``maps`` and ``combines``, the events of these stages.
        """
        most = _read_count(event, "part_bytes", PART_BYTES)
        stale = {
            hour: (self.run.files.describe(hour, listing).fingerprint, list(split_by_size(listing.objects, most)))
            for hour, listing in self.run.files.find_stale()
        }
        self.exchange.write_partitions(stale)
        counts = {format_instant(hour): len(parts) for hour, (_, parts) in stale.items()}
        maps = [{"partition": hour, "part": number} for hour, count in counts.items() for number in range(count)]
        combines = [{"partition": hour} for hour, count in counts.items() if count > 1]
        self._note("plan")
        return self._hand_on(maps=("map", maps), combines=("combine", combines))

    def map(self, event: Event) -> Answer:
        """Build the files of a partition, or what stands for a part of it until ``combine``."""
        hour, number = _read_hour(event, "partition"), _read_count(event, "part", 0, least=0)
        _, parts = self.exchange.read_partition(hour)
        described = self.run.files.describe(hour, parts[number])
        name = f"map-{event['partition']}-{number}"
        if len(parts) == 1:
            (mapped,) = self.run.files.build([described])
            self.run.note_built(mapped)
            self._note(name)
            return {"lines": mapped.counts.lines}
        part = map_part(described, self.run.job.spec, self.run.plan.allowed_lateness)
        self.exchange.write_part(hour, number, part)
        return {"lines": part.counts["lines"]}

    def combine(self, event: Event) -> Answer:
        """Make the files of a partition of its parts."""
        hour = _read_hour(event, "partition")
        fingerprint, listings = self.exchange.read_partition(hour)
        parts = (
            Part(self.run.files.describe(hour, listing), self.exchange.read_part(hour, number))
            for number, listing in enumerate(listings)
        )
        mapped = combine_parts(parts, self.run.job.spec, self.run.plan.allowed_lateness, fingerprint)
        self.run.files.store(mapped)
        self.run.note_built(mapped)
        self._note(f"combine-{event['partition']}")
        return {"lines": mapped.counts.lines}

    def divide(self, event: Event) -> Answer:
        """Find the training hours to write, and divide the machines into shards.

        Parameters
        ----------
        event
            May have ``machines``: the machines of a shard at most.

        Returns
        -------
        dict
            How many there are, and the keys of two lists: ``reduces`` and ``finishes``, the events of these stages.

        Raises
        ------
        DamagedFileError
            If a file was damaged since it was built: the run has to begin again.
        """
        files, plan = self.run.files, self.run.plan
        damaged = files.look_at(files.list_needed())
        if damaged:
            raise DamagedFileError(tiles_key(min(damaged)), min(damaged))
        to_write = self.run.find_hours_to_write()
        self.exchange.write("tiles.json", files.to_document())
        self.exchange.write_training(to_write)
        self._note("divide")
        machines = self._list_machines()
        shards = divide_machines([machines.lazy()], -(-len(machines) // _read_count(event, "machines", MACHINES)))
        other_hours = to_write.keys() - {plan.as_of}
        blocks = [[plan.as_of], *group_into_blocks(other_hours, machines=-(-len(machines) // len(shards)))]
        reduces = [
            {"hours": list(map(format_instant, block)), "shard": shard, "shards": len(shards), **bounds._asdict()}
            for block in blocks
            for shard, bounds in enumerate(shards)
        ]
        finishes = [{"hour": format_instant(hour), "shards": len(shards)} for hour in sorted(to_write)]
        return self._hand_on(reduces=("reduce", reduces), finishes=("finish", finishes if len(shards) > 1 else []))

    def _list_machines(self) -> pl.DataFrame:
        """List the machines of the newest rows, which must be few enough, and of some hours before.

        Whoever is not among these is in a shard all the same.
        """
        manifests, as_of = self.run.files.manifests, self.run.plan.as_of
        newest = sorted(self.run.plan.list_contributors([as_of]) & manifests.keys())
        machines = self._read_machines(newest, as_of - PRESENCE, as_of)
        require_few_machines(machines.to_series(), self.run.job.max_machines)
        others = sorted(hour for hour, manifest in manifests.items() if manifest.lateness and hour not in newest)
        some = others[:: -(-len(others) // _OTHER_PARTITIONS) or 1]
        earliest = min(some, default=as_of) - self.run.plan.allowed_lateness
        return pl.concat([machines, self._read_machines(some, earliest, as_of)]).unique()

    def _read_machines(self, partitions: Iterable[datetime], start: datetime, end: datetime) -> pl.DataFrame:
        """Read the machines of partitions whose hours of event time touch ``[start, end)``, each once."""
        machines = pl.DataFrame(schema={"machine_id": pl.String})
        for partition in partitions:
            has_hours = hours_key(partition) in self.run.files.manifests[partition].beside
            (data,) = self.run.job.lake.read([(hours_key if has_hours else tiles_key)(partition)])
            if not is_whole(data):  # it is built again when rows are computed from it
                continue
            hour = pl.col("hour_start" if has_hours else "tile_start").dt.truncate(HOUR)
            is_seen = (hour > start - HOUR) & (hour < end) & (hour >= partition - self.run.plan.allowed_lateness)
            machines = pl.concat(
                [machines, pl.scan_parquet(data).filter(is_seen).select("machine_id").collect()]
            ).unique()
        return machines

    def reduce(self, event: Event) -> Answer:
        """Compute the rows of some hours, of some machines; put the newest into the table.

        Where there is one shard, its rows are all there are, and their training files are written at once.
        """
        self.run.files.restore(self.exchange.read("tiles.json"))
        origins = self.exchange.read_training(self.run.job.spec.text)
        left, shard = [_to_hour(text) for text in event["hours"]], _read_count(event, "shard", 0, least=0)
        count = 0
        while left:
            hours, rows = self.run.compute_block(left, MachineRange(event["first"], event["end"]))
            left = left[: -len(hours)]
            count += rows.height
            if self.run.plan.as_of in hours:
                self.run.accounting.add_newest(rows, self.run.job.spec)
                self.run.accounting.online = self.run.job.write_online(rows)
            to_write = [hour for hour in hours if hour in origins]
            if event["shards"] == 1 and to_write:
                self.run.write_training(origins, to_write, rows)
            elif to_write:
                self.exchange.write_rows(rows, to_write, shard)
        self._note(f"reduce-{event['hours'][0]}-{shard}")
        return {"rows": count}

    def finish(self, event: Event) -> Answer:
        """Write the training file of an hour, of its shards' rows."""
        hour = _read_hour(event, "hour")
        origins = self.exchange.read_training(self.run.job.spec.text)
        rows = self.exchange.read_rows(hour, _read_count(event, "shards", 1))
        self.run.write_training(origins, [hour], rows)
        self._note(f"finish-{event['hour']}")
        return {"rows": rows.height}

    def answer(self, _event: Event) -> Answer:
        """Add up what all stages did, as the answer of one run; raises where another run built tiles meanwhile."""
        self.run.files.restore(self.exchange.read("tiles.json"))
        self.run.files.require_same()
        started = self.run.job.now
        duration = datetime.now(started.tzinfo) - started
        return self.exchange.read_counts().to_answer(self.run.plan, round(duration.total_seconds() * 1000))

    def _note(self, name: str) -> None:
        self.run.accounting.add_files(self.run.files.counts)
        self.exchange.write_counts(name.replace(":", ""), self.run.accounting)

    def _hand_on(self, **lists: tuple[str, Iterable[Mapping[str, Any]]]) -> Answer:
        """Write lists of events; say how long each is and where."""
        answer: Answer = {"run": self.exchange.run}
        for name, (stage, items) in lists.items():
            events = [{"stage": stage, "run": self.exchange.run, **item} for item in items]
            answer[name] = {"count": len(events), "key": self.exchange.write(f"{name}.json", events)}
        return answer


STAGES: Final[Mapping[str, Callable[[Stage, Event], Answer]]] = {
    "plan": Stage.plan,
    "map": Stage.map,
    "combine": Stage.combine,
    "divide": Stage.divide,
    "reduce": Stage.reduce,
    "finish": Stage.finish,
    "answer": Stage.answer,
}


def take_stage(
    event: Event, exchange: Exchange, features: str, prepare: Callable[[Plan, datetime], Job]
) -> dict[str, Any]:
    """Take the stage that an event names.

    Parameters
    ----------
    event
        As above.
    exchange
        The run's, with its plan.
    features
        The digest of the features that this process has.
    prepare
        Makes what the stage works with, of the plan and the time at which the run started.

    Returns
    -------
    dict
        What the stage answers.

    Raises
    ------
    ProcessingError
        If there is no such stage, if it lacks something, or if it cannot be done.
    """
    stage = STAGES.get(str(event["stage"]))
    if stage is None:
        raise EventError(f"event: stage {event['stage']!r} is none of {', '.join(STAGES)}")
    plan, started = exchange.read_plan(features)
    return stage(Stage(exchange, Run.begin(plan, prepare(plan, started))), event)


def _read_hour(event: Event, name: str) -> datetime:
    if name not in event:
        raise EventError(f"event: stage {event['stage']} wants {name}, an instant such as 2025-10-15T09:00:00Z")
    return _to_hour(event[name])


def _to_hour(text: object) -> datetime:
    try:
        return parse_instant(str(text))
    except ValueError as error:
        raise EventError(f"event: {error}; write an instant such as 2025-10-15T09:00:00Z") from error


def _read_count(event: Event, name: str, default: int, *, least: int = 1) -> int:
    value = event.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise EventError(f"event: {name} {value!r} must be a whole number from {least}")
    return value
