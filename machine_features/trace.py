"""The raw lines of one value: those it was computed from, and those of its time that were left out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from handler.definitions.errors import LakeError
from handler.definitions.layout import failures_key, tiles_key
from handler.definitions.raw import RawContent
from handler.definitions.schema import Schema
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import FUTURE_TOLERANCE, HOUR, INSTANT, format_instant
from handler.ingest.classes import classify_lines, split_line
from handler.ingest.framing import FallbackLine, cut_lines
from handler.ingest.json_lines import decode_lines
from handler.lake.lake import Lake
from handler.lake.listing import Listing
from handler.plan import Plan
from machine_features.catalogue import Feature

SCHEMA: Final[Schema] = {
    "reading": pl.String(),
    "source_key": pl.String(),
    "line_number": pl.Int64(),
    "event_timestamp": INSTANT,
    "value": pl.Float64(),
    "status": pl.String(),
}
"""Columns of a trace."""

_LINES_AT_A_TIME: Final = 10_000


@dataclass(frozen=True, slots=True)
class Tracer:
    """Finds the lines of values, by reading raw partitions again.

    Attributes
    ----------
    lake, spec
        Where the lines are, and what they hold.
    allowed_lateness, future_tolerance
        The function's settings.
    """

    lake: Lake
    spec: FeatureSpec
    allowed_lateness: timedelta
    future_tolerance: timedelta = FUTURE_TOLERANCE

    def trace(self, machine_id: str, as_of: datetime, feature: Feature) -> pl.DataFrame:
        """Find the lines of one value.

        Parameters
        ----------
        machine_id
            The machine.
        as_of
            The row's instant, UTC.
        feature
            The column.

        Returns
        -------
        pl.DataFrame
            Columns of ``SCHEMA``, in the order of arrival. ``status`` is ``used``, or why the line was left out:
            ``duplicate``, ``too_late``, ``failure``, or the reason it was rejected for.

        Raises
        ------
        LakeError
            If the store does not answer, or raw objects that the value was made of are gone.
        """
        window = timedelta(hours=feature.hours)
        plan = Plan(as_of - HOUR, as_of, window, self.allowed_lateness, self.future_tolerance)
        partitions = sorted(plan.list_contributors([as_of]))
        listings, _ = self.lake.list_partitions(partitions)
        stored = self.lake.look_up(key(partition) for partition in partitions for key in (tiles_key, failures_key))
        found = [pl.DataFrame(schema=dict(SCHEMA))]
        for partition in partitions:
            if not listings[partition].objects and {tiles_key(partition), failures_key(partition)} & stored.keys():
                gone = "its raw objects are gone, and only processed files are left"
                raise LakeError(f"trace lines of {format_instant(partition)}", gone)
            lines = self._classify(machine_id, partition, listings[partition])
            time = pl.col("event_time")
            in_window = time.is_null() | time.is_between(as_of - window, as_of, closed="left")
            found += [
                lines.filter(in_window & (pl.col(reading).is_not_null() | (pl.col("status") != "used"))).select(
                    pl.lit(reading).alias("reading"),
                    "source_key",
                    "line_number",
                    time.alias("event_timestamp"),
                    pl.col(reading).alias("value"),
                    "status",
                )
                for reading in feature.readings
            ]
        return pl.concat(found)

    def _classify(self, machine_id: str, partition: datetime, listing: Listing) -> pl.DataFrame:
        """Put all lines of a machine in their classes."""
        latest = partition + HOUR + self.future_tolerance
        frames = []
        for lines in _take_some(self._find_lines(machine_id, listing)):
            parts = [(key, part) for key, line in lines for part in split_line(line)]
            decoded = decode_lines(enumerate(part.raw for _, part in parts), self.spec).lines
            rows = classify_lines(decoded, self.spec, latest)
            places = [(parts[row][0], parts[row][1].number) for row in rows.get_column("row")]
            frames.append(
                rows.with_columns(
                    pl.Series("source_key", [key for key, _ in places], pl.String),
                    pl.Series("line_number", [number for _, number in places], pl.Int64),
                ).filter(pl.col("machine_id") == machine_id)
            )
        if not frames:
            return pl.DataFrame(
                schema={**SCHEMA, "event_time": INSTANT, **dict.fromkeys(self.spec.reading_names, pl.Float64())}
            )
        whole = pl.concat(frames)
        is_reading = pl.col("reason").is_null() & pl.col("codigo_evento").is_null()
        is_first = pl.struct("event_time", *self.spec.reading_names).is_first_distinct().over(is_reading)
        is_late = pl.lit(partition, INSTANT) - pl.col("event_time").dt.truncate("1h") > self.allowed_lateness
        return whole.with_columns(
            status=pl.when(pl.col("reason").is_not_null())
            .then(pl.col("reason"))
            .when(pl.col("codigo_evento").is_not_null())
            .then(pl.lit("failure"))
            .when(~is_first)
            .then(pl.lit("duplicate"))
            .when(is_late)
            .then(pl.lit("too_late"))
            .otherwise(pl.lit("used"))
        )

    def _find_lines(self, machine_id: str, listing: Listing) -> Iterator[tuple[str, FallbackLine]]:
        """Find the lines that may be a machine's, with the keys of their objects."""
        name = machine_id.encode()
        for read in self.lake.split_batches(listing):
            keys: list[str] = []
            number = 0
            for lines in cut_lines(_note_keys(read(), keys)):
                number = 0 if lines.is_first else number
                for raw in bytes(lines.data).removesuffix(b"\n").split(b"\n"):
                    number += 1
                    if not lines.is_too_long and (name in raw or b"\\" in raw):
                        yield keys[lines.object], FallbackLine(lines.object, number, raw)


def _note_keys(contents: Iterable[RawContent], keys: list[str]) -> Iterator[RawContent]:
    goes_on = False
    for content in contents:
        if not goes_on:
            keys.append(content.key)
        goes_on = content.goes_on
        yield content


def _take_some(lines: Iterable[tuple[str, FallbackLine]]) -> Iterator[list[tuple[str, FallbackLine]]]:
    some: list[tuple[str, FallbackLine]] = []
    for line in lines:
        some.append(line)
        if len(some) == _LINES_AT_A_TIME:
            yield some
            some = []
    if some:
        yield some
