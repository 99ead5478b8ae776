"""Lines that share a shape, decoded by columns: what nearly all telemetry is, at a fraction of the cost a line.

The lines of one writer differ in their values only. Splitting every line at its quotation marks, as if it were CSV,
lays keys, punctuation and values into columns. A *shape* says, for each column, which text must stand there and which
column holds a value; it is read off a sample line, which is checked against JSON's grammar. A row that holds exactly
a shape's texts, and numbers of JSON's grammar in the places of its numbers, is then JSON with the same keys, provided

- no byte of the line is a control character or a backslash, and the line is UTF-8, and
- it has no more quotation marks than its shape: an empty field at a line's end leaves no trace in the columns.

Both are counted over all bytes at once. A row that is not certain is left for the decoder of single lines, which
knows all of JSON; nothing is rejected here.
"""

import codecs
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from handler.spec import LINE_FIELDS
from handler.timestamps import INSTANT, parse_timestamps

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Octets = NDArray[np.uint8]

WORTH_IT_BYTES: Final = 2**20
"""Below this, single lines are decoded as fast."""

_WIDEST: Final = 64
FIRST_LINE: Final = b'"' * (_WIDEST - 1) + b"\n"
"""What a buffer begins with: the reader takes the number of columns from it."""

_SAMPLES: Final = 64
_MOST_SHAPES: Final = 16
_TEXTS: Final = ("machine_id", "timestamp_utc", "codigo_evento")
_NUMBER: Final = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_WHOLE_NUMBER: Final = f"^{_NUMBER}$"
_OPENING: Final = re.compile(r"[ ]*\{[ ]*")
_MEMBER: Final = re.compile(rf'[ ]*"([^"]+)"([ ]*:[ ]*)("[^"]*"|{_NUMBER}|true|false|null)([ ]*([,}}])[ ]*)')
_CHUNK: Final = 2**20


@dataclass(frozen=True, slots=True)
class Number:
    """A column that holds a number: ``prefix``, digits, ``suffix``."""

    column: int
    prefix: str
    suffix: str

    @property
    def text(self) -> pl.Expr:
        """The number as text."""
        return _column(self.column).str.strip_prefix(self.prefix).str.strip_suffix(self.suffix)


@dataclass(frozen=True, slots=True)
class Shape:
    """How a line looks, less its values.

    Attributes
    ----------
    constants
        Columns and the texts that must stand in them: keys and punctuation.
    numbers
        Keys and the columns of their numbers.
    texts
        The fields that are used and text, and their columns.
    width
        How many columns the line has: its quotation marks and one.
    """

    constants: tuple[tuple[int, str], ...]
    numbers: tuple[tuple[str, Number], ...]
    texts: tuple[tuple[str, int], ...]
    width: int

    @property
    def columns(self) -> set[int]:
        """The columns that must be looked at."""
        return (
            {column for column, _ in self.constants} | {n.column for _, n in self.numbers} | {c for _, c in self.texts}
        )

    def matches(self) -> pl.Expr:
        """Tell whether a row is a line of this shape."""
        checks = [_column(column) == text for column, text in self.constants]
        checks += [_column(column).is_not_null() for _, column in self.texts]
        for _, number in self.numbers:
            checks.append(_column(number.column).str.starts_with(number.prefix))
            checks.append(_column(number.column).str.ends_with(number.suffix))
            checks.append(number.text.str.contains(_WHOLE_NUMBER))
        return pl.all_horizontal(checks).fill_null(value=False)


@dataclass(frozen=True, slots=True)
class DecodedColumns:
    """What decoding by columns made of some lines.

    Attributes
    ----------
    lines : pl.DataFrame
        ``row`` (Int64, from 0, counting blank lines), ``machine_id``, ``codigo_evento`` (String), ``has_timestamp``,
        ``event_time`` (Datetime, µs, UTC, null where the timestamp is none), a Float64 column a reading, and
        ``is_bad_number`` (a reading is beyond a double); in any order.
    rest : list of int
        The rows that were not decoded, ascending; blank lines among them.
    unknown_fields : int
        How many numeric fields of the decoded lines are neither readings nor known.
    """

    lines: pl.DataFrame
    rest: list[int]
    unknown_fields: int


