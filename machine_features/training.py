"""Read the training set that the function writes."""

import io
from collections.abc import Iterable
from datetime import datetime

import polars as pl

from handler.definitions.layout import training_key
from handler.definitions.schema import empty_frame, feature_schema
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import INSTANT
from handler.lake.lake import Lake


def read_training(lake: Lake, hours: Iterable[datetime], spec: FeatureSpec) -> pl.DataFrame:
    """Read the training rows of some hours.

    Parameters
    ----------
    lake
        Where to read.
    hours
        Whole hours, UTC, as :func:`handler.plan.list_training_hours` lists them; one without a file has no rows.
    spec
        Names the columns.

    Returns
    -------
    pl.DataFrame
        ``machine_id``, ``event_timestamp``, ``created_timestamp``, then the features; in the hours' order, and by
        machine within each.
    """
    schema = {"machine_id": pl.String(), "event_timestamp": INSTANT, "created_timestamp": INSTANT}
    keys = [training_key(hour) for hour in hours]
    stored = lake.look_up(keys)
    frames = [pl.read_parquet(io.BytesIO(data)) for data in lake.read(key for key in keys if key in stored)]
    return pl.concat([empty_frame(schema | feature_schema(spec)), *frames])
