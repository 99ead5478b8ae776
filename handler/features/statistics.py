"""Moments → statistics: one expression each. Pure. Definitions: docs/features.md."""

from typing import Final

import polars as pl

from handler.definitions.spec import ZONES, Reading
from handler.definitions.timestamps import HOUR, MICROSECOND
from handler.tiles.merge import divide

WINDOW_KEYS: Final = ("event_timestamp", "machine_id", "series", "window")
"""What names a window: its end, its machine and series, and its length."""

_MICROSECONDS_PER_HOUR: Final = HOUR / MICROSECOND
_FEWEST_TILES_FOR_CORRELATION: Final = 3
_CONSTANT: Final = 1e-12
"""Tile means that deviate less than this share of the readings' range are equal but for rounding."""

_AT_BOUNDARY: Final = 1e-9
"""A mean this near to a boundary, relative, lies on it: sums round."""


def compute_statistics(windows: pl.LazyFrame) -> pl.LazyFrame:
    """Compute the statistics of windows.

    Parameters
    ----------
    windows
        ``WINDOW_KEYS``, ``tiles`` and the columns of ``MOMENTS``. For a reading, y is the event time in microseconds
        from the window's end. For a pair, x and y are the tile means of the two readings.

    Returns
    -------
    pl.LazyFrame
        ``WINDOW_KEYS``, then Float64 columns named as in ``STATISTICS`` (``count``:
        Int64), ``staleness_seconds``, ``corr`` and ``tiles``. A statistic is null where it is not defined; ``corr`` is
        of a pair, the others are of a reading.
    """
    n, low, high = pl.col("n"), pl.col("x_min"), pl.col("x_max")
    spread, peak, variance, rms_per_peak = (pl.col(name) for name in ("spread", "peak", "variance", "rms_per_peak"))
    mean_per_peak = divide(low, peak) + divide(spread, peak) * pl.col("x_centre")
    time_span = pl.col("y_max") - pl.col("y_min")
    slope = divide(pl.col("cross") * spread * _MICROSECONDS_PER_HOUR, pl.col("y_m2") * time_span)
    statistics = {
        "count": n,
        "mean": low + spread * pl.col("x_centre"),
        "min": low,
        "max": high,
        "range": spread,
        "std": pl.when(n > 1).then(spread * divide(pl.col("x_m2"), n - 1).sqrt()),
        "first": pl.col("first"),
        "last": pl.col("last"),
        "rms": pl.when(peak > 0).then(peak * rms_per_peak).otherwise(0.0),
        "crest_factor": pl.when(peak > 0).then(divide(pl.lit(1.0), rms_per_peak)),
        "skew": pl.when(spread > 0).then(divide(divide(pl.col("x_m3"), n), variance * variance.sqrt())),
        "kurtosis": pl.when(spread > 0).then(divide(divide(pl.col("x_m4"), n), variance * variance) - 3),
        "slope_per_hour": pl.when(time_span > 0).then(slope),
        "staleness_seconds": divide(-pl.col("y_max"), 1e6),
        "corr": correlate(),
        "tiles": pl.col("tiles"),
    }
    return (
        windows.with_columns(
            spread=high - low, peak=pl.max_horizontal(low.abs(), high.abs()), variance=divide(pl.col("x_m2"), n)
        )
        .with_columns(rms_per_peak=(mean_per_peak**2 + divide(spread, peak) ** 2 * variance).sqrt())
        .select(*WINDOW_KEYS, **statistics)
    )


def correlate() -> pl.Expr:
    """Compute Pearson's correlation of two tile means; null below three tiles, or where one side is constant."""
    tiles, x2, y2 = pl.col("n"), pl.col("x_m2"), pl.col("y_m2")
    negligible = tiles * _CONSTANT**2
    is_defined = (tiles >= _FEWEST_TILES_FOR_CORRELATION) & (x2 > negligible) & (y2 > negligible)
    return pl.when(is_defined).then(divide(pl.col("cross"), x2.sqrt() * y2.sqrt()).clip(-1, 1))


def find_zone(mean: pl.Expr, reading: Reading) -> pl.Expr:
    """Find the zone of a mean; a boundary belongs to the lower zone."""
    above = pl.sum_horizontal(
        (mean - boundary > _AT_BOUNDARY * abs(boundary)).cast(pl.Int32) for boundary in reading.zone_boundaries
    )
    zone = above.replace_strict(list(range(len(ZONES))), list(ZONES), return_dtype=pl.String)
    return pl.when(mean.is_not_null()).then(zone)
