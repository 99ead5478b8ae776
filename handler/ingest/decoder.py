"""Raw lines → columns: the compiled decoder takes the lines that are certain, and hands on the others as bytes.

Without the library every line is handed on.
"""

import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from handler.definitions.raw import RawContent
from handler.definitions.schema import empty_frame
from handler.definitions.spec import IGNORED_FIELDS, FeatureSpec
from handler.definitions.timestamps import INSTANT, MICROSECOND
from handler.ingest.framing import MOST_LINES, FallbackLine, WholeLines, cut_lines
from handler.ingest.library import Library

_MAX_FALLBACK_LINES: Final = 2**15
_MAX_FALLBACK_BYTES: Final = 2**23
"""Flush fallback lines once this many, or 8 MiB of them, are waiting."""

_FIRST_ROWS: Final = 2**17
_FIRST_MACHINES: Final = 2**11
_MAX_NAME_BYTES: Final = 256
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_ -]+")
_IGNORED: Final = -4
"""Fields that are no readings are of the kinds -1 to -4, as ``Kind`` of ``decoder.c`` numbers them."""

_LIBRARY: Final = Library.load()
_HASH_KEY: Final = secrets.randbits(64), secrets.randbits(64)
"""Chosen anew in each process: nobody can choose machines whose hashes collide."""


TakeFallback = Callable[[Sequence[FallbackLine]], None]


@dataclass(frozen=True, slots=True)
class DecodedReadings:
    """The lines that the compiled decoder takes; the handler accepts each one.

    Attributes
    ----------
    lines
        ``machine_id`` (Enum of the batch's machines, or String where there are no lines), ``event_time`` (Datetime, µs,
        UTC), and a Float64 column a reading. A reading that is absent is NaN. The rows are in the order of the lines.
    unknown_fields
        How many numeric fields these lines have that the spec does not know.
    is_ordered
        Whether each machine's values of a reading come with ever later event times: then no line is there twice.
    """

    lines: pl.DataFrame
    unknown_fields: int
    is_ordered: bool


def decode_readings(
    contents: Iterable[RawContent],
    spec: FeatureSpec,
    latest: datetime,
    take_fallback: TakeFallback,
    *,
    most_lines: int = MOST_LINES,
) -> Iterator[DecodedReadings]:
    """Decode the lines that are certain to be accepted, some at a time.

    Parameters
    ----------
    contents
        The objects, whole or in parts; each is let go before the next is taken.
    spec
        The readings, with their plausible ranges.
    latest
        The latest event time that is accepted.
    take_fallback
        Called with the other lines that are not blank, in their order, some at a time.
    most_lines
        They are given when there are more, or when fallback lines were handed on because of their number.

    Yields
    ------
    DecodedReadings
        The certain lines as columns, and how many unknown fields they have. Few lines are given at once; no lines, too.
        All fallback lines before their end have been handed on.
    """
    library = _LIBRARY if _is_plain(spec) else None
    fallback = _FallbackLines(take_fallback)
    decoding: _Decoding | _NoDecoding = _Decoding(library, spec, latest) if library else _NoDecoding(spec)
    for lines in cut_lines(contents):
        decoding.take(lines)
        is_done = False
        while not is_done:
            is_done = decoding.decode(lines, fallback)
            if decoding.rows > most_lines or fallback.were_many:
                fallback.flush()
                yield decoding.finish()
                fallback.were_many = False
                decoding = decoding.follow()
    fallback.flush()
    yield decoding.finish()


def _is_plain(spec: FeatureSpec) -> bool:
    """Tell whether the compiled decoder knows where lines hold what: it looks into no nested object."""
    names = (*spec.fields.names, *(".".join(reading.path) for reading in spec.readings))
    return spec.fields.timestamp_format == "iso8601" and all(map(_PLAIN_NAME.fullmatch, names))


