"""Lines of common layouts, decoded by their places: a few reads of memory a line, for nearly all telemetry.

A *layout* is a shape (see :mod:`handler.shapes`) whose every value also has its width: all its lines have the same
length, with the same text in the same places. Lines are grouped by length, laid side by side as a matrix of bytes,
and compared with the line a layout was read off, eight bytes at a time; values are then cut out by columns. A line
that agrees in all fixed places, has digits where the other had digits, no control character, no backslash and no
quotation mark inside a value is JSON with the same keys. All other lines are left.

A number of up to fifteen digits is a whole number that a double holds, divided by a power of ten that a double holds:
one rounding, and so the double nearest to the text (Clinger, "How to read floating point numbers accurately", 1990).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

import polars as pl

from handler.shapes import DecodedColumns, empty_lines, find_shape
from handler.spec import LINE_FIELDS
from handler.timestamps import INSTANT, PlacedInstant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Octets = NDArray[np.uint8]
    Words = NDArray[np.uint64]
    Numbers = NDArray[np.float64]
    Rows = NDArray[np.int64]

_PLAIN_NUMBER: Final = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?")
_MOST_DIGITS: Final = 15
_WORD: Final = 8
_FEW: Final = 32
"""So many lines of a length are not worth a layout."""

_TRIES: Final = 8
_LONGEST_LINE: Final = 2048
_BLOCK_BYTES: Final = 2**21
"""What is looked at several times stays in the processor's cache."""


@dataclass(frozen=True, slots=True)
class PlacedNumber:
    """A number of one width: its sign, the places of its digits, and how many of them follow the point."""

    is_negative: bool
    places: tuple[int, ...]
    decimals: int
    has_leading_zero: bool

    @classmethod
    def locate(cls, text: str, place: int) -> Self | None:
        """Lay out a number that begins at a place; None where it is too long, or has an exponent."""
        match = _PLAIN_NUMBER.fullmatch(text)
        if match is None:
            return None
        sign, whole, fraction = match[1], match[2], match[3] or ""
        if len(whole) + len(fraction) > _MOST_DIGITS:
            return None
        first = place + len(sign)
        places = [first + i for i in range(len(whole))] + [first + len(whole) + 1 + i for i in range(len(fraction))]
        return cls(bool(sign), tuple(places), len(fraction), len(whole) == 1)

    def read(self, digits: "Octets") -> "tuple[Numbers, NDArray[np.bool_]]":
        """Read the number of each line, and tell whether JSON has it so; ``digits`` has a row a place."""
        import numpy as np  # noqa: PLC0415

        value = digits[0].astype(np.float64)
        for digit in digits[1:]:
            value *= 10
            value += digit
        value /= 10.0**self.decimals
        is_number = np.ones(len(value), np.bool_) if self.has_leading_zero else digits[0] != 0
        return (-value if self.is_negative else value), is_number


@dataclass(frozen=True, slots=True)
class Layout:
    """A shape with widths; places count in a line that is filled up in front to whole words.

    Attributes
    ----------
    template, mask, free
        The line it was read off; 255 where every line has the same byte; 255 where any text may stand.
    numbers, texts
        Keys and the places of their values.
    instant
        The places of the timestamp's digits.
    """

    template: bytes
    mask: bytes
    free: bytes
    numbers: tuple[tuple[str, PlacedNumber], ...]
    texts: tuple[tuple[str, slice], ...]
    instant: PlacedInstant


