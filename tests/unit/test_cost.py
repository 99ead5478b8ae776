"""The costs in the documentation."""

import json
from pathlib import Path

import pytest
from aws_lambda_powertools.metrics import EphemeralMetrics

from handler import plan
from handler.lake import unpack
from handler.observability import emit_metrics
from handler.pipeline import stages
from scripts import cost
from scripts.cost import PAGES, PART_BYTES, ROOT, ScaledRun, estimate, fill


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_committed_tables_are_todays(page: Path) -> None:
    assert fill(page) == (ROOT / page).read_text(), "run `make cost` and commit what it writes"


def test_ten_times_the_machines_write_ten_times_the_items() -> None:
    assert estimate(1_000, 1024)["DynamoDB"] == pytest.approx(10 * estimate(100, 1024)["DynamoDB"])


def test_large_objects_are_billed_by_the_ranges_they_are_read_by() -> None:
    assert unpack.PART_BYTES == PART_BYTES
    assert estimate(50_000, 1024)["S3 requests"] > 2 * estimate(1_000, 1024)["S3 requests"]


def test_twice_the_memory_halves_the_work_up_to_a_core() -> None:
    assert estimate(1_000, 1024)["seconds"] - 1 == pytest.approx((estimate(1_000, 512)["seconds"] - 1) / 2)
    assert estimate(1_000, 10_240)["seconds"] == estimate(1_000, 1769)["seconds"]


def test_stages_are_cut_as_the_handler_cuts_them() -> None:
    assert stages.PART_BYTES == cost.RAW_PART_BYTES
    assert stages.MACHINES == cost.SHARD_MACHINES
    assert plan._MOST_ROWS == cost.ROWS_A_BLOCK
    counts = {stage.name: stage.count for stage in ScaledRun(50_000).list_stages()}
    assert counts == {"map": 6 * 33, "combine": 6, "reduce": 20, "finish": 6}  # as test_scale measured them
    small = {stage.name: stage.count for stage in ScaledRun(1_000).list_stages()}
    assert small == {"map": 6, "combine": 0, "reduce": 2, "finish": 0}


def test_alarms_and_metrics_are_counted_as_they_are_deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    module = json.loads((ROOT / "modules" / "processing" / "main.tf.json").read_text())
    alarms = [a for a in module["resource"]["aws_cloudwatch_metric_alarm"].values() if "count" not in a]
    watched = sum(sum("metric" in query for query in a.get("metric_query", [])) or 1 for a in alarms)
    assert (len(alarms), watched) == (9, cost.ALARM_METRICS)
    emitted: list[str] = []
    monkeypatch.setattr(EphemeralMetrics, "add_metric", lambda _, name, **__: emitted.append(name))
    monkeypatch.setattr(EphemeralMetrics, "flush_metrics", lambda _: None)
    emit_metrics(
        {
            "lines": dict.fromkeys(("read", "accepted", "failures", "duplicates", "late", "too_late", "ignored"), 0)
            | {"rejected": {}},
            "objects": dict.fromkeys(("read", "skipped", "unreadable"), 0),
            "online": dict.fromkeys(("written", "stale_skipped"), 0),
            "training": {"rows": 0},
            "clocks": {},
            "machines": 0,
            "duration_ms": 0,
            "stalest_machine_seconds": 0.0,
        },
        "plant",
    )
    assert len(emitted) == cost.METRICS


def test_more_machines_cost_more_by_as_much() -> None:
    few, many = (sum(ScaledRun(machines).price().values()) for machines in (50_000, 100_000))
    assert many == pytest.approx(2 * few, rel=0.05)
