"""The training set as files, and as frames for whoever trains."""

import hashlib
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import polars as pl

from handler.definitions.layout import training_key
from handler.definitions.schema import feature_schema
from handler.definitions.spec import PACKAGED, FeatureSpec
from handler.features.rows import compute_features
from handler.lake.lake import Lake
from handler.lake.parquet import Seal
from handler.stores.training import Origin, write_training_hours
from tests.frames import frame, tiles_of
from tests.harness import NOW, at, environment_without_python

SPEC = FeatureSpec.load()
ORIGIN = Origin.describe(SPEC, timedelta(hours=24), {at(7): "state"})


def some_rows() -> pl.DataFrame:
    lines = [("M2", at(7.5), 1.0, 2.0), ("M1", at(8.5), 3.0, None), ("Ñ", at(8.9), None, 9.0)]
    return compute_features(tiles_of(frame(*lines), SPEC), [at(8), at(9)], SPEC)


def test_file_has_the_contracts_columns_types_and_order(tmp_path: Path) -> None:
    write_training_hours(Lake.open(tmp_path.as_uri()), {at(8): ORIGIN, at(9): ORIGIN}, some_rows(), NOW)
    stored = pl.read_parquet(tmp_path / "processed/training/year=2025/month=10/day=15/hour=09/features.parquet")
    instant = pl.Datetime("us", "UTC")
    head = {"machine_id": pl.String(), "event_timestamp": instant, "created_timestamp": instant}
    assert dict(stored.schema) == head | feature_schema(SPEC)
    assert {str(t) for name, t in stored.schema.items() if "_count_" in name} == {"Int64"}
    assert stored["machine_id"].to_list() == ["M1", "M2", "Ñ"]
    assert stored["event_timestamp"].unique().to_list() == [at(9)]


def test_hour_without_machines_gets_a_file_that_says_so(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path.as_uri())
    write_training_hours(lake, {at(5): ORIGIN}, some_rows(), NOW)
    assert pl.read_parquet(tmp_path / training_key(at(5))).is_empty()


def test_footer_says_what_the_file_was_made_of(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path.as_uri())
    write_training_hours(lake, {at(9): ORIGIN}, some_rows(), NOW)
    (tail,) = lake.read_tails([training_key(at(9))])
    found = Seal.read(tail)
    assert found is not None
    metadata = found.metadata
    assert metadata["features.toml"] == PACKAGED.read_text(encoding="utf-8")
    assert metadata["features.sha256"] == hashlib.sha256(PACKAGED.read_bytes()).hexdigest()
    assert Origin.from_seal(found) == ORIGIN
    assert Origin.from_seal(Seal({}, {})) is Origin.from_seal(None) is None


def test_footer_of_many_machines_is_as_short_as_that_of_few(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path.as_uri())
    rows = pl.concat([some_rows()] * 9000)
    write_training_hours(lake, {at(9): ORIGIN}, rows, NOW)
    (tail,) = lake.read_tails([training_key(at(9))])
    assert Origin.from_seal(Seal.read(tail)) == ORIGIN


def test_origin_differs_with_features_lateness_partitions_and_their_states() -> None:
    other = FeatureSpec.parse(SPEC.text.replace('"1h"', '"2h"'))
    day = timedelta(hours=24)
    origins = [
        ORIGIN,
        Origin.describe(other, day, {at(7): "state"}),
        Origin.describe(SPEC, timedelta(hours=23), {at(7): "state"}),
        Origin.describe(SPEC, day, {at(7): "another"}),
        Origin.describe(SPEC, day, {at(6): "state"}),
        Origin.describe(SPEC, day, {at(7): "state", at(8): "state"}),
        Origin.describe(SPEC, day, {}),
    ]
    assert len(set(origins)) == len(origins)
    with_comment = FeatureSpec.parse(f"# a comment\n{SPEC.text}")
    assert Origin.describe(with_comment, day, {at(7): "state"}) == ORIGIN


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
