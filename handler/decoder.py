"""Raw lines as columns, decoded by compiled code (decoder.c); the lines it leaves are handed on as bytes.

Where there is no compiled code, every line is handed on.
"""

import ctypes
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import polars as pl

from handler.lake import RawContent
from handler.native import address_of, load_function
from handler.spec import IGNORED_FIELDS, FeatureSpec
from handler.timestamps import INSTANT, MICROSECOND

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MOST_LEFT: Final = 2**15
"""So many lines are handed on at a time."""

_SHORTEST_LINE: Final = len('{"machine_id":"M","timestamp_utc":"2025-10-15T09:00:00Z","r":0}')
_KINDS: Final = {"machine_id": -1, "timestamp_utc": -2, "codigo_evento": -3} | dict.fromkeys(IGNORED_FIELDS, -4)
_WORD: Final = 8
_FIRST_SLOTS: Final = 2**12


class LeftLine(NamedTuple):
    """A line that was not decoded: the number of its object, its own number there, from 1, and its bytes."""

    object: int
    number: int
    raw: bytes


TakeLeft = Callable[[Sequence[LeftLine]], None]


@dataclass(frozen=True, slots=True)
class DecodedReadings:
    """The lines that were decoded, in their order; all of them are accepted.

    Attributes
    ----------
    readings : pl.DataFrame
        ``machine_id`` (Enum of the sorted names), ``event_time`` (Datetime, µs, UTC) and a Float64 column a reading,
        NaN where the line has none.
    unknown_fields : int
        How many of their numeric fields are neither readings nor known.
    """

    readings: pl.DataFrame
    unknown_fields: int


def decode_readings(
    contents: Sequence[RawContent], spec: FeatureSpec, latest: datetime, take_left: TakeLeft
) -> DecodedReadings:
    """Decode the lines that are certain to be accepted.

    Parameters
    ----------
    contents
        The objects.
    spec
        The readings, with their plausible ranges.
    latest
        The latest event time that is accepted.
    take_left
        Given all other lines that are not blank, in their order, some at a time.
    """
    if _decode_lines is None:
        _hand_on_all(contents, take_left)
        return DecodedReadings(pl.DataFrame(schema=_readings_schema([], spec)), 0)
    import numpy as np  # noqa: PLC0415 - it takes half as long as Polars to load

    capacity = sum(len(content.data) for content in contents) // _SHORTEST_LINE + 1
    buffers = [np.frombuffer(memoryview(content.data), np.uint8) for content in contents]
    objects = np.array([(address_of(buffer), len(buffer)) for buffer in buffers], np.int64)
    fields, names = _describe_fields(spec)
    machines, times = np.empty(capacity, np.int32), np.empty(capacity, np.int64)
    values = np.empty((len(spec.readings), capacity))
    machine_ids = np.empty((capacity, 2), np.int64)
    slots = np.zeros(2 ** (2 * capacity).bit_length(), np.int32)  # room for twice as many as there can be machines
    left = np.empty((_MOST_LEFT, 4), np.int64)
    decoder = _Decoder(
        objects=address_of(objects),
        object_count=len(objects),
        fields=ctypes.addressof(fields),
        field_count=len(names),
        reading_count=len(values),
        latest=(latest - datetime.fromtimestamp(0, UTC)) // MICROSECOND,
        machines=address_of(machines),
        times=address_of(times),
        readings=address_of(values),
        row_capacity=capacity,
        machine_ids=address_of(machine_ids),
        slots=address_of(slots),
        slot_mask=min(_FIRST_SLOTS, len(slots)) - 1,
        left=address_of(left),
        left_capacity=len(left),
    )
    is_full = True
    while is_full:
        is_full = _decode_lines(ctypes.byref(decoder))
        if decoder.left_count:
            take_left(_copy_left(left[: decoder.left_count]))
            decoder.left_count = 0
    rows = decoder.row_count
    ids = [ctypes.string_at(*place).decode() for place in machine_ids[: decoder.machine_count].tolist()]
    columns = {
        "machine_id": _name_machines(machines[:rows], ids),
        "event_time": pl.Series(times[:rows]).cast(INSTANT),
        **{name: pl.Series(column[:rows]) for name, column in zip(spec.reading_names, values, strict=True)},
    }
    return DecodedReadings(pl.DataFrame(columns), decoder.unknown_count)