class _FallbackLines:
    """Lines for the decoder of JSON lines, flushed when many are waiting."""

    def __init__(self, take: TakeFallback) -> None:
        self.were_many = False
        self._take = take
        self._waiting: list[FallbackLine] = []
        self._bytes = 0
        self._object, self._number = -1, 0

    def add(self, line: FallbackLine) -> None:
        self._waiting.append(line)
        self._bytes += len(line.raw)
        if len(self._waiting) == _MAX_FALLBACK_LINES or self._bytes > _MAX_FALLBACK_BYTES:
            self.were_many = True
            self.flush()

    def add_whole(self, lines: WholeLines) -> None:
        """Add every line of a part of an object."""
        if lines.is_first:
            self._number = 0
        if lines.is_too_long:
            self._number += 1
            self.add(FallbackLine(lines.object, self._number, bytes(lines.data), is_too_long=True))
            return
        for raw in bytes(lines.data).removesuffix(b"\n").split(b"\n"):
            self._number += 1
            self.add(FallbackLine(lines.object, self._number, raw))

    def flush(self) -> None:
        if self._waiting:
            self._take(self._waiting)
        self._waiting, self._bytes = [], 0


class _NoDecoding:
    """What stands for the compiled decoder where it is not there: every line is a fallback line."""

    rows: Final = 0

    def __init__(self, spec: FeatureSpec) -> None:
        readings = dict.fromkeys(spec.reading_names, pl.Float64())
        self._lines = empty_frame({"machine_id": pl.String(), "event_time": INSTANT, **readings})

    def take(self, lines: WholeLines) -> None:
        pass

    def decode(self, lines: WholeLines, fallback: _FallbackLines) -> bool:
        fallback.add_whole(lines)
        return True

    def finish(self) -> DecodedReadings:
        return DecodedReadings(self._lines, unknown_fields=0, is_ordered=True)

    def follow(self) -> "_NoDecoding":
        return self


