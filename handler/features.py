"""Tiles → feature rows: pure. Definitions: docs/features.md."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import polars as pl

from handler.spec import PRESENCE, ZONE_WINDOW, ZONES, FeatureSpec, Reading
from handler.tiles import TILE_KEYS, TILE_SCHEMA, merge_tiles
from handler.timestamps import HOUR, INSTANT, MICROSECOND, TILE

if TYPE_CHECKING:
    from handler.moments import Integers
    from handler.windows import Summaries

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

_Names = tuple[str, ...]
"""One reading, or the two of a pair."""

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
    if tiles.is_empty() or not instants:
        return pl.DataFrame(schema=row_schema(spec))
    instants = sorted(instants)
    ids = tiles.get_column("machine_id")
    ids = ids.cast(pl.Enum(ids.unique().sort())) if ids.dtype == pl.String else ids
    machine_ids: pl.Series = ids.dtype.categories  # type: ignore[attr-defined]
    series = _roll_up(tiles.with_columns(ids), instants[0], spec)
    windows = {names: _merge_windows(bins, instants, len(machine_ids), spec) for names, bins in series.items()}
    return _assemble_rows(windows, instants, machine_ids, spec)


def _roll_up(tiles: pl.DataFrame, until: datetime, spec: FeatureSpec) -> "dict[_Names, Summaries]":
    """Merge the tiles of each reading, and the samples of each pair, into bins of which one ends at an instant.

    Bins are as long as can be: every window, and the hour between instants, is a whole number of them.
    """
    import numpy as np  # noqa: PLC0415 - it takes half as long as Polars to load

    from handler.windows import Summaries, pair_means  # noqa: PLC0415

    width = math.gcd(HOUR // TILE, *(length // TILE for length in _list_lengths(spec))) * TILE // MICROSECOND
    end = _to_microseconds(until)
    names = spec.reading_names
    keys = tiles.select("machine_id", pl.col("reading").cast(pl.Enum(names)), "tile_start")
    machine, reading, start = (key.to_physical().cast(pl.Int64).to_numpy() for key in keys)
    columns = {name: tiles.get_column(name).to_physical().to_numpy() for name in TILE_SCHEMA if name not in TILE_KEYS}
    columns["tiles"] = np.ones(tiles.height, np.int64)
    every = Summaries(machine, start, columns, "value", "time")
    bins = replace(every, group=machine * len(names) + reading).roll_up(width, until=end)
    series: dict[_Names, Summaries] = {}
    for number, name in enumerate(names):
        own = bins.take(bins.group % len(names) == number)
        series[name,] = replace(own, group=own.group // len(names))
    for a, b in spec.pairs:
        means = pair_means(every, reading == names.index(a), reading == names.index(b))
        series[a, b] = means.roll_up(width, until=end)
    return series


def _list_lengths(spec: FeatureSpec) -> list[timedelta]:
    """List the lengths of all windows that anything asks for, ascending."""
    return sorted({window.length for window in spec.windows} | {ZONE_WINDOW, PRESENCE})


def _to_microseconds(instant: datetime) -> int:
    """Count since 1970."""
    return (instant - datetime.fromtimestamp(0, UTC)) // MICROSECOND


@dataclass(frozen=True, slots=True)
class _Window:
    """The summaries of one window, of all instants: ``key`` is the instant's number times machines, and the machine."""

    key: "Integers"
    summaries: pl.DataFrame

    def find(self, keys: "Integers") -> pl.Series:
        """Find the rows that hold some keys; null for those that none has."""
        import numpy as np  # noqa: PLC0415

        places = np.searchsorted(self.key, keys)
        return pl.Series(places).set(pl.Series(np.append(self.key, -1)[places] != keys), None)

    def lay_out(self, keys: "Integers", **features: pl.Expr) -> pl.DataFrame:
        """Compute features of the rows that hold some keys."""
        return self.summaries.select(**features).select(pl.all().gather(self.find(keys)))


def _merge_windows(
    bins: "Summaries", instants: Sequence[datetime], machines: int, spec: FeatureSpec
) -> dict[timedelta, _Window]:
    """Merge bins into each window that ends at each instant."""
    import numpy as np  # noqa: PLC0415

    lengths = _list_lengths(spec)
    ends = [_to_microseconds(instant) for instant in instants]
    merged = [list(bins.merge_windows(end, [length // MICROSECOND for length in lengths])) for end in ends]
    windows: dict[timedelta, _Window] = {}
    for length, parts in zip(lengths, zip(*merged, strict=True), strict=True):
        columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in bins.columns}
        columns["as_of"] = np.repeat(ends, [len(part) for part in parts])
        key = np.concatenate([number * machines + part.group for number, part in enumerate(parts)])
        windows[length] = _Window(key, pl.DataFrame(columns))
    return windows


def _assemble_rows(
    windows: Mapping[_Names, Mapping[timedelta, _Window]],
    instants: Sequence[datetime],
    machine_ids: pl.Series,
    spec: FeatureSpec,
) -> pl.DataFrame:
    """Lay the windows' statistics side by side, a row an instant and machine."""
    import numpy as np  # noqa: PLC0415

    keys = np.unique(np.concatenate([windows[name,][PRESENCE].key for name in spec.reading_names]))
    instant, machine = np.divmod(keys, max(len(machine_ids), 1))
    ends = pl.Series("event_timestamp", instants, dtype=INSTANT)
    rows = [pl.DataFrame([machine_ids.gather(machine).alias("machine_id"), ends.gather(instant)])]
    rows += _lay_out_statistics(windows, keys, spec)
    staleness = _divide(pl.col("as_of") - pl.col("time_max"), 1e6)
    for reading in spec.readings:
        own = windows[reading.name,]
        rows.append(own[PRESENCE].lay_out(keys, **{f"{reading.name}_staleness_seconds": staleness}))
        if reading.zone_boundaries:
            rows.append(own[ZONE_WINDOW].lay_out(keys, **{f"{reading.name}_zone": _zone(reading)}))
    for a, b in spec.pairs:
        for window in spec.windows:
            correlation = {f"{a}_{b}_corr_{window.label}": _correlation()}
            rows.append(windows[a, b][window.length].lay_out(keys, **correlation))
    return pl.concat(rows, how="horizontal").select(*row_schema(spec))


def _lay_out_statistics(
    windows: Mapping[_Names, Mapping[timedelta, _Window]], keys: "Integers", spec: FeatureSpec
) -> Iterator[pl.DataFrame]:
    """Compute the statistics of all readings and windows in one go, and lay out each."""
    parts = [(r.name, w, windows[r.name,][w.length]) for r in spec.readings for w in spec.windows]
    summaries = pl.concat(part.summaries.with_columns(full=pl.lit(window.tiles)) for _, window, part in parts)
    statistics = summaries.select(**_statistics(), coverage=_divide(pl.col("tiles"), pl.col("full")))
    first = 0
    for name, window, part in parts:
        own = statistics.slice(first, part.summaries.height)
        first += own.height
        laid_out = own.select(pl.all().gather(part.find(keys))).with_columns(pl.col("count", "coverage").fill_null(0))
        yield laid_out.rename({stat: f"{name}_{stat}_{window.label}" for stat in own.columns})


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
    time_span = pl.col("time_max") - pl.col("time_min")
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
