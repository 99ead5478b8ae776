"""Feature rows: edges of windows, machines that come and go, and what is null."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from handler.definitions.schema import TILE_SCHEMA, feature_schema
from handler.definitions.spec import FeatureSpec
from handler.features.rows import compute_features
from handler.tiles.merge import merge_tiles
from tests.frames import Point, assert_close, frame, tiles_of
from tests.harness import at, to_rows

SPEC = FeatureSpec.load()


def rows_at(as_of: datetime, *lines: Point, spec: FeatureSpec = SPEC) -> dict[str, dict[str, Any]]:
    return to_rows(compute_features(tiles_of(frame(*lines), spec), [as_of], spec))


def test_no_tiles_give_no_rows_but_every_column() -> None:
    rows = compute_features(pl.DataFrame(schema=dict(TILE_SCHEMA)), [at(9)], SPEC)
    assert rows.is_empty()
    assert dict(rows.schema) == {
        "machine_id": pl.String,
        "event_timestamp": pl.Datetime("us", "UTC"),
        **feature_schema(SPEC),
    }


def test_window_is_left_closed_and_right_open() -> None:
    rows = rows_at(
        at(9),
        ("M1", at(8) - timedelta(microseconds=1), 1.0, None),
        ("M1", at(8), 2.0, None),
        ("M1", at(9) - timedelta(microseconds=1), 4.0, None),
        ("M1", at(9), 8.0, None),
    )["M1"]
    assert rows["temperature_celsius_count_1h"] == 2
    assert rows["temperature_celsius_mean_1h"] == 3.0
    assert rows["temperature_celsius_count_6h"] == 3
    assert rows["temperature_celsius_staleness_seconds"] == 1e-6


def test_machine_leaves_after_24_hours_of_silence() -> None:
    last = ("M1", at(0), 1.0, None)
    assert list(rows_at(at(24), last)) == ["M1"]
    assert rows_at(at(24, minutes=5), last) == {}
    assert rows_at(at(0), last) == {}


def test_reading_a_machine_does_not_have_is_null_with_count_and_coverage_zero() -> None:
    row = rows_at(at(9), ("M1", at(8.5), 1.0, None))["M1"]
    vibration = {name: value for name, value in row.items() if name.startswith("vibration_rms")}
    assert {name for name, value in vibration.items() if value is not None} == {
        f"vibration_rms_{stat}_{window}" for stat in ("count", "coverage") for window in ("1h", "6h", "24h")
    }
    assert {value for value in vibration.values() if value is not None} == {0}


def test_one_reading_has_no_spread_to_speak_of() -> None:
    row = rows_at(at(9), ("M1", at(8.5), 5.0, None))["M1"]
    stats = {name.split("_celsius_")[1]: value for name, value in row.items() if name.endswith("_1h")
             and name.startswith("temperature_celsius_") and "corr" not in name}  # fmt: skip
    assert stats == {
        "count_1h": 1, "mean_1h": 5.0, "min_1h": 5.0, "max_1h": 5.0, "range_1h": 0.0, "std_1h": None, "first_1h": 5.0,
        "last_1h": 5.0, "rms_1h": 5.0, "crest_factor_1h": 1.0, "skew_1h": None, "kurtosis_1h": None,
        "slope_per_hour_1h": None, "coverage_1h": 1 / 12,
    }  # fmt: skip


def test_statistics_of_a_small_window_worked_out_by_hand() -> None:
    lines = [("M1", at(8, minutes=15 * k), value, None) for k, value in enumerate((1.0, 2.0, 3.0, 6.0))]
    row = rows_at(at(9), *lines)["M1"]
    expected = {"mean": 3.0, "range": 5.0, "std": (14 / 3) ** 0.5, "rms": 12.5**0.5, "crest_factor": 6 / 12.5**0.5,
                "skew": 4.5 / 3.5**1.5, "kurtosis": 24.5 / 3.5**2 - 3, "slope_per_hour": 6.4}  # fmt: skip
    for stat, value in expected.items():
        assert row[f"temperature_celsius_{stat}_1h"] == pytest.approx(value, rel=1e-14)


def test_all_zero_has_an_rms_but_no_crest_factor() -> None:
    row = rows_at(at(9), ("M1", at(8.1), 0.0, 0.0), ("M1", at(8.6), 0.0, 0.0))["M1"]
    assert row["vibration_rms_rms_1h"] == 0.0
    assert row["vibration_rms_crest_factor_1h"] is None
    assert row["vibration_rms_slope_per_hour_1h"] == 0.0
    assert row["vibration_rms_std_1h"] == 0.0


@pytest.mark.parametrize("unit", [5e-324, 1e-310, 1.0, 200.0])
def test_crest_factor_does_not_depend_on_the_unit(unit: float) -> None:
    """Not even where the mean is too small for a double: half of 5e-324 is 0."""
    row = rows_at(at(9), ("M1", at(8.1), None, 0.0), ("M1", at(8.6), None, unit))["M1"]
    assert row["vibration_rms_crest_factor_1h"] == pytest.approx(2**0.5, rel=1e-14)


def test_equal_times_have_no_slope() -> None:
    row = rows_at(at(9), ("M1", at(8.5), 1.0, None), ("M1", at(8.5), 2.0, None))["M1"]
    assert row["temperature_celsius_slope_per_hour_1h"] is None
    assert row["temperature_celsius_first_1h"] == row["temperature_celsius_last_1h"] == 2.0


@pytest.mark.parametrize(
    ("mean", "zone"),
    [(0.0, "A"), (2.3, "A"), (2.3000001, "B"), (4.5, "B"), (4.6, "C"), (7.1, "C"), (7.2, "D"), (200.0, "D")],
)
def test_boundary_belongs_to_the_lower_zone(mean: float, zone: str) -> None:
    assert rows_at(at(9), ("M1", at(8.5), None, mean))["M1"]["vibration_rms_zone"] == zone


@pytest.mark.parametrize("boundary", [2.3, 4.5, 7.1])
def test_mean_that_is_a_boundary_but_for_rounding_lies_in_the_lower_zone(boundary: float) -> None:
    """Three readings whose exact mean is the boundary, or lies within 1e-9 of it; sums round."""
    zone = {2.3: "A", 4.5: "B", 7.1: "C"}[boundary]
    for spread in (0.1, 0.3, 0.7, 1.1):
        values = (boundary - spread, boundary, boundary + spread * (1 + 1e-10))
        points: list[Point] = [("M1", at(8.5, seconds=k), None, value) for k, value in enumerate(values)]
        assert rows_at(at(9), *points)["M1"]["vibration_rms_zone"] == zone
    above = rows_at(at(9), ("M1", at(8.5), None, boundary * (1 + 3e-9)))["M1"]["vibration_rms_zone"]
    assert above == chr(ord(zone) + 1)


def test_zone_speaks_of_the_last_hour_only() -> None:
    assert rows_at(at(9), ("M1", at(7.5), None, 50.0))["M1"]["vibration_rms_zone"] is None


def test_zone_needs_no_window_of_an_hour() -> None:
    text = 'windows = ["30m"]\n[[readings]]\nname = "vibration_rms"\nplausible = [0, 9]\nzones = [1, 2, 3]\n'
    spec = FeatureSpec.parse(text)
    lines = pl.DataFrame(
        {"machine_id": ["M1", "M1"], "event_time": [at(8.2), at(8.9)], "vibration_rms": [1.0, 4.0]},
        schema_overrides={"event_time": pl.Datetime("us", "UTC")},
    )
    row = to_rows(compute_features(tiles_of(lines, spec), [at(9)], spec))["M1"]
    assert row["vibration_rms_zone"] == "C"
    assert row["vibration_rms_mean_30m"] == 4.0


def test_coverage_counts_a_tile_once_however_many_partitions_hold_it() -> None:
    on_time = tiles_of(frame(("M1", at(8.5), 1.0, None)), SPEC)
    late = tiles_of(frame(("M1", at(8.5, seconds=30), 3.0, None)), SPEC)
    row = to_rows(compute_features(merge_tiles(pl.concat([on_time, late])), [at(9)], SPEC))["M1"]
    assert row["temperature_celsius_coverage_1h"] == 1 / 12
    assert row["temperature_celsius_mean_1h"] == 2.0


def test_correlation_is_of_tile_means_where_both_exist() -> None:
    lines: list[Point] = []
    for tile, (a, b) in enumerate([(1.0, 10.0), (2.0, 20.0), (3.0, 40.0)]):
        start = at(8, minutes=5 * tile)
        lines += [("M1", start, a - 0.5, b), ("M1", start + timedelta(minutes=4), a + 0.5, None)]
    lines.append(("M1", at(8.9), 99.0, None))
    row = rows_at(at(9), *lines)["M1"]
    assert row["temperature_celsius_vibration_rms_corr_1h"] == pytest.approx(0.981980506061966, rel=1e-12)


def test_correlation_is_null_below_three_tiles_or_where_one_side_is_constant() -> None:
    two: list[Point] = [("M1", at(8, minutes=5 * k), float(k), float(k)) for k in range(2)]
    assert rows_at(at(9), *two)["M1"]["temperature_celsius_vibration_rms_corr_1h"] is None
    flat: list[Point] = [("M1", at(8, minutes=5 * k + m), 0.1 * (m + 1), float(k)) for k in range(5) for m in range(3)]
    assert rows_at(at(9), *flat)["M1"]["temperature_celsius_vibration_rms_corr_1h"] is None


def test_instants_of_one_call_are_those_of_many() -> None:
    lines: list[Point] = [("M1", at(k / 7), k % 11, k % 3) for k in range(200)]
    lines += [("M2", at(k / 5), k % 7, None) for k in range(60)]
    tiles = tiles_of(frame(*lines), SPEC)
    instants = [at(h, minutes=35) for h in range(30)]
    together = compute_features(tiles, instants, SPEC)
    alone = pl.concat(compute_features(tiles, [instant], SPEC) for instant in instants)
    assert_close(together, alone)
    assert together["event_timestamp"].n_unique() > 25
