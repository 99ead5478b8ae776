"""Parity: of any instant that items carry, of items that have moved on, and of values however small."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from handler.definitions.schema import feature_schema
from handler.definitions.spec import FeatureSpec
from machine_features import FeatureStore, to_pandas
from machine_features.__main__ import main
from machine_features.online import KEPT_ITEMS
from machine_features.parity import compare
from tests.harness import Pipeline, at, line, write_raw
from tests.unit.machine_features.conftest import Plant

MEAN = "vibration_rms_mean_1h"


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """Four hours of two machines."""
    for hour in range(4):
        lines = [line(name, at(hour + k / 12), vibration=k + hour) for name in ("M1", "M2") for k in range(12)]
        write_raw(tmp_path, at(hour), "a.jsonl", lines)
    return Pipeline(tmp_path)


def keep_items(pipeline: Pipeline) -> FeatureStore:
    items = pipeline.table.items.values()
    (pipeline.root / KEPT_ITEMS).write_text("".join(f"{json.dumps(item)}\n" for item in items))
    return FeatureStore.open(pipeline.root)


def run_command(pipeline: Pipeline, as_of: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[Any]]:
    status = main(["parity", as_of, "--lake", str(pipeline.root), "--json"])
    return status, [json.loads(row) for row in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("minutes", [0, 5, 35, 55])
def test_any_instant_that_items_carry_is_compared(
    minutes: int, pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.run(at(2, minutes=minutes))
    store = keep_items(pipeline)
    found = store.parity(at(2, minutes=minutes))
    assert found.cells.is_empty()
    assert found.compared > 2 * 40
    assert run_command(pipeline, f"2025-10-15T02:{minutes:02d}:00Z", capsys) == (0, [])
    item = pipeline.table.items["M1"]
    item[MEAN]["N"] = str(float(item[MEAN]["N"]) + 1)
    keep_items(pipeline)
    status, cells = run_command(pipeline, f"2025-10-15T02:{minutes:02d}:00Z", capsys)
    assert [status, [(cell["machine_id"], cell["feature"], cell["cause"]) for cell in cells]] == [
        1, [("M1", MEAN, "unexplained")],
    ]  # fmt: skip


def test_off_the_hour_what_came_late_explains_the_difference(pipeline: Pipeline) -> None:
    pipeline.run(at(2, minutes=30))
    then = dict(pipeline.table.items)
    write_raw(pipeline.root, at(3), "late.jsonl", [line("M1", at(2, minutes=28), vibration=100)])
    pipeline.run(at(4))
    pipeline.table.items = then
    found = keep_items(pipeline).parity(at(2, minutes=30))
    assert found.count("cause").keys() == {"late_data"}
    assert found.cells.get_column("machine_id").unique().to_list() == ["M1"]
    assert MEAN in found.cells.get_column("feature")


def test_item_that_has_moved_on_is_said_and_not_compared(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.run(at(2))
    first = dict(pipeline.table.items)
    pipeline.run(at(4))
    pipeline.table.items["M2"] = first["M2"]
    found = keep_items(pipeline).parity(at(2))
    assert found.cells.rows() == [
        ("M1", "event_timestamp", "2025-10-15T04:00:00Z", "2025-10-15T02:00:00Z", "moved_on", None, "moved_on")
    ]
    assert found.compared > 40
    assert found.smape == 0
    status, cells = run_command(pipeline, "2025-10-15T02:00:00Z", capsys)
    assert (status, [cell["cause"] for cell in cells]) == (0, ["moved_on"])


def test_instant_that_nothing_speaks_of_is_no_success(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline.run(at(2))
    keep_items(pipeline)
    assert main(["parity", "2026-01-01T00:00:00Z", "--lake", str(pipeline.root)]) == 2
    assert "there is nothing to compare" in capsys.readouterr().err


def test_hour_after_the_newest_arrival_is_compared(pipeline: Pipeline) -> None:
    pipeline.run(at(9))
    found = keep_items(pipeline).parity(at(9))
    assert found.cells.is_empty()
    assert found.compared > 2 * 30


def test_items_as_a_frame_of_pandas(plant: Plant) -> None:
    frame = plant.online_frame(at(6))
    expected = plant.store.parity(at(6), online=frame)
    found = plant.store.parity(at(6), online=to_pandas(frame))
    assert found.compared == expected.compared
    assert found.cells.height == expected.cells.height
    late = frame.with_columns(event_timestamp=pl.lit(at(7)))
    assert plant.store.parity(at(6), online=late).count("cause") == {"moved_on": frame.height}


def test_machines_of_numbers_are_taken_as_text(plant: Plant) -> None:
    assert plant.store.parity(at(6), online={"machine_id": [7], MEAN: [1.0]}).count("kind")["extra"] == 1


@pytest.mark.parametrize(
    ("name", "one", "other", "is_equal"),
    [
        (MEAN, 1e-10, 9e-10, False),
        (MEAN, 1e-10, 1e-10 * (1 + 1e-10), True),
        (MEAN, 1e-300, 2e-300, False),
        (MEAN, 0.0, 1e-12, False),
        ("vibration_rms_max_6h", 0.5, 0.5 + 2e-9, False),
        ("vibration_rms_max_6h", 1e12, 1e12 * (1 + 1e-10), True),
        ("vibration_rms_count_1h", 5, 6, False),
        ("vibration_rms_skew_1h", 1e-13, -1e-13, True),
    ],
)
def test_values_are_compared_by_their_own_size(name: str, one: float, other: float, is_equal: bool) -> None:
    schema = feature_schema(FeatureSpec.load())
    rows = [
        pl.DataFrame({"machine_id": ["M1"], "event_timestamp": [at(1)], name: pl.Series([value], dtype=schema[name])})
        for value in (one, other)
    ]
    found = compare(rows[0], rows[1], rows[1], {name: schema[name]}, at(1))
    assert found.compared == 1
    assert found.cells.is_empty() == is_equal


def test_mean_and_slope_near_zero_are_rounded_by_the_size_of_the_readings() -> None:
    schema = {f"vibration_rms_{each}_1h": pl.Float64() for each in ("min", "max", "mean", "slope_per_hour")}
    rows = [
        pl.DataFrame({"machine_id": ["M1"], "event_timestamp": [at(1)],
                      **dict(zip(schema, (-3.0, 3.0, mean, mean), strict=True))})
        for mean in (1e-16, -2e-16, 1e-6)
    ]  # fmt: skip
    assert compare(rows[0], rows[1], rows[1], schema, at(1)).cells.is_empty()
    assert compare(rows[0], rows[2], rows[2], schema, at(1)).cells.height == 2
