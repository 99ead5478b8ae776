"""The examples, run as a person would."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from examples import bearings, predict_failures
from tests.harness import Pipeline, at, environment_without_python
from tests.integration.conftest import convert_data_set
from tests.measured import ROOT


def test_failures_are_predicted_from_what_was_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant = ["--machines", "30", "--hours", "132", "--failures", "26", "--interval", "300", "--json"]
    subprocess.run(
        [sys.executable, "-m", "local", *plant], cwd=tmp_path, check=True, timeout=300,
        env={**environment_without_python(), "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert predict_failures.main(["--lake", (tmp_path / "local-lake").as_uri(), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    model, zones = found["model"], found["zones"]
    assert model["failures"] == zones["failures"] >= 4
    assert zones["recall"] < model["recall"] < 1  # some failures come without warning
    assert model["precision"] > 0.6
    assert model["hours_ahead"] > zones["hours_ahead"] > 0
    assert len(found["online"]) > 10
    assert all(0 <= risk <= 1 for risk in found["online"].values())


def test_no_machine_and_no_hour_is_on_both_sides() -> None:
    rows = pl.DataFrame(
        {
            "machine_id": [f"M{k}" for k in range(10) for _ in range(100)],
            "event_timestamp": [at(hour) for _ in range(10) for hour in range(100)],
        }
    )
    training, trial, instant = predict_failures.split(rows)
    assert set(training["machine_id"]).isdisjoint(trial["machine_id"])
    assert training["event_timestamp"].max() + predict_failures.HORIZON <= instant == trial["event_timestamp"].min()  # type: ignore[operator]
    assert training.height > trial.height > 0


def test_judging_counts_rows_and_failures() -> None:
    hour = timedelta(hours=1)
    rows = pl.DataFrame(
        {
            "machine_id": ["M1"] * 4 + ["M2"] * 2,
            "event_timestamp": [at(0), at(1), at(2), at(3), at(0), at(1)],
            "label": [0, 1, 1, 1, 1, 0],
            "time_to_failure": [9 * hour, 3 * hour, 2 * hour, hour, hour, None],
        }
    )
    score = predict_failures.judge(rows, pl.Series([True, False, True, True, False, False]))
    assert score == predict_failures.Score(precision=2 / 3, recall=0.5, failures=2, foretold=1, hours_ahead=2.0)
    never = predict_failures.judge(rows, pl.Series([False] * 6))
    assert (never.precision, never.recall, never.foretold, never.hours_ahead) == (None, 0.0, 0, None)


def test_bearings(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    convert_data_set(shared, "ims2", tmp_path)
    begin = at(0).replace(year=2004, month=2, day=12, hour=10)
    Pipeline(tmp_path).backfill(begin, begin + timedelta(days=7))
    assert bearings.main(["--lake", tmp_path.as_uri(), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    rules = {rule["ratio"]: rule for rule in found["rules"]}
    assert rules[1.2]["lead_hours"] == pytest.approx(59, abs=1)
    assert rules[1.2]["false_alarms"] == 0
    assert rules[1.1]["lead_hours"] > rules[1.2]["lead_hours"] > rules[1.5]["lead_hours"]
    assert rules[2.0]["lead_hours"] is None or rules[2.0]["lead_hours"] < 0
    assert found["zones"] == ["A"]
