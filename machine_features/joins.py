"""Features as of the instants of entities. Pure."""

from datetime import timedelta

import polars as pl


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
    ValueError
        If an entity's column has the name of a feature.
    """
    features = [name for name in rows.columns if name not in ("machine_id", "event_timestamp")]
    both = [name for name in features if name in entities.columns]
    if both:
        raise ValueError(f"entities have columns with names of features: {', '.join(both)}; rename them")
    found = (
        entities.with_row_index("_row")
        .sort("event_timestamp")
        .join_asof(
            rows.with_columns(feature_timestamp="event_timestamp").sort("event_timestamp"),
            on="event_timestamp",
            by="machine_id",
            tolerance=max_age,
            check_sortedness=False,  # both are sorted; Polars cannot tell for groups
        )
    )
    age = pl.col("event_timestamp") - pl.col("feature_timestamp")
    return found.sort("_row").select(*entities.columns, "feature_timestamp", age.alias("age"), *features)
