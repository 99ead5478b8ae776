"""Runs on a folder: what is built, reused, refreshed and left alone."""

import gzip
import re
import shutil
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from handler.deadline import Deadline
from handler.definitions.errors import LakeError, OutOfTimeError
from handler.definitions.raw import RawContent
from handler.definitions.spec import FeatureSpec
from handler.lake.lake import Lake, ReadBatch
from handler.lake.parquet import seal
from handler.tiles.builder import MappedPartition
from handler.tiles.files import read_manifest
from handler.tiles.manifest import Manifest, fingerprint_inputs
from handler.tiles.partition import RawPartition, map_partitions
from tests.frames import assert_close
from tests.harness import HOUR, T0, Pipeline, at, feature_spec, line, write_raw

SPEC = FeatureSpec.load()


def steady(machine: str, hour: int, value: float = 1.0) -> list[bytes]:
    return [line(machine, at(hour, minutes=m), vibration=value + m / 100) for m in range(0, 60, 10)]


def test_only_the_changed_partition_is_read_again(tmp_path: Path) -> None:
    for hour in range(6):
        write_raw(tmp_path, at(hour), "a.jsonl", steady("M1", hour))
    pipeline = Pipeline(tmp_path)
    assert pipeline.run(at(6))["tiles"] == {"built": 6, "reused": 0, "kept": 0}
    write_raw(tmp_path, at(3), "b.jsonl", steady("M2", 3))
    again = pipeline.run(at(6))
    assert again["tiles"] == {"built": 1, "reused": 5, "kept": 0}
    assert again["lines"]["read"] == 12
    assert list(pipeline.rows_at(at(6))) == ["M1", "M2"]


def test_hours_that_only_vanished_readings_reached_are_written_again(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, time_window=HOUR)
    path = write_raw(tmp_path, at(10), "a.jsonl", steady("M1", -10))
    assert pipeline.run(at(11))["training"]["files"] == 21
    path.write_bytes(b"\n".join(steady("M1", 8)))
    again = pipeline.run(at(11))
    assert again["tiles"]["built"] == 1
    assert again["training"]["files"] == 21
    assert [hour for hour in range(-9, 12) if pipeline.rows_at(at(hour))] == [9, 10, 11]
    assert pipeline.run(at(11))["training"]["files"] == 1


def test_first_object_of_an_empty_old_partition_is_a_change(tmp_path: Path) -> None:
    for hour in (0, 12):
        write_raw(tmp_path, at(hour), "a.jsonl", steady("M1", hour))
    pipeline = Pipeline(tmp_path)
    for as_of in (6, 12, 18):
        pipeline.run(at(as_of))
    write_raw(tmp_path, at(3), "first.jsonl", steady("M2", 3))
    pipeline.run(at(18))
    assert list(pipeline.rows_at(at(6))) == ["M1", "M2"]


def test_hours_whose_rows_were_never_written_are_written_by_the_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in range(12):
        write_raw(tmp_path, at(hour), "a.jsonl", steady("M1", hour))
    pipeline = Pipeline(tmp_path)
    pipeline.run(at(6))
    pipeline.run(at(12))
    write_raw(tmp_path, at(3), "late.jsonl", steady("M2", 3))
    with monkeypatch.context() as patch:
        patch.setattr("handler.pipeline.run.write_training_hours", partial(_fail, LakeError("write", "switched off")))
        with pytest.raises(LakeError, match="switched off"):
            pipeline.run(at(12))
    assert pipeline.run(at(12))["tiles"]["built"] == 0
    assert all(list(pipeline.rows_at(at(hour))) == ["M1", "M2"] for hour in range(4, 13))


def test_older_run_that_builds_a_partition_first_leaves_the_newer_hours_to_a_newer_run(tmp_path: Path) -> None:
    for hour in range(12):
        write_raw(tmp_path, at(hour), "a.jsonl", steady("M1", hour))
    pipeline = Pipeline(tmp_path)
    for as_of in (6, 12):
        pipeline.run(at(as_of))
    write_raw(tmp_path, at(3), "late.jsonl", steady("M2", 3))
    assert pipeline.run(at(6))["tiles"]["built"] == 1
    assert pipeline.run(at(12))["tiles"]["built"] == 0
    assert all(list(pipeline.rows_at(at(hour))) == ["M1", "M2"] for hour in range(4, 13))