def _readings_schema(machine_ids: Iterable[str], spec: FeatureSpec) -> dict[str, pl.DataType]:
    return {
        "machine_id": pl.Enum(sorted(machine_ids)),
        "event_time": INSTANT,
        **dict.fromkeys(spec.reading_names, pl.Float64()),
    }


def _name_machines(machines: "NDArray[np.int32]", ids: Sequence[str]) -> pl.Series:
    """Turn numbers in the order of appearance into an Enum of sorted names."""
    import numpy as np  # noqa: PLC0415

    order = sorted(range(len(ids)), key=ids.__getitem__)
    ranks = np.empty(len(ids), np.uint32)
    ranks[order] = np.arange(len(ids))
    return pl.Series(ranks[machines]).cat.to(pl.Enum([ids[i] for i in order]))


def _copy_left(left: "NDArray[np.int64]") -> list[LeftLine]:
    return [LeftLine(index, number, ctypes.string_at(start, length)) for start, length, index, number in left.tolist()]


def _hand_on_all(contents: Sequence[RawContent], take_left: TakeLeft) -> None:
    for index, content in enumerate(contents):
        lines = [LeftLine(index, number, raw) for number, raw in enumerate(bytes(content.data).split(b"\n"), start=1)]
        for first in range(0, len(lines), _MOST_LEFT):
            take_left(lines[first : first + _MOST_LEFT])


class _Text(ctypes.Structure):
    _fields_ = (("start", ctypes.c_void_p), ("length", ctypes.c_int64))


class _Field(ctypes.Structure):
    _fields_ = (
        ("name", _Text),
        ("first", ctypes.c_uint64),
        ("first_mask", ctypes.c_uint64),
        ("kind", ctypes.c_int64),
        ("lowest", ctypes.c_double),
        ("highest", ctypes.c_double),
    )


class _Decoder(ctypes.Structure):
    _fields_ = (
        ("objects", ctypes.c_void_p),  # of Text
        ("object_count", ctypes.c_int64),
        ("fields", ctypes.c_void_p),  # of Field
        ("field_count", ctypes.c_int64),
        ("reading_count", ctypes.c_int64),
        ("latest", ctypes.c_int64),  # microseconds since 1970, as all times
        ("machines", ctypes.c_void_p),  # of int32: each row's machine, by its number
        ("times", ctypes.c_void_p),  # of int64
        ("readings", ctypes.c_void_p),  # of double: row_capacity of the first reading, then of the next
        ("row_count", ctypes.c_int64),  # rows written so far
        ("row_capacity", ctypes.c_int64),
        ("unknown_count", ctypes.c_int64),
        ("machine_ids", ctypes.c_void_p),  # of Text: row_capacity of them, within the objects
        ("machine_count", ctypes.c_int64),
        ("slots", ctypes.c_void_p),  # of int32, all 0: more than twice as many as there can be machines
        ("slot_mask", ctypes.c_int64),  # how many of them are used, a power of two, less one
        ("left", ctypes.c_void_p),  # of Left: Text, number of the object, number of the line
        ("left_count", ctypes.c_int64),
        ("left_capacity", ctypes.c_int64),
        ("object", ctypes.c_int64),  # where to go on: object, its byte, and how many lines were before
        ("offset", ctypes.c_int64),
        ("number", ctypes.c_int64),
    )


def _describe_fields(spec: FeatureSpec) -> tuple[Any, list[bytes]]:
    """Describe the known fields; the second part holds the memory of the first."""
    ranges = {reading.name: (reading.lowest, reading.highest) for reading in spec.readings}
    kinds = {name: number for number, name in enumerate(spec.reading_names)} | _KINDS
    names = [f'"{name}"'.encode() for name in kinds]
    fields = (_Field * len(names))()
    for field, name, (key, kind) in zip(fields, names, kinds.items(), strict=True):
        start = ctypes.cast(ctypes.c_char_p(name), ctypes.c_void_p).value
        field.name = _Text(start, len(name))
        field.first = int.from_bytes(name[:_WORD], "little")
        field.first_mask = 2 ** (8 * min(_WORD, len(name))) - 1
        field.kind = kind
        field.lowest, field.highest = ranges.get(key, (0.0, 0.0))
    return fields, names


_decode_lines: Final = load_function("decode_lines", ctypes.POINTER(_Decoder), result=ctypes.c_bool)
