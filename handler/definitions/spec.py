"""The feature specification: features.toml, validated once and frozen."""

import hashlib
import itertools
import json
import math
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self

from handler.definitions.errors import ConfigurationError
from handler.definitions.fields import TIMESTAMP_FORMATS, LineFields, split_name
from handler.definitions.timestamps import HOUR, TILE

PACKAGED: Final = Path(__file__).parents[1] / "features.toml"
PRESENCE: Final = timedelta(hours=24)
"""A machine has a row while it has a reading this recent; staleness looks back as far."""

ZONE_WINDOW: Final = HOUR
ZONES: Final = ("A", "B", "C", "D")
IGNORED_FIELDS: Final = frozenset({"ingestion_timestamp", "sensor_type", "mqtt_topic"})
_RESERVED: Final = (
    frozenset(LineFields().names) | IGNORED_FIELDS | {"event_timestamp", "created_timestamp", "expires_at"}
)
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_LENGTH: Final = re.compile(r"([1-9][0-9]{0,4})(m|h)")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_WINDOW: Final = timedelta(hours=168)
_LONGEST_CADENCE: Final = timedelta(hours=24)
_LARGEST_READING: Final = 1e30  # so that no feature overflows a double or DynamoDB's number


@dataclass(frozen=True, slots=True)
class Reading:
    """One measured quantity: a numeric field of the raw lines.

    Attributes
    ----------
    name
        The prefix of its features, and the field's name unless ``field`` says otherwise.
    lowest, highest
        The plausible range, ends included, in the reading's own unit.
    zone_boundaries
        Upper ends of zones A, B and C for the mean of one hour; empty where the reading has no zones.
    field_name
        The raw line's own name of the field; a dotted one looks into nested objects.
    cadence
        How often the reading is expected: its coverage is complete then.
    unit, description
        For people: nothing is computed from them.
    """

    name: str
    lowest: float
    highest: float
    zone_boundaries: tuple[float, ...] = ()
    field_name: str = ""
    cadence: timedelta = TILE
    unit: str = field(default="", compare=False, repr=False)
    description: str = field(default="", compare=False, repr=False)

    @property
    def path(self) -> tuple[str, ...]:
        """Where a raw line holds it, from the outside in."""
        return split_name(self.field_name or self.name)