def find_layout(line: bytes, readings: Sequence[str]) -> Layout | None:
    """Read the layout off a line.

    None where it has no shape, an empty text, a number that is not plain, or a timestamp that is none.

    Examples
    --------
    >>> line = b'{"machine_id":"P1","timestamp_utc":"2025-10-15T09:00:00Z","vibration_rms":1.5}'
    >>> layout = find_layout(line, ["vibration_rms"])
    >>> layout.template[layout.texts[0][1]], layout.numbers[0][1].decimals
    (b'P1', 1)
    """
    text = line.decode("ascii", errors="replace")
    shape = find_shape(text, readings) if line.isascii() and text.isprintable() else None
    if shape is None:
        return None
    filling = -len(line) % _WORD
    mask = bytearray(b"\0" * filling + b"\xff" * len(line))
    free = bytearray(len(mask))
    parts = text.split('"')
    spans: list[slice] = []
    place = filling
    for part in parts:
        spans.append(slice(place, place + len(part)))
        place += len(part) + 1
    numbers: list[tuple[str, PlacedNumber]] = []
    for key, number in shape.numbers:
        digits = parts[number.column].removeprefix(number.prefix).removesuffix(number.suffix)
        placed = PlacedNumber.locate(digits, spans[number.column].start + len(number.prefix))
        if placed is None:
            return None
        numbers.append((key, placed))
    columns = dict(shape.texts)
    timestamp = columns.pop("timestamp_utc")
    instant = PlacedInstant.locate(parts[timestamp], spans[timestamp].start)
    texts = tuple((key, spans[column]) for key, column in columns.items())
    if instant is None or any(span.start == span.stop for _, span in texts):
        return None
    for digit_place in (*instant.places, *(each for _, number in numbers for each in number.places)):
        mask[digit_place] = 0
    fixed = {column for column, _ in shape.constants} | {number.column for _, number in shape.numbers} | {timestamp}
    for column in set(range(shape.width)) - fixed:
        mask[spans[column]] = bytes(len(parts[column]))
        free[spans[column]] = b"\xff" * len(parts[column])
    return Layout(b"\0" * filling + line, bytes(mask), bytes(free), tuple(numbers), texts, instant)


def decode_by_layout(data: bytes, ends: "Rows", readings: Sequence[str]) -> DecodedColumns:
    """Decode the lines of a buffer that have one of its common layouts.

    Parameters
    ----------
    data
        UTF-8: :data:`handler.shapes.FIRST_LINE`, then lines, each ended by a line feed.
    ends
        Where the line feeds are, that of the first line too.
    readings
        The names of the fields that are readings.
    """
    import numpy as np  # noqa: PLC0415 - only large batches come here

    lengths = np.diff(ends) - 1
    is_left = np.ones(len(lengths), np.bool_)
    found = _Found({name: [] for name in readings})
    unknown_fields = 0
    known = LINE_FIELDS.union(readings)
    common: list[int] = np.flatnonzero(np.bincount(lengths.clip(max=_LONGEST_LINE + 1)) >= _FEW).tolist()
    for length in (each for each in common if 0 < each <= _LONGEST_LINE):
        rows = np.flatnonzero(lengths == length)
        for _ in range(_TRIES):
            if len(rows) < _FEW:
                break
            end = int(ends[rows[0] + 1])
            layout = find_layout(data[end - length : end], readings)
            if layout is None:
                rows = rows[1:]
                continue
            is_alike = _decode_alike(data, ends[rows + 1], layout, found)
            alike = rows[is_alike]
            found.rows.append(alike)
            is_left[alike] = False
            unknown_fields += len(alike) * sum(key not in known for key, _ in layout.numbers)
            rows = rows[~is_alike]
    return DecodedColumns(found.to_frame(), np.flatnonzero(is_left).tolist(), unknown_fields)


@dataclass(slots=True)
class _Found:
    """What was read so far, layout by layout; texts as lines, empty where there is none."""

    readings: "dict[str, list[Numbers]]"
    rows: "list[Rows]" = field(default_factory=list)
    times: "list[Rows]" = field(default_factory=list)
    machine_ids: list[bytes] = field(default_factory=list)
    codes: list[bytes] = field(default_factory=list)

    def to_frame(self) -> pl.DataFrame:
        """Lay it out as :class:`handler.shapes.DecodedColumns` has it."""
        import numpy as np  # noqa: PLC0415

        empty = empty_lines(list(self.readings))
        if not self.rows:
            return empty
        columns = {
            "row": pl.Series(np.concatenate(self.rows)),
            "machine_id": _read_lines(self.machine_ids),
            "codigo_evento": self._read_codes(),
            "event_time": pl.Series(np.concatenate(self.times)).cast(INSTANT),
            **{name: pl.Series(np.concatenate(values), nan_to_null=True) for name, values in self.readings.items()},
        }
        marks = {"has_timestamp": pl.lit(value=True), "is_bad_number": pl.lit(value=False)}
        return pl.DataFrame(columns).with_columns(**marks).select(empty.columns)

    def _read_codes(self) -> pl.Series:
        codes = b"".join(self.codes)
        if not codes.strip():  # readings only
            return pl.Series([None], dtype=pl.String).new_from_index(0, len(codes))
        return pl.read_lines(codes).to_series().replace("", None)


def _read_lines(texts: Sequence[bytes]) -> pl.Series:
    return pl.read_lines(b"".join(texts)).to_series()


