"""Tiles → feature rows: pure. Definitions: docs/features.md."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from handler.spec import PRESENCE, ZONE_WINDOW, ZONES, FeatureSpec, Reading
from handler.tiles import TILE_KEYS, merge_moments, merge_tiles
from handler.timestamps import HOUR, INSTANT, MICROSECOND, TILE

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

TILE_START: Final = pl.col("tile_start")
_ROW: Final = ("event_timestamp", "machine_id")
_MACHINE: Final = ("machine_id",)
_MACHINE_READING: Final = ("machine_id", "reading")
_ROWS_AT_A_TIME: Final = 250_000
_MICROSECONDS_PER_HOUR: Final = HOUR / MICROSECOND
_FEWEST_TILES_FOR_CORRELATION: Final = 3
_CONSTANT: Final = 1e-12
"""Tile means that deviate less than this share of the readings' range are equal but for rounding."""


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


def unite_tiles(segments: pl.DataFrame) -> pl.DataFrame:
    """Merge what several partitions hold of the same tile, so that each tile is there once.

    Parameters
    ----------
    segments
        Tiles of one partition after the other, in the partitions' order: columns of ``TILE_SCHEMA``.

    Returns
    -------
    pl.DataFrame
        The same columns, sorted by machine, reading and start.
    """
    return merge_tiles(segments, TILE_KEYS)


