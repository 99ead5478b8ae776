"""The recipes of docs/consumers.md, run on a lake whose files were made by two specs."""

import re
import shutil
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from handler.definitions.spec import FeatureSpec
from machine_features import FeatureStore
from tests.harness import Pipeline, at, line, write_raw
from tests.measured import ROOT

MEAN = "vibration_rms_mean_1h"
NEWER = 'windows = ["1h", "2h"]\n[[readings]]\nname = "vibration_rms"\nplausible = [0, 200]\n'


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    for hour in range(3):
        write_raw(tmp_path, at(hour), "a.jsonl", [line(f"M{k}", at(hour + 0.5), vibration=hour + k) for k in range(3)])
    Pipeline(tmp_path).run(at(3))
    shutil.rmtree(tmp_path / "processed" / "training" / "year=2025" / "month=10" / "day=14", ignore_errors=True)
    write_raw(tmp_path, at(30), "a.jsonl", [line("M1", at(30.5), vibration=9)])
    Pipeline(tmp_path, spec=FeatureSpec.parse(NEWER)).run(at(31))
    return tmp_path


def read_recipe(language: str, lake: Path) -> str:
    text = (ROOT / "docs" / "consumers.md").read_text(encoding="utf-8")
    recipes: list[str] = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return recipes[0].replace("plant/", f"{lake}/")


def test_duckdb(lake: Path) -> None:
    found = duckdb.execute(read_recipe("sql", lake)).fetchall()
    rows = FeatureStore.open(lake.as_uri()).training(at(-1), at(23.9), features=[MEAN]).collect()
    assert [(machine, mean) for machine, _, mean in found] == rows.select("machine_id", MEAN).rows()
    assert [time.timestamp() for _, time, _ in found] == [time.timestamp() for time in rows["event_timestamp"]]


def test_polars(lake: Path) -> None:
    names: dict[str, Any] = {}
    exec(read_recipe("python", lake), names)  # noqa: S102 - it is our own
    rows = FeatureStore.open(lake.as_uri()).training(at(-48), at(48), features=[MEAN])
    assert_frame_equal(names["frame"], rows.drop("created_timestamp").sort("event_timestamp", "machine_id").collect())


def test_exported_days_are_one_table(lake: Path, tmp_path: Path) -> None:
    store = FeatureStore.open(lake.as_uri())
    store.export(at(-1), at(31), str(tmp_path / "export"))
    query = "SELECT * FROM read_parquet($files) ORDER BY event_timestamp, machine_id"
    found = duckdb.execute(query, {"files": f"{tmp_path}/export/*/*.parquet"})
    names = [name for name, *_ in found.description or ()]
    rows = store.training(at(-1), at(31)).collect()
    assert [name for name in names if name != "event_date"] == rows.columns
    assert len(found.fetchall()) == rows.height
    assert pl.read_parquet(f"{tmp_path}/export/*/*.parquet").height == rows.height


def test_recipes_of_the_docs_are_lines_of_the_readers() -> None:
    text = (ROOT / "docs" / "consumers.md").read_text(encoding="utf-8")
    reader, found = None, []
    for link, recipe in re.findall(r"readers/(\w+\.py)\)|```python\n(.*?)```", text, re.DOTALL):
        reader = link or reader
        if recipe and reader:
            found.append(reader)
            code = " ".join((ROOT / "tests" / "compat" / "readers" / reader).read_text(encoding="utf-8").split())
            assert [each for each in recipe.splitlines() if " ".join(each.split()) not in code] == []
    assert found == ["read_with_pandas.py", "read_with_spark.py", "read_with_feast.py"]
