"""Tiles: five minutes of one machine's one reading as statistics that merge without loss.

A summary describes values and their times by the ends of both, and by moments of the *position* between the ends:
0 at the lowest value (or first instant), 1 at the highest (or last). So every moment is a small number with a
variance of at least 1/(2n), whatever the unit: readings near 1e9 that differ in the last digit, or by less than the
square root of the smallest double, lose nothing, and no power overflows.

Merging rescales the positions to the common ends and applies the formulas for central moments and co-moments of any
number of sets:

    M_p = Σ_i Σ_k C(p, k) · M_{p-k, i} · δ_i^k,     δ_i = mean_i - mean,  M_0 = n,  M_1 = 0

Chan, Golub and LeVeque, "Algorithms for computing the sample variance" (1983), eq. 2.1; Pébay, "Formulas for robust,
one-pass parallel computation of covariances and arbitrary-order statistical moments" (SAND2008-6212), eq. 2.1, 3.12.
"""

from collections.abc import Sequence
from typing import Final

import polars as pl

from handler.definitions.schema import TILE_SCHEMA
from handler.definitions.spec import FeatureSpec

_MERGED: Final = ("n", "first", "last", "cross", "tiles")


def build_tiles(readings: pl.DataFrame, spec: FeatureSpec) -> pl.DataFrame:
    """Summarize accepted lines into tiles.

    A reading counts in the tile ``[start, start + 5 min)`` of its own event time, however late it arrived.

    Parameters
    ----------
    readings
        ``machine_id`` (String), ``event_time`` (Datetime, µs, UTC) and a Float64 column a reading, with nulls.
    spec
        Which columns are readings.

    Returns
    -------
    pl.DataFrame
        Columns of ``TILE_SCHEMA``, sorted by machine, reading and start.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> lines = pl.DataFrame({
    ...     "machine_id": ["P1", "P1"],
    ...     "event_time": [datetime(2025, 10, 15, 9, 1, tzinfo=UTC), datetime(2025, 10, 15, 9, 3, tzinfo=UTC)],
    ...     "temperature_celsius": [70.0, 74.0],
    ...     "vibration_rms": [None, None],
    ... }, schema_overrides={"vibration_rms": pl.Float64, "event_time": pl.Datetime("us", "UTC")})
    >>> build_tiles(lines, FeatureSpec.load()).select("reading", "n", "value_min", "value_max", "value_m2").rows()
    [('temperature_celsius', 2, 70.0, 74.0, 0.5)]
    """
    if readings.is_empty():
        return pl.DataFrame(schema=dict(TILE_SCHEMA))
    from handler.tiles.ordered_lines import Lines, order_lines  # noqa: PLC0415 - numpy takes half as long as Polars to load
    from handler.tiles.tile_arrays import TileArrays  # noqa: PLC0415

    return TileArrays.summarize(order_lines(Lines.from_frame(readings, spec))).to_frame()


def merge_tiles(tiles: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Merge the summaries of each group into one: tiles of one start from several partitions, or tiles of a window.

    Parameters
    ----------
    tiles
        Columns of ``TILE_SCHEMA`` and those of ``by``. The groups' rows are added in their order here, so equal
        input in equal order gives equal bits.
    by
        The columns that name a group, for example ``("machine_id", "reading")``.

    Returns
    -------
    pl.DataFrame
        The columns of ``by``, then those of ``TILE_SCHEMA`` less its keys, and ``tiles``, added up, where it was
        there; sorted by ``by``.
    """
    return merge_moments(tiles, by, x="value", y="time")


def merge_moments(rows: pl.DataFrame, by: Sequence[str], *, x: str, y: str) -> pl.DataFrame:
    """Merge moments of two variables by group, the one up to the fourth order, the other to the second.

    Parameters
    ----------
    rows
        For ``x``: columns ``{x}_min``, ``{x}_max``, ``{x}_centre``, ``{x}_m2``, ``{x}_m3``, ``{x}_m4``; for ``y`` the
        same without the last two; ``n`` and ``cross``. Perhaps ``first`` and ``last``, the values of x at the ends of
        y, and ``tiles``, which is added up.
    by
        The columns that name a group: text, numbers or instants.
    x, y
        The variables' prefixes.

    Returns
    -------
    pl.DataFrame
        ``by``, then the same columns in their order; sorted by ``by``.
    """
    names = [name for name in rows.columns if name in _MERGED or name.startswith((f"{x}_", f"{y}_"))]
    if rows.is_empty():
        return rows.select(*by, *names)
    from handler.tiles.compiled_merge import take_rows  # noqa: PLC0415 - with numpy, which takes half as long as Polars
    from handler.tiles.moments import merge  # noqa: PLC0415
    from handler.tiles.ordering import order_rows, to_array  # noqa: PLC0415

    ordering = order_rows(rows, by)
    if ordering.begins.all():  # nothing to merge
        return rows.select(*by, *names)[ordering.order]
    columns = take_rows({name: to_array(rows.get_column(name)) for name in names}, ordering.order)
    segments = ordering.segments
    merged = pl.DataFrame(merge(columns, segments, x=x, y=y)).select(names)
    keys = rows.select(by)[ordering.order[segments.starts]]
    return keys.hstack(merged.cast({name: rows.schema[name] for name in names}))
