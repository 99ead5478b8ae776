"""Raw lines → accepted, failures, rejected: every line in exactly one class."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
import polars as pl

from handler.lake import RawContent
from handler.plan import FUTURE_TOLERANCE
from handler.spec import LINE_FIELDS, FeatureSpec
from handler.timestamps import HOUR

REASONS: Final = (
    "not_json",
    "not_object",
    "missing_machine_id",
    "missing_timestamp",
    "bad_timestamp",
    "no_reading",
    "not_a_number",
    "out_of_range",
    "from_the_future",
)
"""Why a line is rejected; of several, the first holds."""

UNREADABLE: Final = "unreadable_object"
RAW_BYTES_KEPT: Final = 4096
INSTANT: Final = pl.Datetime("us", "UTC")
FAILURE_SCHEMA: Final[Mapping[str, pl.DataType]] = {
    "machine_id": pl.String(),
    "event_timestamp": INSTANT,
    "codigo_evento": pl.String(),
    "source_key": pl.String(),
    "line_number": pl.Int64(),
}
REJECTED_SCHEMA: Final[Mapping[str, pl.DataType]] = {
    "source_key": pl.String(),
    "line_number": pl.Int64(),
    "reason": pl.String(),
    "raw_text": pl.String(),
}

_MACHINE_ID_CHARACTERS: Final = 256
_WHITESPACE: Final = b" \t\r"
_TIMESTAMP: Final = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])"
    r"(?:\.([0-9]{1,9}))?(?:Z|([+-])([01][0-9]|2[0-3])(?::?([0-5][0-9]))?)$"
)


@dataclass(frozen=True, slots=True)
class ParsedBatch:
    """What became of the lines of a batch of objects.

    Attributes
    ----------
    readings : pl.DataFrame
        The accepted lines in reading order, before duplicates are taken out: ``machine_id`` (String),
        ``event_time`` (Datetime, µs, UTC), then a Float64 column a reading, null where the line has none.
    failures : pl.DataFrame
        The failure events in reading order, duplicates still in: columns of ``FAILURE_SCHEMA``.
    rejected : pl.DataFrame
        The rejected lines and unreadable objects in reading order: columns of ``REJECTED_SCHEMA``. An unreadable
        object has no line number, and the problem as its text.
    lines : int
        How many lines were read; blank ones are no lines.
    unknown_fields : int
        How many numeric fields are neither readings nor known.
    """

    readings: pl.DataFrame
    failures: pl.DataFrame
    rejected: pl.DataFrame
    lines: int
    unknown_fields: int


def parse_batch(contents: Iterable[RawContent], spec: FeatureSpec, partition: datetime) -> ParsedBatch:
    """Put every line of a batch of raw objects in its class.

    Event times are kept to the microsecond, later digits cut off; one more than five minutes after the end of the
    arrival partition is from the future. A null field is as if absent.

    Parameters
    ----------
    contents
        The objects, in the listing's order.
    spec
        The readings, with their plausible ranges in their own units.
    partition
        Start of the hour of arrival, UTC.
    """
    contents = list(contents)
    decoded = _DecodedLines(spec.reading_names)
    for index, content in enumerate(contents):
        decoded.extend(index, content.data)
    lines = classify_lines(decoded.to_frame(), spec, partition)
    source = pl.DataFrame(
        {"object": range(len(contents)), "source_key": [content.key for content in contents]},
        schema={"object": pl.Int64, "source_key": pl.String},
    )
    bad = lines.filter(pl.col("reason").is_not_null()).join(source, on="object", how="left", maintain_order="left")
    rejected = bad.with_columns(_quote_lines(bad, contents)).select(*REJECTED_SCHEMA)
    unreadable = pl.DataFrame(
        [(content.key, None, UNREADABLE, content.problem) for content in contents if content.problem is not None],
        schema=dict(REJECTED_SCHEMA),
        orient="row",
    )
    good = lines.filter(pl.col("reason").is_null())
    failures = good.filter(pl.col("codigo_evento").is_not_null()).join(
        source, on="object", how="left", maintain_order="left"
    )
    return ParsedBatch(
        readings=good.filter(pl.col("codigo_evento").is_null()).select("machine_id", "event_time", *spec.reading_names),
        failures=failures.rename({"event_time": "event_timestamp"}).select(*FAILURE_SCHEMA),
        rejected=pl.concat([rejected, unreadable]),
        lines=lines.height,
        unknown_fields=decoded.unknown_fields,
    )


def classify_lines(lines: pl.DataFrame, spec: FeatureSpec, partition: datetime) -> pl.DataFrame:
    """Find the first reason against each decoded line, and its event time.

    Parameters
    ----------
    lines
        Decoded lines: ``machine_id``, ``timestamp_utc`` and ``codigo_evento`` (String, null where absent or of
        the wrong kind), a Float64 column a reading, ``is_bad_number`` (a reading is there, but is no number) and
        ``broken`` (``not_json``, ``not_object`` or null).
    spec
        The readings, with their plausible ranges.
    partition
        Start of the hour of arrival, UTC.

    Returns
    -------
    pl.DataFrame
        The lines with ``event_time`` (Datetime, µs, UTC) and ``reason`` (String, null where the line is good).
    """
    is_failure = pl.col("codigo_evento").is_not_null()
    no_reading = pl.all_horizontal(pl.col(r.name).is_null() for r in spec.readings) & ~pl.col("is_bad_number")
    out_of_range = pl.any_horizontal(~pl.col(r.name).is_between(r.lowest, r.highest) for r in spec.readings)
    latest = partition + HOUR + FUTURE_TOLERANCE
    return lines.with_columns(event_time=parse_timestamps(pl.col("timestamp_utc"))).with_columns(
        reason=pl.when(pl.col("broken").is_not_null())
        .then(pl.col("broken"))
        .when(pl.col("machine_id").is_null())
        .then(pl.lit("missing_machine_id"))
        .when(~pl.col("machine_id").str.len_chars().is_between(1, _MACHINE_ID_CHARACTERS))
        .then(pl.lit("missing_machine_id"))
        .when(pl.col("timestamp_utc").is_null())
        .then(pl.lit("missing_timestamp"))
        .when(pl.col("event_time").is_null())
        .then(pl.lit("bad_timestamp"))
        .when(~is_failure & no_reading)
        .then(pl.lit("no_reading"))
        .when(~is_failure & pl.col("is_bad_number"))
        .then(pl.lit("not_a_number"))
        .when(~is_failure & out_of_range.fill_null(value=False))
        .then(pl.lit("out_of_range"))
        .when(pl.col("event_time") > latest)
        .then(pl.lit("from_the_future"))
    )


def parse_timestamps(text: pl.Expr) -> pl.Expr:
    """Read ISO 8601 instants with ``Z`` or an offset as Datetime, µs, UTC; null where the text is none.

    0 to 9 fractional digits; those beyond the sixth are cut off. Years run from 0001.
    """
    part = text.str.extract_groups(_TIMESTAMP)
    local = part.struct[0].str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", time_zone="UTC", strict=False)
    micros = part.struct[1].fill_null("").str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64)
    minutes = part.struct[3].cast(pl.Int64) * 60 + part.struct[4].fill_null("0").cast(pl.Int64)
    east = pl.when(part.struct[2] == "-").then(-minutes).otherwise(minutes).fill_null(0)
    instant = local + pl.duration(microseconds=micros) - pl.duration(minutes=east)
    return pl.when(instant.dt.year() >= 1, part.struct[0].str.slice(0, 4) != "0000").then(instant)


class _DecodedLines:
    """The columns of decoded lines, filled one line at a time."""

    def __init__(self, readings: Sequence[str]) -> None:
        self.readings = readings
        self.known = LINE_FIELDS.union(readings)
        self.unknown_fields = 0
        self.columns: dict[str, list[Any]] = {name: [] for name in self.schema}

    @property
    def schema(self) -> dict[str, Any]:
        return {
            "object": pl.Int64,
            "line_number": pl.Int64,
            "broken": pl.String,
            "machine_id": pl.String,
            "timestamp_utc": pl.String,
            "codigo_evento": pl.String,
            "is_bad_number": pl.Boolean,
            **dict.fromkeys(self.readings, pl.Float64),
        }

    def extend(self, index: int, data: bytes) -> None:
        """Add the lines of one object; line numbers start at 1 and count blank lines."""
        for number, raw in _split_lines(data):
            row = self._decode(raw)
            row["object"] = index
            row["line_number"] = number
            for name, column in self.columns.items():
                column.append(row.get(name))

    def to_frame(self) -> pl.DataFrame:
        return pl.DataFrame(self.columns, schema=self.schema)

    def _decode(self, raw: bytes) -> dict[str, Any]:
        try:
            line = _load_json(raw)
        except ValueError:
            return {"broken": "not_json", "is_bad_number": False}
        if not isinstance(line, dict):
            return {"broken": "not_object", "is_bad_number": False}
        row: dict[str, Any] = {"is_bad_number": False}
        machine_id = line.get("machine_id")
        row["machine_id"] = machine_id if isinstance(machine_id, str) else None
        timestamp = line.get("timestamp_utc")
        row["timestamp_utc"] = timestamp if timestamp is None or isinstance(timestamp, str) else "no text"
        codigo = line.get("codigo_evento")
        row["codigo_evento"] = codigo if isinstance(codigo, str) and codigo else None
        for name in self.readings:
            value = line.get(name)
            if value is None:
                continue
            number = _to_double(value)
            row[name] = number
            row["is_bad_number"] |= number is None
        self.unknown_fields += sum(
            isinstance(value, int | float) and not isinstance(value, bool)
            for name, value in line.items()
            if name not in self.known
        )
        return row


def _split_lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split at line feeds; yield each line that is not blank with its number."""
    for number, raw in enumerate(data.split(b"\n"), start=1):
        if raw.strip(_WHITESPACE):
            yield number, raw


def _load_json(raw: bytes) -> Any:
    """Load one JSON value, or raise ValueError.

    orjson refuses a little more than the grammar does: numbers beyond a double, deep nesting in a field nobody
    reads, lone surrogates. The standard library has the last word, less its NaN and Infinity.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        try:
            value = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant, parse_int=float)
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _to_double(value: object) -> float | None:
    """Convert a JSON number; None for what is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)
    return number if number - number == 0.0 else None


def _quote_lines(bad: pl.DataFrame, contents: Sequence[RawContent]) -> pl.Series:
    """Fetch the first 4 KiB of each bad line as text; bytes that are no UTF-8 are written as escapes."""
    quotes: list[str] = []
    for (index,), lines in bad.group_by("object", maintain_order=True):
        raw = contents[index].data.split(b"\n")
        quotes += [
            raw[number - 1][:RAW_BYTES_KEPT].decode("utf-8", errors="backslashreplace")
            for number in lines["line_number"]
        ]
    return pl.Series("raw_text", quotes, dtype=pl.String)
