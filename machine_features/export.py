"""Training rows as daily files that are never changed, for whatever does not like files that are."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Final

import polars as pl

from handler.lake.lake import Lake
from handler.lake.parquet import encode_parquet

SCHEMA: Final = {"date": pl.Date(), "key": pl.String(), "rows": pl.Int64(), "is_new": pl.Boolean()}


def group_by_day(hours: Mapping[datetime, str]) -> dict[date, dict[datetime, str]]:
    """Group training hours, and the versions of their files, by day.

    Parameters
    ----------
    hours
        The version of each hour's file.

    Returns
    -------
    dict of date to dict
        UTC days, ascending.
    """
    days: dict[date, dict[datetime, str]] = {}
    for hour, version in sorted(hours.items()):
        days.setdefault(hour.date(), {})[hour] = version
    return days


def export_days(
    lake: Lake,
    prefix: str,
    hours: Mapping[datetime, str],
    columns: Sequence[str],
    read: Callable[[Iterable[datetime]], pl.LazyFrame],
) -> pl.DataFrame:
    """Write a file a day, whose name says what it was made of; one that is there stands.

    Parameters
    ----------
    lake
        Where to write.
    prefix
        Of the keys, ``{prefix}event_date=YYYY-MM-DD/features-{digest}.parquet``.
    hours
        The version of each training hour's file.
    columns
        All files have these, null where an hour's features have no such column.
    read
        Reads the rows of some hours, with all columns.

    Returns
    -------
    pl.DataFrame
        ``date``, ``key``, ``rows`` and ``is_new``, a row a day.
    """
    files: list[tuple[date, str, int, bool]] = []
    for day, versions in group_by_day(hours).items():
        state = json.dumps([*columns, *(f"{hour.isoformat()}={version}" for hour, version in versions.items())])
        name = f"features-{hashlib.sha256(state.encode()).hexdigest()[:16]}.parquet"
        key = f"{prefix}event_date={day.isoformat()}/{name}"
        is_new = key not in lake.list_versions(key.rpartition("/")[0])
        rows = read(versions)
        if is_new:
            frame = rows.collect()
            lake.write({key: encode_parquet(frame, row_groups=1)})
            count = frame.height
        else:
            count = rows.select(pl.len()).collect().item()
        files.append((day, key, count, is_new))
    return pl.DataFrame(files, schema=SCHEMA, orient="row")
