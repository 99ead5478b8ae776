"""What the stages of one run leave for each other: files under ``processed/runs/{run}/``.

====================================  =================================================================
``plan/plan.json``                    what the run answers for, so that each stage answers for the same
``planned.json``                      what each partition is to be made of, as the last plan found it
``partitions/{hour}.json``            the objects of a partition that is to be built, part by part
``parts/{hour}-{made_of}/{n}-…``      what was made of a part of it, where it has several
``built/{hour}-{made_of}.json``       the counts of a partition that was built
``damaged/{hour}.json``               a partition of which a file was damaged
``set_out/{hour}.json``               a training hour that any division found that it was to be written
``divided.json``                      the last division
``divisions/{division}/tiles.json``   the tile files that rows are computed from
``divisions/{division}/shards.json``  the training hours to write, and how hours and machines are divided
``rows/{hour}-{division}/{n}…``       the rows of a training hour and a shard
``newest/{division}/{n}.json``        the counts of the newest rows of a shard
====================================  =================================================================

``made_of`` and ``division`` are digests of what a stage was given. So what an abandoned stage leaves lies where nobody
looks who asks for something else. Each file is checked when it is read. A stage that is tried again writes the same
files again. A lifecycle rule may expire them after a week.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

import polars as pl

from handler.answer import Accounting, restore_counters
from handler.definitions.errors import DamagedFileError, EventError, LakeError, OvertakenError
from handler.definitions.raw import RawObject
from handler.definitions.timestamps import format_instant, parse_instant
from handler.ingest.duplicates import SeenRun
from handler.lake.lake import Lake
from handler.lake.listing import Listing
from handler.lake.parquet import encode_parquet, is_whole, seal
from handler.plan import Plan
from handler.stores.training import Origin
from handler.tiles.builder import PartialPartition
from handler.tiles.groups import MachineRange

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")
_SECOND: Final = timedelta(seconds=1)
_FRAMES: Final = ("tiles", "failures", "rejected")
_STAMP: Final = "%Y%m%dT%H%M"
_AT_A_TIME: Final = 48
"""Documents that are in memory together."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What a plan found.

    Attributes
    ----------
    fingerprints
        What the files of each partition are to be made of.
    states
        Of those that need not be built: ``reused`` or ``kept``.
    skipped
        Raw objects that are no telemetry.
    """

    fingerprints: Mapping[datetime, str]
    states: Mapping[datetime, str]
    skipped: int


@dataclass(frozen=True, slots=True)
class Division:
    """How the rows of a run are divided.

    Attributes
    ----------
    origins
        The training hours to write, and what each is made of.
    blocks
        The hours that are computed together; the first block is the run's ``as_of``.
    shards
        The machines that are computed together.
    """

    origins: Mapping[datetime, Origin]
    blocks: Sequence[Sequence[datetime]]
    shards: Sequence[MachineRange]


@dataclass(frozen=True, slots=True)
class Exchange:
    """The folder of one run.

    Attributes
    ----------
    lake
        Where it is.
    run
        The run's name: that of the state machine's execution.
    """

    lake: Lake
    run: str

    def __post_init__(self) -> None:
        if not isinstance(self.run, str) or not _NAME.fullmatch(self.run):
            raise EventError(f"event: run {self.run!r} must be 1 to 80 letters, digits, hyphens or underscores")

    def locate(self, name: str) -> str:
        """Give the key of a file of the run."""
        return f"processed/runs/{self.run}/{name}"

    def write(self, documents: Mapping[str, Any]) -> None:
        """Write documents as JSON, each with a digest of it, by name."""
        self.lake.write({self.locate(name): _seal(document) for name, document in documents.items()})

    def read(self, name: str) -> Any:
        """Read a document."""
        (document,) = self._read_all([self.locate(name)])
        return document

    def _read_all(self, keys: Iterable[str]) -> Iterator[Any]:
        """Read documents in turn, a few at a time."""
        left = iter(keys)
        while some := list(islice(left, _AT_A_TIME)):
            for key, data in zip(some, self.lake.read(some), strict=True):
                yield _open(data, key)

    def _list(self, folder: str) -> list[str]:
        return sorted(self.lake.list_versions(self.locate(folder)))

    def _list_hours(self, folder: str) -> set[datetime]:
        """List the hours that the files of a folder are named by."""
        stamps = (key[-len("20251015T0900.json") : -len(".json")] for key in self._list(folder))
        return {datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC) for stamp in stamps}

    def write_list(self, name: str, events: Sequence[Mapping[str, Any]]) -> str:
        """Write a list of events as the state machine reads it; return its key."""
        key = self.locate(f"{name}-{digest(events)}.json")
        self.lake.write({key: json.dumps(events).encode()})
        return key

    def is_begun(self, event: str) -> bool:
        """Tell whether the run began, with the event of this digest; another one raises."""
        name = "plan/plan.json"
        if self.locate(name) not in self._list("plan"):
            return False
        try:
            known = self.read(name)
        except DamagedFileError:  # the same event brings it again
            return False
        if known["event"] != event:
            raise EventError(f"event: run {self.run} began with another event; give each execution a name of its own")
        return True

    def write_plan(self, plan: Plan, started: datetime, features: str, event: str = "") -> None:
        """Write what the run answers for, when it started, and the digests of its features and its event."""
        document = {
            "event": event,
            "start": format_instant(plan.start),
            "end": format_instant(plan.end),
            "lookback_seconds": plan.lookback / _SECOND,
            "allowed_lateness_seconds": plan.allowed_lateness / _SECOND,
            "future_tolerance_seconds": plan.future_tolerance / _SECOND,
            "raw_kept_from": None if plan.raw_kept_from is None else plan.raw_kept_from.isoformat(),
            "is_backfill": plan.is_backfill,
            "accept_loss": plan.accept_loss,
            "started": started.isoformat(),
            "features": features,
        }
        self.write({"plan/plan.json": document})

    def read_plan(self, features: str) -> tuple[Plan, datetime]:
        """Read what the run answers for, and when it started.

        Parameters
        ----------
        features
            The digest of the features that this stage has.

        Returns
        -------
        plan, started
            As they were written.

        Raises
        ------
        LakeError
            If the run began with other features, or there is no such run.
        """
        known = self.read("plan/plan.json")
        if known["features"] != features:
            raise LakeError(f"go on with run {self.run}", "features.toml changed since it began; start another run")
        plan = Plan(
            start=parse_instant(known["start"]),
            end=parse_instant(known["end"]),
            lookback=known["lookback_seconds"] * _SECOND,
            allowed_lateness=known["allowed_lateness_seconds"] * _SECOND,
            future_tolerance=known["future_tolerance_seconds"] * _SECOND,
            raw_kept_from=None if known["raw_kept_from"] is None else datetime.fromisoformat(known["raw_kept_from"]),
            is_backfill=known["is_backfill"],
            accept_loss=known["accept_loss"],
        )
        return plan, datetime.fromisoformat(known["started"])

    def write_partitions(
        self, stale: Iterable[tuple[datetime, str, list[list[RawObject]]]]
    ) -> Iterator[tuple[datetime, str, str, int]]:
        """Write the fingerprints and objects of partitions, part by part, a few partitions at a time.

        Give the hour and fingerprint of each, the digest of its document, and the number of its parts.
        """
        left = iter(stale)
        while some := list(islice(left, _AT_A_TIME)):
            documents, written = {}, []
            for hour, fingerprint, parts in some:
                objects = [[[item.key, item.size, item.e_tag, item.modified] for item in part] for part in parts]
                document = {"fingerprint": fingerprint, "parts": objects}
                made_of = digest(document)
                documents[f"partitions/{_stamp(hour)}.json"] = document
                written.append((hour, fingerprint, made_of, len(parts)))
            self.write(documents)
            yield from written

    def read_partition(self, hour: datetime, made_of: str) -> tuple[str, list[Listing]]:
        """Read the fingerprint of a partition, and the objects of each part; raise where the run has begun again."""
        name = f"partitions/{_stamp(hour)}.json"
        known = self.read(name)
        if digest(known) != made_of:
            raise OvertakenError(self.locate(name))
        return known["fingerprint"], [
            Listing(tuple(RawObject(*fields) for fields in objects)) for objects in known["parts"]
        ]

    def write_planned(self, planned: Planned) -> None:
        """Write what a plan found."""
        document = {
            "fingerprints": {format_instant(hour): text for hour, text in planned.fingerprints.items()},
            "states": {format_instant(hour): state for hour, state in planned.states.items()},
            "skipped": planned.skipped,
        }
        self.write({"planned.json": document})

    def read_planned(self) -> Planned:
        """Read what the last plan found."""
        known = self.read("planned.json")
        fingerprints, states = (
            {parse_instant(hour): text for hour, text in known[name].items()} for name in ("fingerprints", "states")
        )
        return Planned(fingerprints, states, known["skipped"])

    def write_part(self, hour: datetime, made_of: str, number: int, part: PartialPartition) -> None:
        """Write what was made of a part."""
        stem = f"parts/{_stamp(hour)}-{made_of}/{number}"
        frames = {name: getattr(part, name) for name in _FRAMES}
        document: dict[str, Any] = {"counts": dict(part.counts), "is_complete": part.is_complete, "seen": None}
        if part.seen is not None:
            frames["seen"] = encode_parquet(part.seen.hashes.alias("hash").to_frame())
            document["seen"] = [part.seen.first.isoformat(), part.seen.last.isoformat()]
        document["frames"] = {name: hashlib.sha256(data).hexdigest() for name, data in frames.items()}
        self.lake.write({self.locate(f"{stem}-{name}.parquet"): data for name, data in frames.items()})
        self.write({f"{stem}.json": document})

    def read_part(self, hour: datetime, made_of: str, number: int) -> PartialPartition:
        """Read what was made of a part: frames that were written together."""
        stem = f"parts/{_stamp(hour)}-{made_of}/{number}"
        document = self.read(f"{stem}.json")
        keys = [self.locate(f"{stem}-{name}.parquet") for name in document["frames"]]
        frames = dict(zip(document["frames"], self.lake.read(keys), strict=True))
        for key, known, data in zip(keys, document["frames"].values(), frames.values(), strict=True):
            if hashlib.sha256(data).hexdigest() != known:
                raise DamagedFileError(key)
        given = document["counts"]
        counts = restore_counters(given)
        counts["lateness"] = Counter({int(hours): lines for hours, lines in given["lateness"].items()})
        tiles, failures, rejected = (frames[name] for name in _FRAMES)
        part = PartialPartition(tiles, failures, rejected, None, counts, document["is_complete"])
        if document["seen"] is None:
            return part
        hashes = pl.read_parquet(frames["seen"]).to_series()
        first, last = map(datetime.fromisoformat, document["seen"])
        return replace(part, seen=SeenRun(hashes, first, last))

    def write_built(self, hour: datetime, fingerprint: str, counts: Accounting) -> None:
        """Write what a partition counts that was built of something."""
        self.write({name_built(hour, fingerprint): counts.to_document()})

    def read_built(self, fingerprints: Mapping[datetime, str]) -> Iterator[tuple[datetime, Accounting | None]]:
        """Read what the partitions count that this run built, at any try, of what they are made of now.

        Give None for one whose counts are damaged, or gone: a plan of this run set out to build it.
        """
        there, set_out = set(self._list("built")), self._list_hours("partitions")
        keys = {self.locate(name_built(hour, fingerprint)): hour for hour, fingerprint in fingerprints.items()}
        yield from ((hour, None) for key, hour in keys.items() if hour in set_out and key not in there)
        left = iter(keys.keys() & there)
        while some := list(islice(left, _AT_A_TIME)):
            for key, data in zip(some, self.lake.read(some), strict=True):
                try:
                    yield keys[key], Accounting.from_document(_open(data, key))
                except DamagedFileError:
                    yield keys[key], None

    def add_up(self, keys: Iterable[str]) -> Accounting:
        """Add up counts."""
        total = Accounting()
        for document in self._read_all(keys):
            total.add(Accounting.from_document(document))
        return total

    def note_damaged(self, partitions: Iterable[datetime]) -> None:
        """Note that files of partitions were damaged, at whichever try."""
        self.write({f"damaged/{_stamp(hour)}.json": None for hour in partitions})

    def read_damaged(self) -> set[datetime]:
        """Read which partitions were damaged at any try."""
        return self._list_hours("damaged")

    def write_division(self, tiles: Mapping[str, Any], division: Division) -> str:
        """Write how rows are divided, and the tile files that they are computed from; return the digest of both."""
        document = {
            "origins": {
                format_instant(hour): [each.made_by, each.made_of, each.partitions]
                for hour, each in division.origins.items()
            },
            "blocks": [list(map(format_instant, block)) for block in division.blocks],
            "shards": division.shards,
        }
        name = digest([tiles, document])
        self.write({f"set_out/{_stamp(hour)}.json": None for hour in division.origins})
        self.write({f"divisions/{name}/tiles.json": tiles, f"divisions/{name}/shards.json": document})
        self.write({"divided.json": name})
        return name

    def read_division(self, division: str, features: str) -> Division:
        """Read how rows are divided; ``features`` is the text of the features.toml."""
        known = self.read(f"divisions/{division}/shards.json")
        return Division(
            {
                parse_instant(hour): Origin(by, of, features, tuple(seen))
                for hour, (by, of, seen) in known["origins"].items()
            },
            [list(map(parse_instant, block)) for block in known["blocks"]],
            [MachineRange(*bounds) for bounds in known["shards"]],
        )

    def require_last(self, division: str) -> None:
        """Raise where the run has begun again, and divided its rows anew."""
        if self.read("divided.json") != division:
            raise OvertakenError(self.locate("divided.json"))

    def read_hours_set_out(self) -> set[datetime]:
        """Read which training hours any division of this run found that were to be written."""
        hours = self._list_hours("set_out")  # noted twice: either may be damaged or gone
        for key in self._list("divisions"):
            if key.endswith("/shards.json"):
                with suppress(DamagedFileError):
                    hours |= {parse_instant(hour) for known in self._read_all([key]) for hour in known["origins"]}
        return hours

    def write_rows(self, division: str, rows: pl.DataFrame, hours: Iterable[datetime], shard: int) -> None:
        """Write the rows of a shard, a file an hour."""
        self.lake.write({
            self._locate_rows(division, hour, shard): seal(encode_parquet(
                rows.filter(pl.col("event_timestamp") == hour)
            ))
            for hour in hours
        })  # fmt: skip

    def read_rows(self, division: str, hour: datetime, shards: int) -> pl.DataFrame:
        """Read the rows of all machines at an hour, in the order of the shards."""
        keys = [self._locate_rows(division, hour, shard) for shard in range(shards)]
        files = self.lake.read(keys)
        for key, data in zip(keys, files, strict=True):
            if not is_whole(data):
                raise DamagedFileError(key)
        return pl.concat(map(pl.read_parquet, files))

    def _locate_rows(self, division: str, hour: datetime, shard: int) -> str:
        return self.locate(f"rows/{_stamp(hour)}-{division}/{shard}.parquet")


def digest(document: Any) -> str:
    """Name a document by its content."""
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()[:32]


def name_newest(division: str, shard: int) -> str:
    """Name the counts of the newest rows of a shard."""
    return f"newest/{division}/{shard}.json"


def name_built(hour: datetime, fingerprint: str) -> str:
    """Name the counts of a partition that was built of something."""
    return f"built/{_stamp(hour)}-{digest(fingerprint)}.json"


def _seal(document: Any) -> bytes:
    return json.dumps({"digest": digest(document), "document": document}).encode()


def _open(data: bytes, key: str) -> Any:
    try:
        sealed = json.loads(data)
        document = sealed["document"]
        if sealed["digest"] == digest(document):
            return document
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    raise DamagedFileError(key)


def _stamp(hour: datetime) -> str:
    return format(hour, _STAMP)
