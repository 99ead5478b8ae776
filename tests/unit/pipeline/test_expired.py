"""What lifecycle rules took away: no training file is written again from less than it was made of."""

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from handler.definitions.layout import hours_key, partition_path, tiles_key, training_key
from handler.definitions.spec import FeatureSpec
from handler.stores.training import Origin
from tests.harness import Pipeline, at, line, stamp, write_raw
from tests.unit.pipeline.test_stages import Staged

SPEC = FeatureSpec.parse('windows = ["1h", "24h"]\n[[readings]]\nname = "vibration_rms"\nplausible = [0, 200]')
END, RAW_FROM, TILES_FROM = 72, 60, 40
FIRST_WHOLE = TILES_FROM + 24
"""The first training hour whose window sees no partition without tiles."""


@pytest.fixture(params=[Pipeline, Staged])
def pipeline(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Three days of one machine and their training set; raw is expired but for 12 hours, tiles but for 32."""
    before = Pipeline(tmp_path, spec=SPEC)
    fill(before)
    before.backfill(at(0), at(END))
    expire(before)
    return request.param(tmp_path, spec=SPEC)


def fill(pipeline: Pipeline) -> None:
    for hour in range(END):
        write_raw(pipeline.root, at(hour), "a.jsonl", [line("M1", at(hour + 0.5), vibration=hour)])


def expire(pipeline: Pipeline) -> None:
    for hour in range(RAW_FROM):
        (pipeline.root / "raw" / partition_path(at(hour)) / "a.jsonl").unlink()
    for hour in range(TILES_FROM):
        for key in (tiles_key, hours_key):
            (pipeline.root / key(at(hour))).unlink()


def backfill(pipeline: Pipeline, start: float = 36) -> dict[str, Any]:
    return pipeline.invoke({"start": stamp(at(start)), "end": stamp(at(END))}, raw_kept_from=at(RAW_FROM))


def read_all(pipeline: Pipeline) -> dict[int, bytes]:
    return {
        hour: path.read_bytes()
        for hour in range(1, END + 1)
        if (path := pipeline.root / training_key(at(hour))).exists()
    }


def name(hours: Iterable[int]) -> list[str]:
    return [f"{at(hour):%Y-%m-%dT%H}:00:00Z" for hour in hours]


def test_files_made_of_what_is_gone_stand_and_the_backfill_names_their_hours(pipeline: Pipeline) -> None:
    """Also those before the start asked for: 13 is the first hour that an arrival in the span could reach."""
    before = read_all(pipeline)
    answer = backfill(pipeline)
    assert read_all(pipeline) == before
    whole = END + 1 - FIRST_WHOLE
    assert answer["training"] == {"files": whole, "rows": whole, "kept": FIRST_WHOLE - 13}
    assert answer["training_not_written"] == name(range(13, FIRST_WHOLE))
    assert answer["training_current"] == whole


def test_late_reading_is_written_only_where_all_other_readings_are_there(pipeline: Pipeline) -> None:
    before = read_all(pipeline)
    write_raw(pipeline.root, at(70), "late.jsonl", [line("M1", at(50.2), vibration=9)])
    answer = backfill(pipeline)
    after = read_all(pipeline)
    assert [hour for hour in before if after[hour] != before[hour]] == list(range(FIRST_WHOLE, END + 1))
    assert {pipeline.rows_at(at(hour))["M1"]["vibration_rms_count_24h"] for hour in range(FIRST_WHOLE, END + 1)} == {25}
    assert answer["training_not_written"] == name(range(13, FIRST_WHOLE))


def test_hour_without_a_file_is_not_written_from_what_is_left_of_its_partitions(pipeline: Pipeline) -> None:
    for hour in (50, 70):
        (pipeline.root / training_key(at(hour))).unlink()
    answer = backfill(pipeline)
    assert read_all(pipeline).keys() == {*range(1, END + 1)} - {50}
    assert answer["training_not_written"] == name(range(13, FIRST_WHOLE))
    assert answer["training"]["kept"] == FIRST_WHOLE - 13 - 1


def test_damaged_file_stands_where_it_cannot_be_made_again(pipeline: Pipeline) -> None:
    before = read_all(pipeline)
    for hour in (50, 70):
        (pipeline.root / training_key(at(hour))).write_bytes(before[hour][:-9])
    assert "2025-10-17T02:00:00Z" in backfill(pipeline)["training_not_written"]
    assert read_all(pipeline)[50] == before[50][:-9]
    assert pipeline.rows_at(at(70))["M1"]["vibration_rms_count_24h"] == 24


def test_schedule_writes_new_hours_and_keeps_the_older_ones(pipeline: Pipeline) -> None:
    """An ordinary run after a stop looks back on partitions that are gone. Its span must be written, hour 50 not."""
    for hour in range(50, END + 1):
        (pipeline.root / training_key(at(hour))).unlink()
    before = read_all(pipeline)
    answer = pipeline.run(at(56), raw_kept_from=at(RAW_FROM))
    after = read_all(pipeline)
    assert after.keys() == before.keys() | {*range(51, 57)}
    assert {hour: after[hour] for hour in before} == before
    assert answer["training"]["kept"] == len(range(27, 50))


def test_file_of_a_release_that_did_not_say_its_partitions_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline(tmp_path, spec=SPEC)
    fill(pipeline)
    written = Origin.to_metadata
    with monkeypatch.context() as patch:
        patch.setattr(
            Origin, "to_metadata", lambda self: {k: v for k, v in written(self).items() if k != "made_of.partitions"}
        )
        pipeline.backfill(at(0), at(END))
    expire(pipeline)
    before = read_all(pipeline)
    answer = backfill(pipeline)
    assert (read_all(pipeline), answer["training"]["kept"]) == (before, FIRST_WHOLE - 13)


@pytest.mark.parametrize("kind", [Pipeline, Staged])
def test_raw_objects_that_are_too_old_to_be_read_are_not_taken_for_none(kind: type[Pipeline], tmp_path: Path) -> None:
    """A first backfill with a retention shorter than the lake: its hours would be empty, or thin."""
    pipeline = kind(tmp_path, spec=SPEC)
    fill(pipeline)
    answer = pipeline.invoke({"start": stamp(at(0)), "end": stamp(at(END))}, raw_kept_from=at(30))
    thin = range(1, 30 + 24 + 1)  # partition 29 may hold a reading a minute ahead, which hour 54 sees
    assert answer["training_not_written"] == name(thin)
    assert read_all(pipeline).keys() == {*range(thin[-1] + 1, END + 1)}
    assert pipeline.rows_at(at(thin[-1] + 1))["M1"]["vibration_rms_count_24h"] == 24


def test_partitions_before_the_first_are_not_lost(tmp_path: Path) -> None:
    """Nothing says that anything was ever there: the first hours are written, with a retention as without."""
    pipeline = Pipeline(tmp_path, spec=SPEC)
    write_raw(tmp_path, at(40), "a.jsonl", [line("M1", at(40.5), vibration=1)])
    answer = pipeline.invoke({"start": stamp(at(24)), "end": stamp(at(48))}, raw_kept_from=at(20))
    assert (answer["training"]["kept"], answer["training_not_written"]) == (0, [])
    assert read_all(pipeline).keys() == {*range(25, 49)}


@pytest.mark.parametrize("kind", [Pipeline, Staged])
def test_hours_of_which_nothing_is_left_are_not_taken_for_empty(kind: type[Pipeline], tmp_path: Path) -> None:
    """A first backfill of a time whose raw objects a lifecycle rule has deleted: nobody knows what was there."""
    pipeline = kind(tmp_path, spec=SPEC)
    write_raw(tmp_path, at(40), "a.jsonl", [line("M1", at(40.5), vibration=1)])
    answer = pipeline.invoke({"start": stamp(at(24)), "end": stamp(at(48))}, raw_kept_from=at(40))
    assert answer["training_not_written"] == name(range(25, 41))
    assert read_all(pipeline).keys() == {*range(41, 49)}
    assert answer["training"]["kept"] == 0


def test_other_features_do_not_empty_hours_whose_raw_is_gone(pipeline: Pipeline) -> None:
    """Tiles of the older features.toml do not have the reading: its columns would be null, and rows would go."""
    before = read_all(pipeline)
    renamed = SPEC.text.replace("vibration_rms", "level") + '\nfield = "vibration_rms"'
    pipeline.spec = FeatureSpec.parse(renamed)
    answer = backfill(pipeline)
    after = read_all(pipeline)
    stands = range(13, END + 1)  # each sees a partition before 60, whose raw is gone
    assert {hour: after[hour] for hour in stands} == {hour: before[hour] for hour in stands}
    assert answer["training_not_written"] == name(stands)


def test_columns_stay_whole_when_a_window_grows_beyond_what_is_left(pipeline: Pipeline) -> None:
    before = read_all(pipeline)
    pipeline.spec = FeatureSpec.parse(SPEC.text.replace("24h", "30h"))
    backfill(pipeline)
    counts = {
        hour: pl.read_parquet(pipeline.root / training_key(at(hour))).to_dicts()[0].get("vibration_rms_count_30h")
        for hour in range(36, END + 1)
    }
    last = TILES_FROM + 30  # its window begins where partition 39 may hold a reading a minute ahead
    assert {hour for hour, count in counts.items() if count is None} == {*range(36, last + 1)}
    assert set(counts.values()) == {None, 30}
    assert read_all(pipeline)[last] == before[last]


@pytest.mark.parametrize("kind", [Pipeline, Staged])
def test_shorter_window_is_written_though_the_longer_one_saw_partitions_that_are_not_looked_at(
    kind: type[Pipeline], tmp_path: Path
) -> None:
    """Nothing is gone, and a late reading must not be missed: 43 is the first hour that an ordinary run reaches."""
    pipeline = kind(tmp_path, spec=FeatureSpec.parse(SPEC.text.replace("24h", "48h")))
    fill(pipeline)
    pipeline.backfill(at(0), at(END))
    pipeline.spec = SPEC
    write_raw(pipeline.root, at(71), "late.jsonl", [line("M1", at(60.2), vibration=9)])
    answer = pipeline.run(at(END))
    reached = [hour for hour in range(1, END + 1) if "vibration_rms_count_24h" in pipeline.rows_at(at(hour))["M1"]]
    assert reached == [*range(END - 29, END + 1)]
    assert answer["training"] == {"files": len(reached), "rows": len(reached), "kept": 0}
    assert answer["training_not_written"] == []
    counts = {hour: pipeline.rows_at(at(hour))["M1"]["vibration_rms_count_24h"] for hour in reached}
    assert counts == {hour: 24 + (hour > 60) for hour in reached}


def test_shorter_lateness_is_written_though_the_longer_one_saw_later_partitions(tmp_path: Path) -> None:
    """A reading that came 42 hours late counted once; it no longer may, and nothing of its hours is gone."""
    pipeline = Pipeline(tmp_path, spec=SPEC)
    fill(pipeline)
    write_raw(pipeline.root, at(50), "late.jsonl", [line("M1", at(8.2), vibration=9)])
    span = {"start": stamp(at(0)), "end": stamp(at(20))}
    pipeline.invoke({**span, "end": stamp(at(60))}, allowed_lateness=timedelta(hours=48))
    assert pipeline.rows_at(at(10))["M1"]["vibration_rms_count_24h"] == 11
    answer = pipeline.invoke(span, allowed_lateness=timedelta(hours=24))
    assert (answer["training"], answer["training_not_written"]) == ({"files": 20, "rows": 20, "kept": 0}, [])
    assert pipeline.rows_at(at(10))["M1"]["vibration_rms_count_24h"] == 10


def test_shorter_window_is_written_only_where_all_that_it_sees_is_there(tmp_path: Path) -> None:
    """Hour 70 was made of partitions that are gone, and its shorter window does not see them; hour 60's does."""
    pipeline = Pipeline(tmp_path, spec=FeatureSpec.parse(SPEC.text.replace("24h", "48h")))
    fill(pipeline)
    pipeline.backfill(at(0), at(END))
    expire(pipeline)
    before = read_all(pipeline)
    pipeline.spec = SPEC
    answer = backfill(pipeline)
    last = TILES_FROM + 24  # its window begins where partition 39 may hold a reading a minute ahead
    assert answer["training_not_written"] == name(range(13, last + 1))
    after = read_all(pipeline)
    assert [hour for hour in before if after[hour] != before[hour]] == [*range(last + 1, END + 1)]
    counts = {pipeline.rows_at(at(hour))["M1"]["vibration_rms_count_24h"] for hour in range(last + 1, END + 1)}
    assert counts == {24}
