"""Raw lines → accepted, failures, rejected: every line in exactly one class."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import polars as pl
from obstore import Bytes

from handler.lake import RawContent
from handler.layouts import decode_by_layout
from handler.lines import decode_lines
from handler.plan import FUTURE_TOLERANCE
from handler.shapes import FIRST_LINE, WORTH_IT_BYTES, blot_undecodable, decode_by_shape
from handler.spec import FeatureSpec
from handler.timestamps import HOUR, INSTANT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]

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
_LINE_FEED: Final = ord("\n")
_BLOCK: Final = 2**17
_MOST_LEFT: Final = 0.05
"""Where layouts leave a larger share of the lines, shapes are tried."""


@dataclass(frozen=True, slots=True)
class ParsedBatch:
    """What became of the lines of a batch of objects.

    Attributes
    ----------
    readings : pl.DataFrame
        The accepted lines in any order, before duplicates are taken out: ``machine_id`` (String), ``event_time``
        (Datetime, µs, UTC), then a Float64 column a reading, null where the line has none.
    failures : pl.DataFrame
        The failure events in reading order, duplicates still in: columns of ``FAILURE_SCHEMA``.
    rejected : pl.DataFrame
        The rejected lines and unreadable objects in reading order: columns of ``REJECTED_SCHEMA``. An unreadable
        object has no line number, and the problem as its text.
    objects : int
        How many objects there were.
    lines : int
        How many lines were read; blank ones are no lines.
    unknown_fields : int
        How many numeric fields are neither readings nor known.
    """

    readings: pl.DataFrame
    failures: pl.DataFrame
    rejected: pl.DataFrame
    objects: int
    lines: int
    unknown_fields: int


def parse_batch(contents: Iterable[RawContent], spec: FeatureSpec, partition: datetime) -> ParsedBatch:
    """Put every line of a batch of raw objects in its class; of an iterator, the objects can go once it is used up.

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
    batch = _Batch(contents)
    decoded, unknown_fields = _decode(batch, spec)
    lines = classify_lines(decoded, spec, partition)
    bad = batch.locate(lines.filter(pl.col("reason").is_not_null()))
    rejected = bad.with_columns(batch.quote(bad))
    good = lines.filter(pl.col("reason").is_null()) if not bad.is_empty() else lines
    is_failure = pl.col("codigo_evento").is_not_null()
    failed = good.filter(is_failure)
    failures = batch.locate(failed.sort("row"))
    readings = good.filter(~is_failure) if not failed.is_empty() else good
    return ParsedBatch(
        readings=readings.select("machine_id", "event_time", *spec.reading_names),
        failures=failures.rename({"event_time": "event_timestamp"}).select(*FAILURE_SCHEMA),
        rejected=pl.concat([rejected.sort("row").select(*REJECTED_SCHEMA), batch.list_unreadable()]),
        objects=batch.objects,
        lines=lines.height,
        unknown_fields=unknown_fields,
    )


def _decode(batch: "_Batch", spec: FeatureSpec) -> tuple[pl.DataFrame, int]:
    """Decode a batch by columns as far as that goes, and line by line beyond; also count unknown numeric fields."""
    names = spec.reading_names
    if batch.size < WORTH_IT_BYTES:
        single = decode_lines(batch.raw_lines(range(batch.height)), names)
        return single.lines, single.unknown_fields
    data, ends = batch.to_text()
    columns = decode_by_layout(data, ends, names)
    if len(columns.rest) > _MOST_LEFT * batch.height:
        columns = decode_by_shape(data, batch.height, names)
    lines = columns.lines.with_columns(broken=pl.lit(None, dtype=pl.String))
    if not columns.rest:
        return lines, columns.unknown_fields
    single = decode_lines(batch.raw_lines(columns.rest), names)
    whole = pl.concat([lines, single.lines.select(lines.columns)])
    return whole, columns.unknown_fields + single.unknown_fields


