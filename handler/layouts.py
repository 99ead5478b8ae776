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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import polars as pl

from handler.shapes import TEXTS, DecodedColumns, blot_undecodable, empty_lines, find_shape
from handler.spec import LINE_FIELDS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Octets = NDArray[np.uint8]
    Rows = NDArray[np.int64]

_PLAIN_NUMBER: Final = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?")
_MOST_DIGITS: Final = 15
_WORD: Final = 8
_FEW: Final = 32
"""So many lines of a length are not worth a layout."""

_TRIES: Final = 8
_LONGEST_LINE: Final = 2048
_BLOCK: Final = 4096


@dataclass(frozen=True, slots=True)
class PlacedNumber:
    """A number of one width: its sign, the places of its digits, and how many of them follow the point."""

    is_negative: bool
    digits: tuple[int, ...]
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
        digits = [first + i for i in range(len(whole))] + [first + len(whole) + 1 + i for i in range(len(fraction))]
        return cls(bool(sign), tuple(digits), len(fraction), len(whole) == 1)

    def read(self, matrix: "Octets") -> "tuple[NDArray[np.float64], NDArray[np.bool_]]":
        """Read the number of each row, and tell whether it is one."""
        import numpy as np  # noqa: PLC0415

        is_number = np.ones(len(matrix), np.bool_)
        if not self.has_leading_zero:
            is_number &= matrix[:, self.digits[0]] != ord("0")
        value = np.zeros(len(matrix), np.int64)
        for place in self.digits:
            digit = matrix[:, place] - np.uint8(ord("0"))
            is_number &= digit <= 9
            value = value * 10 + digit
        number = value / 10.0**self.decimals
        return (-number if self.is_negative else number), is_number


@dataclass(frozen=True, slots=True)
class Layout:
    """A shape with widths; places count in a line that is filled up in front to whole words.

    Attributes
    ----------
    template, mask, free
        The line it was read off; 255 where every line has the same byte; 255 where any text may stand.
    numbers, texts
        Keys and the places of their values.
    """

    template: bytes
    mask: bytes
    free: bytes
    numbers: tuple[tuple[str, PlacedNumber], ...]
    texts: tuple[tuple[str, slice], ...]


def find_layout(line: bytes, readings: Sequence[str]) -> Layout | None:
    """Read the layout off a line; None where it has no shape, an empty text, or a number that is not plain.

    Examples
    --------
    >>> line = b'{"machine_id":"P1","timestamp_utc":"2025-10-15T09:00:00Z","vibration_rms":1.5}'
    >>> layout = find_layout(line, ["vibration_rms"])
    >>> layout.template[layout.texts[0][1]], layout.numbers[0][1].decimals
    (b'P1', 1)
    """
    shape = find_shape(line.decode("ascii"), readings) if line.isascii() else None
    if shape is None:
        return None
    filling = -len(line) % _WORD
    mask = bytearray(b"\0" * filling + b"\xff" * len(line))
    free = bytearray(len(mask))
    parts = line.decode("ascii").split('"')
    spans: list[slice] = []
    place = filling
    for part in parts:
        spans.append(slice(place, place + len(part)))
        place += len(part) + 1
    numbers: list[tuple[str, PlacedNumber]] = []
    for key, number in shape.numbers:
        text = parts[number.column].removeprefix(number.prefix).removesuffix(number.suffix)
        placed = PlacedNumber.locate(text, spans[number.column].start + len(number.prefix))
        if placed is None:
            return None
        numbers.append((key, placed))
        for digit in placed.digits:
            mask[digit] = 0
    texts = tuple((key, spans[column]) for key, column in shape.texts)
    if any(span.start == span.stop for _, span in texts):
        return None
    fixed = {column for column, _ in shape.constants} | {number.column for _, number in shape.numbers}
    for column in set(range(shape.width)) - fixed:
        mask[spans[column]] = bytes(len(parts[column]))
        free[spans[column]] = b"\xff" * len(parts[column])
    return Layout(b"\0" * filling + line, bytes(mask), bytes(free), tuple(numbers), texts)