def _decode_alike(data: bytes, ends: "Rows", layout: Layout, found: _Found) -> "NDArray[np.bool_]":
    """Decode, of the lines that end in some places, those that have a layout, and tell which they are."""
    import numpy as np  # noqa: PLC0415

    placed = [layout.instant.places, *(number.places for _, number in layout.numbers)]
    spans = dict(layout.texts)
    alike, digits, machine_ids, codes = _cut_out(
        data,
        ends,
        layout,
        np.array([place for places in placed for place in places]),
        (spans["machine_id"], spans.get("codigo_evento", slice(0, 0))),
    )
    instant, *figures = np.split(digits, np.cumsum([len(places) for places in placed])[:-1])
    times, is_read = layout.instant.read(instant)
    numbers: dict[str, Numbers] = {}
    for (key, number), figure in zip(layout.numbers, figures, strict=True):
        numbers[key], is_number = number.read(figure)
        is_read &= is_number
    alike[alike] = is_read
    kept = slice(None) if is_read.all() else is_read
    found.times.append(times[kept])
    found.machine_ids.append(machine_ids[kept].tobytes())
    found.codes.append(codes[kept].tobytes())
    for name, values in found.readings.items():
        values.append(numbers[name][kept] if name in numbers else np.full(len(found.times[-1]), np.nan))
    return alike


def _cut_out(
    data: bytes, ends: "Rows", layout: Layout, places: "Rows", spans: tuple[slice, slice]
) -> "tuple[NDArray[np.bool_], Octets, Octets, Octets]":
    """Tell which lines look like a layout; cut their digits out, a row a place, and two texts, a row a line."""
    import numpy as np  # noqa: PLC0415

    width = len(layout.template)
    windows: NDArray[np.void] = np.ndarray((len(data) - width + 1,), f"V{width}", data, strides=(1,))
    template, mask, free = (np.frombuffer(b, np.uint64) for b in (layout.template, layout.mask, layout.free))
    fixed = template & mask
    free_words = np.flatnonzero(free)
    is_free = free[free_words].view(np.uint8) > 0
    step = min(max(1, _BLOCK_BYTES // width), len(ends))
    masked = np.empty((step, width // _WORD), np.uint64)  # memory that is used again costs nothing to get
    alike: list[NDArray[np.bool_]] = []
    parts: tuple[list[Octets], list[Octets], list[Octets]] = ([], [], [])
    for first in range(0, len(ends), step):
        words = windows[ends[first : first + step] - width].view(np.uint64).reshape(-1, width // _WORD)
        block = words.view(np.uint8)
        digits = block.T[places] - np.uint8(ord("0"))
        is_alike: NDArray[np.bool_] = np.logical_and.reduce(digits <= 9, axis=0)
        is_alike &= _have_none(np.bitwise_and(words, mask, out=masked[: len(words)]) != fixed)
        is_alike &= _have_none(_find_forbidden(words.take(free_words, axis=1)) & is_free)
        alike.append(is_alike)
        kept = slice(None) if is_alike.all() else is_alike
        for part, cut in zip(parts, (digits[:, kept], *(_as_lines(block[kept, s]) for s in spans)), strict=True):
            part.append(cut)
    digits, *texts = (np.concatenate(part, axis=axis) for part, axis in zip(parts, (1, 0, 0), strict=True))
    return np.concatenate(alike), digits, texts[0], texts[1]


def _have_none(marks: "NDArray[np.bool_]") -> "NDArray[np.bool_]":
    """Tell which rows have no mark."""
    import numpy as np  # noqa: PLC0415

    if not marks.any():  # nearly always, and much faster than row by row
        return np.ones(len(marks), np.bool_)
    return np.logical_not(marks.any(axis=1))


def _find_forbidden(words: "Words") -> "NDArray[np.bool_]":
    """Mark the bytes that may not stand in a JSON string as they are."""
    octets = words.view("u1")
    is_forbidden: NDArray[np.bool_] = octets < ord(" ")
    is_forbidden |= octets == ord('"')
    is_forbidden |= octets == ord("\\")
    return is_forbidden


def _as_lines(texts: "Octets") -> "Octets":
    """Put a line feed behind each row."""
    import numpy as np  # noqa: PLC0415

    lines = np.full((len(texts), texts.shape[1] + 1), ord("\n"), np.uint8)
    lines[:, :-1] = texts
    return lines
