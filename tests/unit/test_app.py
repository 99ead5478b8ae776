"""The entry point: errors that end a run, the answer, the log line and the metrics."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from handler.app import connect_dynamodb, lambda_handler, run
from handler.definitions.errors import ConfigurationError, EventError, OnlineStoreError, OutOfTimeError
from handler.definitions.layout import tiles_key
from handler.definitions.timestamps import parse_instant
from tests.builds import ROOT
from tests.harness import Aws, Row, at, check_sums, line, write_raw

AS_OF = {"as_of": "2025-10-15T09:00:00Z"}


class Context:
    function_name = "plant-processing-lambda"


@pytest.fixture
def lake(tmp_path: Path, aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A lake folder, an emulated table, and the function's environment."""
    monkeypatch.setenv("DATA_LAKE_BUCKET", tmp_path.as_uri())
    monkeypatch.setenv("DYNAMODB_TABLE_NAME", "features")
    monkeypatch.setenv("TIME_WINDOW", "6")
    connect_dynamodb.cache_clear()
    yield tmp_path
    connect_dynamodb.cache_clear()


def invoke(event: Any) -> Row:
    return run(event, now=at(9.1), function_name=Context.function_name)


def logged(capsys: pytest.CaptureFixture[str]) -> list[Row]:
    return [json.loads(text) for text in capsys.readouterr().out.splitlines() if text.startswith("{")]


