"""What a report shows, worked out by hand on a small lake."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from machine_features import FeatureStore
from machine_features.report.collect import Findings, collect
from machine_features.report.page import write_report
from tests.harness import Pipeline, at, line, write_raw

HOURS = 12
OWN = {"M1": 1.0, "M2": 2.0, "M3": 4.0}


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """Three machines at 1, 2 and 4 mm/s: M1 doubles after eight hours, M3 falls silent after eleven."""
    root = tmp_path_factory.mktemp("lake")
    for hour in range(HOURS):
        lines = [
            line(machine, at(hour, minutes=5 * k), vibration=value * (2 if machine == "M1" and hour >= 8 else 1))
            for machine, value in OWN.items()
            for k in range(12)
            if not (machine == "M3" and hour == 11)
        ]
        if hour == 5:
            lines += [line("M2", at(3.5, minutes=1), vibration=2.0)]  # late
            lines += [line("M2", at(-30), vibration=2.0)] * 2  # too late, and before the span
            lines += [line("M3", at(9), vibration=1.0), b"oops", line("M2", at(4.5), codigo_evento="FALHA")]
        write_raw(root, at(hour), "a.jsonl", lines)
    Pipeline(root).backfill(at(0), at(HOURS))
    return collect(FeatureStore.open(root.as_uri()), at(0), at(HOURS))


def test_machines_are_ranked_by_zone_and_then_by_change(findings: Findings) -> None:
    machines = findings.machines
    assert machines.select("machine_id", "zone").rows() == [("M1", "A"), ("M2", "A"), ("M3", None)]
    row = machines.row(by_predicate=pl.col("machine_id") == "M1", named=True)
    change = (4 * 2 + 2 * 1) / 6  # of the last six hours
    assert row["vibration_rms_baseline"] == pytest.approx(1)
    assert row["vibration_rms_excess"] == pytest.approx(change)
    assert row["vibration_rms_mean"] == pytest.approx(2)


def test_fleet_is_summarized_by_changes(findings: Findings) -> None:
    last = findings.quantiles.row(-1, named=True)
    assert last["vibration_rms_median"] == pytest.approx(1)
    assert last["vibration_rms_high"] == pytest.approx(1 + 0.8 * (10 / 6 - 1))


def test_silence_failures_and_coverage(findings: Findings) -> None:
    by_machine = {row["machine_id"]: row for row in findings.machines.iter_rows(named=True)}
    assert by_machine["M3"]["silence"] == timedelta(hours=1, minutes=5)
    assert by_machine["M1"]["silence"] == timedelta(minutes=5)
    assert findings.silent_after == timedelta(minutes=15)
    assert [by_machine[name]["codigo_evento"] for name in OWN] == [None, "FALHA", None]
    assert by_machine["M1"]["coverage"] == pytest.approx(0.5)


def test_blocks_tell_what_came_late(findings: Findings) -> None:
    assert findings.block == timedelta(minutes=5)
    m2 = findings.blocks.filter(pl.col("machine_id") == "M2")
    assert m2.height == HOURS * 12
    assert m2.filter(pl.col("arrival") == 1).get_column("block").to_list() == [42]
    assert m2.get_column("mean").to_list() == pytest.approx([2.0] * m2.height)


def test_rejected_lines_and_clocks(findings: Findings) -> None:
    assert findings.rejected.rows() == [("from_the_future", at(5), 1), ("not_json", at(5), 1)]
    assert findings.clocks.rows() == [("M2", 1, 0), ("M3", 0, 1)]


def test_unreadable_object_is_no_line(tmp_path: Path) -> None:
    for hour in range(6):
        write_raw(tmp_path, at(hour), "a.jsonl", [line("M1", at(hour + 0.5), vibration=1.0), b"oops"])
    write_raw(tmp_path, at(3), "b.jsonl.gz", b"no gzip")
    pipeline = Pipeline(tmp_path)
    answer = pipeline.backfill(at(0), at(6))
    found = collect(FeatureStore.open(tmp_path), at(0), at(6))
    assert found.rejected.get_column("lines").sum() == sum(answer["lines"]["rejected"].values()) == 6
    assert found.unreadable == answer["objects"]["unreadable"] == 1
    write_report(FeatureStore.open(tmp_path), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<b>6</b> <span>lines rejected</span>" in page
    assert "<b>1</b> <span>objects unreadable</span>" in page


def test_report_ends_with_the_newest_arrival(tmp_path: Path) -> None:
    for hour in range(6):
        write_raw(tmp_path, at(hour), "a.jsonl", [line("M1", at(hour + 0.5), vibration=1.0)])
    Pipeline(tmp_path).run(at(26))
    found = write_report(FeatureStore.open(tmp_path), tmp_path / "report.html")
    assert found.end == at(6)
    assert found.hours.get_column("event_timestamp").max() == at(6)


def test_readings_that_never_came_do_not_count(findings: Findings) -> None:
    assert set(findings.blocks.get_column("reading")) == {"vibration_rms"}
    assert findings.machines.get_column("temperature_celsius_excess").null_count() == 3


def test_temperatures_change_by_differences(tmp_path: Path) -> None:
    for hour in range(12):
        lines = [
            line(machine, at(hour, minutes=5 * k), temperature=value + (9 if machine == "M1" and hour > 5 else 0))
            for machine, value in (("M1", 0.0), ("M2", -5.0), ("M3", 60.0))
            for k in range(12)
        ]
        write_raw(tmp_path, at(hour), "a.jsonl", lines)
    Pipeline(tmp_path).backfill(at(0), at(12))
    machines = collect(FeatureStore.open(tmp_path.as_uri()), at(0), at(12)).machines
    found = dict(machines.select("machine_id", "temperature_celsius_excess").iter_rows())
    assert found == pytest.approx({"M1": 9, "M2": 0, "M3": 0})


def test_newest_features_may_be_newer_than_the_span(tmp_path: Path) -> None:
    from handler.definitions.spec import FeatureSpec

    write_raw(tmp_path, at(0), "a.jsonl", [line("M1", at(0.5), vibration=1)])
    Pipeline(tmp_path).run(at(1))
    newer = 'windows = ["2h"]\n[[readings]]\nname = "rpm"\nplausible = [0, 9]\n'
    write_raw(tmp_path, at(40), "a.jsonl", [line("M1", at(40.5), rpm=1)])
    Pipeline(tmp_path, spec=FeatureSpec.parse(newer)).run(at(41))
    found = collect(FeatureStore.open(tmp_path.as_uri()), at(0), at(1))
    assert found.machines.select("machine_id", "zone", "rpm_mean").rows() == [("M1", None, None)]
