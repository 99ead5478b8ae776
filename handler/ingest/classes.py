"""Raw lines → accepted, failures, rejected: every line in exactly one class."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final

import polars as pl

from handler.definitions.raw import RawContent
from handler.definitions.schema import FAILURE_SCHEMA, REJECTED_SCHEMA, empty_frame
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import FUTURE_TOLERANCE, HOUR
from handler.ingest.framing import MOST_LINES, FallbackLine, split_objects
from handler.ingest.json_lines import decode_lines, is_object

if TYPE_CHECKING:
    from handler.ingest.decoder import DecodedReadings

TOO_LONG: Final = "too_long"
FROM_THE_FUTURE: Final = "from_the_future"
REASONS: Final = (
    TOO_LONG,
    "not_json",
    "not_object",
    "missing_machine_id",
    "missing_timestamp",
    "bad_timestamp",
    "bad_failure_code",
    "no_reading",
    "not_a_number",
    "out_of_range",
    FROM_THE_FUTURE,
)
"""Why a line is rejected, in the order in which the reasons are tried."""

UNREADABLE: Final = "unreadable_object"
WHATEVER_FEATURES: Final = (UNREADABLE, TOO_LONG, "not_json", "not_object")
"""Why all features reject a line."""

RAW_BYTES_KEPT: Final = 4096
_MOST_PARTS: Final = 2**15
"""Lines that are decoded at a time; a single one of 64 MiB may hold many objects."""


@dataclass(frozen=True, slots=True)
class ParsedLines:
    """Lines by their classes.

    Attributes
    ----------
    readings : pl.DataFrame
        The accepted lines in any order, duplicates included. The columns are ``machine_id`` (Enum or String),
        ``event_time`` (Datetime, µs, UTC) and a Float64 column a reading, NaN where absent.
    failures : pl.DataFrame
        The failure events in reading order, duplicates included: columns of ``FAILURE_SCHEMA``.
    rejected : pl.DataFrame
        The rejected lines and unreadable objects in reading order: columns of ``REJECTED_SCHEMA``. An unreadable
        object has no line number, and its problem as the text.
    objects : int
        The number of objects that begin here.
    lines : int
        The number of lines; blank ones do not count.
    unknown_fields : int
        The number of numeric fields that the spec does not know.
    from_the_future : Counter of str
        The rejected lines that are from the future, by machine.
    is_complete : bool
        Whether all objects that were listed were there.
    is_ordered : bool
        Whether each machine's values of a reading come with ever later event times: then no line is there twice.
    """

    readings: pl.DataFrame
    failures: pl.DataFrame
    rejected: pl.DataFrame
    objects: int
    lines: int
    unknown_fields: int
    from_the_future: Counter[str]
    is_complete: bool
    is_ordered: bool


def parse_lines(
    contents: Iterable[RawContent],
    spec: FeatureSpec,
    partition: datetime,
    future_tolerance: timedelta = FUTURE_TOLERANCE,
    *,
    most_lines: int = MOST_LINES,
) -> Iterator[ParsedLines]:
    """Put every line of a batch of raw objects in its class, some lines at a time.

    Event times keep their microseconds; later digits are cut off. A null field counts as absent.

    Parameters
    ----------
    contents
        The objects, whole or in parts, in the listing's order; each is let go before the next is taken.
    spec
        The readings, with their plausible ranges in their own units.
    partition
        Start of the hour of arrival, UTC.
    future_tolerance
        An event time further after the end of the partition is from the future.
    most_lines
        After which lines are given; a part of an object more.

    Yields
    ------
    ParsedLines
        The accepted lines as columns, and the others as they came. Few lines are given at once; no lines, too.
    """
    from handler.ingest.decoder import decode_readings  # noqa: PLC0415 - with numpy, which takes half as long as Polars

    rest = _Rest(spec, partition + HOUR + future_tolerance)
    contents = rest.note_objects(contents)
    for decoded in decode_readings(contents, spec, rest.latest, rest.sort_out, most_lines=most_lines):
        yield rest.take_found().add_to(decoded)


@dataclass(slots=True)
class _Found:
    """Fallback lines by their classes, and objects."""

    objects: int = 0
    unreadable: list[tuple[str, None, str, str]] = field(default_factory=list)
    readings: list[pl.DataFrame] = field(default_factory=list)
    failures: list[pl.DataFrame] = field(default_factory=list)
    rejected: list[pl.DataFrame] = field(default_factory=list)
    lines: int = 0
    unknown_fields: int = 0
    from_the_future: Counter[str] = field(default_factory=Counter)
    is_complete: bool = True

    def add_to(self, decoded: "DecodedReadings") -> ParsedLines:
        """Add them to decoded lines."""
        rejected = pl.concat([empty_frame(REJECTED_SCHEMA), *self.rejected])
        if self.unreadable:
            unreadable = pl.DataFrame(self.unreadable, schema=dict(REJECTED_SCHEMA), orient="row")
            rejected = pl.concat([rejected, unreadable]).sort("source_key", maintain_order=True)
        return ParsedLines(
            readings=_unite_readings([decoded.lines, *self.readings]),
            failures=pl.concat([empty_frame(FAILURE_SCHEMA), *self.failures]),
            rejected=rejected,
            objects=self.objects,
            lines=decoded.lines.height + self.lines,
            unknown_fields=decoded.unknown_fields + self.unknown_fields,
            from_the_future=self.from_the_future,
            is_complete=self.is_complete,
            is_ordered=decoded.is_ordered and all(frame.is_empty() for frame in self.readings),
        )


@dataclass(slots=True)
class _Rest:
    """The objects of a batch, and its fallback lines, as they are found."""

    spec: FeatureSpec
    latest: datetime
    keys: list[str] = field(default_factory=list)
    found: _Found = field(default_factory=_Found)

    def take_found(self) -> _Found:
        """Take what was found since the last time."""
        found, self.found = self.found, _Found()
        return found

    def note_objects(self, contents: Iterable[RawContent]) -> Iterator[RawContent]:
        """Note each object's key, and its problem if it has one."""
        goes_on = False
        for content in contents:
            if not goes_on:
                self.keys.append(content.key)
                self.found.objects += 1
            goes_on = content.goes_on
            self.found.is_complete &= not content.is_gone
            if content.problem is not None:
                self.found.unreadable.append((content.key, None, UNREADABLE, content.problem))
            yield content

    def sort_out(self, fallback: Sequence["FallbackLine"]) -> None:
        """Put fallback lines in their classes; objects that share a line are lines of their own."""
        self._reject_long([line for line in fallback if line.is_too_long])
        parts = (part for line in fallback if not line.is_too_long for part in split_line(line))
        while some := list(islice(parts, _MOST_PARTS)):
            self._sort_out(some)

    def _sort_out(self, fallback: Sequence["FallbackLine"]) -> None:
        found = self.found
        names = self.spec.reading_names
        decoded = decode_lines(enumerate(line.raw for line in fallback), self.spec)
        lines = classify_lines(decoded.lines, self.spec, self.latest)
        found.lines += lines.height
        found.unknown_fields += decoded.unknown_fields
        ahead = lines.filter(pl.col("reason") == FROM_THE_FUTURE).get_column("machine_id")
        found.from_the_future.update(dict(ahead.value_counts().iter_rows()))
        is_bad, is_failure = pl.col("reason").is_not_null(), pl.col("codigo_evento").is_not_null()
        bad = self._locate(lines.filter(is_bad), fallback)
        raw_text = pl.Series("raw_text", [_quote(fallback[row].raw) for row in bad.get_column("row")], dtype=pl.String)
        found.rejected.append(bad.with_columns(raw_text).select(*REJECTED_SCHEMA))
        failed = self._locate(lines.filter(~is_bad & is_failure), fallback)
        found.failures.append(failed.rename({"event_time": "event_timestamp"}).select(*FAILURE_SCHEMA))
        good = lines.filter(~is_bad & ~is_failure)
        found.readings.append(good.select("machine_id", "event_time", pl.col(names).fill_null(float("nan"))))

    def _reject_long(self, fallback: Sequence["FallbackLine"]) -> None:
        self.found.lines += len(fallback)
        rows = [(self.keys[line.object], line.number, TOO_LONG, _quote(line.raw)) for line in fallback]
        self.found.rejected.append(pl.DataFrame(rows, schema=dict(REJECTED_SCHEMA), orient="row"))

    def _locate(self, lines: pl.DataFrame, fallback: Sequence["FallbackLine"]) -> pl.DataFrame:
        """Add each row's ``source_key`` and ``line_number``, which starts at 1 in each object."""
        places = [fallback[row] for row in lines.get_column("row")]
        objects = [line.object for line in places]
        first, last = min(objects, default=0), max(objects, default=0)
        keys = pl.Series("source_key", self.keys[first : last + 1], dtype=pl.String)
        return lines.with_columns(
            keys.gather([number - first for number in objects]),  # lines of an object share the text
            pl.Series("line_number", [line.number for line in places], dtype=pl.Int64),
        )


