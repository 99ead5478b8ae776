"""Hours and tiles, merged into the windows that end at an instant. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl

from handler.definitions.timestamps import INSTANT
from handler.tiles.hours import count_times_from
from handler.tiles.merge import merge_moments


def merge_windows(parts: pl.LazyFrame, as_of: datetime, lengths: Sequence[timedelta]) -> pl.LazyFrame:
    """Merge parts into the windows ``[as_of - length, as_of)``.

    The windows end together, so each one is the next shorter one and a ring before it. Every part is merged into its
    ring once, and the rings are merged into windows.

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
    age = pl.lit(as_of, dtype=INSTANT) - pl.col("start")
    lasting = pl.Series("window", lengths, dtype=pl.Duration("us"))
    seen = parts.filter((age > timedelta(0)) & (age <= lengths[-1])).with_columns(
        ring=pl.sum_horizontal((age > length).cast(pl.Int32) for length in lengths)
    )
    rings = merge_moments(count_times_from(seen, pl.lit(as_of, dtype=INSTANT)), ["machine_id", "series", "ring"])
    rings = rings.collect().lazy()  # once: the filters below would be pushed under the merging
    within = [
        rings.filter(pl.col("ring") <= number).with_columns(window=pl.lit(lasting[number], dtype=lasting.dtype))
        for number in range(len(lengths))
    ]
    return merge_moments(pl.concat(within), ["machine_id", "series", "window"])
