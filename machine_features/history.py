"""Rows as they could be known at their own hour: computed anew from the partitions that had begun to arrive."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl
from polars.io.plugins import register_io_source

from handler.definitions.schema import row_schema
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import HOUR, INSTANT, floor_to
from handler.features.history import History
from handler.features.rows import compute_features
from handler.lake.lake import Lake
from handler.plan import Plan
from handler.tiles.files import PartitionFiles
from machine_features.training import KEYS


@dataclass(frozen=True, slots=True)
class PastRows:
    """Computes rows from tiles that are there; it builds no tiles and writes nothing.

    Attributes
    ----------
    lake, spec
        Where the tiles are, and what features are.
    allowed_lateness
        The function's setting.
    """

    lake: Lake
    spec: FeatureSpec
    allowed_lateness: timedelta

    def scan(self, start: datetime, end: datetime) -> pl.LazyFrame:
        """Give the rows of the whole hours in ``(start, end]``, computed an hour at a time when they are collected.

        Parameters
        ----------
        start
            UTC; not the row of this instant.
        end
            UTC; this hour is there, if it is whole.

        Returns
        -------
        pl.LazyFrame
            As training rows; ``created_timestamp`` is null, since nobody wrote them.
        """
        schema = {**KEYS, **{name: dtype for name, dtype in row_schema(self.spec).items() if name not in KEYS}}
        hours = [floor_to(start, HOUR) + HOUR]
        while hours[-1] + HOUR <= end:
            hours.append(hours[-1] + HOUR)

        def compute(
            with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _: int | None
        ) -> Iterator[pl.DataFrame]:
            for computed in self._compute(hours if hours[0] <= end else []):
                rows = computed.with_columns(created_timestamp=pl.lit(None, INSTANT)).select(*schema)
                kept = rows if predicate is None else rows.filter(predicate)
                kept = kept if n_rows is None else kept.head(n_rows)
                yield kept if with_columns is None else kept.select(with_columns)
                n_rows = None if n_rows is None else n_rows - kept.height
                if n_rows == 0:
                    return

        return register_io_source(compute, schema=schema)

    def _compute(self, hours: list[datetime]) -> Iterator[pl.DataFrame]:
        for hour in hours:
            plan = Plan(hour - HOUR, hour, self.spec.lookback, self.allowed_lateness)
            files = PartitionFiles(self.lake, self.spec, plan)
            arrived = {partition for partition in plan.list_contributors([hour]) if partition < hour}
            files.look_at(arrived)
            for tiles, whole_hours in History(self.lake, self.spec, plan, [hour], files).load():
                yield compute_features(tiles, [hour], self.spec, whole_hours)
