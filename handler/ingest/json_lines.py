"""Any line, decoded one by one: what JSON says, and nothing else."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
import polars as pl

from handler.definitions.spec import LINE_FIELDS
from handler.definitions.timestamps import parse_timestamps

_WHITESPACE: Final = b" \t\r"
_LONGEST_INTEGER: Final = 300


@dataclass(frozen=True, slots=True)
class DecodedLines:
    """Decoded lines as :func:`handler.ingest.classes.classify_lines` takes them, and their unknown numeric fields."""

    lines: pl.DataFrame
    unknown_fields: int


def decode_lines(lines: Iterable[tuple[int, bytes]], readings: Sequence[str]) -> DecodedLines:
    """Decode lines one by one, whatever they hold.

    Parameters
    ----------
    lines
        Rows and their bytes; blank ones are left out.
    readings
        The names of the fields that are readings.

    Returns
    -------
    DecodedLines
        The fields of each line, and those that hold no JSON object.
    """
    schema: dict[str, pl.DataType] = {
        "row": pl.Int64(),
        "broken": pl.String(),
        "machine_id": pl.String(),
        "timestamp_utc": pl.String(),
        "codigo_evento": pl.String(),
        "is_bad_code": pl.Boolean(),
        "is_bad_number": pl.Boolean(),
        **dict.fromkeys(readings, pl.Float64()),
    }
    known = LINE_FIELDS.union(readings)
    columns: dict[str, list[Any]] = {name: [] for name in schema}
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
        machine_id, timestamp, codigo = line.get("machine_id"), line.get("timestamp_utc"), line.get("codigo_evento")
        is_bad_number = False
        for name in readings:
            value = line.get(name)
            reading = None if value is None else _to_double(value)
            is_bad_number |= reading is None and value is not None
            columns[name].append(reading)
        columns["row"].append(number)
        columns["broken"].append(broken)
        columns["machine_id"].append(machine_id if isinstance(machine_id, str) else None)
        columns["timestamp_utc"].append(timestamp if timestamp is None or isinstance(timestamp, str) else "no text")
        code = _read_code(codigo)
        columns["codigo_evento"].append(code)
        columns["is_bad_code"].append(codigo is not None and code is None)
        columns["is_bad_number"].append(is_bad_number)
        unknown_fields += sum(
            isinstance(value, int | float) and not isinstance(value, bool)
            for name, value in line.items()
            if name not in known
        )
    timestamps = pl.Series("timestamp_utc", columns["timestamp_utc"], dtype=pl.String)
    decoded = pl.DataFrame(columns, schema=schema).drop("timestamp_utc")
    times = (timestamps.is_not_null().alias("has_timestamp"), parse_timestamps(timestamps).alias("event_time"))
    return DecodedLines(decoded.with_columns(times), unknown_fields)


def is_object(raw: bytes) -> bool:
    """Tell whether a text is one JSON object."""
    try:
        return isinstance(_load_json(raw), dict)
    except ValueError:
        return False


def _read_code(value: object) -> str | None:
    """Read a failure code: a text, or a whole number as its decimal text; None for all else."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool) or not isinstance(value, int | float) or value % 1 != 0:
        return None
    return str(int(value))


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
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)  # of an integer of at most 300 digits
    return number if number - number == 0.0 else None