def classify_lines(lines: pl.DataFrame, spec: FeatureSpec, partition: datetime) -> pl.DataFrame:
    """Find the first reason against each decoded line.

    Parameters
    ----------
    lines
        Decoded lines: ``row`` (Int64), ``machine_id`` and ``codigo_evento`` (String, null where absent or of the
        wrong kind), ``has_timestamp``, ``event_time`` (Datetime, µs, UTC, null where it cannot be read), a Float64
        column a reading, ``is_bad_number`` (a reading is there, but is no number) and ``broken`` (``not_json``,
        ``not_object`` or null).
    spec
        The readings, with their plausible ranges.
    partition
        Start of the hour of arrival, UTC.

    Returns
    -------
    pl.DataFrame
        The lines with ``reason`` (String, null where the line is good).
    """
    is_failure = pl.col("codigo_evento").is_not_null()
    no_reading = pl.all_horizontal(pl.col(r.name).is_null() for r in spec.readings) & ~pl.col("is_bad_number")
    out_of_range = pl.any_horizontal(~pl.col(r.name).is_between(r.lowest, r.highest) for r in spec.readings)
    latest = partition + HOUR + FUTURE_TOLERANCE
    return lines.with_columns(
        reason=pl.when(pl.col("broken").is_not_null())
        .then(pl.col("broken"))
        .when(pl.col("machine_id").is_null())
        .then(pl.lit("missing_machine_id"))
        .when(~pl.col("machine_id").str.len_chars().is_between(1, _MACHINE_ID_CHARACTERS))
        .then(pl.lit("missing_machine_id"))
        .when(~pl.col("has_timestamp"))
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


class _Batch:
    """The lines of some objects, numbered through: ``row`` counts from 0 over all of them, blank lines too.

    They lie in one buffer behind :data:`handler.shapes.FIRST_LINE`, each ended by a line feed.
    """

    def __init__(self, contents: Iterable[RawContent]) -> None:
        self._keys: list[str] = []
        self._unreadable: list[tuple[str, None, str, str]] = []
        parts: list[bytes | Bytes] = [FIRST_LINE]
        offsets: list[int] = []
        offset = len(FIRST_LINE)
        for content in contents:
            self._keys.append(content.key)
            if content.problem is not None:
                self._unreadable.append((content.key, None, UNREADABLE, content.problem))
            offsets.append(offset)
            parts.append(content.data)
            if content.data and memoryview(content.data)[-1] != _LINE_FEED:
                parts.append(b"\n")
                offset += 1
            offset += len(content.data)
        self._data = b"".join(parts)
        self._ends = _find_line_ends(self._data)
        self._starts = [bisect_left(self._ends, offset - 1) for offset in offsets]

    @property
    def objects(self) -> int:
        return len(self._keys)

    @property
    def size(self) -> int:
        return len(self._data) - len(FIRST_LINE)

    @property
    def height(self) -> int:
        return len(self._ends) - 1

    def to_text(self) -> "tuple[bytes, Rows]":
        """Give the buffer as UTF-8, lines ended by a line feed alone, and where they end.

        A byte that is no UTF-8 is a control character then.
        """
        import numpy as np  # noqa: PLC0415 - it takes half as long as Polars to load

        data = self._data
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        if not data.isascii():
            data = blot_undecodable(data)
        return data, np.asarray(self._ends if data is self._data else _find_line_ends(data))

    def raw_lines(self, rows: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """Look up the bytes of rows."""
        for row in rows:
            yield row, self._data[self._ends[row] + 1 : self._ends[row + 1]]

    def locate(self, lines: pl.DataFrame) -> pl.DataFrame:
        """Add each row's ``source_key`` and ``line_number``, which starts at 1 in each object."""
        indexes = [bisect_right(self._starts, row) - 1 for row in lines.get_column("row")]
        numbers = [row - self._starts[i] + 1 for row, i in zip(lines.get_column("row"), indexes, strict=True)]
        return lines.with_columns(
            pl.Series("source_key", [self._keys[i] for i in indexes], dtype=pl.String),
            pl.Series("line_number", numbers, dtype=pl.Int64),
        )

    def quote(self, lines: pl.DataFrame) -> pl.Series:
        """Take the first 4 KiB of each row as text; bytes that are no UTF-8 are written as escapes."""
        texts = [
            raw[:RAW_BYTES_KEPT].decode("utf-8", errors="backslashreplace")
            for _, raw in self.raw_lines(lines.get_column("row"))
        ]
        return pl.Series("raw_text", texts, dtype=pl.String)

    def list_unreadable(self) -> pl.DataFrame:
        """List the objects that could not be read, as rows of the quarantine."""
        return pl.DataFrame(self._unreadable, schema=dict(REJECTED_SCHEMA), orient="row")


def _find_line_ends(data: bytes) -> "Sequence[int] | Rows":
    """Find the places of the line feeds."""
    if len(data) < WORTH_IT_BYTES:
        return [match.start() for match in re.finditer(b"\n", data)]
    import numpy as np  # noqa: PLC0415

    octets = np.frombuffer(data, np.uint8)
    blocks = range(0, len(octets), _BLOCK)
    return np.concatenate([np.flatnonzero(octets[i : i + _BLOCK] == _LINE_FEED) + i for i in blocks])