def test_changed_features_write_the_hours_within_reach_again(tmp_path: Path) -> None:
    for hour in range(12):
        write_raw(tmp_path, at(hour), "a.jsonl", steady("M1", hour))
    Pipeline(tmp_path).run(at(6))
    other = Pipeline(tmp_path, spec=FeatureSpec.parse(SPEC.text.replace('"1h"', '"2h"')))
    assert other.run(at(12))["training"]["files"] == 12
    assert "vibration_rms_mean_2h" in other.rows_at(at(3))["M1"]


def test_tiles_of_a_partition_whose_object_was_gone_are_built_again(tmp_path: Path) -> None:
    """The object is listed and then not found, as by a store that is not consistent; then it is there again."""
    for name, machine in (("a.jsonl", "M1"), ("b.jsonl", "M2")):
        write_raw(tmp_path, at(5), name, steady(machine, 5))
    hidden = next(tmp_path.rglob("b.jsonl"))
    pipeline = Pipeline(tmp_path)
    listed = Lake.list_partitions

    def list_and_hide(lake: Lake, hours: Iterable[datetime]) -> Any:
        found = listed(lake, hours)
        if hidden.exists():
            hidden.rename(tmp_path / "hidden")
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lake, "list_partitions", list_and_hide)
        answer = pipeline.run(at(6))
    assert (answer["objects"]["unreadable"], list(pipeline.rows_at(at(6)))) == (1, ["M1"])
    (tmp_path / "hidden").rename(hidden)
    assert pipeline.run(at(6))["tiles"] == {"built": 1, "reused": 0, "kept": 0}
    assert list(pipeline.rows_at(at(6))) == ["M1", "M2"]


def _fail(error: Exception, *_: object) -> None:
    raise error


def test_files_that_are_current_are_not_written_again(tmp_path: Path) -> None:
    write_raw(tmp_path, at(3), "a.jsonl", steady("M1", 3))
    pipeline = Pipeline(tmp_path)
    first = pipeline.run(at(6))
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("processed/**/*.parquet")}
    again = pipeline.run(at(6))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("processed/**/*.parquet")} == times
    assert again["training"] == first["training"] == {"files": 6, "rows": 3, "kept": 0}
    assert (first["training_current"], again["training_current"]) == (0, 6)


@pytest.mark.parametrize("more_readings", [0, 7])
def test_long_history_is_done_in_several_runs_and_items_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more_readings: int
) -> None:
    """As AWS does: an asynchronous invocation is tried three times, and the next schedule goes on."""
    more = "".join(f'[[readings]]\nname = "reading_{k}"\nplausible = [0, 1]\n' for k in range(more_readings))
    spec = FeatureSpec.parse(f"{SPEC.text}\n{more}")
    monkeypatch.setattr("handler.plan._MOST_ROWS", 8)
    for hour in range(30):
        write_raw(tmp_path, at(hour), "a.jsonl", [line(f"M{k}", at(hour, minutes=k), vibration=k) for k in range(4)])
    pipeline = Pipeline(tmp_path, spec=spec, time_window=30 * HOUR)
    told: list[str] = []
    written: list[int] = []
    for _ in range(20):
        pipeline.deadline = Deadline(partial(next, repeat(HOUR, 12), timedelta(0)))
        try:
            answer = pipeline.run(at(30))
        except OutOfTimeError as error:
            told.append(str(error))
            written.append(len(pipeline.training()))
        else:
            break
    assert len(told) >= 3
    assert (
        told[0] == "out of time: 12 partitions were read, others and all rows were not; the next run goes on from here"
    )
    assert re.fullmatch("out of time: items are written, and [0-9]+ training hours; [0-9]+ are not; the .*", told[-1])
    assert written == sorted(written)
    assert len(pipeline.table.items) == 4
    assert answer["training"]["files"] == 30
    whole = Pipeline(tmp_path / "other", spec=spec, time_window=30 * HOUR)
    shutil.copytree(tmp_path / "raw", whole.root / "raw")
    whole.run(at(30))
    for name, rows in whole.training().items():
        assert_close(pipeline.training()[name], rows)


def test_rows_are_the_same_some_machines_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for hour in range(4):
        lines = [raw for number in range(40) for raw in steady(f"M{number % (hour + 37)}", hour, number)]
        write_raw(tmp_path, at(hour), "a.jsonl", lines)
    at_once = Pipeline(tmp_path)
    at_once.run(at(4))
    whole = at_once.read_processed("training")
    monkeypatch.setattr("handler.features.history._GROUP_ROWS", 40)
    in_shares = Pipeline(tmp_path)
    in_shares.run(at(4))
    assert whole.height > 4 * 37
    assert_frame_equal(in_shares.read_processed("training").drop("created_timestamp"), whole.drop("created_timestamp"))
    assert in_shares.rows_at(at(4)) == at_once.rows_at(at(4))