@dataclass(frozen=True, slots=True)
class Window:
    """A trailing window ``[as_of - length, as_of)``, named as in column names: ``6h``."""

    label: str
    length: timedelta

    @property
    def tiles(self) -> int:
        """How many tiles the window holds."""
        return self.length // TILE


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """The readings, and the features that are computed from their tiles.

    Attributes
    ----------
    readings, windows, pairs
        What the features are made of.
    fields
        Where raw lines hold all that is no reading.
    text
        The features.toml that was read.
    """

    readings: tuple[Reading, ...]
    windows: tuple[Window, ...]
    pairs: tuple[tuple[str, str], ...]
    fields: LineFields = field(default_factory=LineFields)
    text: str = field(default="", compare=False, repr=False)

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Read a features.toml, by default the packaged one.

        Parameters
        ----------
        path
            The file; None for the packaged one.

        Returns
        -------
        FeatureSpec
            The checked spec.

        Raises
        ------
        ConfigurationError
            If the file cannot be read, or says something that cannot be done.
        """
        path = path or PACKAGED
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(str(path), f"cannot be read ({error}); give a features.toml") from error
        return cls.parse(text, source=path.name)

    @classmethod
    def parse(cls, text: str, *, source: str = "features.toml") -> Self:
        """Check the text of a features.toml.

        Parameters
        ----------
        text
            TOML with ``windows``, ``pairs`` and one ``[[readings]]`` table a reading.
        source
            What errors call the file.

        Returns
        -------
        FeatureSpec
            The checked spec.

        Raises
        ------
        ConfigurationError
            Naming the first key that is unknown, missing or wrong.
        """
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(source, f"is not TOML: {error}") from error
        _require_keys(
            document, source, required=("windows", "readings"), optional=("pairs", "fields", "timestamp_format")
        )
        tables = document["readings"]
        if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
            raise ConfigurationError(f"{source}: readings", "must be one [[readings]] table or more")
        readings = tuple(_parse_reading(table, f"{source}: readings[{i}]") for i, table in enumerate(tables))
        _require_unique((reading.name for reading in readings), f"{source}: readings")
        windows = _parse_windows(document["windows"], f"{source}: windows")
        pairs = _parse_pairs(document.get("pairs", []), [r.name for r in readings], f"{source}: pairs")
        fields = _parse_fields(document, source)
        _require_unique([*fields.names, *(".".join(reading.path) for reading in readings)], f"{source}: fields")
        return cls(readings, windows, pairs, fields, text)

    @property
    def reading_names(self) -> tuple[str, ...]:
        """The readings' names, in the file's order."""
        return tuple(reading.name for reading in self.readings)

    @property
    def lookback(self) -> timedelta:
        """How far before its ``as_of`` a feature row can see."""
        return max(PRESENCE, *(window.length for window in self.windows))

    @property
    def digest(self) -> str:
        """A digest of all that feature rows depend on besides tiles."""
        return hashlib.sha256(repr(self).encode()).hexdigest()

    @property
    def fingerprint(self) -> str:
        """A digest of all that tiles depend on: the readings' names and plausible ranges, and the lines' fields.

        Windows, pairs and zones are not in it: they can change without a tile being built again.
        """
        readings = sorted((r.name, r.lowest, r.highest, r.path) for r in self.readings)
        return hashlib.sha256(json.dumps([readings, astuple(self.fields)]).encode()).hexdigest()


def _require_keys(table: Mapping[str, Any], where: str, *, required: Sequence[str], optional: Sequence[str]) -> None:
    known = (*required, *optional)
    for key in table:
        if key not in known:
            raise ConfigurationError(f"{where}: {key}", f"is no key here; there are {', '.join(known)}")
    for key in required:
        if key not in table:
            raise ConfigurationError(f"{where}: {key}", "is missing")


def _require_unique(names: Iterable[str], where: str) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise ConfigurationError(where, f"{name!r} is named {times} times; name it once")


def _parse_numbers(value: object, where: str, meaning: str, count: int) -> tuple[float, ...]:
    if (
        not isinstance(value, list)
        or len(value) != count
        or not all(isinstance(x, int | float) and not isinstance(x, bool) for x in value)
        or not all(math.isfinite(x) and abs(x) <= _LARGEST_READING for x in value)
        or any(a >= b for a, b in itertools.pairwise(value))
    ):
        raise ConfigurationError(where, f"{value!r} will not do; give {meaning}")
    return tuple(float(x) for x in value)


def _parse_reading(table: Mapping[str, Any], where: str) -> Reading:
    _require_keys(
        table,
        where,
        required=("name", "plausible"),
        optional=("zones", "field", "cadence", "unit", "description"),
    )
    name = table["name"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(f"{where}: name", f"{name!r} will not do; use lower-case letters, digits and _")
    if name in _RESERVED:
        raise ConfigurationError(f"{where}: name", f"{name!r} is a field of every line or output; choose another")
    lowest, highest = _parse_numbers(
        table["plausible"], f"{where}: plausible", "[lowest, highest], ascending, within ±1e30", 2
    )
    zones: tuple[float, ...] = ()
    if "zones" in table:
        zones = _parse_numbers(table["zones"], f"{where}: zones", "the ascending upper ends of A, B and C", 3)
    return Reading(
        name,
        lowest,
        highest,
        zones,
        field_name=_parse_field(table["field"], f"{where}: field") if "field" in table else "",
        cadence=_parse_cadence(table.get("cadence", "5m"), f"{where}: cadence"),
        unit=_parse_text(table.get("unit", ""), f"{where}: unit"),
        description=_parse_text(table.get("description", ""), f"{where}: description"),
    )


def _parse_fields(document: Mapping[str, Any], source: str) -> LineFields:
    table = document.get("fields", {})
    if not isinstance(table, dict):
        raise ConfigurationError(f"{source}: fields", f"{table!r} will not do; give a table [fields]")
    names = ("machine_id", "timestamp_utc", "codigo_evento")
    _require_keys(table, f"{source}: fields", required=(), optional=(*names, "timestamp_format"))
    if "timestamp_format" in table and "timestamp_format" in document:
        raise ConfigurationError(f"{source}: timestamp_format", "is there twice; give it once, in [fields]")
    form = table.get("timestamp_format", document.get("timestamp_format", TIMESTAMP_FORMATS[0]))
    if form not in TIMESTAMP_FORMATS:
        raise ConfigurationError(
            f"{source}: timestamp_format", f"{form!r} will not do; give one of {', '.join(TIMESTAMP_FORMATS)}"
        )
    fields = {name: _parse_field(table.get(name, name), f"{source}: fields: {name}") for name in names}
    return LineFields(**fields, timestamp_format=form)


def _parse_field(value: object, where: str) -> str:
    if not isinstance(value, str) or not all(split_name(value)) or _CONTROL.search(value):
        raise ConfigurationError(where, f'{value!r} is no name of a field; write "temp" or "payload.temp"')
    return value


def _parse_text(value: object, where: str) -> str:
    if not isinstance(value, str) or _CONTROL.search(value):
        raise ConfigurationError(where, f"{value!r} will not do; give one line of text")
    return value


def _parse_cadence(value: object, where: str) -> timedelta:
    match = _LENGTH.fullmatch(value) if isinstance(value, str) else None
    cadence = _read_length(match) if match else timedelta(0)
    if not TILE <= cadence <= _LONGEST_CADENCE:
        raise ConfigurationError(where, f'{value!r} will not do; write "10m" or "2h", from 5m to 24h')
    return cadence


def _read_length(match: re.Match[str]) -> timedelta:
    return int(match[1]) * (HOUR if match[2] == "h" else timedelta(minutes=1))


def _parse_windows(value: object, where: str) -> tuple[Window, ...]:
    if not isinstance(value, list) or not value:
        raise ConfigurationError(where, f'{value!r} will not do; give a list such as ["1h", "24h"]')
    windows = tuple(_parse_window(label, where) for label in value)
    _require_unique((window.label for window in windows), where)
    return windows


def _parse_window(label: object, where: str) -> Window:
    match = _LENGTH.fullmatch(label) if isinstance(label, str) else None
    if match is None:
        raise ConfigurationError(where, f'{label!r} is no window; write "30m" or "6h"')
    length = _read_length(match)
    if length % TILE or length > _LONGEST_WINDOW:
        raise ConfigurationError(
            where, f"{label!r} is not a whole number of 5-minute tiles up to 168h; round it, for example to '30m'"
        )
    return Window(match[0], length)


def _parse_pairs(value: object, names: Sequence[str], where: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list):
        raise ConfigurationError(where, f"{value!r} will not do; give a list of [reading, reading]")
    pairs: list[tuple[str, str]] = []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2 or pair[0] == pair[1] or not set(map(str, pair)) <= set(names):
            raise ConfigurationError(where, f"{pair!r} will not do; give two different readings of {', '.join(names)}")
        pairs.append((pair[0], pair[1]))
    _require_unique((f"{a}_{b}" for a, b in pairs), where)
    return tuple(pairs)
