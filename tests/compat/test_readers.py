"""Spark, pandas, Feast, Delta and Iceberg read what is written: ``make compat`` brings them, in 1.5 GB."""

import json
import os
import random
import subprocess
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from handler.definitions.spec import FeatureSpec
from machine_features import FeatureStore
from tests.harness import Pipeline, at, line, write_raw
from tests.measured import ROOT

PYTHON = ROOT / ".tools" / "compat" / "bin" / "python"
READERS = Path(__file__).parent / "readers"
MEAN = "vibration_rms_mean_1h"
NEWER = 'windows = ["1h", "2h"]\n[[readings]]\nname = "vibration_rms"\nplausible = [0, 200]\n'
HOURS = 8


def read_with(reader: str, *arguments: str | Path, folder: Path) -> list[str]:
    if not PYTHON.exists():
        pytest.skip("Spark, Feast and others are not installed: run `make compat`")
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TZ": "UTC"}
    done = subprocess.run(
        [str(PYTHON), str(READERS / reader), *map(str, arguments)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip().splitlines()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of one spec, and then of another with a window more and readings less."""
    root, chance = tmp_path_factory.mktemp("lake"), random.Random(1)
    for hour in range(HOURS):
        lines = [
            line(f"M{k}", at(hour, minutes=10 * n), vibration=round(k + chance.random(), 3))
            for k in range(4)
            for n in range(6)
            if not (k == 3 and hour in (3, 4, 5))
        ]
        write_raw(root, at(hour), "a.jsonl", lines)
    Pipeline(root).backfill(at(0), at(HOURS))
    write_raw(root, at(50), "a.jsonl", [line("M1", at(50.5), vibration=9)])
    Pipeline(root, spec=FeatureSpec.parse(NEWER)).run(at(51))
    return root


def expect(lake: Path) -> list[list[object]]:
    rows = FeatureStore.open(lake.as_uri()).training(at(-48), at(60), features=[MEAN]).collect()
    return [
        [machine, round(time.timestamp() * 1e6), mean]
        for machine, time, mean in rows.select("machine_id", "event_timestamp", MEAN).iter_rows()
    ]


def test_spark(lake: Path, tmp_path: Path) -> None:
    rows, columns = map(json.loads, read_with("read_with_spark.py", lake, MEAN, folder=tmp_path)[-2:])
    assert rows == expect(lake)
    assert {"vibration_rms_mean_2h", "temperature_celsius_mean_24h", "year", "hour"} <= set(columns)


def test_pandas(lake: Path, tmp_path: Path) -> None:
    rows, columns = map(json.loads, read_with("read_with_pandas.py", lake, MEAN, folder=tmp_path))
    assert rows == expect(lake)
    assert "vibration_rms_mean_2h" in columns


def test_feast_joins_the_rows_that_asof_joins(lake: Path, tmp_path: Path) -> None:
    chance = random.Random(2)
    entities = pl.DataFrame(
        {
            "machine_id": [f"M{chance.randrange(5)}" for _ in range(2_000)],
            "event_timestamp": [at(0) + timedelta(seconds=chance.randrange(20 * 3600)) for _ in range(2_000)],
            "number": range(2_000),
        }
    ).unique(["machine_id", "event_timestamp"], keep="first", maintain_order=True)
    entities.write_parquet(tmp_path / "entities.parquet")
    arguments = (lake, tmp_path / "entities.parquet", tmp_path / "joined.parquet", MEAN, tmp_path)
    read_with("read_with_feast.py", *arguments, folder=tmp_path)
    feast = pl.read_parquet(tmp_path / "joined.parquet").sort("number")
    ours = FeatureStore.open(lake.as_uri()).asof(entities, features=[MEAN], max_age="2h").sort("number")
    assert ours[MEAN].null_count() > 100
    assert feast["number"].to_list() == ours["number"].to_list()
    assert feast[MEAN].to_list() == ours[MEAN].to_list()


def test_delta_and_iceberg_register_exported_days(lake: Path, tmp_path: Path) -> None:
    store = FeatureStore.open(lake.as_uri())
    files = store.export(at(-48), at(60), str(tmp_path / "export"))
    (tmp_path / "keys.json").write_text(json.dumps(files["key"].to_list()))
    counts = read_with("register_export.py", tmp_path / "export", tmp_path / "keys.json", MEAN, folder=tmp_path)
    assert [int(count) for count in counts[-2:]] == [files["rows"].sum()] * 2
