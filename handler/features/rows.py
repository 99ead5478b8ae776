"""Tiles → feature rows: pure. Definitions: docs/features.md."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import polars as pl

from handler.definitions.schema import STATISTICS, TILE_KEYS, row_schema
from handler.definitions.spec import PRESENCE, ZONE_WINDOW, ZONES, FeatureSpec, Reading
from handler.definitions.timestamps import HOUR, INSTANT, MICROSECOND, floor_to
from handler.tiles.hours import HOUR_WIDTH, Names, number_machines, roll_up_hours, split_hours, split_tiles
from handler.tiles.merge import merge_tiles

if TYPE_CHECKING:
    from handler.features.windows import Summaries
    from handler.tiles.moments import Columns, Integers

_MICROSECONDS_PER_HOUR: Final = HOUR / MICROSECOND
_FEWEST_TILES_FOR_CORRELATION: Final = 3
_CONSTANT: Final = 1e-12
"""Tile means that deviate less than this share of the readings' range are equal but for rounding."""


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


def compute_features(
    tiles: pl.DataFrame, instants: Sequence[datetime], spec: FeatureSpec, hours: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Compute the feature rows of some instants.

    A row at ``as_of`` uses event times in ``[as_of - window, as_of)``; nothing at or after ``as_of`` counts. A
    statistic is null where the window has too few readings for it; counts and coverages are then 0.

    Parameters
    ----------
    tiles
        Each tile once, as :func:`unite_tiles` leaves them; those outside the windows are left aside.
    instants
        The rows' ``as_of``: whole tiles, UTC.
    spec
        Readings, windows, pairs and zones.
    hours
        Hours (:func:`handler.tiles.hours.roll_up_hours`) of machines whose tiles of that hour are not given; none that
        :func:`find_split_hours` finds for the instants.

    Returns
    -------
    pl.DataFrame
        ``machine_id`` (String), ``event_timestamp`` (Datetime, µs, UTC: the ``as_of``), then the columns of
        :func:`feature_schema`; a row for each machine with a reading in the 24 hours before ``as_of``, sorted by
        ``event_timestamp`` and machine.
    """
    whole = pl.concat([roll_up_hours(tiles, spec), *([] if hours is None else [hours])])
    if whole.is_empty() or not instants:
        return pl.DataFrame(schema=row_schema(spec))
    from handler.tiles.tile_arrays import TileArrays  # noqa: PLC0415 - with numpy, which takes half as long as Polars

    instants = sorted(instants)
    whole, machine_ids = number_machines(whole)
    tiles = tiles.cast({"machine_id": pl.Enum(machine_ids)})
    by_hour = split_hours(whole, spec)
    by_tile = {names: series.take([]) for names, series in by_hour.items()}
    if not tiles.is_empty():
        by_tile = split_tiles(TileArrays.from_frame(tiles, spec.reading_names), spec)
    windows = {
        names: _merge_windows(series, by_tile[names], instants, len(machine_ids), spec)
        for names, series in by_hour.items()
    }
    return _assemble_rows(windows, instants, machine_ids, spec)


def find_split_hours(instants: Iterable[datetime], spec: FeatureSpec) -> set[datetime]:
    """Find the hours that a window of one of the instants begins or ends in; none for whole hours and windows of such.

    Examples
    --------
    >>> split = find_split_hours([datetime(2025, 10, 15, 9, 30, tzinfo=UTC)], FeatureSpec.load())
    >>> sorted(hour.strftime("%d %H") for hour in split)
    ['14 09', '15 03', '15 08', '15 09']
    """
    lengths = [timedelta(), *_list_lengths(spec)]
    ends = {instant - length for instant in instants for length in lengths}
    return {floor_to(end, HOUR) for end in ends if end != floor_to(end, HOUR)}


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
    columns: "Columns"

    def find(self, keys: "Integers", first: int) -> pl.Series:
        """Find the rows that hold some keys, counted from ``first``; null for those that none has."""
        import numpy as np  # noqa: PLC0415

        places = np.searchsorted(self.key, keys)
        return pl.Series(places + first).set(pl.Series(np.append(self.key, -1)[places] != keys), None)


def _merge_windows(
    hours: "Summaries", tiles: "Summaries", instants: Sequence[datetime], machines: int, spec: FeatureSpec
) -> dict[timedelta, _Window]:
    """Merge the hours of a series into each window that ends at each instant; its tiles, where a window splits one."""
    import numpy as np  # noqa: PLC0415

    lengths = _list_lengths(spec)
    merged: list[list[Summaries]] = []
    for instant in instants:
        split = [_to_microseconds(hour) for hour in find_split_hours([instant], spec)]
        rows = hours.replace_split(tiles, split, HOUR_WIDTH) if split else hours
        merged.append(list(rows.merge_windows(_to_microseconds(instant), [each // MICROSECOND for each in lengths])))
    windows: dict[timedelta, _Window] = {}
    for length, parts in zip(lengths, zip(*merged, strict=True), strict=True):
        columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in hours.columns}
        columns["as_of"] = np.repeat([_to_microseconds(each) for each in instants], [len(part) for part in parts])
        key = np.concatenate([number * machines + part.group for number, part in enumerate(parts)])
        windows[length] = _Window(key, columns)
    return windows


def _assemble_rows(
    windows: Mapping[Names, Mapping[timedelta, _Window]],
    instants: Sequence[datetime],
    machine_ids: pl.Series,
    spec: FeatureSpec,
) -> pl.DataFrame:
    """Lay the windows' statistics side by side, a row an instant and machine.

    The statistics of all windows of all series are computed as one column each, and their places in it gathered.
    """
    import numpy as np  # noqa: PLC0415

    keys = np.unique(np.concatenate([windows[name,][PRESENCE].key for name in spec.reading_names]))
    summaries: list[Columns] = []
    places: dict[tuple[Names, timedelta], pl.Series] = {}
    height = 0
    for names, of_series in windows.items():
        for length, window in of_series.items():
            places[names, length] = window.find(keys, height)
            summaries.append(window.columns)
            height += len(window.key)
    statistics = _compute_statistics(_stack(summaries))
    instant, machine = np.divmod(keys, max(len(machine_ids), 1))
    ends = pl.Series("event_timestamp", instants, dtype=INSTANT)
    rows = pl.DataFrame([machine_ids.gather(machine).alias("machine_id"), ends.gather(instant)])
    return rows.hstack(statistics.select(**_lay_out(places, spec))).select(*row_schema(spec))


def _stack(summaries: "Sequence[Columns]") -> pl.DataFrame:
    """Put summaries one below the other; a column that some have not is NaN there.

    Of a pair, y is no instant: all are doubles then, which hold microseconds exactly until 2255.
    """
    import numpy as np  # noqa: PLC0415

    names = dict.fromkeys(name for columns in summaries for name in columns)
    return pl.DataFrame(
        {
            name: np.concatenate([columns.get(name, np.full(len(columns["n"]), np.nan)) for columns in summaries])
            for name in names
        }
    )


def _lay_out(places: Mapping[tuple[Names, timedelta], pl.Series], spec: FeatureSpec) -> dict[str, pl.Expr]:
    """Name the features as expressions over the statistics; ``places`` are their rows there."""

    def take(statistic: str, length: timedelta, *names: str) -> pl.Expr:
        return pl.col(statistic).gather(places[names, length])

    features: dict[str, pl.Expr] = {}
    for reading in spec.readings:
        name = reading.name
        for window in spec.windows:
            of_window = {stat: take(stat, window.length, name) for stat in STATISTICS}
            of_window["count"] = of_window["count"].fill_null(0)
            of_window["coverage"] = _divide(take("tiles", window.length, name).fill_null(0), window.tiles)
            features |= {f"{name}_{stat}_{window.label}": values for stat, values in of_window.items()}
        features[f"{name}_staleness_seconds"] = take("staleness_seconds", PRESENCE, name)
        if reading.zone_boundaries:
            features[f"{name}_zone"] = _zone(take("mean", ZONE_WINDOW, name), reading)
    for a, b in spec.pairs:
        features |= {f"{a}_{b}_corr_{window.label}": take("corr", window.length, a, b) for window in spec.windows}
    return features


def _compute_statistics(summaries: pl.DataFrame) -> pl.DataFrame:
    """Compute the statistics of summaries, a column each; null where they are not defined.

    ``corr`` is of a pair's summaries, the others of a reading's.
    """
    n, low, high = pl.col("n"), pl.col("x_min"), pl.col("x_max")
    m2, m3, m4 = pl.col("x_m2"), pl.col("x_m3"), pl.col("x_m4")
    spread, peak, variance, rms_per_peak = (pl.col(name) for name in ("spread", "peak", "variance", "rms_per_peak"))
    mean_per_peak = _divide(low, peak) + _divide(spread, peak) * pl.col("x_centre")
    time_span = pl.col("y_max") - pl.col("y_min")
    slope = _divide(pl.col("cross") * spread * _MICROSECONDS_PER_HOUR, pl.col("y_m2") * time_span)
    statistics = {
        "count": n,
        "mean": low + spread * pl.col("x_centre"),
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
        "tiles": pl.col("tiles"),
        "staleness_seconds": _divide(pl.col("as_of") - pl.col("y_max"), 1e6),
        "corr": _correlation(),
    }
    return (
        summaries.lazy()
        .with_columns(spread=high - low, peak=pl.max_horizontal(low.abs(), high.abs()), variance=_divide(m2, n))
        .with_columns(rms_per_peak=(mean_per_peak**2 + _divide(spread, peak) ** 2 * variance).sqrt())
        .select(**statistics)
        .collect()
    )


def _divide(part: pl.Expr, whole: pl.Expr | float) -> pl.Expr:
    """Divide, rounding once; 0 where the whole is 0.

    Polars multiplies by the reciprocal of a divisor that it knows to be the same in every row, which is a bit off,
    infinite for a subnormal number, and another result in another frame. Adding nothing makes it a column like any
    other.
    """
    part = part.cast(pl.Float64)
    divisor = part * 0.0 + whole
    return pl.when(divisor != 0).then(part / divisor).otherwise(0.0)


def _zone(mean: pl.Expr, reading: Reading) -> pl.Expr:
    """Find the zone of a mean; a boundary belongs to the lower zone."""
    above = pl.sum_horizontal((mean > boundary).cast(pl.Int32) for boundary in reading.zone_boundaries)
    zone = above.replace_strict(list(range(len(ZONES))), list(ZONES), return_dtype=pl.String)
    return pl.when(mean.is_not_null()).then(zone)


def _correlation() -> pl.Expr:
    """Pearson's correlation of two tile means; null below three tiles, or where one side is constant."""
    tiles, x2, y2 = pl.col("n"), pl.col("x_m2"), pl.col("y_m2")
    negligible = tiles * _CONSTANT**2
    is_defined = (tiles >= _FEWEST_TILES_FOR_CORRELATION) & (x2 > negligible) & (y2 > negligible)
    return pl.when(is_defined).then(_divide(pl.col("cross"), x2.sqrt() * y2.sqrt()).clip(-1, 1))
