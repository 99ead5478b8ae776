"""What a report shows, as frames: the machines worst first, their hours, their readings, and what was rejected."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Self

import polars as pl

from handler.definitions.fields import split_name
from handler.definitions.layout import quarantine_key, tiles_key
from handler.definitions.schema import REJECTED_SCHEMA, TILE_SCHEMA, feature_schema
from handler.definitions.spec import ZONES, FeatureSpec, Reading
from handler.definitions.timestamps import HOUR, INSTANT, MICROSECOND
from handler.ingest.classes import UNREADABLE
from machine_features.scan import list_hours
from machine_features.store import FeatureStore

MOST_MACHINES: Final = 1_000
"""Of a larger fleet, the worst are shown."""

_MOST_BLOCKS: Final = 360
_MOST_CELLS: Final = 300_000
"""Blocks of all machines and readings together: the page stays below 5 MB."""

_BLOCKS: Final = [timedelta(minutes=m) for m in (5, 10, 15, 30, 60, 120, 180, 360, 720, 1_440, 10_080, 43_200)]
_FEWEST_HOURS: Final = 6
"""A baseline needs as many hours."""

_NAMED_CLOCKS: Final = 10
_SILENT: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Findings:
    """What a report shows.

    Attributes
    ----------
    start, end
        The hours in ``(start, end]``.
    spec
        The newest features.
    readings
        Those that came at all, the ones with zones first. Machines are ranked by the first.
    block
        The length of a block of readings.
    fleet
        How many machines there are; ``machines`` has the worst.
    machines
        A row a machine, worst first: ``machine_id``, ``zone``, ``silence`` (Duration), ``coverage``, ``failed_at``,
        ``codigo_evento``, and of each reading ``{reading}_mean``, ``_slope``, ``_baseline`` and ``_excess``.
    hours
        A row a machine and hour: ``machine_id``, ``event_timestamp``, and what each reading has. That is
        ``{reading}_mean_{window}``, ``_zone``, ``_change`` against the machine's own baseline, and ``_excess`` over the
        fleet's change.
    quantiles
        A row an hour: of each reading ``{reading}_low``, ``_median``, ``_high``: the fleet's changes at 10, 50, 90 %.
    blocks
        A row a machine, reading and block: ``block`` (its number), ``low``, ``mean``, ``high``, and ``arrival``:
        0 on time, 1 late, 2 too late.
    failures
        As :meth:`~machine_features.store.FeatureStore.failures`.
    rejected
        ``reason``, ``hour`` (of arrival) and ``lines``.
    unreadable
        How many objects could not be read: these are no lines.
    clocks
        Up to ten machines: ``machine_id``, ``too_late`` and ``from_the_future``, in lines.
    """

    start: datetime
    end: datetime
    spec: FeatureSpec
    readings: list[Reading]
    block: timedelta
    fleet: int
    machines: pl.DataFrame
    hours: pl.DataFrame
    quantiles: pl.DataFrame
    blocks: pl.DataFrame
    failures: pl.DataFrame
    rejected: pl.DataFrame
    unreadable: int
    clocks: pl.DataFrame

    @property
    def silent_after(self) -> timedelta:
        """For so long a machine may be silent: three times the shortest cadence, and at least 15 minutes."""
        return max(_SILENT, 3 * min(reading.cadence for reading in self.spec.readings))

    @property
    def has_zones(self) -> bool:
        """Whether a reading that came has zones."""
        return any(reading.zone_boundaries for reading in self.readings)


class Windows(NamedTuple):
    """The labels of the windows that a report needs.

    ``steady`` is the second shortest, in which single readings weigh little: changes are those of its means.
    """

    shortest: str
    steady: str
    longest: str

    @classmethod
    def of(cls, spec: FeatureSpec) -> Self:
        """Choose among a spec's windows."""
        labels = [window.label for window in sorted(spec.windows, key=lambda window: window.length)]
        return cls(labels[0], labels[min(1, len(labels) - 1)], labels[-1])


def is_ratio(reading: Reading) -> bool:
    """Tell whether changes of a reading are ratios, as of one that cannot be negative; otherwise differences."""
    return reading.lowest >= 0


