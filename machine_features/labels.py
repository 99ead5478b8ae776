"""Labels: did a machine fail within a horizon, and was it watched for long enough to tell? Pure.

Failures that follow each other within ``merge_within`` are one *episode*, which begins with the first. A row at t is
labelled by the episodes that begin in ``(t + gap, t + gap + horizon]``, or by the time to the next one.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final, Literal

import polars as pl

from handler.definitions.timestamps import HOUR, INSTANT
from machine_features.errors import ArgumentError

Kind = Literal["fails_within", "time_to_failure"]

_KEYS: Final = ("machine_id", "event_timestamp")
_ADDED: Final = ("label", "time_to_failure", "failure_code", "status")


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
    horizon: timedelta | None,
    gap: timedelta,
    merge_within: timedelta,
    observed_until: pl.Series | datetime,
    all_episodes: pl.DataFrame | None = None,
    kind: Kind = "fails_within",
) -> pl.DataFrame:
    """Label rows by the episodes that begin within the horizon, or by the time to the next episode.

    Parameters
    ----------
    entities
        ``machine_id`` and ``event_timestamp``, and any others.
    episodes
        As :func:`find_episodes` returns them, of the failures that are foretold.
    horizon
        The row looks at ``(event_timestamp + gap, event_timestamp + gap + horizon]``; None for no end.
    gap
        From where on.
    merge_within
        For so long after an episode's last failure a row is *after the failure*.
    observed_until
        Until when, this instant included, failures are known: one for all rows, or one for each.
    all_episodes
        Of the failures of any code, which a row may be after; None for the same.
    kind
        What the label says.

    Returns
    -------
    pl.DataFrame
        The rows as they came, with ``label``, ``time_to_failure`` (Duration), ``failure_code`` and ``status``. The
        label is 1 or 0 (Int8), or the hours to the next episode (Float64). It is null where ``status`` is
        ``after_failure`` or ``censored``, not ``observed``. Censored is a row whose failures are not known for long
        enough, or, where hours are wanted, a row without an episode within the horizon. Label and status are null where
        machine or time is. Time and code are there where an episode follows.

    Raises
    ------
    ArgumentError
        If an entity's column has the name of one that is added.
    """
    both = [name for name in _ADDED if name in entities.columns]
    if both:
        raise ArgumentError(f"entities have columns {', '.join(both)} already; drop or rename them")
    rows = entities.select(_KEYS).with_row_index("row")
    start = pl.col("event_timestamp") + gap
    rows = rows.with_columns(
        until=observed_until if isinstance(observed_until, pl.Series) else pl.lit(observed_until, dtype=INSTANT),
        start=start,
        stop=pl.lit(None, INSTANT) if horizon is None else start + horizon,
    )
    following = episodes.select("machine_id", "begin", begins="begin", code="failure_code")
    rows = _find_near(rows, following, "start", "forward")
    latest = (episodes if all_episodes is None else all_episodes).select("machine_id", "begin", "end")
    rows = _find_near(rows, latest, "event_timestamp", "backward").sort("row")
    is_known = pl.all_horizontal(pl.col(_KEYS).is_not_null())
    in_time = (pl.col("begins") <= pl.col("stop")) | pl.col("stop").is_null()
    fails = (in_time & (pl.col("begins") <= pl.col("until"))).fill_null(value=False)
    is_after = (pl.col("event_timestamp") <= pl.col("end") + merge_within).fill_null(value=False)
    is_unseen = pl.lit(value=True) if kind == "time_to_failure" else pl.col("stop") > pl.col("until")
    is_censored = ~fails & is_unseen
    after_failure, censored, observed = map(pl.lit, ("after_failure", "censored", "observed"))
    status = pl.when(is_after).then(after_failure).when(is_censored).then(censored).otherwise(observed)
    is_one = fails & ~is_after & is_known
    time = pl.when(is_one).then(pl.col("begins") - pl.col("event_timestamp"))
    label = fails.cast(pl.Int8) if kind == "fails_within" else time / HOUR
    added = rows.select(
        label=pl.when(~is_after & ~is_censored & is_known).then(label),
        time_to_failure=time,
        failure_code=pl.when(is_one).then(pl.col("code")),
        status=pl.when(is_known).then(status),
    )
    return pl.concat([entities, added], how="horizontal")


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
