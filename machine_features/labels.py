"""Labels: did a machine fail within a horizon, and was it watched for long enough to tell? Pure.

Failures that follow each other within ``merge_within`` are one *episode*, which begins with the first. A row at t is
labelled by the episodes that begin in ``(t + gap, t + gap + horizon]``.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final, Literal

import polars as pl

from handler.definitions.timestamps import HOUR, INSTANT

_ROW: Final = "_row"


def find_episodes(failures: pl.DataFrame, merge_within: timedelta) -> pl.DataFrame:
    """Merge failures that follow each other.

    Parameters
    ----------
    failures
        ``machine_id``, ``event_timestamp``, ``codigo_evento``, in any order.
    merge_within
        A failure so long after the one before it, or sooner, belongs to the same episode, whatever its code.

    Returns
    -------
    pl.DataFrame
        ``machine_id``, ``begin``, ``end`` (the last failure of the episode), ``failure_code`` (the first one's), sorted
        by ``begin``.

    Examples
    --------
    >>> from datetime import UTC
    >>> at = lambda minute: datetime(2025, 10, 15, 9, minute, tzinfo=UTC)
    >>> failures = pl.DataFrame(
    ...     {"machine_id": "P1", "event_timestamp": [at(0), at(5), at(40)], "codigo_evento": ["A", "B", "A"]}
    ... )
    >>> find_episodes(failures, timedelta(minutes=30)).select("begin", "failure_code").rows()[1][1]
    'A'
    """
    time = pl.col("event_timestamp")
    ordered = failures.sort("machine_id", "event_timestamp", "codigo_evento")
    is_first = (time.diff() > merge_within).fill_null(value=True).over("machine_id")
    return (
        ordered.with_columns(episode=is_first.cum_sum())
        .group_by("machine_id", "episode", maintain_order=True)
        .agg(begin=time.first(), end=time.last(), failure_code=pl.col("codigo_evento").first())
        .select("machine_id", pl.col("begin", "end").cast(INSTANT), "failure_code")
        .sort("begin", "machine_id")
    )


def find_observed_until(times: pl.Series, partitions: Collection[datetime]) -> pl.Series:
    """Find until when the failures after each time are known: the end of the last partition before the first gap.

    Parameters
    ----------
    times
        Datetime, µs, UTC.
    partitions
        Starts of the hours of arrival whose failures were read.

    Returns
    -------
    pl.Series
        An instant for each time; of one whose own hour was not read, the start of that hour.

    Examples
    --------
    >>> from datetime import UTC
    >>> at = lambda hour: datetime(2025, 10, 15, hour, tzinfo=UTC)
    >>> times = pl.Series([at(7), at(10)], dtype=INSTANT)
    >>> [each.hour for each in find_observed_until(times, [at(7), at(8), at(10)])]
    [9, 11]
    """
    ends: dict[datetime, datetime] = {}
    for partition in sorted(partitions, reverse=True):
        ends[partition] = ends.get(partition + HOUR, partition + HOUR)
    hours = times.dt.truncate("1h")
    found = {hour: ends.get(hour, hour) for hour in hours.unique().drop_nulls()}
    return hours.replace_strict(list(found), list(found.values()), return_dtype=INSTANT) if found else hours


def label_entities(
    entities: pl.DataFrame,
    episodes: pl.DataFrame,
    *,
    horizon: timedelta,
    gap: timedelta,
    merge_within: timedelta,
    observed_until: pl.Series | datetime,
) -> pl.DataFrame:
    """Label rows by the episodes that begin within the horizon.

    Parameters
    ----------
    entities
        ``machine_id`` and ``event_timestamp``, and any others.
    episodes
        As :func:`find_episodes` returns them.
    horizon
        The row looks at ``(event_timestamp + gap, event_timestamp + gap + horizon]``.
    gap
        From where on.
    merge_within
        For so long after an episode's last failure a row is *after the failure*.
    observed_until
        Until when, this instant included, failures are known: one for all rows, or one for each.

    Returns
    -------
    pl.DataFrame
        The rows as they came, with ``label`` (Int8: 1, 0, or null where ``status`` is not ``observed``) and ``status``.
        Where the label is 1, also ``time_to_failure`` (Duration) and ``failure_code``.
    """
    rows = entities.with_row_index(_ROW).with_columns(
        _until=observed_until if isinstance(observed_until, pl.Series) else pl.lit(observed_until, dtype=INSTANT),
        _from=pl.col("event_timestamp") + gap,
        _to=pl.col("event_timestamp") + gap + horizon,
    )
    following = episodes.select("machine_id", "begin", _begin="begin", _code="failure_code")
    rows = _find_near(rows, following, "_from", "forward")
    latest = episodes.select("machine_id", "begin", _end="end")
    rows = _find_near(rows, latest, "event_timestamp", "backward")
    fails = ((pl.col("_begin") <= pl.col("_to")) & (pl.col("_begin") <= pl.col("_until"))).fill_null(value=False)
    is_after = (pl.col("event_timestamp") <= pl.col("_end") + merge_within).fill_null(value=False)
    is_censored = ~fails & (pl.col("_to") > pl.col("_until"))
    after_failure, censored, observed = map(pl.lit, ("after_failure", "censored", "observed"))
    status = pl.when(is_after).then(after_failure).when(is_censored).then(censored).otherwise(observed)
    is_one = fails & ~is_after
    return (
        rows.sort(_ROW)
        .with_columns(
            label=pl.when(~is_after & ~is_censored).then(fails.cast(pl.Int8)),
            time_to_failure=pl.when(is_one).then(pl.col("_begin") - pl.col("event_timestamp")),
            failure_code=pl.when(is_one).then(pl.col("_code")),
            status=status,
        )
        .select(*entities.columns, "label", "time_to_failure", "failure_code", "status")
    )


def _find_near(
    rows: pl.DataFrame, episodes: pl.DataFrame, at: str, strategy: Literal["forward", "backward"]
) -> pl.DataFrame:
    """Join the machine's first episode that begins after a time, or the last that began by then."""
    return (
        rows.sort(at)
        .join_asof(
            episodes,
            left_on=at,
            right_on="begin",
            by="machine_id",
            strategy=strategy,
            allow_exact_matches=strategy == "backward",
            check_sortedness=False,  # both are sorted; Polars cannot tell for groups
        )
        .drop("begin", strict=False)
    )
