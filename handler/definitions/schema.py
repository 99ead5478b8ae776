"""Every column, once: of tiles, hours, failures, quarantine and feature rows."""

from collections.abc import Mapping
from typing import Final

import polars as pl

from handler.definitions.errors import ConfigurationError
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import INSTANT

Schema = Mapping[str, pl.DataType]

FAILURE_KEYS: Final = ("machine_id", "event_timestamp", "codigo_evento")
"""Tell one failure event from another."""

FAILURE_SCHEMA: Final[Schema] = {
    "machine_id": pl.String(),
    "event_timestamp": INSTANT,
    "codigo_evento": pl.String(),
    "source_key": pl.String(),
    "line_number": pl.Int64(),
}

REJECTED_SCHEMA: Final[Schema] = {
    "source_key": pl.String(),
    "line_number": pl.Int64(),
    "reason": pl.String(),
    "raw_text": pl.String(),
}

MOMENTS: Final[Schema] = {
    "n": pl.Int64(),
    **dict.fromkeys(
        (
            "first", "last",
            "x_min", "x_max", "x_centre", "x_m2", "x_m3", "x_m4",
            "y_min", "y_max", "y_centre", "y_m2",
            "cross",
        ),
        pl.Float64(),
    ),
}  # fmt: skip
"""Columns that summarize samples of two variables, x and y; ``handler.tiles.merge`` says what each holds."""

TILE_KEYS: Final = ("machine_id", "reading", "tile_start")
TILE_SCHEMA: Final[Schema] = {
    "machine_id": pl.String(),
    "reading": pl.String(),
    "tile_start": INSTANT,
    **MOMENTS,
}
"""Columns of a tile: x is the value, y the event time in microseconds since ``tile_start``."""

HOUR_KEYS: Final = ("machine_id", "series", "hour_start")
HOUR_SCHEMA: Final[Schema] = {
    "machine_id": pl.String(),
    "series": pl.String(),
    "hour_start": INSTANT,
    "tiles": pl.Int64(),
    **MOMENTS,
}
"""Columns of an hour: of a reading as those of a tile, y in microseconds since ``hour_start``; of a pair, x and y are
the tile means of the two readings."""

HOUR_FILE_SCHEMA: Final[Schema] = {**HOUR_SCHEMA, "partition": INSTANT}
"""Columns of an hour file: ``partition`` is the start of the hour of arrival, so that many files are read as one."""

_LARGEST_ITEM: Final = 400 * 1024
_LARGEST_NUMBER: Final = 12
_LARGEST_KEY: Final = 4 * 256 + 200
"""Bytes of ``machine_id``, of the times beside it, and of their names."""

STATISTICS: Final[Schema] = {
    "count": pl.Int64(),
    **dict.fromkeys(
        (
            "mean", "min", "max", "range", "std", "first", "last",
            "rms", "crest_factor", "skew", "kurtosis", "slope_per_hour",
        ),
        pl.Float64(),
    ),
}  # fmt: skip
"""The statistics of each reading in each window, in the order of the columns."""


def feature_schema(spec: FeatureSpec) -> dict[str, pl.DataType]:
    """Name the feature columns, in order, with their types.

    Parameters
    ----------
    spec
        The readings, windows and pairs.

    Returns
    -------
    dict of str to pl.DataType
        Each column's type by its name: Int64 for counts, Float64 for all others.

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


def require_small_items(spec: FeatureSpec) -> None:
    """Refuse features of which an item of the table might be too large for DynamoDB.

    An item counts by the bytes of its attributes' names and values; a double takes up to 12.

    Parameters
    ----------
    spec
        The readings, windows and pairs.

    Raises
    ------
    ConfigurationError
        If an item with every feature could pass 400 KB.
    """
    names = feature_schema(spec)
    size = _LARGEST_KEY + sum(len(name) + _LARGEST_NUMBER for name in names)
    if size > _LARGEST_ITEM:
        raise ConfigurationError(
            "features.toml",
            f"{len(names):,} features make items of up to {size:,} bytes, and DynamoDB takes {_LARGEST_ITEM:,}; "
            "name fewer readings or windows",
        )


def row_schema(spec: FeatureSpec) -> dict[str, pl.DataType]:
    """Name all columns of a feature row, in order, with their types."""
    return {"machine_id": pl.String(), "event_timestamp": INSTANT, **feature_schema(spec)}


def empty_frame(schema: Schema) -> pl.DataFrame:
    """Make a frame without rows."""
    return pl.DataFrame(schema=dict(schema))
