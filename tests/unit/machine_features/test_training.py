"""The training set, as frames for whoever trains."""

import re
import sys
from datetime import timedelta
from pathlib import Path

import pandas as pd
import polars as pl
from polars.testing import assert_frame_equal

from handler.definitions.spec import FeatureSpec
from handler.features.rows import compute_features
from handler.lake.lake import Lake
from handler.stores.training import Origin, write_training_hours
from machine_features.pandas_boundary import to_pandas
from machine_features.training import read_training
from tests.frames import frame, tiles_of
from tests.harness import NOW, at

SPEC = FeatureSpec.load()
ORIGIN = Origin.describe(SPEC, timedelta(hours=24), {at(7): "state"})


def some_rows() -> pl.DataFrame:
    lines = [("M2", at(7.5), 1.0, 2.0), ("M1", at(8.5), 3.0, None), ("Ñ", at(8.9), None, 9.0)]
    return compute_features(tiles_of(frame(*lines), SPEC), [at(8), at(9)], SPEC)


def test_reading_back_gives_the_rows_that_were_written(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path.as_uri())
    rows = some_rows()
    write_training_hours(lake, {at(8): ORIGIN, at(9): ORIGIN}, rows, NOW)
    back = read_training(lake, [at(7), at(8), at(9)], SPEC)
    assert_frame_equal(back.drop("created_timestamp"), rows)
    assert read_training(lake, [at(1)], SPEC).columns == back.columns


def test_pandas_gets_the_same_values_without_pyarrow(tmp_path: Path) -> None:
    rows = some_rows()
    frame = to_pandas(rows)
    assert list(frame.columns) == rows.columns
    assert frame["event_timestamp"].dtype == pd.DatetimeTZDtype("us", "UTC")
    assert frame["machine_id"].tolist() == rows["machine_id"].to_list()
    assert [x.to_pydatetime() for x in frame["event_timestamp"]] == rows["event_timestamp"].to_list()
    assert frame["temperature_celsius_count_1h"].dtype == "int64"
    means = frame["vibration_rms_mean_24h"]
    assert means.dtype == "float64"
    assert [None if pd.isna(x) else x for x in means] == rows["vibration_rms_mean_24h"].to_list()
    assert frame["vibration_rms_zone"].isna().tolist() == rows["vibration_rms_zone"].is_null().to_list()
    assert "pyarrow" not in sys.modules


def test_example_of_the_docs_reads_what_was_written(tmp_path: Path) -> None:
    """docs/features.md, with a folder in place of the bucket."""
    (code,) = re.findall(
        r"```python\n(.*?)```",
        (Path(__file__).parents[3] / "docs" / "features.md").read_text(encoding="utf-8"),
        re.DOTALL,
    )
    write_training_hours(Lake.open(tmp_path.as_uri()), {at(8): ORIGIN, at(9): ORIGIN}, some_rows(), NOW)
    names: dict[str, object] = {}
    exec(code.replace("plant-data-lake", tmp_path.as_uri()), names)  # noqa: S102 - it is our own
    rows, shown = names["rows"], names["frame"]
    assert isinstance(rows, pl.DataFrame)
    assert isinstance(shown, pd.DataFrame)
    assert_frame_equal(rows.drop("created_timestamp"), some_rows())
    assert len(shown) == rows.height
