"""Raw lines as columns, decoded by compiled code (decoder.c); the lines it leaves are handed on as bytes.

Where there is no compiled code, every line is handed on.
"""

import ctypes
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from handler.definitions.raw import RawContent
from handler.definitions.spec import IGNORED_FIELDS, FeatureSpec
from handler.definitions.timestamps import INSTANT, MICROSECOND
from handler.ingest.framing import WholeLines, cut_lines
from handler.ingest.native import POINTER, address_of, load_function

Array = NDArray[Any]

_MOST_LEFT: Final = 2**15
_MOST_LEFT_BYTES: Final = 2**23
"""So many lines, or bytes of them, are handed on at a time."""

_KINDS: Final = {"machine_id": -1, "timestamp_utc": -2, "codigo_evento": -3} | dict.fromkeys(IGNORED_FIELDS, -4)
_FIRST_ROWS: Final = 2**17
_FIRST_MACHINES: Final = 2**11


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
    lines
        What they hold.
    unknown_fields
        How many of their numeric fields are neither readings nor known.
    """

    lines: pl.DataFrame
    unknown_fields: int


def decode_readings(
    contents: Iterable[RawContent], spec: FeatureSpec, latest: datetime, take_left: TakeLeft
) -> DecodedReadings:
    """Decode the lines that are certain to be accepted.

    Parameters
    ----------
    contents
        The objects, whole or in parts; each is let go before the next is taken.
    spec
        The readings, with their plausible ranges.
    latest
        The latest event time that is accepted.
    take_left
        Given all other lines that are not blank, in their order, some at a time.
    """
    decoding = _Decoding(spec, latest, take_left)
    for lines in cut_lines(contents):
        decoding.add(lines)
    return decoding.finish()


class _Decoding:
    """A batch as it is decoded: arrays of rows, machines and lines that are left, which grow as they fill up."""

    def __init__(self, spec: FeatureSpec, latest: datetime, take_left: TakeLeft) -> None:
        self._take_left = take_left
        self._names = spec.reading_names
        self._fields, self._texts = _describe_fields(spec, self._names)
        self._left = np.empty((_MOST_LEFT, 4), np.int64)
        self._aside: list[LeftLine] = []
        self._aside_bytes = 0
        self._ids: list[bytes] = []
        self._decoder = _Decoder(
            fields=ctypes.addressof(self._fields),
            field_count=len(self._fields),
            reading_count=len(self._names),
            latest=(latest - datetime.fromtimestamp(0, UTC)) // MICROSECOND,
            left=address_of(self._left),
            left_capacity=len(self._left),
        )
        self._machines: Array = np.empty(0, np.int32)
        self._times: Array = np.empty(0, np.int64)
        self._values: Array = np.empty((len(self._names), 0))
        self._machine_ids: Array = np.empty((0, 2), np.int64)
        self._slots: Array = np.empty(0, np.int32)
        self._make_room_for_rows(_FIRST_ROWS)
        self._make_room_for_machines(_FIRST_MACHINES)

    def add(self, lines: WholeLines) -> None:
        """Decode some lines."""
        decoder = self._decoder
        decoder.object = lines.object
        decoder.offset = 0
        if lines.is_first:
            decoder.number = 0
        if _decode_lines is None:
            self._leave_all(lines)
            return
        data = np.frombuffer(lines.data, np.uint8)
        decoder.text = _Text(address_of(data), len(data))
        while not _decode_lines(ctypes.byref(decoder)):
            if decoder.row_count == decoder.row_capacity:
                self._make_room_for_rows(2 * decoder.row_capacity)
            if decoder.machine_count == decoder.machine_capacity:
                self._make_room_for_machines(4 * decoder.machine_capacity)
            self._take_out_left()
        self._take_out_left()
        self._keep_ids()

    def finish(self) -> DecodedReadings:
        """Hand on the last lines that were left, and give what was decoded."""
        self._hand_on()
        rows = self._decoder.row_count
        lines = pl.DataFrame(
            {
                "machine_id": _name_machines(self._machines[:rows], [name.decode() for name in self._ids]),
                "event_time": pl.Series(self._times[:rows]).cast(INSTANT),
                **{name: pl.Series(values[:rows]) for name, values in zip(self._names, self._values, strict=True)},
            }
        )
        return DecodedReadings(lines, self._decoder.unknown_count)

    def _make_room_for_rows(self, capacity: int) -> None:
        self._machines, self._times = _widen(self._machines, capacity), _widen(self._times, capacity)
        self._values = _widen(self._values, capacity)
        self._decoder.machines = address_of(self._machines)
        self._decoder.times = address_of(self._times)
        self._decoder.readings = address_of(self._values)
        self._decoder.row_capacity = capacity

    def _make_room_for_machines(self, capacity: int) -> None:
        machine_ids = np.empty((capacity, 2), np.int64)
        machine_ids[: len(self._machine_ids)] = self._machine_ids
        self._machine_ids = machine_ids
        self._slots = np.zeros(2 * capacity, np.int32)
        self._decoder.machine_ids = address_of(self._machine_ids)
        self._decoder.machine_capacity = capacity
        self._decoder.slots = address_of(self._slots)
        self._decoder.slot_mask = len(self._slots) - 1
        if _place_machines is not None:
            _place_machines(ctypes.byref(self._decoder))

    def _keep_ids(self) -> None:
        """Copy the names of machines that were new: they lie in lines that will be gone."""
        new = self._machine_ids[len(self._ids) : self._decoder.machine_count]
        if len(new):
            ids = [ctypes.string_at(*place) for place in new.tolist()]
            self._ids += ids
            self._texts.append(b"".join(ids))
            first = address_of(np.frombuffer(self._texts[-1], np.uint8))
            new[:, 0] = first + np.cumsum(new[:, 1]) - new[:, 1]

    def _take_out_left(self) -> None:
        """Copy the lines that were left, which will be gone as well."""
        if self._decoder.left_count:
            left = self._left[: self._decoder.left_count].tolist()
            self._leave(LeftLine(index, number, ctypes.string_at(*text)) for *text, index, number in left)
            self._decoder.left_count = 0

    def _leave_all(self, lines: WholeLines) -> None:
        raws = bytes(lines.data).removesuffix(b"\n").split(b"\n")
        first = self._decoder.number + 1
        self._decoder.number += len(raws)
        self._leave(LeftLine(lines.object, number, raw) for number, raw in enumerate(raws, start=first))

    def _leave(self, lines: Iterable[LeftLine]) -> None:
        """Put lines aside, and hand them on when there are many."""
        for line in lines:
            self._aside.append(line)
            self._aside_bytes += len(line.raw)
            if len(self._aside) == _MOST_LEFT or self._aside_bytes > _MOST_LEFT_BYTES:
                self._hand_on()

    def _hand_on(self) -> None:
        if self._aside:
            self._take_left(self._aside)
        self._aside, self._aside_bytes = [], 0


def _name_machines(numbers: Array, names: Sequence[str]) -> pl.Series:
    """Make an Enum of the machines' numbers, in the smallest type that holds all of them, as Polars stores it."""
    smallest = next(kind for kind in (np.uint8, np.uint16, np.uint32) if len(names) < np.iinfo(kind).max)
    return pl.Series(numbers.astype(smallest)).cat.to(pl.Enum(names))