def test_late_arrival_refreshes_the_earlier_hours_that_can_see_it(tmp_path: Path) -> None:
    for hour in range(12):
        write_raw(tmp_path, at(hour), "a.jsonl", steady("M1", hour))
    pipeline = Pipeline(tmp_path)
    pipeline.run(at(6))
    pipeline.run(at(12))
    write_raw(tmp_path, at(12), "late.jsonl", [line("M2", at(3.5), vibration=9)])
    answer = pipeline.run(at(18))
    assert answer["lines"]["late"] == 1
    assert answer["training"]["files"] == 18 - 3
    assert list(pipeline.rows_at(at(3))) == ["M1"]
    assert list(pipeline.rows_at(at(4))) == ["M1", "M2"]


def test_too_late_is_kept_in_its_tile_but_in_no_feature(tmp_path: Path) -> None:
    write_raw(tmp_path, at(30), "a.jsonl", [line("M1", at(5.5), vibration=9), line("M1", at(6.5), vibration=1)])
    pipeline = Pipeline(tmp_path)
    answer = pipeline.run(at(31))
    assert (answer["lines"]["late"], answer["lines"]["too_late"]) == (1, 1)
    assert pipeline.read_processed("tiles")["tile_start"].to_list() == [at(5.5), at(6.5)]
    assert pipeline.rows_at(at(7))["M1"]["vibration_rms_count_24h"] == 1
    patient = Pipeline(tmp_path, allowed_lateness=25 * HOUR)
    assert patient.run(at(31))["tiles"] == {"built": 0, "reused": 1, "kept": 0}
    assert patient.rows_at(at(7))["M1"]["vibration_rms_count_24h"] == 2


def test_reading_ahead_of_its_arrival_counts_in_its_own_hour(tmp_path: Path) -> None:
    write_raw(tmp_path, at(5), "a.jsonl", [line("M1", at(6, minutes=5), vibration=9)])
    pipeline = Pipeline(tmp_path)
    assert pipeline.run(at(6))["machines"] == 0
    assert pipeline.run(at(7))["machines"] == 1
    assert pipeline.rows_at(at(7))["M1"]["vibration_rms_staleness_seconds"] == 55 * 60


def test_arrival_in_a_partition_outside_the_span_is_caught_up_with(tmp_path: Path) -> None:
    for hour in range(14):
        write_raw(tmp_path, at(hour), "a.jsonl", steady("M1", hour))
    pipeline = Pipeline(tmp_path)
    pipeline.run(at(6))
    pipeline.run(at(12))
    write_raw(tmp_path, at(5), "slow_writer.jsonl", steady("M2", 5))
    answer = pipeline.run(at(14))
    assert answer["tiles"] == {"built": 1, "reused": 13, "kept": 0}
    assert list(pipeline.rows_at(at(6))) == ["M1", "M2"]


def test_partition_whose_raw_objects_have_all_gone_keeps_its_files(tmp_path: Path) -> None:
    path = write_raw(tmp_path, at(5), "a.jsonl", [*steady("M1", 5), line("M1", at(5.5), codigo_evento="FALHA")])
    pipeline = Pipeline(tmp_path)
    assert pipeline.run(at(6))["machines"] == 1
    files = {
        file: file.read_bytes() for file in (tmp_path / "processed").rglob("*.parquet") if "training" not in str(file)
    }
    path.unlink()
    write_raw(tmp_path, at(5), "notes.txt", b"no telemetry")
    again = pipeline.run(at(6))
    assert (again["machines"], again["tiles"]) == (1, {"built": 0, "reused": 0, "kept": 1})
    assert {file: file.read_bytes() for file in files} == files


def test_partitions_older_than_the_retention_of_raw_are_not_looked_at_again(tmp_path: Path) -> None:
    """A lifecycle rule deletes objects one after the other: a partition must not be built of the last ones."""
    for name, hour in (("a.jsonl", 5.2), ("b.jsonl", 5.7)):
        write_raw(tmp_path, at(5), name, [line("M1", at(hour), vibration=1)])
    pipeline = Pipeline(tmp_path)
    pipeline.run(at(6))
    before = pipeline.rows_at(at(6))
    next(tmp_path.rglob("a.jsonl")).unlink()
    answer = pipeline.run(at(6), raw_kept_from=at(6))
    assert answer["tiles"] == {"built": 0, "reused": 0, "kept": 1}
    assert pipeline.rows_at(at(6)) == before
    assert pipeline.run(at(6), raw_kept_from=at(5))["tiles"] == {"built": 1, "reused": 0, "kept": 0}


