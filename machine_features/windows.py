"""Hours and tiles, with when they were known → feature rows of many instants at once. Pure.

An hour of a machine may lie in several partitions, since readings come late. Its *version* k holds the readings of the
first k partitions: it is known after the k-th partition began, and until the next one. The columns ``known_from`` (not
at this instant yet) and ``known_until`` (at this instant still; null for ever) say so.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from handler.definitions.schema import HOUR_SCHEMA, TILE_SCHEMA, Schema, empty_frame, row_schema
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import HOUR, INSTANT
from handler.features.rows import find_split_hours, lay_out, list_lengths
from handler.features.statistics import WINDOW_KEYS, compute_statistics
from handler.tiles.hours import PART_COLUMNS, count_times_from, list_series, roll_up_parts, split_series
from handler.tiles.merge import merge_moments, merge_tiles
from machine_features.catalogue import list_features

MACHINE_HOUR: Final = ("machine_id", "hour_start")
_KNOWN: Final[Schema] = {"known_from": INSTANT, "known_until": INSTANT}
_ALWAYS: Final = pl.lit(datetime.fromtimestamp(0, UTC), INSTANT)
_DIGITS: Final = 20


def narrow_spec(spec: FeatureSpec, names: Iterable[str]) -> FeatureSpec:
    """Leave out the windows and pairs that no feature asked for needs; all readings tell whether a machine has a row.

    Parameters
    ----------
    spec
        What features are.
    names
        Those asked for; other names do not matter.

    Returns
    -------
    FeatureSpec
        One window at least.
    """
    wanted = set(names)
    asked = [each for each in list_features(spec) if each.name in wanted]
    labels = {each.window for each in asked}
    pairs = {each.readings for each in asked}
    windows = tuple(window for window in spec.windows if window.label in labels)
    shortest = min(spec.windows, key=lambda window: window.length)
    return replace(spec, windows=windows or (shortest,), pairs=tuple(pair for pair in spec.pairs if pair in pairs))


def find_doubtful_hours(hours: pl.DataFrame, instants: Sequence[datetime], spec: FeatureSpec) -> pl.DataFrame:
    """Find the hours of machines for which tiles are needed: several partitions hold them, or a window splits them.

    Parameters
    ----------
    hours
        Columns of ``HOUR_FILE_SCHEMA``.
    instants
        The rows' ``as_of``, UTC.
    spec
        The windows.

    Returns
    -------
    pl.DataFrame
        ``machine_id``, ``hour_start`` and ``partition``, each once.
    """
    places = hours.select(*MACHINE_HOUR, "partition").unique()
    is_shared = pl.struct(MACHINE_HOUR).is_duplicated()
    return places.filter(is_shared | pl.col("hour_start").is_in(find_split_hours(instants, spec)))


def compute_rows(
    hours: pl.DataFrame,
    tiles: pl.DataFrame,
    doubtful: pl.DataFrame,
    instants: Sequence[datetime],
    spec: FeatureSpec,
    *,
    is_latest: bool,
) -> pl.DataFrame:
    """Compute the feature rows of some instants, each as it could be known then.

    Parameters
    ----------
    hours
        Columns of ``HOUR_FILE_SCHEMA``, without those that came too late.
    tiles
        Columns of ``TILE_SCHEMA``, and ``hour_start`` and ``partition``: those of the doubtful hours.
    doubtful
        As :func:`find_doubtful_hours` returns them.
    instants
        The rows' ``as_of``, UTC, ascending.
    spec
        Readings, windows, pairs and zones.
    is_latest
        Whether all partitions count at each instant, also those that came after it.

    Returns
    -------
    pl.DataFrame
        Columns of ``row_schema``, sorted by ``event_timestamp`` and machine.
    """
    if hours.is_empty():
        return empty_frame(row_schema(spec))
    whole, parts = _make_versions(tiles, doubtful, spec, is_latest=is_latest)
    known_from = _ALWAYS if is_latest else pl.col("partition")
    alone = hours.join(doubtful, on=MACHINE_HOUR, how="anti").with_columns(
        known_from=known_from, known_until=pl.lit(None, INSTANT)
    )
    whole = pl.concat([alone.select(*HOUR_SCHEMA, *_KNOWN), whole]).rename({"hour_start": "start"})
    keys = (
        pl.col("machine_id").cast(pl.Enum(whole.get_column("machine_id").unique().sort())),
        pl.col("series").cast(pl.Enum(list_series(spec))),
    )  # faster to group by
    columns = [*PART_COLUMNS, *_KNOWN]
    whole = whole.filter(pl.col("series").is_in(list_series(spec))).select(columns).with_columns(keys)
    split = find_split_hours(instants, spec)
    parts = parts.filter(pl.col("start").dt.truncate("1h").is_in(split)).select(columns).with_columns(keys)
    times = pl.Series(instants, dtype=INSTANT)
    seen = pl.concat(each for length in list_lengths(spec) for each in _list_seen(whole, parts, times, length)).lazy()
    windows = merge_moments(count_times_from(seen, pl.col("event_timestamp")), WINDOW_KEYS)
    return lay_out(compute_statistics(windows).collect(), spec)


def _make_versions(
    tiles: pl.DataFrame, doubtful: pl.DataFrame, spec: FeatureSpec, *, is_latest: bool
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Make the versions of doubtful hours, as hours and as parts of series.

    Two versions of an hour are told apart by a suffix of the machine, so that tiles merge as they always do.
    """
    versions = doubtful.sort(*MACHINE_HOUR, "partition").with_columns(
        known_from="partition", known_until=pl.col("partition").shift(-1).over(MACHINE_HOUR)
    )
    if is_latest:
        versions = versions.filter(pl.col("known_until").is_null())
    number = pl.col("known_from").to_physical().cast(pl.String).str.zfill(_DIGITS)
    tagged = (
        tiles.join(versions.drop("partition"), on=MACHINE_HOUR)
        .filter(pl.col("partition") <= pl.col("known_from"))
        .with_columns(pl.concat_str("machine_id", number))
        .select(*TILE_SCHEMA)
    )
    parts = split_series(merge_tiles(tagged).lazy(), spec).collect()
    hours = roll_up_parts(parts.lazy()).collect()

    def untag(frame: pl.DataFrame, start: str) -> pl.DataFrame:
        machine = pl.col("machine_id")
        told = frame.with_columns(
            machine_id=machine.str.head(-_DIGITS),
            known_from=machine.str.tail(_DIGITS).cast(pl.Int64).cast(INSTANT),
            hour_start=pl.col(start).dt.truncate("1h"),
        ).join(versions.drop("partition"), on=[*MACHINE_HOUR, "known_from"])
        return told.with_columns(known_from=_ALWAYS) if is_latest else told

    return untag(hours, "hour_start").select(*HOUR_SCHEMA, *_KNOWN), untag(parts, "start")


