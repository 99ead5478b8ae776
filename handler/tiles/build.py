"""Lines → tiles: five minutes of one machine's one reading as moments. Pure."""

from collections.abc import Sequence
from typing import Final

import polars as pl

from handler.definitions.schema import TILE_SCHEMA, empty_frame
from handler.definitions.timestamps import INSTANT, MICROSECOND, TILE
from handler.ingest.duplicates import UniqueLines
from handler.tiles.merge import divide

_KEYS: Final = ("machine_id", "tile_start")
_TILE_WIDTH: Final = TILE // MICROSECOND
_SMALL_SPREAD: Final = 1e-60
_SMALL_SHARE: Final = 1e-5
"""Fourth powers of a smaller spread vanish; digits of a spread vanish that is a smaller share of the values."""


def build_tiles(unique: UniqueLines, readings: Sequence[str]) -> pl.DataFrame:
    """Summarize accepted lines into tiles.

    A reading counts in the tile ``[start, start + 5 min)`` of its own event time, however late it arrived.

    Parameters
    ----------
    unique
        Lines in any order, each once: ``machine_id`` (String or Enum), ``event_time`` (Datetime, µs, UTC) and a Float64
        column a reading, NaN where absent.
    readings
        The names of the columns that are readings.

    Returns
    -------
    pl.DataFrame
        Columns of ``TILE_SCHEMA``, each tile once, in any order.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> lines = pl.DataFrame({
    ...     "machine_id": ["P1", "P1"],
    ...     "event_time": [datetime(2025, 10, 15, 9, 1, tzinfo=UTC), datetime(2025, 10, 15, 9, 3, tzinfo=UTC)],
    ...     "temperature_celsius": [70.0, 74.0],
    ... })
    >>> tiles = build_tiles(UniqueLines(lines, has_ties=False), ["temperature_celsius"])
    >>> tiles.select("reading", "n", "x_min", "x_max", "x_m2", "y_max").rows()
    [('temperature_celsius', 2, 70.0, 74.0, 0.5, 180000000.0)]
    """
    lines, has_ties = unique
    if lines.is_empty():
        return empty_frame(TILE_SCHEMA)
    tiles = [_summarize_reading(lines.lazy(), reading, has_ties=has_ties) for reading in readings]
    return pl.concat(tiles).select(pl.col("machine_id").cast(pl.String), *list(TILE_SCHEMA)[1:])


def _summarize_reading(lines: pl.LazyFrame, reading: str, *, has_ties: bool) -> pl.DataFrame:
    samples = _take_samples(lines, reading)
    tiles = _summarize(samples, has_ties=has_ties)
    spread = pl.col("x_max") - pl.col("x_min")
    peak = pl.max_horizontal(pl.col("x_min", "x_max").abs())
    small = tiles.filter((spread > 0) & ((spread < _SMALL_SPREAD) | (spread < _SMALL_SHARE * peak)))
    if not small.is_empty():
        tiles = tiles.update(_summarize_positions(samples, small), on=_KEYS)
    return tiles.with_columns(reading=pl.lit(reading))


def _take_samples(lines: pl.LazyFrame, reading: str) -> pl.LazyFrame:
    """Take the lines that have a reading: keys of its tiles, ``value``, and ``time`` since the tile's start."""
    time = pl.col("event_time").to_physical()
    return lines.filter(pl.col(reading).is_not_nan()).select(
        "machine_id",
        (time // _TILE_WIDTH * _TILE_WIDTH).cast(INSTANT).alias("tile_start"),
        pl.col(reading).alias("value"),
        (time % _TILE_WIDTH).cast(pl.Float64).alias("time"),
    )


def _summarize(samples: pl.LazyFrame, *, has_ties: bool) -> pl.DataFrame:
    """Compute each tile's moments, its keys before them."""
    value, time, n = pl.col("value"), pl.col("time"), pl.col("n")
    spread, time_span = pl.col("x_max") - pl.col("x_min"), pl.col("y_max") - pl.col("y_min")
    variance = pl.col("variance")  # of positions
    if has_ties:
        first, last = value.filter(time == time.min()).max(), value.filter(time == time.max()).max()
    else:
        first, last = value.min_by(time), value.max_by(time)  # the same, in half the time
    return (
        samples.group_by(_KEYS)
        .agg(
            n=pl.len().cast(pl.Int64),
            first=first,
            last=last,
            x_min=value.min(),
            x_max=value.max(),
            mean=value.mean(),
            variance=value.var(ddof=0),
            skew=value.skew(),
            kurtosis=value.kurtosis(fisher=False),
            y_min=time.min(),
            y_max=time.max(),
            time_mean=time.mean(),
            time_variance=time.var(ddof=0),
            covariance=pl.cov(value, time, ddof=0),
        )
        .with_columns(divide(divide(variance, spread), spread))
        .select(
            *_KEYS,
            *("n", "first", "last", "x_min", "x_max"),
            x_centre=divide(pl.col("mean") - pl.col("x_min"), spread),
            x_m2=n * variance,
            x_m3=pl.when(spread > 0).then(n * pl.col("skew") * variance * variance.sqrt()).otherwise(0.0),
            x_m4=pl.when(spread > 0).then(n * pl.col("kurtosis") * variance**2).otherwise(0.0),
            y_min="y_min",
            y_max="y_max",
            y_centre=divide(pl.col("time_mean") - pl.col("y_min"), time_span),
            y_m2=divide(n * pl.col("time_variance"), time_span**2),
            cross=n * divide(divide(pl.col("covariance"), spread), time_span),
        )
        .collect(engine="streaming")
    )


def _summarize_positions(samples: pl.LazyFrame, tiles: pl.DataFrame) -> pl.DataFrame:
    """Compute the moments of some tiles from positions, which have a spread of 1 however small that of the values."""
    ends = tiles.lazy().select(*_KEYS, "x_min", "x_max")
    position = divide(pl.col("value") - pl.col("x_min"), pl.col("x_max") - pl.col("x_min"))
    moved = samples.join(ends, on=_KEYS).with_columns(value=position)
    return _summarize(moved, has_ties=False).select(*_KEYS, "x_centre", "x_m2", "x_m3", "x_m4", "cross")