def collect(store: FeatureStore, start: datetime, end: datetime) -> Findings:
    """Read what a report shows.

    Parameters
    ----------
    store
        The lake.
    start
        UTC.
    end
        UTC; the hours in ``(start, end]``.

    Returns
    -------
    Findings
        Of all machines that have a training row.

    Raises
    ------
    LakeError
        If the store does not answer.
    """
    spec = store.spec
    failures = store.failures(start, end)
    hours = _measure_changes(_read_hours(store, start, end), spec)
    readings = _find_readings(hours, spec)
    machines = _rank(hours, failures, readings, spec, end)
    fleet = machines.height
    machines = machines.head(MOST_MACHINES)
    ids = machines.get_column("machine_id")
    partitions = _list_partitions(store, start, end)
    block = _choose_block(end - start, machines.height * len(spec.readings))
    shown = pl.col("machine_id").is_in(ids.implode())
    tiles = store.scanner.scan([tiles_key(each) for each in partitions], TILE_SCHEMA, paths="path")
    in_span = pl.col("tile_start").is_between(start, end, closed="left")
    is_object = pl.col("reason") == UNREADABLE
    rejected = store.scanner.scan([quarantine_key(each) for each in partitions], REJECTED_SCHEMA, paths="path")
    return Findings(
        start=start,
        end=end,
        spec=spec,
        readings=readings,
        block=block,
        fleet=fleet,
        machines=machines,
        hours=hours.filter(shown),
        quantiles=_summarize_fleet(hours, spec),
        blocks=_cut_blocks(tiles.filter(in_span, shown), start, block, store.allowed_lateness),
        failures=failures,
        rejected=_count_rejected(rejected.filter(~is_object)),
        unreadable=rejected.filter(is_object).select(pl.len()).collect().item(),
        clocks=_find_clocks(tiles, rejected, store),
    )


def _read_hours(store: FeatureStore, start: datetime, end: datetime) -> pl.DataFrame:
    spec = store.spec
    names = [f"{reading.name}_{what}" for reading in spec.readings for what in _list_features(reading, spec)]
    rows, types = store.training(start, end), feature_schema(spec)
    there = set(rows.collect_schema())
    wanted = [pl.col(name) if name in there else pl.lit(None, types[name]).alias(name) for name in names]
    return rows.select("machine_id", "event_timestamp", *wanted).collect()


def _list_features(reading: Reading, spec: FeatureSpec) -> list[str]:
    _, steady, longest = Windows.of(spec)
    zone = ["zone"] if reading.zone_boundaries else []
    means = [f"mean_{window.label}" for window in spec.windows]
    return [*means, f"slope_per_hour_{steady}", f"coverage_{longest}", "staleness_seconds", *zone]