def _list_seen(
    hours: pl.DataFrame, tiles: pl.DataFrame, instants: pl.Series, length: timedelta
) -> Iterator[pl.DataFrame]:
    """List what lies in each window of one length: hours where all of an hour does, else tiles of it."""

    def count_before(times: pl.Series) -> pl.Series:
        return instants.search_sorted(times, side="left")

    def count_until(times: pl.Series) -> pl.Series:
        return instants.search_sorted(times, side="right")

    def give(frame: pl.DataFrame, first: pl.Series, end: pl.Series) -> pl.DataFrame:
        until = frame.get_column("known_until")
        known = count_until(until.fill_null(instants[-1])), count_until(frame.get_column("known_from"))
        ranges = pl.select(
            first=pl.max_horizontal(first, known[1]), end=pl.min_horizontal(end, known[0])
        ).with_row_index("row")
        places = (
            ranges.filter(pl.col("first") < pl.col("end"))
            .select("row", instant=pl.int_ranges("first", "end"))
            .explode("instant", empty_as_null=False)
        )
        return (
            frame.drop(*_KNOWN)
            .select(pl.all().gather(places.get_column("row")))
            .with_columns(
                instants.gather(places.get_column("instant")).alias("event_timestamp"),
                window=pl.lit(length, pl.Duration("us")),
            )
        )

    start = hours.get_column("start")
    yield give(hours, count_before(start + HOUR), count_until(start + length))
    if not tiles.is_empty():
        start = tiles.get_column("start")
        hour = start.dt.truncate("1h")
        if length < HOUR:
            yield give(tiles, count_until(start), count_until(start + length))
        else:
            yield give(tiles, count_until(start), count_before(hour + HOUR))
            yield give(tiles, count_until(hour + length), count_until(start + length))
