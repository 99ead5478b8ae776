"""Frames for tests: accepted lines, their tiles, and frames that are equal but for rounding."""

from datetime import datetime

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
