"""Lines → tiles: five minutes of one machine's one reading as moments. Pure."""

from collections.abc import Sequence
from typing import Final

import polars as pl

from handler.definitions.schema import TILE_KEYS, TILE_SCHEMA, empty_frame
from handler.definitions.timestamps import INSTANT, MICROSECOND, TILE
from handler.ingest.duplicates import UniqueLines
from handler.tiles.merge import divide

_OF_POSITIONS: Final = ("x_centre", "x_m2", "x_m3", "x_m4", "y_centre", "y_m2", "cross")
_TILE_WIDTH: Final = TILE // MICROSECOND
_SMALL_SPREAD: Final = 1e-60
_SMALL_SHARE: Final = 1e-5
"""Fourth powers of a smaller spread vanish; digits of a spread vanish that is a smaller share of the values."""

_SMALL_TIME_SHARE: Final = 1e-2
"""So do digits of times: Polars' streaming covariance rounds them to 1e-16 of their distance from the tile's start."""


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
    samples = {reading: _take_samples(lines.lazy(), reading) for reading in readings}
    tiles = _collect_tiles([_summarize(part, reading, has_ties=has_ties) for reading, part in samples.items()])
    small = tiles.filter(_has_small_spread())
    if not small.is_empty():
        moved = [_summarize(_take_positions(part, small, reading), reading) for reading, part in samples.items()]
        tiles = tiles.update(_collect_tiles(moved).select(*TILE_KEYS, *_OF_POSITIONS), on=TILE_KEYS)
    return tiles


def _take_samples(lines: pl.LazyFrame, reading: str) -> pl.LazyFrame:
    """Take the lines that have a reading: keys of its tiles, ``value``, and ``time`` since the tile's start."""
    time = pl.col("event_time").to_physical()
    return lines.filter(pl.col(reading).is_not_nan()).select(
        "machine_id",
        (time // _TILE_WIDTH * _TILE_WIDTH).cast(INSTANT).alias("tile_start"),
        pl.col(reading).alias("value"),
        (time % _TILE_WIDTH).cast(pl.Float64).alias("time"),
    )


def _summarize(samples: pl.LazyFrame, reading: str, *, has_ties: bool = False) -> pl.LazyFrame:
    """Aggregate the samples of a reading by tile."""
    value, time = pl.col("value"), pl.col("time")
    if has_ties:
        first, last = value.filter(time == time.min()).max(), value.filter(time == time.max()).max()
    else:
        first, last = value.min_by(time), value.max_by(time)  # the same, in half the time
    return (
        samples.group_by("machine_id", "tile_start")
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
        .with_columns(reading=pl.lit(reading))
    )


def _collect_tiles(summaries: Sequence[pl.LazyFrame]) -> pl.DataFrame:
    """Compute the tiles of all readings in one query, and their moments of positions from those of values."""
    n, variance = pl.col("n"), pl.col("variance")  # of positions
    spread, time_span = pl.col("x_max") - pl.col("x_min"), pl.col("y_max") - pl.col("y_min")
    return (
        pl.concat(summaries)
        .with_columns(divide(divide(variance, spread), spread))
        .select(
            pl.col("machine_id").cast(pl.String),
            *("reading", "tile_start", "n", "first", "last", "x_min", "x_max"),
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


def _has_small_spread() -> pl.Expr:
    """Tell whether the moments of a tile lose digits, so that they are to be computed from positions."""
    spread, time_span = pl.col("x_max") - pl.col("x_min"), pl.col("y_max") - pl.col("y_min")
    peak = pl.max_horizontal(pl.col("x_min", "x_max").abs())
    is_short = (time_span > 0) & (time_span < _SMALL_TIME_SHARE * pl.col("y_max"))
    return (spread > 0) & ((spread < _SMALL_SPREAD) | (spread < _SMALL_SHARE * peak) | is_short)


def _take_positions(samples: pl.LazyFrame, tiles: pl.DataFrame, reading: str) -> pl.LazyFrame:
    """Take the samples of some tiles with positions for values and times: their spread is 1, however small theirs."""
    keys = ["machine_id", "tile_start"]
    ends = tiles.lazy().filter(pl.col("reading") == reading).select(*keys, "x_min", "x_max", "y_min", "y_max")
    value = divide(pl.col("value") - pl.col("x_min"), pl.col("x_max") - pl.col("x_min"))
    time = divide(pl.col("time") - pl.col("y_min"), pl.col("y_max") - pl.col("y_min"))
    named = samples.with_columns(pl.col("machine_id").cast(pl.String))
    return named.join(ends, on=keys).with_columns(value=value, time=time)
