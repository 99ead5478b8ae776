"""What the stages of one run leave for each other: files under ``processed/runs/{run}/``.

==========================  ============================================================================
``plan/plan.json``          what the run answers for, so that each stage answers for the same
``partitions/{hour}.json``  the objects of a partition that is to be built
``parts/{hour}/{n}-…``      what was made of a part of it, where it has several
``tiles.json``              which tile files the rows are computed from
``training.json``           the training hours to write, and what each is made of
``rows/{hour}/{n}.parquet`` the rows of a training hour, of some machines
``counts/{stage}.json``     what a stage counted, for the answer
==========================  ============================================================================

A stage that is tried again writes the same files again. A lifecycle rule may expire them after a week.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from handler.answer import Accounting, restore_counters
from handler.definitions.errors import EventError, LakeError
from handler.definitions.raw import RawObject
from handler.definitions.timestamps import format_instant, parse_instant
from handler.ingest.duplicates import SeenRun
from handler.lake.lake import Lake
from handler.lake.listing import Listing
from handler.lake.parquet import encode_parquet
from handler.plan import Plan
from handler.stores.training import Origin
from handler.tiles.builder import PartialPartition

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")
_SECOND: Final = timedelta(seconds=1)
_FRAMES: Final = ("tiles", "failures", "rejected")


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

    def holds(self, name: str) -> bool:
        """Tell whether the run has a file."""
        key = self.locate(name)
        return key in self.lake.list_versions(key.rpartition("/")[0])

    def write(self, name: str, document: Any) -> str:
        """Write a document as JSON; return its key."""
        key = self.locate(name)
        self.lake.write({key: json.dumps(document).encode()})
        return key

    def read(self, name: str) -> Any:
        """Read a document."""
        (data,) = self.lake.read([self.locate(name)])
        return json.loads(data)

    def write_plan(self, plan: Plan, started: datetime, features: str) -> None:
        """Write what the run answers for, when it started, and the digest of its features."""
        document = {
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
        self.write("plan/plan.json", document)

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

    def write_partitions(self, partitions: Mapping[datetime, tuple[str, list[list[RawObject]]]]) -> None:
        """Write the fingerprint of each partition and its objects, part by part; many at a time."""
        files = {}
        for hour, (fingerprint, parts) in partitions.items():
            objects = [[[item.key, item.size, item.e_tag, item.modified] for item in part] for part in parts]
            document = {"fingerprint": fingerprint, "parts": objects}
            files[self.locate(f"partitions/{_stamp(hour)}.json")] = json.dumps(document).encode()
        self.lake.write(files)

    def read_partition(self, hour: datetime) -> tuple[str, list[Listing]]:
        """Read the fingerprint of a partition, and the objects of each part."""
        known = self.read(f"partitions/{_stamp(hour)}.json")
        return known["fingerprint"], [
            Listing(tuple(RawObject(*fields) for fields in objects)) for objects in known["parts"]
        ]

    def write_part(self, hour: datetime, number: int, part: PartialPartition) -> None:
        """Write what was made of a part."""
        stem = self.locate(f"parts/{_stamp(hour)}/{number}")
        files = {f"{stem}-{name}.parquet": getattr(part, name) for name in _FRAMES}
        document: dict[str, Any] = {"counts": dict(part.counts), "is_complete": part.is_complete, "seen": None}
        if part.seen is not None:
            files[f"{stem}-seen.parquet"] = encode_parquet(part.seen.hashes.alias("hash").to_frame())
            document["seen"] = [part.seen.first.isoformat(), part.seen.last.isoformat()]
        files[f"{stem}.json"] = json.dumps(document).encode()
        self.lake.write(files)

    def read_part(self, hour: datetime, number: int) -> PartialPartition:
        """Read what was made of a part."""
        stem = self.locate(f"parts/{_stamp(hour)}/{number}")
        (text, *frames) = self.lake.read([f"{stem}.json", *(f"{stem}-{name}.parquet" for name in _FRAMES)])
        document = json.loads(text)
        given = document["counts"]
        counts = restore_counters(given)
        counts["lateness"] = Counter({int(hours): lines for hours, lines in given["lateness"].items()})
        tiles, failures, rejected = frames
        part = PartialPartition(tiles, failures, rejected, None, counts, document["is_complete"])
        if document["seen"] is None:
            return part
        (data,) = self.lake.read([f"{stem}-seen.parquet"])
        hashes = pl.read_parquet(data).to_series()
        first, last = map(datetime.fromisoformat, document["seen"])
        return replace(part, seen=SeenRun(hashes, first, last))

    def write_training(self, origins: Mapping[datetime, Origin]) -> None:
        """Write the training hours that are to be written, and what each is made of."""
        self.write(
            "training.json",
            {format_instant(hour): [each.made_by, each.made_of, each.partitions] for hour, each in origins.items()},
        )

    def read_training(self, features: str) -> dict[datetime, Origin]:
        """Read the training hours that are to be written; ``features`` is the text of the features.toml."""
        known = self.read("training.json")
        return {parse_instant(hour): Origin(by, of, features, tuple(seen)) for hour, (by, of, seen) in known.items()}

    def write_rows(self, rows: pl.DataFrame, hours: list[datetime], shard: int) -> None:
        """Write the rows of some machines, a file an hour."""
        self.lake.write({
            self.locate(f"rows/{_stamp(hour)}/{shard}.parquet"): encode_parquet(
                rows.filter(pl.col("event_timestamp") == hour)
            )
            for hour in hours
        })  # fmt: skip

    def read_rows(self, hour: datetime, shards: int) -> pl.DataFrame:
        """Read the rows of all machines at an hour, in the order of the shards."""
        keys = [self.locate(f"rows/{_stamp(hour)}/{shard}.parquet") for shard in range(shards)]
        return pl.concat(map(pl.read_parquet, self.lake.read(keys)))

    def write_counts(self, stage: str, counts: Accounting) -> None:
        """Write what a stage counted."""
        self.write(f"counts/{stage}.json", counts.to_document())

    def read_counts(self) -> Accounting:
        """Add up what all stages counted."""
        total = Accounting()
        for data in self.lake.read(sorted(self.lake.list_versions(self.locate("counts")))):
            total.add(Accounting.from_document(json.loads(data)))
        return total


def _stamp(hour: datetime) -> str:
    return format(hour, "%Y%m%dT%H%M")
