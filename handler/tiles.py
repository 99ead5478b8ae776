"""Tiles: five minutes of one machine's one reading as statistics that merge without loss.

A summary describes values and their times by the ends of both, and by moments of the *position* between the ends:
0 at the lowest value (or first instant), 1 at the highest (or last). So every moment is a small number with a
variance of at least 1/(2n), whatever the unit: readings near 1e9 that differ in the last digit, or by less than the
square root of the smallest double, lose nothing, and no power overflows.

Merging rescales the positions to the common ends and applies the formulas for central moments and co-moments of any
number of sets:

    M_p = Σ_i Σ_k C(p, k) · M_{p-k, i} · δ_i^k,     δ_i = mean_i - mean,  M_0 = n,  M_1 = 0

Chan, Golub and LeVeque, "Algorithms for computing the sample variance" (1983), eq. 2.1; Pébay, "Formulas for robust,
one-pass parallel computation of covariances and arbitrary-order statistical moments" (SAND2008-6212), eq. 2.1, 3.12.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

import polars as pl
from polars.dataframe.group_by import GroupBy

from handler.spec import FeatureSpec
from handler.timestamps import TILE

_MICROSECOND: Final = timedelta(microseconds=1)
_CENTRES: Final = ("value_centre", "time_centre")
TILE_KEYS: Final = ("machine_id", "reading", "tile_start")
TILE_SCHEMA: Final[Mapping[str, pl.DataType]] = {
    "machine_id": pl.String(),
    "reading": pl.String(),
    "tile_start": pl.Datetime("us", "UTC"),
    "n": pl.Int64(),
    "first": pl.Float64(),
    "last": pl.Float64(),
    "value_min": pl.Float64(),
    "value_max": pl.Float64(),
    "value_centre": pl.Float64(),
    "value_m2": pl.Float64(),
    "value_m3": pl.Float64(),
    "value_m4": pl.Float64(),
    "time_min": pl.Datetime("us", "UTC"),
    "time_max": pl.Datetime("us", "UTC"),
    "time_centre": pl.Float64(),
    "time_m2": pl.Float64(),
    "cross": pl.Float64(),
}
"""Columns of a tile; docs/architecture.md, "Tiles", says what each holds."""


def build_tiles(readings: pl.DataFrame, spec: FeatureSpec) -> pl.DataFrame:
    """Summarize accepted lines into tiles.

    A reading counts in the tile ``[start, start + 5 min)`` of its own event time, however late it arrived.

    Parameters
    ----------
    readings
        ``machine_id`` (String), ``event_time`` (Datetime, µs, UTC) and a Float64 column a reading, with nulls.
    spec
        Which columns are readings.

    Returns
    -------
    pl.DataFrame
        Columns of ``TILE_SCHEMA``, sorted by machine, reading and start.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> lines = pl.DataFrame({
    ...     "machine_id": ["P1", "P1"],
    ...     "event_time": [datetime(2025, 10, 15, 9, 1, tzinfo=UTC), datetime(2025, 10, 15, 9, 3, tzinfo=UTC)],
    ...     "temperature_celsius": [70.0, 74.0],
    ...     "vibration_rms": [None, None],
    ... }, schema_overrides={"vibration_rms": pl.Float64, "event_time": pl.Datetime("us", "UTC")})
    >>> build_tiles(lines, FeatureSpec.load()).select("reading", "n", "value_min", "value_max", "value_m2").rows()
    [('temperature_celsius', 2, 70.0, 74.0, 0.5)]
    """
    if readings.is_empty():
        return pl.DataFrame(schema=dict(TILE_SCHEMA))
    value, time, key = pl.col("value"), pl.col("event_time"), ("tile",)
    points, names = _number_tiles(readings, spec)
    ends = points.group_by(key, maintain_order=True).agg(
        n=pl.len().cast(pl.Int64),
        value_min=value.min(),
        value_max=value.max(),
        time_min=time.min(),
        time_max=time.max(),
    )
    placed = points.join(ends, on=key, maintain_order="left").with_columns(
        x=divide(value - pl.col("value_min"), _length("value")),
        y=divide((time - pl.col("time_min")).to_physical(), _length("time")),
    )
    x, y = pl.col("x"), pl.col("y")
    by_tile = placed.group_by(key, maintain_order=True)
    edges = by_tile.agg(
        first=value.filter(time == pl.col("time_min")).max(),
        last=value.filter(time == pl.col("time_max")).max(),
    )
    sums = _add_up(by_tile, value_centre=x, time_centre=y)
    centres = _average(sums.join(ends.select(*key, "n"), on=key, maintain_order="left"), *_CENTRES)
    centred = placed.join(centres, on=key, maintain_order="left").with_columns(
        x=x - pl.col("value_centre"), y=y - pl.col("time_centre")
    )
    moments = _add_up(
        centred.group_by(key, maintain_order=True),
        value_m2=x * x,
        value_m3=x * x * x,
        value_m4=x * x * x * x,
        time_m2=y * y,
        cross=x * y,
    )
    tiles = _join_parts(key, ends, edges, centres, moments).join(names, on=key)
    return tiles.select(*TILE_SCHEMA).sort(TILE_KEYS)


def _number_tiles(readings: pl.DataFrame, spec: FeatureSpec) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Lay the readings under each other, ``tile``, ``event_time``, ``value``; and say which tile each number is.

    Grouping by one number is several times as fast as by two texts and an instant.
    """
    machines = readings.select(pl.col("machine_id").unique().sort()).with_row_index("machine")
    machine = readings.get_column("machine_id").replace_strict(
        machines.get_column("machine_id"), machines.get_column("machine"), return_dtype=pl.Int64
    )
    slot = readings.get_column("event_time").to_physical() // (TILE // _MICROSECOND)
    first_slot, last_slot = (int(number) for number in (slot.min(), slot.max()))  # type: ignore[arg-type]
    slots = last_slot - first_slot + 1
    numbered = readings.with_columns(tile=machine * slots + (slot - first_slot))
    cells = machines.height * slots
    points = pl.concat(
        numbered.select(pl.col("tile") + index * cells, "event_time", pl.col(name).alias("value")).filter(
            pl.col("value").is_not_null()
        )
        for index, name in enumerate(spec.reading_names)
    )
    tile = pl.col("tile")
    names = points.select(tile.unique()).select(
        "tile",
        (tile % cells // slots).cast(pl.UInt32).alias("machine"),
        tile_start=((tile % slots + first_slot) * (TILE // _MICROSECOND)).cast(TILE_SCHEMA["tile_start"]),
        reading=(tile // cells).replace_strict(
            list(range(len(spec.readings))), list(spec.reading_names), return_dtype=pl.String
        ),
    )
    return points, names.join(machines, on="machine").drop("machine")


def merge_tiles(tiles: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Merge the summaries of each group into one: tiles of one start from several partitions, or tiles of a window.

    Parameters
    ----------
    tiles
        Columns of ``TILE_SCHEMA`` and those of ``by``. The groups' rows are added in their order here, so equal
        input in equal order gives equal bits.
    by
        The columns that name a group, for example ``("machine_id", "reading")``.

    Returns
    -------
    pl.DataFrame
        The columns of ``by``, then those of ``TILE_SCHEMA`` less its keys; sorted by ``by``.
    """
    return merge_moments(
        tiles,
        by,
        x="value",
        y="time",
        extra=(
            pl.col("first").filter(pl.col("time_min") == pl.col("time_min_all")).max(),
            pl.col("last").filter(pl.col("time_max") == pl.col("time_max_all")).max(),
        ),
    )


def merge_moments(
    rows: pl.DataFrame, by: Sequence[str], *, x: str, y: str, extra: Sequence[pl.Expr] = ()
) -> pl.DataFrame:
    """Merge moments of two variables by group, the one up to the fourth order, the other to the second.

    Parameters
    ----------
    rows
        For ``x``: columns ``{x}_min``, ``{x}_max``, ``{x}_centre``, ``{x}_m2``, ``{x}_m3``, ``{x}_m4``; for ``y`` the
        same without the last two; ``n`` and ``cross``.
    by
        The columns that name a group.
    x, y
        The variables' prefixes.
    extra
        More aggregations, which also see the groups' ends as ``{x}_min_all`` and so on.

    Returns
    -------
    pl.DataFrame
        ``by``, then the same columns, then ``extra``; sorted by ``by``.
    """
    ends = rows.group_by(by, maintain_order=True).agg(
        pl.col("n").sum(),
        *(pl.col(f"{axis}_min").min() for axis in (x, y)),
        *(pl.col(f"{axis}_max").max() for axis in (x, y)),
    )
    placed = (
        rows.join(ends, on=by, suffix="_all", maintain_order="left")
        .with_columns(divide(_length(axis), _length(axis, "_all")).alias(f"{axis}_scale") for axis in (x, y))
        .with_columns(
            # each divided before they are added: a subnormal length times a centre is no position any more
            (
                divide((pl.col(f"{axis}_min") - pl.col(f"{axis}_min_all")).to_physical(), _length(axis, "_all"))
                + pl.col(f"{axis}_scale") * pl.col(f"{axis}_centre")
            ).alias(f"{axis}_centre")
            for axis in (x, y)
        )
    )
    n = pl.col("n")
    in_groups = placed.group_by(by, maintain_order=True)
    edges = in_groups.agg(*extra)
    names = (f"{x}_centre", f"{y}_centre")
    sums = _add_up(in_groups, **{name: pl.col(name) * n for name in names})
    centres = _average(sums.join(ends.select(*by, "n"), on=by, maintain_order="left"), *names)
    shifted = placed.join(centres, on=by, suffix="_all", maintain_order="left")
    r, q = pl.col(f"{x}_scale"), pl.col(f"{y}_scale")
    d = pl.col(f"{x}_centre") - pl.col(f"{x}_centre_all")
    e = pl.col(f"{y}_centre") - pl.col(f"{y}_centre_all")
    m2, m3, m4 = (r**p * pl.col(f"{x}_m{p}") for p in (2, 3, 4))
    moments = _add_up(
        shifted.group_by(by, maintain_order=True),
        **{
            f"{x}_m2": m2 + n * d * d,
            f"{x}_m3": m3 + 3 * d * m2 + n * d * d * d,
            f"{x}_m4": m4 + 4 * d * m3 + 6 * d * d * m2 + n * d * d * d * d,
            f"{y}_m2": q * q * pl.col(f"{y}_m2") + n * e * e,
            "cross": r * q * pl.col("cross") + n * d * e,
        },
    )
    return _join_parts(by, ends, edges, centres, moments)


def _average(sums: pl.DataFrame, *names: str) -> pl.DataFrame:
    """Divide each group's sums by its ``n``."""
    return sums.with_columns(divide(pl.col(name), pl.col("n")) for name in names).drop("n")


def _length(axis: str, suffix: str = "") -> pl.Expr:
    """Measure the distance between a variable's ends, as a number."""
    return (pl.col(f"{axis}_max{suffix}") - pl.col(f"{axis}_min{suffix}")).to_physical().cast(pl.Float64)


def divide(part: pl.Expr, whole: pl.Expr | float) -> pl.Expr:
    """Divide, rounding once; 0 where the whole is 0.

    Polars multiplies by the reciprocal of a divisor that it knows to be the same in every row, which is a bit off,
    infinite for a subnormal number, and another result in another frame. Adding nothing makes it a column like any
    other.
    """
    part = part.cast(pl.Float64)
    divisor = part * 0.0 + whole
    return pl.when(divisor != 0).then(part / divisor).otherwise(0.0)


def _add_up(groups: GroupBy, **terms: pl.Expr) -> pl.DataFrame:
    """Sum the terms of each group in the order of its rows.

    As a sum of lists: the rounding of ``group_by().agg(sum)`` depends on what else is in the frame, and on how many
    threads there are.
    """
    return groups.agg(**terms).with_columns(pl.col(list(terms)).list.sum())


def _join_parts(by: Sequence[str], first: pl.DataFrame, *others: pl.DataFrame) -> pl.DataFrame:
    whole = first
    for part in others:
        whole = whole.join(part, on=by)
    columns = [name for name in TILE_SCHEMA if name in whole.columns and name not in by]
    rest = [name for name in whole.columns if name not in columns and name not in by]
    return whole.select(*by, *columns, *rest).sort(by)