def _widen(array: Array, capacity: int) -> Array:
    """Copy an array into one whose last axis is longer."""
    wider = np.empty((*array.shape[:-1], capacity), array.dtype)
    wider[..., : array.shape[-1]] = array
    return wider


class _Text(ctypes.Structure):
    _fields_ = (("start", POINTER), ("length", ctypes.c_int64))


class _Field(ctypes.Structure):
    _fields_ = (
        ("name", _Text),
        ("kind", ctypes.c_int64),
        ("lowest", ctypes.c_double),
        ("highest", ctypes.c_double),
    )


class _Decoder(ctypes.Structure):
    _fields_ = (
        ("text", _Text),  # whole lines, but for the last one of an object
        ("object", ctypes.c_int64),  # whose lines they are
        ("offset", ctypes.c_int64),  # the byte to go on at
        ("number", ctypes.c_int64),  # how many lines were before
        ("fields", POINTER),  # of Field
        ("field_count", ctypes.c_int64),
        ("reading_count", ctypes.c_int64),
        ("latest", ctypes.c_int64),  # microseconds since 1970, as all times
        ("machines", POINTER),  # of int32: each row's machine, by its number
        ("times", POINTER),  # of int64
        ("readings", POINTER),  # of double: row_capacity of the first reading, then of the next
        ("row_count", ctypes.c_int64),  # rows written so far
        ("row_capacity", ctypes.c_int64),
        ("unknown_count", ctypes.c_int64),
        ("machine_ids", POINTER),  # of Text
        ("machine_count", ctypes.c_int64),
        ("machine_capacity", ctypes.c_int64),
        ("slots", POINTER),  # of int32: a machine's number and one, 0 where they are free
        ("slot_mask", ctypes.c_int64),  # how many slots there are, a power of two and more than machines, less one
        ("left", POINTER),  # of Left: Text, number of the object, number of the line
        ("left_count", ctypes.c_int64),
        ("left_capacity", ctypes.c_int64),
    )


def _describe_fields(spec: FeatureSpec, reading_names: Sequence[str]) -> tuple[Any, list[bytes]]:
    """Describe the known fields; the second part holds the memory of the first."""
    ranges = {reading.name: (reading.lowest, reading.highest) for reading in spec.readings}
    kinds = {name: number for number, name in enumerate(reading_names)} | _KINDS
    names = [f'"{name}"'.encode() for name in kinds]
    fields = (_Field * len(names))()
    for field, name, (key, kind) in zip(fields, names, kinds.items(), strict=True):
        start = ctypes.cast(ctypes.c_char_p(name), POINTER).value
        field.name = _Text(start, len(name))
        field.kind = kind
        field.lowest, field.highest = ranges.get(key, (0.0, 0.0))
    return fields, names


_decode_lines: Final = load_function("decode_lines", ctypes.POINTER(_Decoder), result=ctypes.c_bool)
_place_machines: Final = load_function("place_machines", ctypes.POINTER(_Decoder))
