"""The pandas boundary: each type there and back, without pyarrow, and sharing memory where that is asked for."""

import subprocess
import sys
from datetime import timedelta
from typing import Any

import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from machine_features import from_pandas, to_pandas
from tests.harness import at
from tests.measured import ROOT
from tests.unit.machine_features.conftest import HOURS, Plant

TEXT = "str" if int(pd.__version__.split(".")[0]) > 2 else "string"
TYPES: dict[str, tuple[pl.Series, str]] = {
    "float": (pl.Series([1.5, -2.0, 5e-324]), "float64"),
    "integer": (pl.Series([1, 2**53 + 1, -5]), "int64"),
    "integer with nulls": (pl.Series([1, None, 2**53 + 1]), "Int64"),
    "boolean": (pl.Series([True, None, False]), "boolean"),
    "text": (pl.Series(["a", None, "ñ"]), TEXT),
    "time": (pl.Series([at(1), None, at(2)], dtype=pl.Datetime("us", "UTC")), "datetime64[us, UTC]"),
    "length": (pl.Series([timedelta(hours=1), None, timedelta(microseconds=1)]), "timedelta64[us]"),
    "no integers": (pl.Series([None, None, None], dtype=pl.Int64), "Int64"),
    "no texts": (pl.Series([None, None, None], dtype=pl.String), TEXT),
}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("writable", [True, False])
def test_type_there_and_back(kind: str, writable: bool) -> None:
    series, expected = TYPES[kind]
    frame = pl.DataFrame({"x": series, "y": [1.0, 2.0, 3.0]})
    there = to_pandas(frame, writable=writable)
    assert str(there["x"].dtype) == expected
    assert isinstance(there.index, pd.RangeIndex)
    assert_frame_equal(from_pandas(there), frame)


def test_null_of_a_float_is_nan() -> None:
    frame = pl.DataFrame({"x": [1.0, None], "none": pl.Series([None, None], dtype=pl.Float64)})
    there = to_pandas(frame)
    assert there.dtypes.astype(str).to_list() == ["float64", "float64"]
    assert there["x"].isna().tolist() == [False, True]


def test_zones_are_ordered() -> None:
    there = to_pandas(pl.DataFrame({"vibration_rms_zone": ["C", None, "A"]}))["vibration_rms_zone"]
    assert there.cat.categories.to_list() == ["A", "B", "C", "D"]
    assert there.max() == "C"
    assert from_pandas(there.to_frame()).to_series().to_list() == ["C", None, "A"]


@pytest.mark.parametrize("writable", [True, False])
def test_training_rows_keep_their_values(writable: bool, plant: Plant) -> None:
    rows = plant.store.training(at(0), at(HOURS))
    there = to_pandas(rows, writable=writable)
    assert there.columns.to_list() == rows.collect_schema().names()
    back = from_pandas(there.drop(columns="created_timestamp"))
    assert_frame_equal(back.fill_nan(None), rows.drop("created_timestamp").collect())
    if writable:
        there["vibration_rms_mean_1h"] *= 2
    else:
        with pytest.raises(ValueError, match="read-only"):
            there["vibration_rms_mean_1h"].to_numpy()[0] = 2


@pytest.mark.parametrize("frame", [pl.DataFrame(), pl.DataFrame({"a": []}, schema={"a": pl.Float64()})])
def test_frame_without_rows(frame: pl.DataFrame) -> None:
    assert to_pandas(frame).shape == frame.shape


@pytest.mark.parametrize("values", [[1, "a"], [object()], [[1]]])
def test_other_objects_are_refused(values: list[Any]) -> None:
    with pytest.raises(TypeError, match="column x of type object holds more than text"):
        from_pandas(pd.DataFrame({"x": pd.Series(values, dtype=object)}))


@pytest.mark.parametrize("names", [[0, "0"], ["x", "x"]])
def test_two_columns_of_one_name_are_refused(names: list[Any]) -> None:
    with pytest.raises(ValueError, match=f"more than one column {names[0]}; rename"):
        from_pandas(pd.DataFrame([[1, 2]], columns=names))


def test_boundary_needs_no_pyarrow() -> None:
    code = (
        "import sys; import polars as pl; from machine_features import to_pandas\n"
        "print(to_pandas(pl.DataFrame({'a': ['x'], 'b': [1.0]})).shape, 'pyarrow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "(1, 2) False\n", done.stderr