def find_shape(line: str, readings: Sequence[str]) -> Shape | None:
    """Read the shape off a line; None where the line is no flat object that can be accepted or be a failure.

    Examples
    --------
    >>> line = '{"machine_id":"P1","timestamp_utc":"2025-10-15T09:00:00Z","vibration_rms":1.5}'
    >>> shape = find_shape(line, ["vibration_rms"])
    >>> shape.texts, shape.numbers
    ((('machine_id', 3), ('timestamp_utc', 7)), (('vibration_rms', Number(column=10, prefix=':', suffix='}')),))
    """
    opening = _OPENING.match(line)
    if opening is None or "\\" in line:
        return None
    parts = line.split('"')
    constants: list[tuple[int, str]] = [(0, parts[0])]
    numbers: dict[str, Number] = {}
    texts: dict[str, int] = {}
    keys: set[str] = set()
    column, position, mark = 1, opening.end(), ","
    while mark == ",":
        member = _MEMBER.match(line, position)
        if member is None or member[1] in keys:
            return None
        key, colon, value, after, mark = member.groups()
        keys.add(key)
        constants.append((column, key))
        if value.startswith('"'):
            constants += [(column + 1, parts[column + 1]), (column + 3, parts[column + 3])]
            if key in _TEXTS:
                texts[key] = column + 2
            column += 4
        else:
            if value in ("true", "false", "null"):
                constants.append((column + 1, parts[column + 1]))
            else:
                numbers[key] = Number(column + 1, colon, after)
            column += 2
        position = member.end()
        if key in readings and not (key in numbers or value == "null"):
            return None
    if (
        position != len(line)
        or len(parts) > _WIDEST
        or column != len(parts)
        or not {"machine_id", "timestamp_utc"} <= texts.keys()
    ):
        return None
    return Shape(tuple(constants), tuple(numbers.items()), tuple(texts.items()), len(parts))


def decode_by_shape(data: bytes, height: int, readings: Sequence[str]) -> DecodedColumns:
    """Decode the lines of a buffer that have one of its common shapes.

    Parameters
    ----------
    data
        UTF-8: :data:`FIRST_LINE`, then lines, each ended by a line feed.
    height
        How many lines there are, the first not counted.
    readings
        The names of the fields that are readings.
    """
    import numpy as np  # noqa: PLC0415 - only large batches come here

    shapes = list(dict.fromkeys(_sample_shapes(data, readings)))[:_MOST_SHAPES]
    table = _split_at_quotes(data, shapes) if shapes else pl.DataFrame()
    if table.height != height:
        return DecodedColumns(empty_lines(readings), list(range(height)), 0)
    octets = np.frombuffer(data, np.uint8)
    table = table.with_columns(shape.matches().alias(f"is_{index}") for index, shape in enumerate(shapes))
    certain = pl.any_horizontal(pl.col(f"is_{index}") for index in range(len(shapes)))
    suspicious = _find_suspicious_lines(octets, data, height)
    if suspicious:
        certain &= ~pl.col("row").is_in(pl.Series(suspicious, dtype=pl.Int64).implode())
    decoded = table.select("row", *_values(shapes, readings), certain=certain, marks=_marks(shapes))
    marks = _count(octets, lambda part: part == ord('"')) - FIRST_LINE.count(b'"')
    if marks != _count_expected_marks(decoded, data):
        decoded = decoded.with_columns(pl.col("certain") & (pl.col("marks") == _count_marks(data)))
    rest = decoded.filter(~pl.col("certain")).get_column("row").to_list()
    decoded = decoded.filter("certain") if rest else decoded
    return DecodedColumns(_to_numbers(decoded, readings), rest, int(decoded.get_column("unknown").sum()))


def blot_undecodable(data: bytes) -> bytes:
    """Put a control character in place of each byte that is no UTF-8, so that its line is suspicious."""
    codecs.register_error("blot", lambda error: ("\0", getattr(error, "end", 0)))
    return data.decode("utf-8", errors="blot").encode("utf-8")


def _sample_shapes(data: bytes, readings: Sequence[str]) -> Iterator[Shape]:
    """Read shapes off lines from all over the buffer."""
    for sample in range(_SAMPLES):
        somewhere = len(FIRST_LINE) + (len(data) - len(FIRST_LINE)) * sample // _SAMPLES
        start = data.rfind(b"\n", 0, somewhere) + 1
        line = data[start : data.find(b"\n", start)].decode("utf-8")
        shape = find_shape(line, readings)
        if shape is not None:
            yield shape


def _column(index: int) -> pl.Expr:
    return pl.col(f"c{index}")


def _split_at_quotes(data: bytes, shapes: Sequence[Shape]) -> pl.DataFrame:
    """Split each line at its quotation marks into columns ``c0``, ``c1``, ...; only those the shapes look at."""
    table = pl.read_csv(
        data,
        has_header=False,
        separator='"',
        quote_char=None,
        schema={f"c{index}": pl.String for index in range(_WIDEST)},
        columns=sorted(set().union(*(shape.columns for shape in shapes))),
        truncate_ragged_lines=True,
    )
    return table.slice(1).with_columns(row=pl.int_range(pl.len(), dtype=pl.Int64))


