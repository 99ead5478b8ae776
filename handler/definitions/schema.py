"""Every column, once: of tiles, hours, failures, quarantine and feature rows."""

from collections.abc import Mapping
from typing import Final

import polars as pl

from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import INSTANT

FAILURE_SCHEMA: Final[Mapping[str, pl.DataType]] = {
    "machine_id": pl.String(),
    "event_timestamp": INSTANT,
    "codigo_evento": pl.String(),
    "source_key": pl.String(),
    "line_number": pl.Int64(),
}
REJECTED_SCHEMA: Final[Mapping[str, pl.DataType]] = {
    "source_key": pl.String(),
    "line_number": pl.Int64(),
    "reason": pl.String(),
    "raw_text": pl.String(),
}

TILE_KEYS: Final = ("machine_id", "reading", "tile_start")
TILE_SCHEMA: Final[Mapping[str, pl.DataType]] = {
    "machine_id": pl.String(),
    "reading": pl.String(),
    "tile_start": INSTANT,
    "n": pl.Int64(),
    "first": pl.Float64(),
    "last": pl.Float64(),
    "value_min": pl.Float64(),
    "value_max": pl.Float64(),
    "value_centre": pl.Float64(),
    "value_m2": pl.Float64(),
    "value_m3": pl.Float64(),
    "value_m4": pl.Float64(),
    "time_min": INSTANT,
    "time_max": INSTANT,
    "time_centre": pl.Float64(),
    "time_m2": pl.Float64(),
    "cross": pl.Float64(),
}
"""Columns of a tile; docs/architecture.md, "Tiles", says what each holds."""

HOUR_SCHEMA: Final[Mapping[str, pl.DataType]] = {
    "machine_id": pl.String(),
    "series": pl.String(),
    "hour_start": INSTANT,
    "tiles": pl.Int64(),
    "n": pl.Int64(),
    **dict.fromkeys(
        (
            "first", "last", "x_min", "x_max", "x_centre", "x_m2", "x_m3", "x_m4",
            "y_min", "y_max", "y_centre", "y_m2", "cross",
        ),
        pl.Float64(),
    ),
}  # fmt: skip
"""Columns of an hour. Times are microseconds since its start; ``first`` and ``last`` are 0 where it is of a pair."""

STATISTICS: Final[Mapping[str, pl.DataType]] = {
    "count": pl.Int64(),
    **dict.fromkeys(
        (
            "mean", "min", "max", "range", "std", "first", "last",
            "rms", "crest_factor", "skew", "kurtosis", "slope_per_hour",
        ),
        pl.Float64(),
    ),
}  # fmt: skip
"""What each reading has for each window, in the order of the columns."""


def feature_schema(spec: FeatureSpec) -> dict[str, pl.DataType]:
    """Name the feature columns, in order, with their types.

    Examples
    --------
    >>> list(feature_schema(FeatureSpec.load()))[:3]
    ['temperature_celsius_count_1h', 'temperature_celsius_mean_1h', 'temperature_celsius_min_1h']
    """
    schema: dict[str, pl.DataType] = {}
    for reading in spec.readings:
        for window in spec.windows:
            schema |= {f"{reading.name}_{stat}_{window.label}": dtype for stat, dtype in STATISTICS.items()}
            schema[f"{reading.name}_coverage_{window.label}"] = pl.Float64()
        schema[f"{reading.name}_staleness_seconds"] = pl.Float64()
        if reading.zone_boundaries:
            schema[f"{reading.name}_zone"] = pl.String()
    for a, b in spec.pairs:
        schema |= {f"{a}_{b}_corr_{window.label}": pl.Float64() for window in spec.windows}
    return schema


def row_schema(spec: FeatureSpec) -> dict[str, pl.DataType]:
    """Name all columns of a feature row, in order, with their types."""
    return {"machine_id": pl.String(), "event_timestamp": INSTANT, **feature_schema(spec)}