class _Decoding:
    """The state of some lines and their arrays, which grow when they are full. ``layout.h`` describes each one."""

    def __init__(self, library: Library, spec: FeatureSpec, latest: datetime) -> None:
        self._library, self._spec, self._latest = library, spec, latest
        self._names = spec.reading_names
        self._arrays: dict[str, NDArray[Any]] = {}
        self._state = library.make_decoder()
        self._state.latest = (latest - datetime.fromtimestamp(0, UTC)) // MICROSECOND
        self._state.key_low, self._state.key_high = _HASH_KEY
        self._state.reading_count = len(self._names)
        self._state.is_ordered = 1
        self._describe_fields(spec)
        self._hold("fallback", library.make_array("fallback", _MAX_FALLBACK_LINES))
        self._state.fallback_capacity = _MAX_FALLBACK_LINES
        self._make_room_for_rows(_FIRST_ROWS)
        self._make_room_for_machines(_FIRST_MACHINES)

    @property
    def rows(self) -> int:
        """How many lines were decoded."""
        return int(self._state.row_count)

    def follow(self) -> "_Decoding":
        """Begin anew where this one stopped."""
        following = _Decoding(self._library, self._spec, self._latest)
        for member in ("text", "text_length", "offset", "line_number"):
            setattr(following._state, member, getattr(self._state, member))
        return following

    def take(self, lines: WholeLines) -> None:
        """Take lines to decode; their bytes stay the caller's."""
        text = np.frombuffer(lines.data, np.uint8)
        self._state.text, self._state.text_length, self._state.offset = text.ctypes.data, len(text), 0
        if lines.is_first:
            self._state.line_number = 0

    def decode(self, lines: WholeLines, fallback: _FallbackLines) -> bool:
        """Decode lines that were taken, and add those that are not certain to the fallback lines.

        Tells whether all were decoded: else something is full, and there is room for more when it returns.
        """
        state = self._state
        if lines.is_too_long:
            state.line_number += 1
            fallback.add(FallbackLine(lines.object, state.line_number, bytes(lines.data), is_too_long=True))
            return True
        is_done = self._library.decode_lines(state)
        if state.row_count == state.row_capacity:
            self._make_room_for_rows(2 * state.row_capacity)
        if state.machine_count == state.machine_capacity:
            self._make_room_for_machines(4 * state.machine_capacity)
        self._take_out_fallback(lines, fallback)
        return is_done

    def finish(self) -> DecodedReadings:
        """Give the rows as a frame, which shares the memory of the arrays."""
        rows = self._state.row_count
        columns = {
            "machine_id": self._give_machines(),
            "event_time": pl.Series(self._arrays["times"][:rows]).cast(INSTANT),
            **{name: pl.Series(row[:rows]) for name, row in zip(self._names, self._arrays["readings"], strict=True)},
        }
        return DecodedReadings(pl.DataFrame(columns), self._state.unknown_count, bool(self._state.is_ordered))

    def _give_machines(self) -> pl.Series:
        ends = self._arrays["name_ends"][: self._state.machine_count].tolist()
        if not ends:
            return pl.Series([], dtype=pl.String)
        names = self._arrays["names"][: ends[-1]].tobytes()
        machines = pl.Enum([names[start:end].decode() for start, end in zip([0, *ends], ends, strict=False)])
        return pl.Series(self._arrays["machines"][: self._state.row_count]).cat.to(machines)

    def _describe_fields(self, spec: FeatureSpec) -> None:
        readings = {".".join(reading.path): reading for reading in spec.readings}
        kinds = dict.fromkeys(IGNORED_FIELDS, _IGNORED) | {name: number for number, name in enumerate(readings)}
        kinds |= {name: -number for number, name in enumerate(spec.fields.names, 1)}
        ranges = {name: (reading.lowest, reading.highest) for name, reading in readings.items()}
        texts = [f'"{name}"'.encode() for name in kinds]
        lengths = np.array([len(text) for text in texts])
        self._arrays["field_names"] = np.frombuffer(b"".join(texts), np.uint8)
        fields = self._library.make_array("fields", len(kinds))
        fields["name"] = self._arrays["field_names"].ctypes.data + lengths.cumsum() - lengths
        fields["name_length"] = lengths
        fields["kind"] = list(kinds.values())
        fields["lowest"], fields["highest"] = zip(*(ranges.get(name, (0.0, 0.0)) for name in kinds), strict=True)
        self._hold("fields", fields)
        self._state.field_count = len(fields)

    def _hold(self, member: str, array: NDArray[Any]) -> None:
        """Keep an array, and give its address to the library."""
        self._arrays[member] = array
        setattr(self._state, member, array.ctypes.data)

    def _grow(self, member: str, used: int, *shape: int) -> None:
        """Make a longer array, and copy the used part of the old one to its beginning."""
        array = self._library.make_array(member, *shape)
        if used:
            array[..., :used] = self._arrays[member][..., :used]
        self._hold(member, array)

    def _make_room_for_rows(self, capacity: int) -> None:
        rows = self._state.row_count
        self._grow("machines", rows, capacity)
        self._grow("times", rows, capacity)
        self._grow("readings", rows, len(self._names), capacity)
        self._state.row_capacity = capacity

    def _make_room_for_machines(self, capacity: int) -> None:
        machines = self._state.machine_count
        name_bytes = int(self._arrays["name_ends"][machines - 1]) if machines else 0
        self._grow("names", name_bytes, _MAX_NAME_BYTES * capacity)
        self._grow("name_ends", machines, capacity)
        self._grow("last_times", machines, len(self._names), capacity)
        self._hold("slots", self._library.make_array("slots", 2 * capacity))
        self._arrays["slots"].fill(0)
        self._state.machine_capacity, self._state.slot_mask = capacity, 2 * capacity - 1
        self._library.place_machines(self._state)

    def _take_out_fallback(self, lines: WholeLines, fallback: _FallbackLines) -> None:
        found = self._arrays["fallback"][: self._state.fallback_count]
        places = (found[name].tolist() for name in ("offset", "length", "number"))
        for offset, length, number in zip(*places, strict=True):
            fallback.add(FallbackLine(lines.object, number, bytes(lines.data[offset : offset + length])))
        self._state.fallback_count = 0
