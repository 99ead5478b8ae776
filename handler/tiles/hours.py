"""Hours: tiles of one hour of event time in one row, so that a run reads few rows. Pure.

A *series* is one reading, or a pair of readings. Its hours are merged tiles: of a reading the tiles themselves, of a
pair the means of those tiles in which both readings exist.
"""

import json
from typing import Final

import polars as pl

from handler.definitions.schema import HOUR_KEYS, HOUR_SCHEMA, MOMENTS
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import HOUR
from handler.tiles.merge import merge_moments

HOURS_FORMAT: Final = 5
"""Counted up whenever equal tiles would give other hours; those of another format are not read."""

PART_COLUMNS: Final = ("machine_id", "series", "start", "tiles", *MOMENTS)
"""Columns of a part of a series: a tile or an hour, or a pair of tiles."""

_DOCUMENT: Final = "hours"
_OF_PAIR: Final = "|"


def describe_hours(spec: FeatureSpec, fingerprint: str) -> dict[str, str]:
    """Say what an hour file holds, and of which tiles, as Parquet key-value metadata.

    Parameters
    ----------
    spec
        The readings and pairs: hours of others are of no use.
    fingerprint
        The tile file's.

    Returns
    -------
    dict of str to str
        Equal for hours that can stand for each other.
    """
    return {_DOCUMENT: json.dumps({"format": HOURS_FORMAT, "series": list_series(spec), "tiles": fingerprint})}


def list_series(spec: FeatureSpec) -> list[str]:
    """List the names of all series: each reading, then each pair.

    Parameters
    ----------
    spec
        The readings and pairs.

    Returns
    -------
    list of str
        Readings in the spec's order, then pairs.

    Examples
    --------
    >>> list_series(FeatureSpec.load())
    ['temperature_celsius', 'vibration_rms', 'temperature_celsius|vibration_rms']
    """
    return [*spec.reading_names, *map(name_pair, spec.pairs)]


def name_pair(pair: tuple[str, str]) -> str:
    """Name the series of a pair of readings.

    Parameters
    ----------
    pair
        Two readings, in the spec's order.

    Returns
    -------
    str
        Their names with a bar between.

    Examples
    --------
    >>> name_pair(("temperature_celsius", "vibration_rms"))
    'temperature_celsius|vibration_rms'
    """
    return _OF_PAIR.join(pair)


def split_series(tiles: pl.LazyFrame, spec: FeatureSpec) -> pl.LazyFrame:
    """Split tiles into series: those of each reading, then those of each pair.

    Parameters
    ----------
    tiles
        Each tile once: columns of ``TILE_SCHEMA``.
    spec
        The readings and pairs; tiles of other readings are left out.

    Returns
    -------
    pl.LazyFrame
        ``PART_COLUMNS``: ``series`` (String), ``start`` (Datetime, µs, UTC). A row of a pair is one sample: x is the
        mean of the first reading, y that of the second.
    """
    tiles = tiles.rename({"reading": "series", "tile_start": "start"}).with_columns(tiles=pl.lit(1, pl.Int64))
    readings = tiles.filter(pl.col("series").is_in(spec.reading_names)).select(PART_COLUMNS)
    return pl.concat([readings, *(_pair_means(readings, pair).select(PART_COLUMNS) for pair in spec.pairs)])


def _pair_means(readings: pl.LazyFrame, pair: tuple[str, str]) -> pl.LazyFrame:
    """Pair the means of the tiles that two readings both have.

    Each is a sample of one that keeps the ends of its tile, so that its position is not rounded to a mean and back.
    """
    a, b = (readings.filter(pl.col("series") == name) for name in pair)
    means = b.select(
        "machine_id", "start", *(pl.col(f"x_{part}").alias(f"y_{part}") for part in ("min", "max", "centre"))
    )
    of_a = a.select("machine_id", "start", "tiles", "x_min", "x_max", "x_centre", pl.col("tiles").alias("n"))
    none = {name: pl.lit(0.0) for name in ("first", "last", "x_m2", "x_m3", "x_m4", "y_m2", "cross")}
    return of_a.join(means, on=["machine_id", "start"]).with_columns(series=pl.lit(name_pair(pair)), **none)


def roll_up_hours(tiles: pl.DataFrame, spec: FeatureSpec) -> pl.DataFrame:
    """Merge tiles into the hours of their own event time.

    Parameters
    ----------
    tiles
        Each tile once: columns of ``TILE_SCHEMA``.
    spec
        The readings and pairs.

    Returns
    -------
    pl.DataFrame
        Columns of ``HOUR_SCHEMA``, sorted by machine, series and hour.
    """
    return roll_up_parts(split_series(tiles.lazy(), spec)).collect()


def roll_up_parts(parts: pl.LazyFrame) -> pl.LazyFrame:
    """Merge tiles that are split into series already, as :func:`roll_up_hours` does.

    Parameters
    ----------
    parts
        As :func:`split_series` returns them.

    Returns
    -------
    pl.LazyFrame
        Columns of ``HOUR_SCHEMA``, sorted by machine, series and hour.
    """
    parts = parts.with_columns(hour_start=pl.col("start").dt.truncate(HOUR))
    return merge_moments(count_times_from(parts, pl.col("hour_start")), HOUR_KEYS).select(*HOUR_SCHEMA)


def count_times_from(parts: pl.LazyFrame, origin: pl.Expr) -> pl.LazyFrame:
    """Count the times of readings from another instant than the row's ``start``; y of a pair is no time.

    Parameters
    ----------
    parts
        ``series``, ``start``, ``y_min`` and ``y_max`` (microseconds since ``start``), and any others.
    origin
        The instant to count from.

    Returns
    -------
    pl.LazyFrame
        The same columns, ``y_min`` and ``y_max`` counted from the origin, microseconds.
    """
    moved = (pl.col("start") - origin).dt.total_microseconds()
    is_time = ~pl.col("series").cast(pl.String).str.contains(_OF_PAIR, literal=True)
    return parts.with_columns(
        pl.when(is_time).then(pl.col("y_min", "y_max") + moved).otherwise(pl.col("y_min", "y_max"))
    )
