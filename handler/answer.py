"""The run's answer: what was read, built and written, as one JSON object."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, Final, Self

import polars as pl

from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import HOUR, format_instant
from handler.plan import Plan
from handler.stores.online import OnlineResult
from handler.tiles.builder import MappedPartition

_MOST_CLOCKS: Final = 10
_MOST_HOURS_NAMED: Final = 1000
"""So that an answer is never too large for AWS; ``training.kept`` counts all."""


def restore_counters(document: Mapping[str, Any]) -> dict[str, Any]:
    """Make counters of what they are in JSON, objects; other values stay as they are."""
    return {name: Counter(value) if isinstance(value, dict) else value for name, value in document.items()}


@dataclass(slots=True)
class Accounting:
    """Sums over a run, filled as it goes; the only mutable thing that travels through it."""

    objects: Counter[str] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    unknown_fields: int = 0
    tiles_built: int = 0
    tiles_reused: int = 0
    tiles_kept: int = 0
    damaged: int = 0
    too_late: Counter[str] = field(default_factory=Counter)
    from_the_future: Counter[str] = field(default_factory=Counter)
    machines: int = 0
    stalest_seconds: float | None = None
    online: OnlineResult = field(default_factory=OnlineResult)
    training_files: int = 0
    training_rows: int = 0
    training_current: int = 0
    training_kept: int = 0
    not_written: list[str] = field(default_factory=list)
    training_hours_left: int | None = None

    def add_partition(self, mapped: MappedPartition, *, allowed_lateness: timedelta) -> None:
        """Count a partition that was read."""
        counts = mapped.counts
        self.tiles_built += 1
        self.objects.update(read=counts.objects_read, unreadable=counts.unreadable)
        self.lines.update(
            read=counts.lines,
            accepted=counts.accepted,
            failures=counts.failures,
            duplicates=counts.duplicates,
        )
        self.rejected.update(counts.rejected)
        self.unknown_fields += counts.unknown_fields
        self.too_late.update(counts.too_late)
        self.from_the_future.update(counts.from_the_future)
        for hours, lines in mapped.manifest.lateness.items():
            if hours > 0:
                self.lines["too_late" if hours * HOUR > allowed_lateness else "late"] += lines

    def add_files(self, counts: Mapping[str, int]) -> None:
        """Count partitions, each once, as :attr:`handler.tiles.files.PartitionFiles.counts` does."""
        self.tiles_built, self.tiles_reused, self.tiles_kept = counts["built"], counts["reused"], counts["kept"]
        self.damaged, self.objects["skipped"] = counts["damaged"], counts["skipped"]

    def add_standing(
        self, rows: Mapping[datetime, int], *, kept: Sequence[datetime], not_written: Sequence[datetime]
    ) -> None:
        """Count the training files that stand: those of the span that are right, and others that cannot be made again.

        Hours that cannot be written are named, whether or not they have a file.
        """
        self.training_current = len(rows)
        self.training_files += len(rows)
        self.training_rows += sum(rows.values())
        self.training_kept = len(kept)
        self.not_written = [format_instant(hour) for hour in not_written[:_MOST_HOURS_NAMED]]

    def add_written(self, hours: int, rows: int) -> None:
        """Count training files that were written."""
        self.training_files += hours
        self.training_rows += rows
        self.training_hours_left = (self.training_hours_left or 0) - hours

    def add(self, other: "Accounting") -> None:
        """Add what another process of the same run counted: sums, but the stalest machine and the hours to do."""
        stalest = [each.stalest_seconds for each in (self, other) if each.stalest_seconds is not None]
        self.stalest_seconds = max(stalest, default=None)
        for name in {each.name for each in fields(self)} - {"stalest_seconds", "training_hours_left"}:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def to_document(self) -> dict[str, Any]:
        """Write it as JSON takes it, for :meth:`from_document`."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**values, "online": asdict(self.online)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read what another process wrote."""
        return cls(**{**restore_counters(document), "online": OnlineResult(**document["online"])})

    def describe_progress(self) -> str:
        """Say how far the run came, and what it has not done."""
        if self.training_hours_left is None:
            return f"{self.tiles_built} partitions were read, others and all rows were not"
        written = self.training_files - self.training_current
        return f"items are written, and {written} training hours; {self.training_hours_left} are not"

    def add_newest(self, rows: pl.DataFrame, spec: FeatureSpec) -> None:
        """Count the machines of the newest rows, and find the longest time since any machine's latest reading."""
        self.machines = rows.height
        if not rows.is_empty():
            staleness = pl.min_horizontal(f"{name}_staleness_seconds" for name in spec.reading_names)
            self.stalest_seconds = float(rows.select(staleness.max()).item())

    def to_answer(self, plan: Plan, duration_ms: int) -> dict[str, Any]:
        """Write the answer; ``lines`` adds up: read = accepted + failures + duplicates + rejected.

        ``late`` and ``too_late`` lines are among the accepted ones. Reasons nothing was rejected for are left out.
        ``training`` counts the files that stand for the span now, and earlier ones that were written; of these
        ``training_current`` were right already. ``kept`` ones are not among them: what they were made of is gone.
        ``training_not_written`` names their hours, and those that a backfill left out. ``damaged`` counts processed
        files that were not as they had been written. ``clocks`` names the machines with the most lines that are too
        late or from the future.
        """
        lines = ("read", "accepted", "failures", "duplicates", "late", "too_late")
        return {
            "as_of": format_instant(plan.as_of),
            "span": {"start": format_instant(plan.start), "end": format_instant(plan.end)},
            "objects": {name: self.objects[name] for name in ("read", "skipped", "unreadable")},
            "lines": {
                **{name: self.lines[name] for name in lines},
                "rejected": dict(sorted(self.rejected.items())),
                "unknown_fields": self.unknown_fields,
            },
            "tiles": {"built": self.tiles_built, "reused": self.tiles_reused, "kept": self.tiles_kept},
            "damaged": self.damaged,
            "clocks": {
                machine: {"too_late": self.too_late[machine], "from_the_future": self.from_the_future[machine]}
                for machine, _ in sorted(
                    (self.too_late + self.from_the_future).items(), key=lambda item: (-item[1], item[0])
                )[:_MOST_CLOCKS]
            },
            "machines": self.machines,
            "stalest_machine_seconds": self.stalest_seconds,
            "online": asdict(self.online),
            "training": {"files": self.training_files, "rows": self.training_rows, "kept": self.training_kept},
            "training_current": self.training_current,
            "training_not_written": self.not_written,
            "duration_ms": duration_ms,
        }


def was_every_object_skipped(answer: Mapping[str, Any]) -> bool:
    """Tell whether a run found objects, and no telemetry among them.

    Parameters
    ----------
    answer
        The run's answer.

    Returns
    -------
    bool
        False also where nothing was there.
    """
    objects, tiles = answer["objects"], answer["tiles"]
    return objects["skipped"] > 0 and not (objects["read"] or objects["unreadable"] or any(tiles.values()))
