"""A run in stages, each an event of the same function: what one process cannot do in its time or memory, many do.

==================================================================  ================================================
``{"stage": "plan", "run": …, "event": {…}}``                       finds the partitions to build, cuts large ones
``{"stage": "map", "run": …, "partition": …, "made_of": …, …}``     builds the files of a partition, or a part's
``{"stage": "combine", "run": …, "partition": …, "made_of": …}``    makes a partition's files of its parts
``{"stage": "divide", "run": …}``                                   finds the hours to write, and divides machines
``{"stage": "reduce", "run": …, "division": …, "hours": […], …}``   computes rows, and puts the newest into the table
``{"stage": "finish", "run": …, "division": …, "hour": …}``         writes a training file of its shards' rows
``{"stage": "answer", "run": …}``                                   adds up what is there
==================================================================  ================================================

Started in this order, they do what one run would have done. They take the same steps on the same partitions, those of
:class:`handler.pipeline.run.Run`. Stages of one kind may run side by side. A stage that is tried again, whenever, does
the same once more. Two runs at a time converge as two runs of one process do. A stage may be abandoned, and end when
its run has begun again. What it leaves says what it was made of; the run takes nothing else than it asks for.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Any, Final, NamedTuple

import polars as pl

from handler.answer import Accounting
from handler.definitions.errors import DamagedFileError, EventError, OvertakenError
from handler.definitions.layout import hours_key, tiles_key, training_key
from handler.definitions.raw import RawObject
from handler.definitions.spec import PRESENCE
from handler.definitions.timestamps import HOUR, format_instant, parse_instant
from handler.lake.listing import Listing
from handler.lake.objects import split_by_size
from handler.lake.parquet import is_whole
from handler.pipeline.exchange import Division, Exchange, Planned, name_built, name_newest
from handler.pipeline.run import Job, Run
from handler.plan import Plan, group_into_blocks
from handler.tiles.builder import MappedPartition
from handler.tiles.groups import divide_machines, require_few_machines
from handler.tiles.manifest import Manifest
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
        files, maps, combines = self.run.files, [], []
        fingerprints: dict[datetime, str] = {}
        stale = self._cut(event.get("part_bytes", PART_BYTES))
        for hour, fingerprint, made_of, parts in self.exchange.write_partitions(stale):
            fingerprints[hour] = fingerprint
            partition = {"partition": format_instant(hour), "made_of": made_of}
            maps += [{**partition, "part": number} for number in range(parts)]
            combines += [partition] if parts > 1 else []
        manifests = files.unread | files.manifests
        fingerprints |= {hour: manifests[hour].fingerprint for hour in files.states}
        self.exchange.note_damaged(files.damaged)
        self.exchange.write_planned(Planned(fingerprints, files.states, files.skipped))
        return self._hand_on(maps=("map", maps), combines=("combine", combines))

    def _cut(self, part_bytes: int) -> Iterator[tuple[datetime, str, list[list[RawObject]]]]:
        """Give the partitions to build, with their fingerprints and the objects of each part."""
        for hour, listing in chain(self.run.files.find_stale(), self._find_uncounted()):
            fingerprint = self.run.files.describe(hour, listing).fingerprint
            yield hour, fingerprint, list(split_by_size(listing.objects, part_bytes))

    def _find_uncounted(self) -> Iterator[tuple[datetime, Listing]]:
        """Find the partitions that would do, were what they count at an earlier try not damaged or gone."""
        files = self.run.files
        reused = {hour: files.manifests[hour].fingerprint for hour, state in files.states.items() if state == "reused"}
        for hour, counts in self.exchange.read_built(reused):
            listing = files.lake.list_partitions([hour])[0].get(hour, Listing()) if counts is None else Listing()
            if listing.objects:
                del files.states[hour]
                yield hour, listing

    def map(self, event: Event) -> Answer:
        """Build the files of a partition, or what stands for a part of it until ``combine``."""
        hour, number = event["partition"], event["part"]
        _, parts = self._read_partition(event)
        if number >= len(parts):
            raise EventError(f"event: part {number} is none of the {len(parts)} of partition {format_instant(hour)}")
        described = self.run.files.describe(hour, parts[number])
        if len(parts) == 1:
            (mapped,) = self.run.files.build([described])
            return {"lines": mapped.counts.lines}
        part = map_part(described, self.run.job.spec, self.run.plan.allowed_lateness)
        self.exchange.write_part(hour, event["made_of"], number, part)
        return {"lines": part.counts["lines"]}

    def combine(self, event: Event) -> Answer:
        """Make the files of a partition of its parts."""
        hour = event["partition"]
        fingerprint, listings = self._read_partition(event)
        parts = (
            Part(self.run.files.describe(hour, listing), self.exchange.read_part(hour, event["made_of"], number))
            for number, listing in enumerate(listings)
        )
        mapped = combine_parts(parts, self.run.job.spec, self.run.plan.allowed_lateness, fingerprint)
        self.run.files.store(mapped)
        return {"lines": mapped.counts.lines}

    def _read_partition(self, event: Event) -> tuple[str, list[Listing]]:
        """Read the fingerprint and the parts of a partition; raise where another release of the function planned it."""
        hour = event["partition"]
        fingerprint, parts = self.exchange.read_partition(hour, event["made_of"])
        whole = Listing(tuple(item for part in parts for item in part.objects))
        if self.run.files.describe(hour, whole).fingerprint != fingerprint:
            raise OvertakenError(tiles_key(hour))
        return fingerprint, parts

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
        DamagedFileError, OvertakenError
            If files are not as this run built them, or found them: the run has to begin again.
        """
        files, plan = self.run.files, self.run.plan
        planned = self.exchange.read_planned()
        files.states |= planned.states
        files.require(planned.fingerprints)
        origins = self.run.find_hours_to_write()
        machines = self._list_machines()
        shards = divide_machines([machines.lazy()], -(-len(machines) // event.get("machines", MACHINES)))
        other_hours = origins.keys() - {plan.as_of}
        blocks = [[plan.as_of], *group_into_blocks(other_hours, machines=-(-len(machines) // len(shards)))]
        division = self.exchange.write_division(files.to_document(), Division(origins, blocks, shards))
        reduces = [
            {"division": division, "hours": list(map(format_instant, block)), "shard": shard}
            for block in blocks
            for shard in range(len(shards))
        ]
        finishes = [{"division": division, "hour": format_instant(hour)} for hour in sorted(origins)]
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
            if not is_whole(data):  # it is found again, and mended, by whoever computes rows of it
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
        name, hours, shard = event["division"], event["hours"], event["shard"]
        division = self.exchange.read_division(name, self.run.job.spec.text)
        if hours not in division.blocks or shard >= len(division.shards):
            raise EventError(f"event: division {name} has no shard {shard} of these hours")
        files, newest = self.run.files, Accounting()
        files.restore(self.exchange.read(f"divisions/{name}/tiles.json"))
        count = 0
        while hours:
            done, rows = self.run.compute_block(hours, division.shards[shard])
            hours = hours[: -len(done)]
            count += rows.height
            if self.run.plan.as_of in done:
                self.exchange.require_last(name)  # else older items might be put in the place of newer ones
                newest.add_newest(rows, self.run.job.spec)
                newest.online = self.run.job.write_online(rows)
                self.exchange.write({name_newest(name, shard): newest.to_document()})
            to_write = [hour for hour in done if hour in division.origins]
            if len(division.shards) == 1 and to_write:
                self.run.write_training(division.origins, to_write, rows)
            elif to_write:
                self.exchange.write_rows(name, rows, to_write, shard)
        self.exchange.note_damaged(files.damaged)
        return {"rows": count}

    def finish(self, event: Event) -> Answer:
        """Write the training file of an hour, of the rows of its shards, which together must not be too many."""
        name, hour = event["division"], event["hour"]
        division = self.exchange.read_division(name, self.run.job.spec.text)
        if hour not in division.origins:
            raise EventError(f"event: division {name} does not write hour {format_instant(hour)}")
        rows = self.exchange.read_rows(name, hour, len(division.shards))
        require_few_machines(rows.get_column("machine_id"), self.run.job.max_machines)
        self.run.write_training(division.origins, [hour], rows)
        return {"rows": rows.height}

    def answer(self, _event: Event) -> Answer:
        """Add up as the answer of one run, each partition and training file once, at however many tries it was done.

        Tiles or training files that are not those of this run raise: it has to begin again.
        """
        run, exchange, files = self.run, self.exchange, self.run.files
        name = exchange.read("divided.json")
        files.restore(exchange.read(f"divisions/{name}/tiles.json"))
        planned = exchange.read_planned()
        files.states |= {**dict.fromkeys(files.manifests, "reused"), **planned.states}
        made_of = {hour: manifest.fingerprint for hour, manifest in files.manifests.items()}
        for hour, counts in exchange.read_built(made_of):
            if counts is not None:
                run.accounting.add(counts)
                files.states[hour] = "built"
            elif files.states[hour] != "kept":  # the next plan has it built again
                raise DamagedFileError(exchange.locate(name_built(hour, made_of[hour])))
        files.unread |= {
            hour: Manifest(text, {}) for hour, text in planned.fingerprints.items() if hour not in files.manifests
        }
        files.damaged |= exchange.read_damaged()
        files.skipped = planned.skipped
        shards = range(len(exchange.read_division(name, run.job.spec.text).shards))
        newest = [exchange.locate(name_newest(name, shard)) for shard in shards]
        run.accounting.add(exchange.add_up(newest))
        run.accounting.add_files(files.counts)
        left = run.find_hours_to_write(exchange.read_hours_set_out())
        if left:
            raise OvertakenError(training_key(min(left)))
        files.require_same()
        duration = datetime.now(run.job.now.tzinfo) - run.job.now
        return run.accounting.to_answer(run.plan, round(duration.total_seconds() * 1000))

    def note_built(self, mapped: MappedPartition) -> None:
        """Leave what a partition counts, before its files are stored: it is there with them, whatever happens."""
        self.run.note_built(mapped)
        counts = Accounting()
        counts.add_partition(mapped, allowed_lateness=self.run.plan.allowed_lateness)
        self.exchange.write_built(mapped.hour, mapped.manifest.fingerprint, counts)

    def _hand_on(self, **lists: tuple[str, Iterable[Mapping[str, Any]]]) -> Answer:
        """Write lists of events; say how long each is and where."""
        answer: Answer = {"run": self.exchange.run}
        for name, (stage, items) in lists.items():
            events = [{"stage": stage, "run": self.exchange.run, **item} for item in items]
            answer[name] = {"count": len(events), "key": self.exchange.write_list(name, events)}
        return answer


def _read_any(_name: str, value: object) -> object:
    return value


def _read_instant(name: str, value: object) -> datetime:
    try:
        return parse_instant(str(value))
    except ValueError as error:
        raise EventError(f"event: {name} {error}; write an instant such as 2025-10-15T09:00:00Z") from error


def _read_instants(name: str, value: object) -> list[datetime]:
    if not isinstance(value, list):
        raise EventError(f"event: {name} {value!r} must be a list of instants such as 2025-10-15T09:00:00Z")
    return [_read_instant(name, each) for each in value]


def _read_count(name: str, value: object, *, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise EventError(f"event: {name} {value!r} must be a whole number from {least}")
    return value


def _read_digest(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.isalnum():
        raise EventError(f"event: {name} {value!r} must be a digest, as a list of this run has it")
    return value


_FIELDS: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "event": _read_any,
    "started": _read_instant,
    "part_bytes": partial(_read_count, least=1),
    "partition": _read_instant,
    "made_of": _read_digest,
    "part": partial(_read_count, least=0),
    "machines": partial(_read_count, least=1),
    "division": _read_digest,
    "hours": _read_instants,
    "shard": partial(_read_count, least=0),
    "hour": _read_instant,
}
"""The fields that stages have besides ``stage`` and ``run``, and how each is read."""


class _Kind(NamedTuple):
    """A kind of stage: what it does, the fields that its event has, and those that it may have."""

    take: Callable[[Stage, Event], Answer]
    wants: tuple[str, ...] = ()
    may_have: tuple[str, ...] = ()


_KINDS: Final[Mapping[str, _Kind]] = {
    "plan": _Kind(Stage.plan, may_have=("event", "started", "part_bytes")),
    "map": _Kind(Stage.map, ("partition", "made_of", "part")),
    "combine": _Kind(Stage.combine, ("partition", "made_of")),
    "divide": _Kind(Stage.divide, may_have=("machines",)),
    "reduce": _Kind(Stage.reduce, ("division", "hours", "shard")),
    "finish": _Kind(Stage.finish, ("division", "hour")),
    "answer": _Kind(Stage.answer),
}


def read_stage(event: Event) -> dict[str, Any]:
    """Read the event of a stage.

    Parameters
    ----------
    event
        As above.

    Returns
    -------
    dict
        The value of each field.

    Raises
    ------
    EventError
        If there is no such stage, or a field is unknown, missing or not what it should be.
    """
    name = event["stage"]
    if not isinstance(name, str) or name not in _KINDS:
        raise EventError(f"event: stage {name!r} is none of {', '.join(_KINDS)}")
    kind = _KINDS[name]
    known = ("stage", "run", *kind.wants, *kind.may_have)
    unknown = [str(field) for field in event if field not in known]
    if unknown:
        raise EventError(f"event: stage {name} has no {', '.join(unknown)}; its fields are {', '.join(known)}")
    fields = {field: _FIELDS[field](field, event[field]) for field in known[2:] if field in event}
    missing = [field for field in kind.wants if field not in fields]
    if missing:
        raise EventError(f"event: stage {name} wants {', '.join(missing)}")
    return fields


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
        If the event cannot be read, or the stage cannot be done.
    """
    fields = read_stage(event)
    plan, started = exchange.read_plan(features)
    stage = Stage(exchange, Run.begin(plan, prepare(plan, started)))
    stage.run.files.tell = stage.note_built
    return _KINDS[event["stage"]].take(stage, fields)
