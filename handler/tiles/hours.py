"""Hours: what the tiles of one hour of event time come to, so that a run reads few tiles. Pure.

A *series* is one reading, or a pair of them. Its hours are merged tiles: of a reading the tiles themselves, of a pair
the means of those tiles in which both exist. Both are moments of two variables, called ``x`` and ``y`` here: value and
time, or the one mean and the other.
"""

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from handler.definitions.schema import HOUR_SCHEMA
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import HOUR, MICROSECOND

if TYPE_CHECKING:
    from handler.features.windows import Summaries
    from handler.tiles.tile_arrays import TileArrays

Names = tuple[str, ...]
"""Names a series: one reading, or the two of a pair."""

HOUR_WIDTH: Final = HOUR // MICROSECOND
HOURS_FORMAT: Final = 2
"""Counted up whenever equal tiles would give other hours; those of another format are not read."""

_HOUR_KEYS: Final = ("series", "machine_id", "hour_start")
_HOUR_NUMBERS: Final = ("machine", "label", "hour_start")
_AXES: Final = (("value_", "x_"), ("time_", "y_"))
_TIMES: Final = ("y_min", "y_max")
_ENDS: Final = ("first", "last")
_DOCUMENT: Final = "hours"
_ROWS: Final = "rows"


def describe_hours(hours: pl.DataFrame, spec: FeatureSpec) -> dict[str, str]:
    """Say what an hour file holds, as Parquet key-value metadata."""
    return {_DOCUMENT: _name_kind(spec), _ROWS: str(hours.height)}


def count_described(metadata: Mapping[str, str], spec: FeatureSpec) -> int | None:
    """Count the rows of a file with this metadata; None where they are not the hours of the spec."""
    return int(metadata[_ROWS]) if metadata.get(_DOCUMENT) == _name_kind(spec) else None


def _name_kind(spec: FeatureSpec) -> str:
    """Name what hours are of: those of other pairs are of no use."""
    return json.dumps({"format": HOURS_FORMAT, "series": [_label(names) for names in list_series(spec)]})


def list_series(spec: FeatureSpec) -> list[Names]:
    """List the series: each reading, then each pair.

    Examples
    --------
    >>> list_series(FeatureSpec.load())
    [('temperature_celsius',), ('vibration_rms',), ('temperature_celsius', 'vibration_rms')]
    """
    return [(name,) for name in spec.reading_names] + list(spec.pairs)


def roll_up_hours(tiles: pl.DataFrame, spec: FeatureSpec) -> pl.DataFrame:
    """Merge tiles into the hours of their own event time.

    Parameters
    ----------
    tiles
        Each tile once, sorted by machine, reading and start: columns of ``TILE_SCHEMA``.
    spec
        The readings and pairs.

    Returns
    -------
    pl.DataFrame
        Columns of ``HOUR_SCHEMA``, sorted by machine, series and hour.
    """
    if tiles.is_empty():
        return pl.DataFrame(schema=dict(HOUR_SCHEMA))
    from handler.tiles.tile_arrays import TileArrays  # noqa: PLC0415 - with numpy, which takes half as long as Polars

    return roll_up_arrays(TileArrays.from_frame(tiles, spec.reading_names), spec)


def roll_up_arrays(tiles: "TileArrays", spec: FeatureSpec) -> pl.DataFrame:
    """Merge tiles into hours, as :func:`roll_up_hours` does; there is at least one."""
    import numpy as np  # noqa: PLC0415 - it takes half as long as Polars to load

    from handler.tiles.compiled_merge import take_rows  # noqa: PLC0415
    from handler.tiles.ordering import order_numbers  # noqa: PLC0415

    labels = sorted(map(_label, list_series(spec)))
    parts: list[dict[str, Any]] = []
    for names, series in split_tiles(tiles, spec).items():
        hours = series.roll_up(HOUR_WIDTH)
        columns = dict.fromkeys(_ENDS, np.zeros(len(hours))) | dict(hours.columns)
        if len(names) == 1:
            columns |= {name: columns[name] - hours.place for name in _TIMES}
        keys = (hours.group, np.full(len(hours), labels.index(_label(names))), hours.place)
        parts.append(columns | dict(zip(_HOUR_NUMBERS, keys, strict=True)))
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = order_numbers([rows[name] for name in _HOUR_NUMBERS]).order
    rows = take_rows(rows, order)
    texts = {
        "machine_id": pl.Series(tiles.machine_ids, dtype=pl.String).gather(rows["machine"]),
        "series": pl.Series(labels, dtype=pl.String).gather(rows["label"]),
    }
    return pl.DataFrame({name: texts.get(name, rows.get(name)) for name in HOUR_SCHEMA}).cast(pl.Schema(HOUR_SCHEMA))


def number_machines(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """Make ``machine_id`` an Enum of sorted names, if it is none yet, and give the names."""
    from handler.tiles.ordering import to_sorted_enum  # noqa: PLC0415 - with numpy, which takes half as long as Polars

    ids, names = to_sorted_enum(rows.get_column("machine_id"))
    return rows.with_columns(ids), names


def split_tiles(tiles: "TileArrays", spec: FeatureSpec) -> "dict[Names, Summaries]":
    """Split tiles into series; places are starts of tiles."""
    import numpy as np  # noqa: PLC0415 - it takes half as long as Polars to load

    from handler.features.windows import Summaries, pair_means  # noqa: PLC0415

    columns: dict[str, Any] = {"tiles": np.ones(len(tiles), np.int64)}
    for name, values in tiles.columns.items():
        columns[next((name.replace(old, new) for old, new in _AXES if name.startswith(old)), name)] = values
    every = Summaries(tiles.machine, tiles.start, columns)
    series: dict[Names, Summaries] = {
        (name,): every.take(np.flatnonzero(tiles.reading == tiles.readings.index(name))) for name in spec.reading_names
    }
    return series | {(a, b): pair_means(series[a,], series[b,]) for a, b in spec.pairs}


def split_hours(hours: pl.DataFrame, spec: FeatureSpec) -> "dict[Names, Summaries]":
    """Split hours (columns of ``HOUR_SCHEMA``, machines as an Enum) into series; places are starts of hours."""
    import numpy as np  # noqa: PLC0415

    from handler.features.windows import Summaries  # noqa: PLC0415
    from handler.tiles.compiled_merge import take_rows  # noqa: PLC0415
    from handler.tiles.ordering import order_rows, to_array  # noqa: PLC0415

    labels = [_label(names) for names in list_series(spec)]
    hours = hours.with_columns(pl.col("series").cast(pl.Enum(labels)))
    order = order_rows(hours, _HOUR_KEYS).order
    columns = take_rows({name: to_array(hours.get_column(name)) for name in HOUR_SCHEMA}, order)
    number, machine, start = (columns.pop(key) for key in _HOUR_KEYS)
    ends = np.searchsorted(number, np.arange(len(labels)), side="right")
    series: dict[Names, Summaries] = {}
    for names, (begin, end) in zip(list_series(spec), pairwise([0, *ends]), strict=True):
        own = {name: values[begin:end] for name, values in columns.items() if len(names) == 1 or name not in _ENDS}
        if len(names) == 1:
            own |= {name: start[begin:end] + own[name].astype(np.int64) for name in _TIMES}
        series[names] = Summaries(machine[begin:end], start[begin:end], own)
    return series


def _label(names: Names) -> str:
    return "|".join(names)
