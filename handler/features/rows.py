"""Tiles and hours → feature rows. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import polars as pl

from handler.definitions.schema import HOUR_SCHEMA, STATISTICS, empty_frame, row_schema
from handler.definitions.spec import PRESENCE, ZONE_WINDOW, FeatureSpec
from handler.definitions.timestamps import HOUR, INSTANT, floor_to
from handler.features.statistics import WINDOW_KEYS, compute_statistics, find_zone
from handler.features.windows import merge_windows
from handler.tiles.hours import PART_COLUMNS, list_series, name_pair, roll_up_parts, split_series
from handler.tiles.merge import divide

_ROW_KEYS = ("event_timestamp", "machine_id")


def compute_features(
    tiles: pl.DataFrame, instants: Sequence[datetime], spec: FeatureSpec, hours: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Compute the feature rows of some instants.

    A row at ``as_of`` uses event times in ``[as_of - window, as_of)``; nothing at or after ``as_of`` counts. A
    statistic is null where the window has too few readings for it; counts and coverages are then 0.

    Parameters
    ----------
    tiles
        Each tile once: columns of ``TILE_SCHEMA``. Those outside the windows are left out.
    instants
        The rows' ``as_of``: whole tiles, UTC.
    spec
        Readings, windows, pairs and zones.
    hours
        Columns of ``HOUR_SCHEMA``, of machines whose tiles of that hour are not given; no hour that
        :func:`find_split_hours` finds for the instants.

    Returns
    -------
    pl.DataFrame
        ``machine_id`` (String), ``event_timestamp`` (Datetime, µs, UTC: the ``as_of``), then the columns of
        ``feature_schema``. There is a row for each machine with a reading in the 24 hours before ``as_of``, sorted by
        ``event_timestamp`` and machine.
    """
    parts = split_series(tiles.lazy(), spec)
    if hours is None:
        hours = empty_frame(HOUR_SCHEMA)
    if not tiles.is_empty():
        hours = pl.concat([hours, roll_up_parts(parts).collect()])
    if hours.is_empty() or not instants:
        return empty_frame(row_schema(spec))
    machines = pl.Enum(hours.get_column("machine_id").unique().sort())
    keys = pl.col("machine_id").cast(machines), pl.col("series").cast(pl.Enum(list_series(spec)))  # faster to group by
    whole = hours.lazy().rename({"hour_start": "start"}).select(PART_COLUMNS).with_columns(keys)
    parts = parts.with_columns(keys)
    lengths = list_lengths(spec)
    windows = [
        merge_windows(_replace_split_hours(whole, parts, instant, spec), instant, lengths).with_columns(
            event_timestamp=pl.lit(instant, dtype=INSTANT)
        )
        for instant in sorted(instants)
    ]
    return lay_out(compute_statistics(pl.concat(windows)).collect(), spec)


def find_split_hours(instants: Iterable[datetime], spec: FeatureSpec) -> set[datetime]:
    """Find the hours that a window of one of the instants begins or ends in; empty for whole hours and such windows.

    Parameters
    ----------
    instants
        The ``as_of`` of rows, UTC.
    spec
        The windows, whose lengths are whole tiles.

    Returns
    -------
    set of datetime
        Starts of hours, UTC; empty where instants and windows are whole hours.

    Examples
    --------
    >>> from datetime import UTC
    >>> split = find_split_hours([datetime(2025, 10, 15, 9, 30, tzinfo=UTC)], FeatureSpec.load())
    >>> sorted(hour.strftime("%d %H") for hour in split)
    ['14 09', '15 03', '15 08', '15 09']
    """
    lengths = [timedelta(), *list_lengths(spec)]
    ends = {instant - length for instant in instants for length in lengths}
    return {floor_to(end, HOUR) for end in ends if end != floor_to(end, HOUR)}


def list_lengths(spec: FeatureSpec) -> list[timedelta]:
    """List the lengths of all windows that anything asks for, ascending."""
    return sorted({window.length for window in spec.windows} | {ZONE_WINDOW, PRESENCE})


def _replace_split_hours(
    hours: pl.LazyFrame, tiles: pl.LazyFrame, instant: datetime, spec: FeatureSpec
) -> pl.LazyFrame:
    """Put the tiles of the hours that a window splits in the place of these hours."""
    split = find_split_hours([instant], spec)
    if not split:
        return hours
    is_split = pl.col("start").dt.truncate(HOUR).is_in(split)
    return pl.concat([hours.filter(~is_split), tiles.filter(is_split)])


def lay_out(statistics: pl.DataFrame, spec: FeatureSpec) -> pl.DataFrame:
    """Lay the statistics of a machine's windows side by side.

    Parameters
    ----------
    statistics
        As :func:`handler.features.statistics.compute_statistics` returns them, of the windows of all lengths that
        :func:`list_lengths` lists.
    spec
        Readings, windows, pairs and zones.

    Returns
    -------
    pl.DataFrame
        As of :func:`compute_features`.
    """
    window = pl.format("{}@{}", "series", pl.col("window").dt.total_minutes())
    keyed = statistics.with_columns(pl.col("machine_id").cast(pl.String), name=window)
    names = [_name_window(series, length) for series in list_series(spec) for length in list_lengths(spec)]
    values = pl.selectors.exclude(*WINDOW_KEYS, "name")
    wide = keyed.pivot("name", names, index=_ROW_KEYS, values=values, separator="@", maintain_order=False)
    is_present = pl.any_horizontal(_take("count", name, PRESENCE).is_not_null() for name in spec.reading_names)
    rows = wide.lazy().filter(is_present).select(*_ROW_KEYS, **_name_features(spec)).sort(_ROW_KEYS)
    return rows.select(*row_schema(spec)).collect()


def _name_window(series: str, length: timedelta) -> str:
    """Name a window of a series as the pivot does."""
    return f"{series}@{length // timedelta(minutes=1)}"


def _take(statistic: str, series: str, length: timedelta) -> pl.Expr:
    """Take a column of the pivoted statistics."""
    return pl.col(f"{statistic}@{_name_window(series, length)}")


def _name_features(spec: FeatureSpec) -> dict[str, pl.Expr]:
    """Name the features as expressions over the pivoted statistics."""
    features: dict[str, pl.Expr] = {}
    for reading in spec.readings:
        name = reading.name
        for window in spec.windows:
            of_window = {stat: _take(stat, name, window.length) for stat in STATISTICS}
            of_window["count"] = of_window["count"].fill_null(0)
            tiles = _take("tiles", name, window.length).fill_null(0)
            of_window["coverage"] = divide(tiles, window.length / reading.cadence).clip(upper_bound=1)
            features |= {f"{name}_{stat}_{window.label}": values for stat, values in of_window.items()}
        features[f"{name}_staleness_seconds"] = _take("staleness_seconds", name, PRESENCE)
        if reading.zone_boundaries:
            features[f"{name}_zone"] = find_zone(_take("mean", name, ZONE_WINDOW), reading)
    for pair in spec.pairs:
        of_pair = {window.label: _take("corr", name_pair(pair), window.length) for window in spec.windows}
        features |= {f"{'_'.join(pair)}_corr_{label}": values for label, values in of_pair.items()}
    return features
