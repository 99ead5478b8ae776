"""The command line: rows as a table, as JSON lines or as a file; wrong input is one line and status 2."""

import json
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from machine_features import __main__ as command_line
from machine_features.__main__ import main
from tests.harness import Aws
from tests.measured import ROOT
from tests.unit.machine_features.conftest import Plant

SPAN = ["2025-10-15T02:00:00Z", "2025-10-15T04:00:00Z"]
MEAN = "vibration_rms_mean_1h"


def read_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def lake(plant: Plant) -> list[str]:
    return ["--lake", plant.pipeline.root.as_uri()]


def test_rows_as_json_lines(lake: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["training", *SPAN, *lake, "--features", MEAN, "--machines", "M1,M2", "--json"]) == 0
    rows = read_lines(capsys)
    assert [row["machine_id"] for row in rows] == ["M1", "M2"] * 2
    assert rows[0]["event_timestamp"] == "2025-10-15T03:00:00+00:00"
    assert main(["labels", *SPAN, *lake, "--horizon", "2h", "--knowledge", "as_of", "--json"]) == 0
    assert {row["status"] for row in read_lines(capsys)} == {"observed", "after_failure"}
    assert main(["features", *lake, "--json"]) == 0
    assert MEAN in {row["name"] for row in read_lines(capsys)}
    assert main(["trace", "M1", SPAN[1], MEAN, *lake, "--json"]) == 0
    assert {row["status"] for row in read_lines(capsys)} >= {"used"}


def test_items_and_parity(lake: list[str], plant: Plant, aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    for item in plant.pipeline.table.items.values():
        aws.dynamodb.put_item(TableName="features", Item=item)
    assert main(["online", "M1", "M9", *lake, "--table", "features", "--features", MEAN, "--json"]) == 0
    assert [row["status"] for row in read_lines(capsys)][1] == "missing"
    assert main(["parity", "2025-10-15T12:00:00Z", *lake, "--table", "features", "--json"]) == 0
    assert read_lines(capsys) == []


def test_labels_by_time_to_failure_need_no_horizon(lake: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["labels", *SPAN, *lake, "--kind", "time_to_failure", "--features", "*_mean_1h", "--json"]) == 0
    rows = read_lines(capsys)
    assert [row["label"] for row in rows if row["machine_id"] == "M1"] == [0.5, None]
    assert MEAN in rows[0]
    assert main(["labels", *SPAN, *lake]) == 2
    assert "with a horizon" in capsys.readouterr().err


def test_machine_that_is_nowhere_is_a_line_on_stderr(lake: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["training", *SPAN, *lake, "--features", MEAN, "--machines", "M1,M77", "--json"]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 2
    assert printed.err == "machine-features: there is no machine M77\n"


def test_trace_needs_no_numpy(lake: list[str]) -> None:
    code = "import sys; sys.modules['numpy'] = None; from machine_features.__main__ import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "trace", "M1", SPAN[1], MEAN, *lake, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"status": "used"' in done.stdout


def test_table_and_file(lake: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["training", *SPAN, *lake, "--features", MEAN]) == 0
    assert "machine_id" in capsys.readouterr().out
    for name, read in (("a.parquet", pl.read_parquet), ("a.csv", pl.read_csv)):
        assert main(["training", *SPAN, *lake, "--out", str(tmp_path / name)]) == 0
        assert capsys.readouterr().out == ""
        assert read(tmp_path / name).height == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["training", "yesterday", SPAN[1]], "yesterday"),
        (["training", *SPAN, "--features", "vibration"], "there is no feature vibration"),
        (["training", *SPAN, "--out", "a.xlsx"], "--out a.xlsx is neither .parquet nor .csv"),
        (["labels", *SPAN, "--horizon", "soon"], "'soon' is no length of time"),
        (["online", "M1"], "table: no table is named"),
        (["trace", "M1", SPAN[1], "mean"], "there is no feature mean"),
    ],
)
def test_wrong_input_is_one_line(
    arguments: list[str], message: str, lake: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, *lake]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("machine-features: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_lake_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features", "--lake", "file:///nowhere"]) == 2
    assert "there is no folder /nowhere" in capsys.readouterr().err


def test_long_commands_say_how_long_they_have_been_at_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "_NOTE_EVERY", 0.01)
    with command_line._tell_of_time("parity"):
        time.sleep(0.1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 1
    assert set(lines) == {"machine-features: parity, 0 s"}
