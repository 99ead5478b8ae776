"""Online values against training values of the same instant, and why they differ. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from handler.definitions.schema import Schema
from handler.definitions.timestamps import INSTANT

_CELL: Final = ("machine_id", "feature")
_TOLERANCE: Final = 1e-9
_ROUNDED: Final = ("mean", "slope_per_hour", "skew", "kurtosis", "corr")
"""Statistics in which readings cancel out: near zero, rounding by the size of the readings is all that there is."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How two sets of rows compare.

    Attributes
    ----------
    cells
        The cells that differ: ``machine_id``, ``feature``, ``online`` and ``training`` (as text), ``kind``, ``smape``
        and ``cause``. The kind is ``mismatch``, or ``missing`` or ``extra`` online. The cause is ``late_data`` where
        the online value could be known at its instant, ``spec`` where one side does not know the feature, else
        ``unexplained``. A machine whose item speaks of a later instant by now has one row: the feature is
        ``event_timestamp``, kind and cause are ``moved_on``.
    compared
        How many cells there are, without those of items that have moved on.
    """

    cells: pl.DataFrame
    compared: int

    def count(self, column: str) -> dict[str, int]:
        """Count the cells by kind or by cause."""
        return dict(self.cells.get_column(column).value_counts().sort(column).iter_rows())

    @property
    def smape(self) -> float:
        """The mean over all cells of ``2 |a - b| / (|a| + |b|)``; 2 where one side is null."""
        return float(self.cells.get_column("smape").sum()) / self.compared if self.compared else 0.0


def compare(
    online: pl.DataFrame, training: pl.DataFrame, known: pl.DataFrame, features: Schema, as_of: datetime
) -> Parity:
    """Compare the rows of one instant.

    Parameters
    ----------
    online
        ``machine_id``, ``event_timestamp`` and features; a feature may be absent from one side.
    training
        ``machine_id`` and features; a feature may be absent from one side.
    known
        The rows as they could be known at that instant.
    features
        All features, with their types.
    as_of
        The instant.

    Returns
    -------
    Parity
        Values within 1e-9, relative, are equal, and means and slopes within 1e-9 of the window's largest value.
    """
    time = pl.col("event_timestamp")
    moved = online.filter(time > as_of).select(
        "machine_id",
        feature=pl.lit("event_timestamp"),
        online=time.dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        training=pl.lit(as_of, INSTANT).dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        kind=pl.lit("moved_on"),
        smape=pl.lit(None, pl.Float64),
        cause=pl.lit("moved_on"),
    )
    there = online.filter(time == as_of)
    here, then = (rows.join(moved, on="machine_id", how="anti") for rows in (training, known))
    sides = {
        name: _melt(rows, features, name) for name, rows in (("online", there), ("training", here), ("known", then))
    }
    sizes = _melt(here.with_columns(_measure_sizes(here, features)), features, "size")
    cells = sides["online"].join(sides["training"], on=_CELL, how="full", coalesce=True)
    cells = cells.join(sides["known"], on=_CELL, how="left").join(sizes, on=_CELL, how="left")
    on, tr, kn = pl.col("online"), pl.col("training"), pl.col("known")
    differing = cells.filter(~_are_equal(on, tr))
    a, b = on.cast(pl.Float64, strict=False), tr.cast(pl.Float64, strict=False)
    is_elsewhere = ~pl.col("feature").is_in(
        [name for name in features if name in online.columns and name in training.columns]
    )
    result = differing.with_columns(
        kind=pl.when(on.is_null())
        .then(pl.lit("missing"))
        .when(tr.is_null())
        .then(pl.lit("extra"))
        .otherwise(pl.lit("mismatch")),
        smape=pl.when((a.abs() + b.abs()) > 0)
        .then(2 * (a - b).abs() / (a.abs() + b.abs()))
        .otherwise(2.0)
        .fill_null(2.0),
        cause=pl.when(is_elsewhere)
        .then(pl.lit("spec"))
        .when(_are_equal(on, kn))
        .then(pl.lit("late_data"))
        .otherwise(pl.lit("unexplained")),
    )
    return Parity(pl.concat([result.select(moved.columns), moved]).sort(_CELL), cells.height)


def _melt(rows: pl.DataFrame, features: Schema, name: str) -> pl.DataFrame:
    """Put each value that is not null in a row of its own, as text that keeps all digits."""
    there = [feature for feature in features if feature in rows.columns]
    texts = rows.select("machine_id", pl.col(there).cast(pl.String))
    return texts.unpivot(there, index="machine_id", variable_name="feature", value_name=name).drop_nulls(name)


def _measure_sizes(rows: pl.DataFrame, features: Schema) -> list[pl.Expr]:
    """Give the size of the values that each feature is rounded by: the window's largest, 1 without a unit, else 0."""
    sizes = []
    for feature in (name for name in features if name in rows.columns):
        statistic = next((each for each in _ROUNDED if f"_{each}_" in feature), "")
        reading, _, window = feature.rpartition(f"_{statistic}_")
        ends = [f"{reading}_{end}_{window}" for end in ("min", "max")]
        size = pl.lit(1.0 if statistic in ("skew", "kurtosis", "corr") else 0.0)
        if statistic in ("mean", "slope_per_hour") and set(ends) <= set(rows.columns):
            size = pl.max_horizontal(pl.col(ends).abs())
        sizes.append(size.alias(feature))
    return sizes


def _are_equal(left: pl.Expr, right: pl.Expr) -> pl.Expr:
    a, b = left.cast(pl.Float64, strict=False), right.cast(pl.Float64, strict=False)
    size = pl.col("size").cast(pl.Float64).fill_null(0)
    is_close = (a - b).abs() <= _TOLERANCE * pl.max_horizontal(a.abs(), b.abs(), size)
    return (left.eq_missing(right) | is_close).fill_null(value=False)
