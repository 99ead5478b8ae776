"""Frames for tests: accepted lines, their tiles, and frames that are equal but for rounding."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import polars as pl
from polars.testing import assert_frame_equal

from handler.definitions.spec import FeatureSpec
from handler.ingest.duplicates import UniqueLines
from handler.tiles.build import build_tiles
from handler.tiles.merge import merge_tiles

LINES = {
    "machine_id": pl.String(),
    "event_time": pl.Datetime("us", "UTC"),
    "temperature_celsius": pl.Float64(),
    "vibration_rms": pl.Float64(),
}
Row = dict[str, Any]
Point = tuple[str, datetime, float | None, float | None]


def frame(*rows: Point) -> pl.DataFrame:
    """Accepted lines, as ingest yields them: NaN where a line has no reading."""
    return pl.DataFrame(rows, schema=LINES, orient="row").with_columns(pl.selectors.float().fill_null(float("nan")))


def tiles_of(lines: pl.DataFrame, spec: FeatureSpec) -> pl.DataFrame:
    """The tiles of lines, equal ones counted each time; sorted."""
    return merge_tiles(build_tiles(UniqueLines(lines, has_ties=True), spec.reading_names))


def assert_close(actual: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Equal but for the rounding of sums in another order."""
    assert_frame_equal(actual, expected, rel_tol=1e-12, abs_tol=1e-12)


def assert_rows_close(actual: Mapping[str, Row], expected: Mapping[str, Row]) -> None:
    """The same machines, and rows that are equal but for rounding."""
    assert_close(
        *(pl.DataFrame([{"machine": name, **row} for name, row in rows.items()]) for rows in (actual, expected))
    )