def test_future_tolerance_is_a_setting_that_builds_tiles_again(tmp_path: Path) -> None:
    write_raw(tmp_path, at(5), "a.jsonl", [line("M1", at(6, minutes=20), vibration=1)])
    pipeline = Pipeline(tmp_path)
    assert pipeline.run(at(7))["lines"]["rejected"] == {"from_the_future": 1}
    assert pipeline.run(at(7), future_tolerance=timedelta(minutes=20))["lines"]["accepted"] == 1
    assert pipeline.run(at(7), future_tolerance=timedelta(minutes=20))["tiles"]["reused"] == 1


def test_changed_plausible_range_builds_tiles_again(tmp_path: Path) -> None:
    write_raw(tmp_path, at(5), "a.jsonl", [line("M1", at(5.5), vibration=150)])
    Pipeline(tmp_path).run(at(6))
    strict = Pipeline(tmp_path, spec=feature_spec(temperature_celsius=(-60, 400), vibration_rms=(0, 100)))
    answer = strict.run(at(6), accept_loss=True)
    assert answer["lines"]["rejected"] == {"out_of_range": 1}
    assert answer["machines"] == 0


def test_damaged_tile_file_is_built_again(tmp_path: Path) -> None:
    write_raw(tmp_path, at(5), "a.jsonl", steady("M1", 5))
    pipeline = Pipeline(tmp_path)
    pipeline.run(at(6))
    rows = pipeline.rows_at(at(6))
    (tiles,) = (tmp_path / "processed" / "tiles").rglob("*.parquet")
    tiles.write_bytes(b"PAR1 and then nothing")
    assert pipeline.run(at(6))["tiles"] == {"built": 1, "reused": 0, "kept": 0}
    assert pipeline.rows_at(at(6)) == rows


def test_as_of_between_hours_is_online_but_not_in_the_training_set(tmp_path: Path) -> None:
    write_raw(tmp_path, at(5), "a.jsonl", steady("M1", 5))
    pipeline = Pipeline(tmp_path)
    answer = pipeline.run(at(5, minutes=35))
    assert answer["training"]["files"] == 6
    assert max(pipeline.training()) == "year=2025/month=10/day=15/hour=05"
    assert pipeline.online_rows()["M1"]["vibration_rms_count_1h"] == 4
    assert pipeline.table.items["M1"]["event_timestamp"] == {"S": "2025-10-15T05:35:00Z"}


def test_failures_and_quarantine_are_files_of_their_partition(tmp_path: Path) -> None:
    write_raw(tmp_path, at(5), "b.jsonl", [b"oops", line("M2", at(5.2), codigo_evento="FALHA_B")])
    failure = line("M1", at(5.5), codigo_evento="FALHA_A", vibration=3)
    write_raw(tmp_path, at(5), "a.jsonl.gz", gzip.compress(b"\n".join([failure, b"[]", failure])))
    write_raw(tmp_path, at(5), "c.jsonl.gz", gzip.compress(b"cut off")[:-4])
    pipeline = Pipeline(tmp_path)
    answer = pipeline.run(at(6))
    assert (answer["lines"]["failures"], answer["lines"]["duplicates"]) == (2, 1)
    folder = "raw/year=2025/month=10/day=15/hour=05"
    assert pipeline.read_processed("failures").rows() == [
        ("M1", at(5.5), "FALHA_A", f"{folder}/a.jsonl.gz", 1),
        ("M2", at(5.2), "FALHA_B", f"{folder}/b.jsonl", 2),
    ]
    rejected = pipeline.read_processed("quarantine")
    assert rejected.drop("raw_text").rows() == [
        (f"{folder}/a.jsonl.gz", 2, "not_object"),
        (f"{folder}/b.jsonl", 1, "not_json"),
        (f"{folder}/c.jsonl.gz", None, "unreadable_object"),
    ]
    assert rejected["raw_text"].to_list()[:2] == ["[]", "oops"]


def map_partition(batches: Sequence[ReadBatch], fingerprint: str) -> MappedPartition:
    (mapped,) = map_partitions([RawPartition(T0, batches, fingerprint)], SPEC)
    return mapped


