"""Hours and tiles, merged into the windows that end at an instant. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl

from handler.definitions.timestamps import INSTANT
from handler.tiles.hours import count_times_from
from handler.tiles.merge import merge_moments


def merge_windows(parts: pl.LazyFrame, as_of: datetime, lengths: Sequence[timedelta]) -> pl.LazyFrame:
    """Merge parts into the windows ``[as_of - length, as_of)``.

    Parameters
    ----------
    parts
        ``machine_id``, ``series``, ``start``, ``tiles``, then ``MOMENTS``: hours or tiles that no window splits. Parts
        outside the longest window are left out.
    as_of
        The end of the windows, UTC.
    lengths
        The windows' lengths, ascending.

    Returns
    -------
    pl.LazyFrame
        ``machine_id``, ``series``, ``window`` (Duration, µs: its length), ``tiles``, then ``MOMENTS``, of which y of a
        reading counts in microseconds from ``as_of``.
    """
    end = pl.lit(as_of, dtype=INSTANT)
    age = end - pl.col("start")
    seen = count_times_from(parts, end).filter(age > timedelta(0))
    within = [
        seen.filter(age <= length).with_columns(window=pl.lit(length, dtype=pl.Duration("us"))) for length in lengths
    ]
    return merge_moments(pl.concat(within), ["machine_id", "series", "window"])
