"""Any line, decoded one by one: what JSON says, and nothing else."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, TypeGuard

import orjson
import polars as pl

from handler.definitions.fields import MICROSECONDS, Path, split_name
from handler.definitions.spec import IGNORED_FIELDS, FeatureSpec
from handler.definitions.timestamps import INSTANT, parse_epoch, parse_timestamps

_WHITESPACE: Final = b" \t\r"
_LONGEST_INTEGER: Final = 300
_EXACT: Final = 2**53
"""Of the whole numbers below it, each is a double of its own."""

_LONGEST_TEXT: Final = 256
"""Characters of a machine's id or a failure code; an instant is shorter. No longer text of a line is kept."""


@dataclass(frozen=True, slots=True)
class DecodedLines:
    """Decoded lines as :func:`handler.ingest.classes.classify_lines` takes them, and their unknown numeric fields."""

    lines: pl.DataFrame
    unknown_fields: int


def decode_lines(lines: Iterable[tuple[int, bytes]], spec: FeatureSpec) -> DecodedLines:
    """Decode lines one by one, whatever they hold.

    Parameters
    ----------
    lines
        Rows and their bytes; blank ones are left out.
    spec
        Which fields are readings, and where a line holds what.

    Returns
    -------
    DecodedLines
        The fields of each line, and those that hold no JSON object.
    """
    readings = {reading.name: reading.path for reading in spec.readings}
    machine_path, time_path, code_path = map(split_name, spec.fields.names)
    paths = (machine_path, time_path, code_path, *readings.values())
    known = IGNORED_FIELDS.union(path[0] for path in paths if len(path) == 1)
    schema: dict[str, pl.DataType] = {
        "row": pl.Int64(),
        "broken": pl.String(),
        "machine_id": pl.String(),
        "codigo_evento": pl.String(),
        "is_bad_code": pl.Boolean(),
        "is_bad_number": pl.Boolean(),
        **dict.fromkeys(readings, pl.Float64()),
    }
    columns: dict[str, list[Any]] = {name: [] for name in schema}
    timestamps: list[Any] = []
    unknown_fields = 0
    for number, raw in lines:
        if not raw.strip(_WHITESPACE):
            continue
        line: Any = None
        broken: str | None = None
        try:
            line = _load_json(raw)
        except ValueError:
            broken = "not_json"
        if not isinstance(line, dict):
            line, broken = {}, broken or "not_object"
        machine_id, codigo = _look_up(line, machine_path), _look_up(line, code_path)
        is_bad_number = False
        for name, path in readings.items():
            value = _look_up(line, path)
            reading = None if value is None else _to_double(value)
            is_bad_number |= reading is None and value is not None
            columns[name].append(reading)
        columns["row"].append(number)
        columns["broken"].append(broken)
        columns["machine_id"].append(_read_name(machine_id))
        timestamps.append(_cut(_look_up(line, time_path)))
        if isinstance(codigo, float) and _EXACT <= abs(codigo) < math.inf:
            codigo = _read_digits(raw, code_path)
        code = _read_code(codigo)
        columns["codigo_evento"].append(code)
        columns["is_bad_code"].append(codigo is not None and code is None)
        columns["is_bad_number"].append(is_bad_number)
        unknown_fields += sum(_is_number(value) for name, value in line.items() if name not in known)
    has_timestamp = pl.Series("has_timestamp", [value is not None for value in timestamps], dtype=pl.Boolean)
    event_time = _read_times(timestamps, spec.fields.timestamp_format).alias("event_time")
    return DecodedLines(pl.DataFrame(columns, schema=schema).with_columns(has_timestamp, event_time), unknown_fields)


def _look_up(line: Mapping[str, Any], path: Path) -> Any:
    """Find a field's value; None where it is absent."""
    value = line.get(path[0])
    for name in path[1:]:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _read_times(values: Sequence[object], form: str) -> pl.Series:
    """Read event times as instants; null where a value is something else."""
    unit = MICROSECONDS.get(form)
    if unit is None:
        texts = [value if isinstance(value, str) else None for value in values]
        return parse_timestamps(pl.Series(texts, dtype=pl.String))
    times = [parse_epoch(value, unit) if _is_number(value) else None for value in values]
    return pl.Series(times, dtype=pl.Int64).cast(INSTANT)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_object(raw: bytes) -> bool:
    """Tell whether a text is one JSON object."""
    try:
        return isinstance(_load_json(raw), dict)
    except ValueError:
        return False


def _read_name(value: object) -> str | None:
    """Read a text of 1 to 256 characters; None for all else."""
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST_TEXT else None


def _cut(value: object) -> object:
    """Cut a text that is too long for an instant, to one that still is."""
    return value[: _LONGEST_TEXT + 1] if isinstance(value, str) else value


def _read_code(value: object) -> str | None:
    """Read a failure code: a text, or a whole number as its decimal text; None for all else."""
    if isinstance(value, str):
        return _read_name(value)
    return _read_name(str(int(value))) if _is_number(value) and value % 1 == 0 else None


def _read_digits(raw: bytes, path: Path) -> int | float:
    """Read a number beyond the exact doubles by its own digits, if it is a whole one of a length that may be."""
    try:
        number = Decimal(_look_up(json.loads(raw.decode("utf-8"), parse_int=str, parse_float=str), path))
    except RecursionError:
        return math.nan
    is_whole = number.adjusted() < _LONGEST_TEXT and number == number.to_integral_value()
    return int(number) if is_whole else math.nan


def _load_json(raw: bytes) -> Any:
    """Load one JSON value, or raise ValueError.

    orjson refuses a little more than the grammar does: numbers beyond a double, deep nesting in a field nobody
    reads, lone surrogates. The standard library has the last word, less its NaN and Infinity.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        try:
            value = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant, parse_int=_parse_integer)
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        return value


def _parse_integer(digits: str) -> float:
    """Read an integer; a very long one as a double, since Python takes the square of its length to read it."""
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _to_double(value: object) -> float | None:
    """Convert a JSON number; None if it is not finite."""
    if not _is_number(value):
        return None
    number = float(value)  # of an integer of at most 300 digits
    return number if number - number == 0.0 else None
