"""The training set as files, and as frames for whoever trains."""

import subprocess
import sys
from pathlib import Path

import polars as pl

from handler.definitions.layout import training_key
from handler.definitions.schema import feature_schema
from handler.definitions.spec import FeatureSpec
from handler.features.rows import compute_features
from handler.lake.lake import Lake
from handler.stores.training import write_training_hours
from tests.frames import frame, tiles_of
from tests.harness import NOW, at, environment_without_python

SPEC = FeatureSpec.load()


def some_rows() -> pl.DataFrame:
    lines = [("M2", at(7.5), 1.0, 2.0), ("M1", at(8.5), 3.0, None), ("Ñ", at(8.9), None, 9.0)]
    return compute_features(tiles_of(frame(*lines), SPEC), [at(8), at(9)], SPEC)


def test_file_has_the_contracts_columns_types_and_order(tmp_path: Path) -> None:
    write_training_hours(Lake.open(tmp_path.as_uri()), [at(8), at(9)], some_rows(), NOW)
    stored = pl.read_parquet(tmp_path / "processed/training/year=2025/month=10/day=15/hour=09/features.parquet")
    instant = pl.Datetime("us", "UTC")
    head = {"machine_id": pl.String(), "event_timestamp": instant, "created_timestamp": instant}
    assert dict(stored.schema) == head | feature_schema(SPEC)
    assert {str(t) for name, t in stored.schema.items() if "_count_" in name} == {"Int64"}
    assert stored["machine_id"].to_list() == ["M1", "M2", "Ñ"]
    assert stored["event_timestamp"].unique().to_list() == [at(9)]


def test_hour_without_machines_gets_a_file_that_says_so(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path.as_uri())
    write_training_hours(lake, [at(5)], some_rows(), NOW)
    assert pl.read_parquet(tmp_path / training_key(at(5))).is_empty()


def test_handler_imports_neither_pandas_nor_numpy_nor_boto3() -> None:
    script = (
        "import sys, handler.app, handler.stores.training; "
        "print(sorted({'pandas', 'numpy', 'pyarrow', 'boto3', 'botocore.session', 'rich', 'moto'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
        env=environment_without_python(),
    )
    assert done.stdout.strip() == "[]"