def split_line(line: "FallbackLine") -> Iterator["FallbackLine"]:
    """Split a line into the JSON objects that it begins with, and the rest.

    Parameters
    ----------
    line
        Any line.

    Yields
    ------
    FallbackLine
        One for most lines.
    """
    for part in split_objects(line.raw):
        if part.stop == len(line.raw) or not is_object(line.raw[part]):
            yield line._replace(raw=line.raw[part.start :]) if part.start else line
            return
        yield line._replace(raw=line.raw[part])


def _quote(raw: bytes) -> str:
    """Take the first 4 KiB of a line as text; bytes that are not UTF-8 become escapes."""
    return raw[:RAW_BYTES_KEPT].decode("utf-8", errors="backslashreplace")


def _unite_readings(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Concatenate readings, whose machines then are one Enum."""
    filled = [frame for frame in frames if not frame.is_empty()]
    if len(filled) < 2:
        return filled[0] if filled else frames[0]
    machines = [frame.get_column("machine_id").cast(pl.String).unique() for frame in filled]
    every = pl.Enum(pl.concat(machines).unique())
    return pl.concat([frame.with_columns(pl.col("machine_id").cast(every)) for frame in filled])


def classify_lines(lines: pl.DataFrame, spec: FeatureSpec, latest: datetime) -> pl.DataFrame:
    """Find the first reason against each decoded line.

    Parameters
    ----------
    lines
        Decoded lines: ``row`` (Int64), ``machine_id`` and ``codigo_evento`` (String, null where absent, of the wrong
        kind or length). ``has_timestamp``, ``event_time`` (Datetime, µs, UTC, null where it cannot be read), and a
        Float64 column a reading. ``is_bad_code`` and ``is_bad_number``: true where a failure code or a reading is there
        and has another kind. ``broken``: ``not_json``, ``not_object`` or null.
    spec
        The readings, with their plausible ranges.
    latest
        The latest event time that is accepted.

    Returns
    -------
    pl.DataFrame
        The lines with ``reason`` (String, null where the line is good).
    """
    is_failure = pl.col("codigo_evento").is_not_null()
    no_reading = pl.all_horizontal(pl.col(r.name).is_null() for r in spec.readings) & ~pl.col("is_bad_number")
    out_of_range = pl.any_horizontal(~pl.col(r.name).is_between(r.lowest, r.highest) for r in spec.readings)
    return lines.with_columns(
        reason=pl.when(pl.col("broken").is_not_null())
        .then(pl.col("broken"))
        .when(pl.col("machine_id").is_null())
        .then(pl.lit("missing_machine_id"))
        .when(~pl.col("has_timestamp"))
        .then(pl.lit("missing_timestamp"))
        .when(pl.col("event_time").is_null())
        .then(pl.lit("bad_timestamp"))
        .when("is_bad_code")
        .then(pl.lit("bad_failure_code"))
        .when(~is_failure & no_reading)
        .then(pl.lit("no_reading"))
        .when(~is_failure & pl.col("is_bad_number"))
        .then(pl.lit("not_a_number"))
        .when(~is_failure & out_of_range.fill_null(value=False))
        .then(pl.lit("out_of_range"))
        .when(pl.col("event_time") > latest)
        .then(pl.lit(FROM_THE_FUTURE))
    )
