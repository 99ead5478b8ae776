"""The arithmetic of tiles: moments of two variables that merge without loss. Pure.

A row summarizes ``n`` samples of two variables. They are x, the values of a reading, and y, their event times; or, for
a correlation, the tile means of two readings. It holds the ends of each variable, and moments of the *position* between
the ends: 0 at the lowest value, 1 at the highest.

====================  ===========================================================================
``n``                 samples
``first`` ``last``    x at the lowest and at the highest y; the largest x where several share it
``{v}_min`` ``_max``  the ends of a variable
``{v}_centre``        the mean position
``{v}_m2`` …          sums of powers of (position - centre); up to the fourth for x, the second for y
``cross``             sum of products of both deviations
``tiles``             how many tiles are in it; only hours and windows have it
====================  ===========================================================================

A position has no unit, and n positions that reach both ends have a variance of at least 1/(2n). So no power overflows
or vanishes, whatever the unit, and readings near 1e9 that differ in their last digits keep their variance.

Merging moves the positions to the common ends, and adds by the formulas for any number of sets:

    M_p = Σ_i Σ_k C(p, k) · M_{p-k, i} · δ_i^k,     δ_i = mean_i - mean,  M_0 = n,  M_1 = 0

Chan, Golub and LeVeque, "Algorithms for computing the sample variance" (1983), eq. 2.1; Pébay, "Formulas for robust,
one-pass parallel computation of covariances and arbitrary-order statistical moments" (SAND2008-6212), eq. 2.1, 3.12.
"""

from collections.abc import Sequence

import polars as pl

from handler.definitions.schema import TILE_KEYS


def merge_moments(rows: pl.LazyFrame, by: Sequence[str]) -> pl.LazyFrame:
    """Merge the summaries of each group into one.

    Parameters
    ----------
    rows
        The columns of ``by`` without nulls, those of ``MOMENTS`` and perhaps ``tiles``, which is added up.
    by
        The columns that name a group.

    Returns
    -------
    pl.LazyFrame
        ``by``, ``tiles`` where it was there, then the columns of ``MOMENTS``; sorted by ``by``.

    Examples
    --------
    Two summaries: one sample at 70.0, and two at 70.0 and 74.0.

    >>> rows = pl.LazyFrame({
    ...     "machine_id": "P1", "n": [1, 2], "first": [70.0, 74.0], "last": [70.0, 70.0],
    ...     "x_min": 70.0, "x_max": [70.0, 74.0], "x_centre": [0.0, 0.5],
    ...     "x_m2": [0.0, 0.5], "x_m3": 0.0, "x_m4": [0.0, 0.125],
    ...     "y_min": [0.0, 1.0], "y_max": [0.0, 2.0], "y_centre": [0.0, 0.5], "y_m2": [0.0, 0.5], "cross": [0.0, -0.5],
    ... })
    >>> merge_moments(rows, ["machine_id"]).select("n", "first", "last", "x_max", "x_centre").collect().rows()
    [(3, 70.0, 70.0, 74.0, 0.3333333333333333)]
    """
    n, r, q, d, e = (pl.col(name) for name in ("n", "x_scale", "y_scale", "x_offset", "y_offset"))
    m2, m3, m4 = r**2 * pl.col("x_m2"), r**3 * pl.col("x_m3"), r**4 * pl.col("x_m4")
    sums = {
        "tiles": pl.col("^tiles$").sum(),  # nothing where there is no such column
        "n": n.sum(),
        "first": pl.when(pl.col("y_min") == pl.col("y_lowest")).then("first").max(),
        "last": pl.when(pl.col("y_max") == pl.col("y_highest")).then("last").max(),
        "x_min": pl.col("x_lowest").first(),
        "x_max": pl.col("x_highest").first(),
        "x_centre": pl.col("x_middle").first(),
        "x_m2": (m2 + n * d**2).sum(),
        "x_m3": (m3 + 3 * d * m2 + n * d**3).sum(),
        "x_m4": (m4 + 4 * d * m3 + 6 * d**2 * m2 + n * d**4).sum(),
        "y_min": pl.col("y_lowest").first(),
        "y_max": pl.col("y_highest").first(),
        "y_centre": pl.col("y_middle").first(),
        "y_m2": (q**2 * pl.col("y_m2") + n * e**2).sum(),
        "cross": (r * q * pl.col("cross") + n * d * e).sum(),
    }
    return _move_to_common_ends(rows, by).group_by(by).agg(**sums).sort(by)


def _move_to_common_ends(rows: pl.LazyFrame, by: Sequence[str]) -> pl.LazyFrame:
    """Add where each row's positions lie between the ends of its group.

    For each variable: the ends of the group (``lowest``, ``highest``) and the row's length by the group's (``scale``).
    Then the mean position of the group (``middle``), and the distance from it to that of the row (``offset``).
    """
    ends: dict[str, pl.Expr] = {}
    scales: dict[str, pl.Expr] = {}
    positions: dict[str, pl.Expr] = {}
    middles: dict[str, pl.Expr] = {}
    offsets: dict[str, pl.Expr] = {}
    for v in "xy":
        low, high, lowest, highest = (pl.col(f"{v}_{end}") for end in ("min", "max", "lowest", "highest"))
        ends |= {f"{v}_lowest": low.min().over(by), f"{v}_highest": high.max().over(by)}
        scales[f"{v}_scale"] = divide(high - low, highest - lowest)
        # each divided before they are added: a subnormal length times a centre is no position any more
        start = divide(low - lowest, highest - lowest)
        position, n = pl.col(f"{v}_position"), pl.col("n")
        positions[f"{v}_position"] = start + pl.col(f"{v}_scale") * pl.col(f"{v}_centre")
        middles[f"{v}_middle"] = ((position * n).sum() / n.sum()).over(by)
        offsets[f"{v}_offset"] = position - pl.col(f"{v}_middle")
    for columns in (ends, scales, positions, middles, offsets):
        rows = rows.with_columns(**columns)
    return rows


def merge_tiles(tiles: pl.DataFrame) -> pl.DataFrame:
    """Merge what several batches or partitions hold of the same tile, so that each tile is there once.

    Parameters
    ----------
    tiles
        Columns of ``TILE_SCHEMA``.

    Returns
    -------
    pl.DataFrame
        The same columns, sorted by machine, reading and start.
    """
    is_shared = tiles.select(TILE_KEYS).is_duplicated()  # mostly few: files follow each other in time
    merged = merge_moments(tiles.lazy().filter(is_shared), TILE_KEYS)
    return pl.concat([tiles.lazy().filter(~is_shared), merged]).sort(TILE_KEYS).collect()


def divide(part: pl.Expr, whole: pl.Expr | float) -> pl.Expr:
    """Divide, rounding once; 0 where the whole is 0.

    Polars multiplies by the reciprocal of a divisor that it knows to be the same in every row. That is a bit off, and
    infinite for a subnormal number. Adding zeros of the part makes the divisor a column like any other.
    """
    part = part.cast(pl.Float64)
    divisor = part * 0.0 + whole
    return pl.when(divisor != 0).then(part / divisor).otherwise(0.0)
