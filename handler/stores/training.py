"""The training set: one Parquet file an as_of hour, one row a machine."""

from collections.abc import Iterable
from datetime import datetime

import polars as pl

from handler.definitions.layout import training_key
from handler.definitions.timestamps import INSTANT
from handler.lake.lake import Lake
from handler.lake.parquet import encode_parquet


def write_training_hours(lake: Lake, hours: Iterable[datetime], rows: pl.DataFrame, created: datetime) -> None:
    """Write the training files of some hours, in the place of earlier ones.

    Parameters
    ----------
    lake
        Where to write.
    hours
        Each gets a file, though it may have no rows: it then says that no machine was there.
    rows
        The hours' rows, as :func:`handler.features.rows.compute_features` returns them.
    created
        The time of writing, UTC: the column ``created_timestamp``.
    """
    keys = ("machine_id", "event_timestamp")
    created_timestamp = pl.lit(created, dtype=INSTANT).alias("created_timestamp")
    stamped = rows.select(*keys, created_timestamp, pl.exclude(keys))
    lake.write(
        {training_key(hour): encode_parquet(stamped.filter(pl.col("event_timestamp") == hour)) for hour in hours}
    )