def compute_features(tiles: pl.DataFrame, instants: Sequence[datetime], spec: FeatureSpec) -> pl.DataFrame:
    """Compute the feature rows of some instants.

    A row at ``as_of`` uses event times in ``[as_of - window, as_of)``; nothing at or after ``as_of`` counts. A
    statistic is null where the window has too few readings for it; counts and coverages are then 0.

    Parameters
    ----------
    tiles
        Each tile once, as :func:`unite_tiles` leaves them; those outside the windows are left aside.
    instants
        The rows' ``as_of``: whole tiles, UTC, a whole number of hours apart.
    spec
        Readings, windows, pairs and zones.

    Returns
    -------
    pl.DataFrame
        ``machine_id`` (String), ``event_timestamp`` (Datetime, µs, UTC: the ``as_of``), then the columns of
        :func:`feature_schema`; a row for each machine with a reading in the 24 hours before ``as_of``, sorted by
        ``event_timestamp`` and machine.
    """
    instants = sorted(instants)
    schema = row_schema(spec)
    lengths = _list_lengths(spec)
    width = _find_bin_width(lengths)
    bins = _roll_up(tiles, width, instants)
    pair_bins = [_roll_up_pair(tiles, a, b, width, instants) for a, b in spec.pairs]
    step = max(1, _ROWS_AT_A_TIME // max(1, bins.height))
    rows = [pl.DataFrame(schema=schema)]
    for start in range(0, len(instants), step):
        chunk = instants[start : start + step]
        summaries = _summarize_windows(bins, chunk, lengths, merge_tiles, _MACHINE_READING)
        correlations = [_summarize_windows(pair, chunk, lengths, _merge_pairs, _MACHINE) for pair in pair_bins]
        rows.append(_assemble_rows(summaries, correlations, spec).select(*schema).cast({"machine_id": pl.String}))
    return pl.concat(rows)


def _assemble_rows(
    summaries: Mapping[timedelta, pl.DataFrame],
    correlations: Sequence[Mapping[timedelta, pl.DataFrame]],
    spec: FeatureSpec,
) -> pl.DataFrame:
    """Lay the windows' statistics side by side, a row an instant and machine."""
    rows = summaries[PRESENCE].select(*_ROW).unique().sort(*_ROW)
    windows = [summaries[w.length].with_columns(window=pl.lit(w.label), full=pl.lit(w.tiles)) for w in spec.windows]
    statistics = pl.concat(windows).select(
        *_ROW, "reading", "window", **_statistics(), coverage=_divide(pl.col("tiles"), pl.col("full"))
    )
    parts = [
        statistics.filter(reading=reading.name, window=window.label).select(
            *_ROW, pl.exclude(*_ROW, "reading", "window").name.map(f"{reading.name}_{{}}_{window.label}".format)
        )
        for reading in spec.readings
        for window in spec.windows
    ]
    staleness = _divide((pl.col("event_timestamp") - pl.col("time_max")).to_physical(), 1e6)
    for reading in spec.readings:
        of_reading = pl.col("reading") == reading.name
        last = summaries[PRESENCE].filter(of_reading)
        parts.append(last.select(*_ROW, staleness.alias(f"{reading.name}_staleness_seconds")))
        if reading.zone_boundaries:
            zone = _zone(reading).alias(f"{reading.name}_zone")
            parts.append(summaries[ZONE_WINDOW].filter(of_reading).select(*_ROW, zone))
    for (a, b), pair in zip(spec.pairs, correlations, strict=True):
        for window in spec.windows:
            correlation = _correlation().alias(f"{a}_{b}_corr_{window.label}")
            parts.append(pair[window.length].select(*_ROW, correlation))
    whole = rows.lazy()
    for part in parts:
        whole = whole.join(part.lazy(), on=_ROW, how="left", maintain_order="left")
    zero = [f"{r.name}_{kind}_{w.label}" for r in spec.readings for kind in ("count", "coverage") for w in spec.windows]
    return whole.with_columns(pl.col(zero).fill_null(0)).collect()


def _list_lengths(spec: FeatureSpec) -> list[timedelta]:
    """List the lengths of all windows that anything asks for, ascending."""
    return sorted({window.length for window in spec.windows} | {ZONE_WINDOW, PRESENCE})


def _find_bin_width(lengths: Sequence[timedelta]) -> timedelta:
    """Find the longest step of which every window, and the hour between instants, is a whole number."""
    return math.gcd(HOUR // TILE, *(length // TILE for length in lengths)) * TILE


def _roll_up(tiles: pl.DataFrame, width: timedelta, instants: Sequence[datetime]) -> pl.DataFrame:
    """Merge tiles into bins that end where windows end: ``bin_start``, and ``tiles`` says how many there were."""
    keys = (*_MACHINE_READING, "bin_start")
    return merge_tiles(tiles.with_columns(bin_start=_floor_to_bin(width, instants), tiles=pl.lit(1)), keys)


def _roll_up_pair(tiles: pl.DataFrame, a: str, b: str, width: timedelta, instants: Sequence[datetime]) -> pl.DataFrame:
    """Merge the means of the tiles in which both readings exist into bins, each mean a sample of one."""

    def select(reading: str, prefix: str) -> pl.DataFrame:
        parts = (pl.col(f"value_{part}").alias(f"{prefix}_{part}") for part in ("min", "max", "centre"))
        return tiles.filter(pl.col("reading") == reading).select("machine_id", "tile_start", *parts)

    pairs = select(a, "a").join(select(b, "b"), on=["machine_id", "tile_start"], maintain_order="left")
    samples = pairs.with_columns(
        n=1, a_m2=0.0, a_m3=0.0, a_m4=0.0, b_m2=0.0, cross=0.0, bin_start=_floor_to_bin(width, instants)
    )
    return _merge_pairs(samples, ("machine_id", "bin_start"))


def _floor_to_bin(width: timedelta, instants: Sequence[datetime]) -> pl.Expr:
    """Floor to bins of which one ends at each instant."""
    phase = (instants[0] - datetime.min.replace(tzinfo=UTC)) % width if instants else timedelta()
    return (TILE_START - phase).dt.truncate(width) + phase


def _summarize_windows(
    bins: pl.DataFrame,
    instants: Sequence[datetime],
    lengths: Sequence[timedelta],
    merge: Callable[[pl.DataFrame, Sequence[str]], pl.DataFrame],
    keys: Sequence[str],
) -> dict[timedelta, pl.DataFrame]:
    """Merge the bins of each window that ends at each instant, by ``event_timestamp`` and ``keys``.

    The windows of an instant end together, so each is the next shorter one and a ring around it: every bin is
    merged into its ring once, and the rings are merged into windows.
    """
    ends = pl.DataFrame({"event_timestamp": instants}, schema={"event_timestamp": INSTANT})
    age = pl.col("event_timestamp") - pl.col("bin_start")
    ring = pl.sum_horizontal((age > length).cast(pl.Int32) for length in lengths)
    seen = ends.join(bins, how="cross").filter(age > timedelta(), age <= lengths[-1]).with_columns(ring=ring)
    by = ("event_timestamp", *keys)
    rings = merge(seen, (*by, "ring"))
    return {length: merge(rings.filter(pl.col("ring") <= index), by) for index, length in enumerate(lengths)}


def _merge_pairs(rows: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    return merge_moments(rows, by, x="a", y="b")


def _statistics() -> dict[str, pl.Expr]:
    """Name the statistics as expressions over a summary; null where they are not defined."""
    n, low, high = pl.col("n"), pl.col("value_min"), pl.col("value_max")
    m2, m3, m4 = pl.col("value_m2"), pl.col("value_m3"), pl.col("value_m4")
    spread = high - low
    mean = low + spread * pl.col("value_centre")
    peak = pl.max_horizontal(low.abs(), high.abs())
    variance = _divide(m2, n)
    mean_per_peak = _divide(low, peak) + _divide(spread, peak) * pl.col("value_centre")
    rms_per_peak = (mean_per_peak**2 + _divide(spread, peak) ** 2 * variance).sqrt()
    time_span = (pl.col("time_max") - pl.col("time_min")).to_physical()
    slope = _divide(pl.col("cross") * spread * _MICROSECONDS_PER_HOUR, pl.col("time_m2") * time_span)
    return {
        "count": n,
        "mean": mean,
        "min": low,
        "max": high,
        "range": spread,
        "std": pl.when(n > 1).then(spread * _divide(m2, n - 1).sqrt()),
        "first": pl.col("first"),
        "last": pl.col("last"),
        "rms": pl.when(peak > 0).then(peak * rms_per_peak).otherwise(0.0),
        "crest_factor": pl.when(peak > 0).then(_divide(pl.lit(1.0), rms_per_peak)),
        "skew": pl.when(spread > 0).then(_divide(_divide(m3, n), variance * variance.sqrt())),
        "kurtosis": pl.when(spread > 0).then(_divide(_divide(m4, n), variance * variance) - 3),
        "slope_per_hour": pl.when(time_span > 0).then(slope),
    }


def _divide(part: pl.Expr, whole: pl.Expr | float) -> pl.Expr:
    """Divide, rounding once; 0 where the whole is 0.

    Polars multiplies by the reciprocal of a divisor that it knows to be the same in every row, which is a bit off,
    infinite for a subnormal number, and another result in another frame. Adding nothing makes it a column like any
    other.
    """
    part = part.cast(pl.Float64)
    divisor = part * 0.0 + whole
    return pl.when(divisor != 0).then(part / divisor).otherwise(0.0)


def _zone(reading: Reading) -> pl.Expr:
    """Find the zone of the mean; a boundary belongs to the lower zone."""
    mean = _statistics()["mean"]
    above = pl.sum_horizontal((mean > boundary).cast(pl.Int32) for boundary in reading.zone_boundaries)
    return above.replace_strict(list(range(len(ZONES))), list(ZONES), return_dtype=pl.String)


def _correlation() -> pl.Expr:
    """Pearson's correlation of two tile means; null below three tiles, or where one side is constant."""
    tiles, x2, y2 = pl.col("n"), pl.col("a_m2"), pl.col("b_m2")
    negligible = tiles * _CONSTANT**2
    is_defined = (tiles >= _FEWEST_TILES_FOR_CORRELATION) & (x2 > negligible) & (y2 > negligible)
    return pl.when(is_defined).then(_divide(pl.col("cross"), x2.sqrt() * y2.sqrt()).clip(-1, 1))