def _count_marks(data: bytes) -> pl.Series:
    """Count the quotation marks of each line."""
    lines = pl.read_lines(data).get_column("line").slice(1)
    return lines.str.count_matches('"', literal=True).cast(pl.Int64)


def _choose(choices: Sequence[pl.Expr | None], otherwise: pl.Expr) -> pl.Expr:
    """Take each row's value from the choice of its shape."""
    result = otherwise
    for index, choice in enumerate(choices):
        if choice is not None:
            result = pl.when(pl.col(f"is_{index}")).then(choice).otherwise(result)
    return result


def _values(shapes: Sequence[Shape], readings: Sequence[str]) -> Iterator[pl.Expr]:
    """Pick out the used fields as text, and count the numbers nobody asked for."""
    nothing = pl.lit(None, dtype=pl.String)
    for name in _TEXTS:
        columns = [dict(shape.texts).get(name) for shape in shapes]
        if len(set(columns)) == 1 and columns[0] is not None:
            yield _column(columns[0]).alias(name)
        else:
            yield _choose([None if c is None else _column(c) for c in columns], nothing).alias(name)
    for name in readings:
        numbers = [dict(shape.numbers).get(name) for shape in shapes]
        yield _choose([None if n is None else n.text for n in numbers], nothing).alias(name)
    known = LINE_FIELDS.union(readings)
    unknown = [sum(key not in known for key, _ in shape.numbers) for shape in shapes]
    yield _choose([pl.lit(count) if count else None for count in unknown], pl.lit(0)).alias("unknown")


def _marks(shapes: Sequence[Shape]) -> pl.Expr:
    """Count the quotation marks that each row's shape has."""
    return _choose([pl.lit(shape.width - 1) for shape in shapes], pl.lit(0)).cast(pl.Int64)


def _count_expected_marks(decoded: pl.DataFrame, data: bytes) -> int:
    """Count the quotation marks there are if every row has those of its shape, and the rest what it has."""
    rest = decoded.filter(~pl.col("certain")).get_column("row")
    marks = int(decoded.filter("certain").get_column("marks").sum())
    return marks if rest.is_empty() else marks + int(_count_marks(data).gather(rest).sum())


def _to_numbers(decoded: pl.DataFrame, readings: Sequence[str]) -> pl.DataFrame:
    """Turn the readings' texts into doubles, and tell where one is beyond them."""
    numbers = {name: pl.col(name).cast(pl.Float64, strict=False) for name in readings}
    bad = [pl.col(name).is_not_null() & ~number.is_finite().fill_null(value=False) for name, number in numbers.items()]
    finite = {name: pl.when(number.is_finite()).then(number) for name, number in numbers.items()}
    event_time = parse_timestamps(decoded.get_column("timestamp_utc")).alias("event_time")
    lines = decoded.with_columns(event_time).with_columns(
        **finite, has_timestamp=pl.lit(value=True), is_bad_number=pl.any_horizontal(bad)
    )
    return lines.select(*empty_lines(readings).columns)


def empty_lines(readings: Sequence[str]) -> pl.DataFrame:
    """Make the frame of no decoded lines."""
    schema: dict[str, pl.DataType] = {
        "row": pl.Int64(),
        "machine_id": pl.String(),
        "codigo_evento": pl.String(),
        "has_timestamp": pl.Boolean(),
        "event_time": INSTANT,
        **dict.fromkeys(readings, pl.Float64()),
        "is_bad_number": pl.Boolean(),
    }
    return pl.DataFrame(schema=schema)


def _count(octets: "Octets", test: "Callable[[Octets], NDArray[np.bool_]]") -> int:
    """Count the bytes that pass a test, a piece at a time that stays in the processor's cache."""
    import numpy as np  # noqa: PLC0415

    return sum(int(np.count_nonzero(test(octets[i : i + _CHUNK]))) for i in range(0, len(octets), _CHUNK))


def _find_suspicious_lines(octets: "Octets", data: bytes, height: int) -> list[int]:
    """Find the lines that hold a control character or a backslash."""
    import numpy as np  # noqa: PLC0415

    controls = _count(octets, lambda part: part < ord(" "))
    if controls == height + 1 and data.find(b"\\") < 0:
        return []
    is_suspicious = ((octets < ord(" ")) & (octets != ord("\n"))) | (octets == ord("\\"))
    ends = np.flatnonzero(octets == ord("\n"))
    rows = np.unique(np.searchsorted(ends, np.flatnonzero(is_suspicious))) - 1
    lines: list[int] = rows.tolist()
    return lines
