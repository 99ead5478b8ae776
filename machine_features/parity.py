"""Online values against training values of the same hour, and why they differ. Pure."""

from dataclasses import dataclass
from typing import Final

import polars as pl

from handler.definitions.schema import Schema

_CELL: Final = ("machine_id", "feature")
_TOLERANCE: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Parity:
    """How two sets of rows compare.

    Attributes
    ----------
    cells
        The cells that differ: ``machine_id``, ``feature``, ``online`` and ``training`` (as text), ``kind``, ``smape``
        and ``cause``. The kind is ``mismatch``, or ``missing`` or ``extra`` online. The cause is ``late_data`` where
        the online value could be known at its hour, ``spec`` where one side does not know the feature, else
        ``unexplained``.
    compared
        How many cells there are.
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


def compare(online: pl.DataFrame, training: pl.DataFrame, known: pl.DataFrame, features: Schema) -> Parity:
    """Compare the rows of one hour.

    Parameters
    ----------
    online
        ``machine_id`` and features; a feature may be absent from one side.
    training
        ``machine_id`` and features; a feature may be absent from one side.
    known
        The rows as they could be known at that hour.
    features
        All features, with their types.

    Returns
    -------
    Parity
        Values within 1e-9, relative, are equal.
    """
    sides = {
        name: _melt(rows, features, name)
        for name, rows in (("online", online), ("training", training), ("known", known))
    }
    cells = sides["online"].join(sides["training"], on=_CELL, how="full", coalesce=True)
    cells = cells.join(sides["known"], on=_CELL, how="left")
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
    return Parity(result.drop("known").sort(_CELL), cells.height)


def _melt(rows: pl.DataFrame, features: Schema, name: str) -> pl.DataFrame:
    """Put each value that is not null in a row of its own, as text that keeps all digits."""
    there = [feature for feature in features if feature in rows.columns]
    texts = rows.select("machine_id", pl.col(there).cast(pl.String))
    return texts.unpivot(there, index="machine_id", variable_name="feature", value_name=name).drop_nulls(name)


def _are_equal(left: pl.Expr, right: pl.Expr) -> pl.Expr:
    a, b = left.cast(pl.Float64, strict=False), right.cast(pl.Float64, strict=False)
    is_close = (a - b).abs() <= _TOLERANCE * pl.max_horizontal(a.abs(), b.abs(), pl.lit(1.0))
    return (left.eq_missing(right) | is_close).fill_null(value=False)