def test_partitions_are_mapped_in_their_order_each_from_its_own_batches() -> None:
    def read(hour: int, batch: int) -> list[RawContent]:
        return [RawContent(f"{batch}.jsonl", line("M1", at(hour, seconds=batch), vibration=1) + b"\noops")]

    counts = [0, 9, 1, 0, 3]
    partitions = [
        RawPartition(at(hour), [partial(read, hour, batch) for batch in range(count)], str(hour))
        for hour, count in enumerate(counts)
    ]
    mapped = list(map_partitions(partitions, SPEC))
    assert [each.hour for each in mapped] == [at(hour) for hour in range(5)]
    assert [each.counts.accepted for each in mapped] == counts
    assert [each.counts.rejected["not_json"] for each in mapped] == counts
    assert [each.manifest.fingerprint for each in mapped] == list("01234")


def test_error_of_a_store_ends_the_mapping_where_it_is_and_nothing_after_it_is_read() -> None:
    asked: list[int] = []

    def read(batch: int) -> list[RawContent]:
        asked.append(batch)
        if batch == 1:
            raise LakeError("read it", "no answer")
        return [RawContent("a.jsonl", line("M1", T0, vibration=1))]

    partitions = [RawPartition(at(hour), [partial(read, hour)], "") for hour in range(100)]
    mapped = map_partitions(partitions, SPEC)
    assert next(mapped).hour == T0
    with pytest.raises(LakeError, match="no answer"):
        next(mapped)
    assert max(asked) < 20


def test_batches_of_a_partition_leave_what_one_batch_leaves() -> None:
    lines = [line("M1", at(0, seconds=k * 37 % 4000), vibration=k % 7, temperature=k % 5) for k in range(300)]
    contents = [RawContent(f"{i}.jsonl", b"\n".join(lines[i * 60 : i * 60 + 90])) for i in range(5)]
    whole = map_partition([lambda: contents], "x")
    parts = map_partition([partial(list, [content]) for content in contents], "x")
    assert whole.counts == parts.counts
    assert whole.counts.duplicates == 4 * 30
    assert whole.manifest == parts.manifest
    assert (whole.failures, whole.rejected) == (parts.failures, parts.rejected)
    one, other = (pl.read_parquet(mapped.tiles) for mapped in (whole, parts))
    assert_frame_equal(one, other, rel_tol=1e-12, abs_tol=1e-12)


def test_batch_of_duplicates_only_adds_to_their_count_alone() -> None:
    content = RawContent("a.jsonl", b"\n".join(steady("M1", 0)))
    once = map_partition([lambda: [content]], "x")
    again = map_partition([lambda: [content], lambda: [RawContent("b.jsonl", content.data)]], "x")
    assert (again.tiles, again.hours, again.manifest) == (once.tiles, once.hours, once.manifest)
    assert again.counts.accepted == once.counts.accepted == again.counts.duplicates == 6


def test_mapping_twice_gives_equal_bytes() -> None:
    contents = [RawContent("a.jsonl", b"\n".join([*steady("M1", 0), b"oops"]))]
    assert map_partition([lambda: contents], "x") == map_partition([lambda: contents], "x")


def test_manifest_is_read_from_the_end_of_a_tile_file() -> None:
    mapped = map_partition([lambda: [RawContent("a.jsonl", b"\n".join(steady("M1", -2)))]], "print")
    sealed = seal(mapped.tiles, {"hours": "1"})
    assert mapped.manifest == Manifest("print", {2: 6})
    assert read_manifest(sealed) == Manifest("print", {2: 6}, {"hours": "1"})
    assert read_manifest(b"") is read_manifest(sealed[:-3]) is read_manifest(mapped.hours) is None


def test_very_late_lines_do_not_swell_the_manifest() -> None:
    lines = [line("M1", T0 - timedelta(hours=400 + k), vibration=1) for k in range(500)]
    mapped = map_partition([lambda: [RawContent("a.jsonl", b"\n".join(lines))]], "x")
    assert mapped.manifest.lateness == {169: 500}


def test_fingerprint_names_listing_readings_and_format(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path.as_uri())
    listing = lake.list_partitions([T0])[0][T0]
    fingerprint = fingerprint_inputs(listing.fingerprint, SPEC, timedelta(minutes=7))
    assert fingerprint == f"7:7:{SPEC.fingerprint}:{listing.fingerprint}"


@pytest.mark.parametrize("minutes", [0, 5, 55])
def test_span_without_a_whole_hour_writes_no_training_file(tmp_path: Path, minutes: int) -> None:
    pipeline = Pipeline(tmp_path)
    answer = pipeline.backfill(at(3, minutes=minutes), at(3, minutes=minutes + 5))
    assert answer["training"]["files"] == (1 if minutes == 55 else 0)