def _measure_changes(hours: pl.DataFrame, spec: FeatureSpec) -> pl.DataFrame:
    """Add each machine's change against its own baseline: the median of the first half of its hours."""
    steady = Windows.of(spec).steady
    for reading in spec.readings:
        name, mean = reading.name, pl.col(f"{reading.name}_mean_{steady}")
        known = mean.drop_nulls()
        first_half = known.head((known.len() + 1) // 2)
        baseline = pl.when(known.len() >= _FEWEST_HOURS).then(first_half.median())
        change, over = pl.col(f"{name}_change"), pl.col(f"{name}_change").median().over("event_timestamp")
        hours = (
            hours.with_columns(baseline.over("machine_id").alias(f"{name}_baseline"))
            .with_columns(
                pl.when(pl.col(f"{name}_baseline") > 0).then(mean / pl.col(f"{name}_baseline")).alias(f"{name}_change")
                if is_ratio(reading)
                else (mean - pl.col(f"{name}_baseline")).alias(f"{name}_change")
            )
            .with_columns((change / over if is_ratio(reading) else change - over).alias(f"{name}_excess"))
        )
    return hours


def _find_readings(hours: pl.DataFrame, spec: FeatureSpec) -> list[Reading]:
    """Find the readings that came at all, those with zones first; all, if nothing came."""
    longest = Windows.of(spec).longest
    came = [each for each in spec.readings if hours.get_column(f"{each.name}_mean_{longest}").count() > 0]
    return sorted(came or spec.readings, key=lambda reading: not reading.zone_boundaries)


def _rank(
    hours: pl.DataFrame, failures: pl.DataFrame, readings: Sequence[Reading], spec: FeatureSpec, end: datetime
) -> pl.DataFrame:
    """Put the machines in order, the worst first: by zone, then by how far the first reading left its baseline."""
    shortest, steady, longest = Windows.of(spec)
    coverages = [f"{reading.name}_coverage_{longest}" for reading in readings]
    zoned = [reading.name for reading in spec.readings if reading.zone_boundaries]
    newest = hours.sort("event_timestamp").group_by("machine_id", maintain_order=True).last()
    age = pl.lit(end, INSTANT) - pl.col("event_timestamp")
    staleness = pl.min_horizontal(f"{name}_staleness_seconds" for name in spec.reading_names)
    ranks = [pl.col(f"{name}_zone").replace_strict(list(ZONES), range(len(ZONES)), default=None) for name in zoned]
    order = pl.max_horizontal(*ranks, pl.lit(None, pl.Int64))
    excess = pl.col(f"{readings[0].name}_excess")
    last = failures.group_by("machine_id").last().select("machine_id", "codigo_evento", failed_at="event_timestamp")
    return (
        newest.join(last, on="machine_id", how="left")
        .select(
            "machine_id",
            order.replace_strict(range(len(ZONES)), list(ZONES), default=None, return_dtype=pl.String).alias("zone"),
            (age + pl.duration(microseconds=staleness * 1e6)).alias("silence"),
            pl.min_horizontal(coverages).alias("coverage"),
            "codigo_evento",
            "failed_at",
            *(
                pl.col(f"{name}_{column}").alias(f"{name}_{short}")
                for name in spec.reading_names
                for column, short in (
                    (f"mean_{shortest}", "mean"), (f"slope_per_hour_{steady}", "slope"),
                    ("baseline", "baseline"), ("excess", "excess"),
                )
            ),
            order.alias("order"),
            excess.alias("excess"),
        )
        .sort("order", "excess", "machine_id", descending=[True, True, False], nulls_last=True)
        .drop("order", "excess")
    )  # fmt: skip


def _summarize_fleet(hours: pl.DataFrame, spec: FeatureSpec) -> pl.DataFrame:
    parts = (("low", 0.1), ("median", 0.5), ("high", 0.9))
    quantiles = [
        pl.col(f"{name}_change").quantile(part, "linear").alias(f"{name}_{what}")
        for name in spec.reading_names
        for what, part in parts
    ]
    return hours.group_by("event_timestamp").agg(quantiles).sort("event_timestamp")


def _list_partitions(store: FeatureStore, start: datetime, end: datetime) -> list[datetime]:
    """List the partitions that can hold something of the span: its own hours, and late arrivals."""
    hours = list_hours(store.lake, "processed/tiles", tiles_key)
    return sorted(hour for hour in hours if start - HOUR <= hour < end + store.allowed_lateness)


def _choose_block(span: timedelta, series: int) -> timedelta:
    most = max(1, min(_MOST_BLOCKS, _MOST_CELLS // max(1, series)))
    return next((block for block in _BLOCKS if span <= most * block), _BLOCKS[-1])


def _arrival_hour() -> pl.Expr:
    """Read the hour of arrival from a file's path."""
    folders = (
        pl.col("path").str.replace_all("\\", "/", literal=True).str.extract(r"(year=\d+/month=\d+/day=\d+/hour=\d+)")
    )
    minutes = "/minute=00"  # a time without minutes cannot be parsed
    form = f"year=%Y/month=%m/day=%d/hour=%H{minutes.replace('00', '%M')}"
    return (folders + minutes).str.to_datetime(form, time_unit="us", time_zone="UTC")


def _lateness() -> pl.Expr:
    return _arrival_hour() - pl.col("tile_start").dt.truncate("1h")


def _mean_of_tile() -> pl.Expr:
    low = pl.col("x_min")
    return low + pl.col("x_centre") * (pl.col("x_max") - low)


def _cut_blocks(tiles: pl.LazyFrame, start: datetime, block: timedelta, allowed: timedelta) -> pl.DataFrame:
    """Gather tiles into blocks, and tell how late the latest of each came."""
    number = (pl.col("tile_start") - pl.lit(start, INSTANT)).dt.total_microseconds() // (block // MICROSECOND)
    lateness = _lateness()
    arrival = pl.when(lateness > allowed).then(2).when(lateness >= HOUR).then(1).otherwise(0).cast(pl.Int8)
    in_time = pl.col("arrival") < 2
    total = pl.col("n").filter(in_time).sum()
    return (
        tiles.with_columns(block=number, arrival=arrival)
        .group_by("machine_id", "reading", "block")
        .agg(
            low=pl.col("x_min").filter(in_time).min(),
            mean=pl.when(total > 0).then((_mean_of_tile() * pl.col("n")).filter(in_time).sum() / total),
            high=pl.col("x_max").filter(in_time).max(),
            arrival=pl.col("arrival").max(),
        )
        .sort("machine_id", "reading", "block")
        .collect()
    )


def _count_rejected(rejected: pl.LazyFrame) -> pl.DataFrame:
    by = ("reason", "hour")
    return rejected.with_columns(hour=_arrival_hour()).group_by(by).agg(lines=pl.len()).sort(by).collect()


def _find_clocks(tiles: pl.LazyFrame, rejected: pl.LazyFrame, store: FeatureStore) -> pl.DataFrame:
    """Name the machines with the most lines that came too late or from the future."""
    too_late = (
        tiles.filter(_lateness() > store.allowed_lateness)
        .group_by("machine_id", "reading")
        .agg(pl.col("n").sum())
        .group_by("machine_id")
        .agg(too_late=pl.col("n").max())
    )
    path = "$" + "".join(f"[{json.dumps(part)}]" for part in split_name(store.spec.fields.machine_id))
    from_the_future = (
        rejected.filter(pl.col("reason") == "from_the_future")
        .group_by(machine_id=pl.col("raw_text").str.json_path_match(path))
        .agg(from_the_future=pl.len().cast(pl.Int64))
        .drop_nulls()
    )
    counts = pl.col("too_late", "from_the_future").fill_null(0)
    return (
        too_late.join(from_the_future, on="machine_id", how="full", coalesce=True)
        .with_columns(counts)
        .sort(pl.col("too_late") + pl.col("from_the_future"), "machine_id", descending=[True, False])
        .head(_NAMED_CLOCKS)
        .collect()
    )