def decode_by_layout(data: bytes, height: int, readings: Sequence[str]) -> DecodedColumns:
    """Decode the lines of a buffer that have one of its common layouts.

    Parameters
    ----------
    data
        :data:`handler.shapes.FIRST_LINE`, then lines, each ended by a line feed.
    height
        How many lines there are, the first not counted.
    readings
        The names of the fields that are readings.
    """
    import numpy as np  # noqa: PLC0415 - only large batches come here

    if not data.isascii():
        data = blot_undecodable(data)
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    lengths = np.diff(ends) - 1
    is_left = np.ones(height, np.bool_)
    frames = [empty_lines(readings)]
    unknown_fields = 0
    known = LINE_FIELDS.union(readings)
    common: list[int] = np.flatnonzero(np.bincount(lengths, minlength=1) >= _FEW).tolist()
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
            is_alike, frame = _decode_alike(data, ends[rows + 1], layout, readings)
            is_left[rows[is_alike]] = False
            frames.append(frame.with_columns(pl.Series("row", rows[is_alike], dtype=pl.Int64)))
            unknown_fields += frame.height * sum(key not in known for key, _ in layout.numbers)
            rows = rows[~is_alike]
    lines = pl.concat(frame.select(frames[0].columns) for frame in frames).sort("row")
    return DecodedColumns(lines, np.flatnonzero(is_left).tolist(), unknown_fields)


def _decode_alike(
    data: bytes, ends: "Rows", layout: Layout, readings: Sequence[str]
) -> "tuple[NDArray[np.bool_], pl.DataFrame]":
    """Tell which of the lines that end in some places have a layout, and decode those, a block at a time."""
    import numpy as np  # noqa: PLC0415

    width = len(layout.template)
    windows: NDArray[np.void] = np.ndarray((len(data) - width + 1,), f"V{width}", data, strides=(1,))
    template, mask, free = (np.frombuffer(b, np.uint64) for b in (layout.template, layout.mask, layout.free))
    alike: list[NDArray[np.bool_]] = []
    texts: dict[str, list[bytes]] = {key: [] for key, _ in layout.texts}
    numbers: dict[str, list[NDArray[np.float64]]] = {key: [] for key, _ in layout.numbers if key in readings}
    for first in range(0, len(ends), _BLOCK):
        words = windows[ends[first : first + _BLOCK] - width].view(np.uint64).reshape(-1, width // _WORD)
        block = words.view(np.uint8)
        is_forbidden = (block < ord(" ")) | (block == ord('"')) | (block == ord("\\"))
        is_alike = ~((((words ^ template) & mask) | (is_forbidden.view(np.uint64) & free)).any(axis=1))
        read = {}
        for key, number in layout.numbers:
            read[key], is_number = number.read(block)
            is_alike &= is_number
        alike.append(is_alike)
        if not is_alike.all():
            block = block[is_alike]
        for key, span in layout.texts:
            texts[key].append(_cut_lines(block, span))
        for key, values in numbers.items():
            values.append(read[key][is_alike])
    columns = {key: pl.read_lines(b"".join(parts)).to_series() for key, parts in texts.items()}
    columns |= {key: pl.Series(np.concatenate(values)) for key, values in numbers.items()}
    missing = [pl.lit(None, pl.String).alias(name) for name in TEXTS if name not in columns]
    missing += [pl.lit(None, pl.Float64).alias(name) for name in readings if name not in columns]
    return np.concatenate(alike), pl.DataFrame(columns).with_columns(*missing, is_bad_number=pl.lit(value=False))


def _cut_lines(block: "Octets", span: slice) -> bytes:
    """Cut the same place out of each row, as lines."""
    import numpy as np  # noqa: PLC0415

    cut = np.full((len(block), span.stop - span.start + 1), ord("\n"), np.uint8)
    cut[:, :-1] = block[:, span]
    return cut.tobytes()