def test_answer_tells_the_whole_run(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = line("M1", at(8.5), temperature=70, vibration=1.5)
    write_raw(lake, at(8), "a.jsonl", [good, good, b"oops", line("M2", at(5), temperature=60)])
    write_raw(lake, at(8), "b.jsonl.gz", b"not gzip")
    write_raw(lake, at(8), "notes.txt", b"")
    write_raw(lake, at(7), "f.jsonl", [line("M1", at(7.5), codigo_evento="FALHA"), line("M1", at(-20), vibration=1)])
    answer = invoke(AS_OF)
    check_sums(answer)
    assert answer.pop("duration_ms") >= 0
    assert answer == {
        "as_of": "2025-10-15T09:00:00Z",
        "span": {"start": "2025-10-15T03:00:00Z", "end": "2025-10-15T09:00:00Z"},
        "objects": {"read": 2, "skipped": 1, "unreadable": 1},
        "lines": {
            "read": 6,
            "accepted": 3,
            "failures": 1,
            "duplicates": 1,
            "late": 1,
            "too_late": 1,
            "rejected": {"not_json": 1},
            "unknown_fields": 0,
        },
        "tiles": {"built": 2, "reused": 0, "kept": 0},
        "damaged": 0,
        "clocks": {"M1": {"too_late": 1, "from_the_future": 0}},
        "machines": 2,
        "stalest_machine_seconds": 14400.0,
        "online": {"written": 2, "stale_skipped": 0, "expired_skipped": 0},
        "training": {"files": 6, "rows": 5, "kept": 0},
        "training_current": 0,
        "training_not_written": [],
    }
    assert invoke(AS_OF)["tiles"] == {"built": 0, "reused": 2, "kept": 0}


def test_items_that_would_have_expired_are_not_written(lake: Path, aws: Aws) -> None:
    write_raw(lake, at(8), "a.jsonl", [line("M1", at(8.5), vibration=1)])
    week = timedelta(days=7)
    expired = run(AS_OF, now=at(9) + week)
    assert expired["online"] == {"written": 0, "stale_skipped": 0, "expired_skipped": 1}
    assert aws.dynamodb.scan(TableName="features")["Items"] == []
    assert run(AS_OF, now=at(9) + week - timedelta(microseconds=1))["online"]["written"] == 1


def test_entry_point_runs_at_the_time_of_the_call(lake: Path) -> None:
    answer = lambda_handler({}, Context())
    assert abs(parse_instant(answer["as_of"]) - datetime.now(UTC)) < timedelta(minutes=6)
    assert lambda_handler(AS_OF, Context())["as_of"] == AS_OF["as_of"]


def test_run_whose_time_ends_says_how_far_it_came(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Hurried(Context):
        def get_remaining_time_in_millis(self) -> int:
            return 400

    with pytest.raises(OutOfTimeError, match=r"^out of time: 0 partitions were read, others and all rows were not"):
        lambda_handler(AS_OF, Hurried())
    assert logged(capsys)[-1]["level"] == "ERROR"


def test_machines_whose_clocks_are_wrong_are_named(lake: Path) -> None:
    lines = [line(f"M{k:02d}", at(-30), vibration=1) for k in range(12)]
    lines += [line("M03", at(-31), vibration=1), line("M07", at(9, minutes=16), vibration=1)]
    lines += [line("M11", at(9, minutes=17 + k), vibration=1) for k in range(2)]
    write_raw(lake, at(8), "a.jsonl", [*lines, line("good", at(8.5), vibration=1)])
    clocks = invoke(AS_OF)["clocks"]
    assert list(clocks) == ["M11", "M03", "M07", "M00", "M01", "M02", "M04", "M05", "M06", "M08"]
    assert clocks["M11"] == {"too_late": 1, "from_the_future": 2}
    assert clocks["M03"] == {"too_late": 2, "from_the_future": 0}


@pytest.mark.parametrize(("name", "is_warned"), [("Firehose-1-2025", True), ("a.jsonl", False)])
def test_warning_says_that_every_object_was_skipped(
    lake: Path, capsys: pytest.CaptureFixture[str], name: str, is_warned: bool
) -> None:
    write_raw(lake, at(8), name, [line("M1", at(8.5), vibration=1)])
    for _ in range(2):
        invoke(AS_OF)
        warnings = [entry["message"] for entry in logged(capsys) if entry.get("level") == "WARNING"]
        assert [text[:24] for text in warnings] == ["every object was skipped"] * is_warned


def test_answer_is_one_json_line_of_the_log(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = invoke(AS_OF)
    (told,) = [entry for entry in logged(capsys) if entry.get("message") == "run finished"]
    assert {name: told.get(name) for name in answer} == answer
    assert told["level"] == "INFO"


def test_metrics_are_in_embedded_metric_format(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_raw(lake, at(8), "a.jsonl", [line("M1", at(8.5), vibration=1), b"oops", b"[]", b"{"])
    invoke(AS_OF)
    (metrics,) = [entry for entry in logged(capsys) if "_aws" in entry]
    (directive,) = metrics["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "FeaturePipeline"
    assert metrics["function_name"] == "plant-processing-lambda"
    for name, value in {
        "RowsRead": 4, "RowsRejected": 3, "Rejected_not_json": 2, "Rejected_not_object": 1, "Late": 0, "TooLate": 0,
        "Machines": 1, "Staleness": 1800, "ObjectsRead": 1, "StaleSkipped": 0,
    }.items():  # fmt: skip
        assert metrics[name] == [value]
    assert {m["Name"] for m in directive["Metrics"]} >= {"Duration", "TrainingRows", "ItemsWritten"}


def test_empty_window_is_answered_and_writes_no_item(lake: Path) -> None:
    answer = invoke(AS_OF)
    assert (answer["machines"], answer["online"]["written"], answer["training"]) == (
        0,
        0,
        {"files": 6, "rows": 0, "kept": 0},
    )
    assert answer["stalest_machine_seconds"] is None


def test_missing_variable_ends_the_run_before_anything_is_read(
    lake: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TIME_WINDOW")
    with pytest.raises(ConfigurationError, match=r"^TIME_WINDOW: is not set"):
        invoke(AS_OF)
    (told,) = logged(capsys)
    assert told["level"] == "ERROR"
    assert told["message"].startswith("run failed: TIME_WINDOW")
    assert "exception" not in told
    assert not (lake / "processed").exists()


def test_wrong_event_raises(lake: Path) -> None:
    with pytest.raises(EventError, match="yesterday"):
        invoke({"as_of": "yesterday"})


def test_missing_table_raises_so_that_the_caller_retries(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_raw(lake, at(8), "a.jsonl", [line("M1", at(8.5), vibration=1)])
    monkeypatch.setenv("DYNAMODB_TABLE_NAME", "elsewhere")
    with pytest.raises(OnlineStoreError, match=r"table elsewhere: does not exist; check DYNAMODB_TABLE_NAME"):
        invoke(AS_OF)


def test_missing_region_names_the_variable(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_raw(lake, at(8), "a.jsonl", [line("M1", at(8.5), vibration=1)])
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(ConfigurationError, match=r"^AWS_REGION"):
        invoke(AS_OF)


def test_wrong_features_file_names_the_key(lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tmp_path / "features.toml"
    wrong.write_text('windows = ["1h"]\nreading = []\n')
    monkeypatch.setenv("FEATURES_FILE", str(wrong))
    with pytest.raises(ConfigurationError, match=r"^features\.toml: reading: is no key here"):
        invoke(AS_OF)


def test_log_level_is_obeyed(lake: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LOG_LEVEL", "ERROR")
    invoke(AS_OF)
    assert [entry for entry in logged(capsys) if "_aws" not in entry] == []


def test_features_whose_items_could_pass_400_kb_are_refused_before_anything_is_read(
    lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = "".join(f'[[readings]]\nname = "reading_{k}"\nplausible = [0, 1]\n' for k in range(60))
    features = tmp_path / "features.toml"
    monkeypatch.setenv("FEATURES_FILE", str(features))
    features.write_text(f"windows = {[f'{hours}h' for hours in range(1, 25)]}\n{readings}")
    with pytest.raises(ConfigurationError, match=r"20,220 features make items of up to [0-9,]+ bytes, and DynamoDB"):
        invoke(AS_OF)
    features.write_text(f"windows = ['1h', '6h', '24h']\n{readings}")
    assert invoke(AS_OF)["machines"] == 0


@pytest.mark.parametrize(("failures", "warned"), [(60, 1), (31, 1), (30, 0)])
def test_partition_of_failures_alone_is_warned_of(
    lake: Path, capsys: pytest.CaptureFixture[str], failures: int, warned: int
) -> None:
    """A field that says "no fault" on every line was taken for a failure code."""
    lines = [line("M1", at(8, minutes=k), vibration=1) for k in range(60)]
    lines[:failures] = [raw.replace(b"}", b',"codigo_evento":"0"}') for raw in lines[:failures]]
    write_raw(lake, at(8), "a.jsonl", lines)
    assert invoke(AS_OF)["lines"]["failures"] == failures
    warnings = [entry for entry in logged(capsys) if entry.get("level") == "WARNING"]
    assert [(entry["partition"], entry["failures"], entry["lines"]) for entry in warnings] == [
        ("2025-10-15T08:00:00Z", failures, 60)
    ] * warned
    assert all("more than half of the lines are failure events" in entry["message"] for entry in warnings)


def test_hours_that_are_not_written_again_are_warned_of(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_raw(lake, at(8), "a.jsonl", [line("M1", at(8.5), vibration=1)])
    invoke(AS_OF)
    for gone in (path, lake / tiles_key(at(8))):
        gone.unlink()
    logged(capsys)
    assert invoke(AS_OF)["training_not_written"] == ["2025-10-15T09:00:00Z"]
    (warning,) = [entry for entry in logged(capsys) if entry.get("level") == "WARNING"]
    assert warning["message"].startswith("training hours were not written again: less is left than")
    assert warning["training"] == {"files": 5, "rows": 0, "kept": 1}


def test_allocators_settings_reach_polars_by_the_name_that_lambda_takes() -> None:
    """Lambda takes no variable whose name begins with an underscore; jemalloc says its statistics where it was told."""
    environment = {**os.environ, "JEMALLOC_CONF": "stats_print:true"}
    environment.pop("_RJEM_MALLOC_CONF", None)
    command = [sys.executable, "-c", "import handler.app"]
    said = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stderr
    assert "Begin jemalloc statistics" in said


def plan(run_name: str, now: float = 9.1, **more: Any) -> Row:
    return run({"stage": "plan", "run": run_name, **more}, now=at(now))


def test_name_of_an_execution_that_is_used_again_is_an_error(lake: Path) -> None:
    """Its stages would answer for the old span."""
    plan("monthly", event={"start": "2025-10-15T00:00:00Z", "end": "2025-10-15T04:00:00Z"})
    plan("monthly", event={"end": "2025-10-15T04:00:00Z", "start": "2025-10-15T00:00:00Z"})
    with pytest.raises(EventError, match="run monthly began with another event; give each execution a name of its own"):
        plan("monthly", event={"start": "2025-10-15T00:00:00Z", "end": "2025-10-15T05:00:00Z"})
    started: Row = {"event": {}, "started": "2025-10-15T09:06:00.123Z"}
    plan("hourly", **started)
    plan("hourly", 9.2, **started)
    with pytest.raises(EventError, match="run hourly began with another event"):
        plan("hourly", 99, **{**started, "started": "2025-10-19T03:00:00.456Z"})


def take_from_plan(lake: Path, planned: Row) -> Row:
    """Take the stages that follow the first."""
    for name in ("maps", "combines"):
        for event in json.loads((lake / planned[name]["key"]).read_bytes()):
            invoke(event)
    divided = invoke({"stage": "divide", "run": planned["run"]})
    for name in ("reduces", "finishes"):
        for event in json.loads((lake / divided[name]["key"]).read_bytes()):
            invoke(event)
    return invoke({"stage": "answer", "run": planned["run"]})


def test_run_answers_for_the_time_at_which_its_execution_started(lake: Path) -> None:
    write_raw(lake, at(8), "a.jsonl", [line("M1", at(8.5), temperature=70)])
    for now in (9.2, 9.7):  # the second is a try that comes late
        planned = plan("run", now, event={}, started="2025-10-15T09:06:00.123Z")
    answer = take_from_plan(lake, planned)
    assert (answer["as_of"], answer["machines"]) == ("2025-10-15T09:05:00Z", 1)


def test_backfill_that_begins_again_puts_its_items_again(lake: Path, aws: Aws) -> None:
    """Those of its first try were made of an object that has been replaced since."""
    event = {"start": "2025-10-15T05:00:00Z", "end": "2025-10-15T09:00:00Z"}
    for value in (70, 75):
        write_raw(lake, at(8), "a.jsonl", [line("M1", at(8.5), temperature=value)])
        answer = take_from_plan(lake, plan("run", event=event))
        assert answer["online"] == {"written": 1, "stale_skipped": 0, "expired_skipped": 0}
    (item,) = aws.dynamodb.scan(TableName="features")["Items"]
    assert item["temperature_celsius_last_1h"] == {"N": "75.0"}
    assert take_from_plan(lake, plan("another", 9.3, event=event))["online"]["stale_skipped"] == 1


@pytest.mark.parametrize(
    "event",
    [
        {"stage": "plan", "run": "run", "evnt": AS_OF},
        {"stage": "plan", "run": "run", "as_of": AS_OF["as_of"]},
        {"stage": "plan", "run": "run", "event": None},
        {"stage": "plan", "run": "run", "event": [1]},
        {"stage": "plan", "run": "run", "event": AS_OF, "started": "now"},
        {"stage": "plan", "run": "run", "event": AS_OF, "started": "2025-10-15T09:11:01Z"},
        {"stage": "plan", "run": "run", "event": {"as_of": "2027-01-01T00:00:00Z"}, "started": "2027-01-01T00:00:00Z"},
        {"stage": "map", "run": "run"},
        {"stage": "plan"},
    ],
)
def test_stage_that_cannot_be_read_is_refused_before_anything_is_written(lake: Path, event: Row) -> None:
    with pytest.raises(EventError):
        invoke(event)
    assert not (lake / "processed").exists()
