"""Features as of the instants of entities. Pure."""

from datetime import timedelta

import polars as pl

from machine_features.errors import ArgumentError


def join_asof(entities: pl.DataFrame, rows: pl.DataFrame, max_age: timedelta) -> pl.DataFrame:
    """Put beside each entity its machine's newest row that is not later, and not too old.

    Parameters
    ----------
    entities
        ``machine_id`` and ``event_timestamp``, and any others.
    rows
        ``machine_id``, ``event_timestamp`` and features, in any order.
    max_age
        The largest age of a row that is taken, this age included.

    Returns
    -------
    pl.DataFrame
        The entities as they came, then ``feature_timestamp``, ``age`` (Duration) and the features, which are null where
        there is no such row.

    Raises
    ------
    ArgumentError
        If an entity's column has the name of one that is added.
    """
    features = [name for name in rows.columns if name not in ("machine_id", "event_timestamp")]
    both = [name for name in ("feature_timestamp", "age", *features) if name in entities.columns]
    if both:
        raise ArgumentError(f"entities have columns with names of features: {', '.join(both)}; drop or rename them")
    found = (
        entities.select("machine_id", "event_timestamp")
        .with_row_index("row")
        .sort("event_timestamp")
        .join_asof(
            rows.with_columns(feature_timestamp="event_timestamp").sort("event_timestamp"),
            on="event_timestamp",
            by="machine_id",
            tolerance=max_age,
            check_sortedness=False,  # both are sorted; Polars cannot tell for groups
        )
        .sort("row")
    )
    age = pl.col("event_timestamp") - pl.col("feature_timestamp")
    added = found.select("feature_timestamp", age.alias("age"), *features)
    return pl.concat([entities, added], how="horizontal")
