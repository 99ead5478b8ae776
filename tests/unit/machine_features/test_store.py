"""What the store reads: training rows now and then, failures, labels, features as of instants, parity."""

import json
import re
import shutil
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from handler.definitions.errors import LakeError
from handler.definitions.layout import failures_key, partition_path, training_key
from handler.definitions.schema import feature_schema
from handler.definitions.spec import FeatureSpec
from handler.lake.lake import Lake
from machine_features import FeatureStore
from machine_features.errors import UnknownMachineWarning
from machine_features.online import KEPT_ITEMS
from machine_features.scan import FileScanner
from tests.frames import assert_close
from tests.harness import HOUR, T0, Aws, Pipeline, at, line, write_raw
from tests.unit.machine_features.conftest import HOURS, MACHINES, Plant

KEYS = ["machine_id", "event_timestamp", "created_timestamp"]
MEAN = "vibration_rms_mean_1h"


def test_training_rows_are_those_of_the_files(plant: Plant) -> None:
    rows = plant.store.training(at(-4), at(HOURS)).collect()
    files = plant.pipeline.read_processed("training")
    assert_frame_equal(rows, files)
    assert rows.height > HOURS * (MACHINES - 1)
    assert_frame_equal(plant.store.training("2025-10-15T02:00:00Z", at(4)).collect(), files.filter(
        pl.col("event_timestamp").is_in([at(3), at(4)])
    ))  # fmt: skip


def test_training_reads_only_what_is_wanted(plant: Plant) -> None:
    rows = plant.store.training(at(2), at(5), features=[MEAN], machines=["M1", "M3"])
    assert rows.collect_schema().names() == [*KEYS, MEAN]
    found = rows.collect()
    assert found.get_column("machine_id").unique().sort().to_list() == ["M1", "M3"]
    assert found.height == 6
    with pytest.raises(ValueError, match="there is no feature vibration_rms_mean_1; did you mean vibration_rms_"):
        plant.store.training(at(2), at(5), features=["vibration_rms_mean_1"])


def test_rows_as_of_their_hour_are_what_was_online(plant: Plant) -> None:
    rows = plant.store.training(T0, at(HOURS), knowledge="as_of").collect()
    latest = plant.store.training(T0, at(HOURS)).collect()
    for hour, online in plant.online.items():
        known = rows.filter(pl.col("event_timestamp") == hour).drop(*KEYS[1:]).sort("machine_id")
        assert_close(known, plant.online_frame(hour).filter(pl.col("machine_id").is_in(list(online))))
    assert rows.select(MEAN).equals(latest.select(MEAN)) is False  # late readings came since
    few = plant.store.training(at(3), at(5), knowledge="as_of", features=[MEAN], machines=["M2"]).collect()
    assert_close(few.drop("created_timestamp"), rows.filter(
        pl.col("event_timestamp").is_in([at(4), at(5)]), pl.col("machine_id") == "M2"
    ).select("machine_id", "event_timestamp", MEAN))  # fmt: skip


def test_parity_explains_each_difference_by_late_data(plant: Plant) -> None:
    parities = [plant.store.parity(hour, online=plant.online_frame(hour)) for hour in plant.online]
    causes = pl.concat(parity.cells for parity in parities).get_column("cause")
    assert causes.unique().to_list() == ["late_data"]
    assert causes.len() > 50
    assert sum(parity.compared for parity in parities) > causes.len()
    assert 0 < max(parity.smape for parity in parities) < 1
    wrong = plant.online_frame(at(6)).with_columns(pl.col(MEAN) * 2)
    found = plant.store.parity(at(6), online=wrong)
    assert found.count("cause")["unexplained"] >= MACHINES
    without = plant.store.parity(at(6), online=plant.online_frame(at(6)).drop(MEAN))
    assert without.cells.filter(pl.col("feature") == MEAN).select("kind", "cause").unique().rows() == [
        ("missing", "spec")
    ]


def test_parity_sees_an_item_whose_machine_has_no_row_at_that_hour(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    write_raw(tmp_path, at(0), "a.jsonl", [line("M1", at(0.5), vibration=1), line("M2", at(0.5), vibration=1)])
    pipeline.run(at(1))
    write_raw(tmp_path, at(25), "a.jsonl", [line("M1", at(25.5), vibration=2)])
    pipeline.run(at(26))
    items = pipeline.table.items
    items["M2"]["event_timestamp"]["S"] = items["M1"]["event_timestamp"]["S"]
    (tmp_path / KEPT_ITEMS).write_text("".join(f"{json.dumps(item)}\n" for item in items.values()))
    cells = FeatureStore.open(tmp_path.as_uri()).parity(at(26)).cells
    assert cells.select("machine_id", "kind", "cause").unique().rows() == [("M2", "extra", "unexplained")]


def test_failures_come_once_by_their_own_time(plant: Plant) -> None:
    found = plant.store.failures(T0, at(HOURS))
    assert found.select("machine_id", "event_timestamp", "codigo_evento").rows() == [
        ("M1", at(3.5), "FALHA_A"), ("M1", at(4, minutes=10), "FALHA_A"), ("M2", at(5.25), "FALHA_B"),
        ("M1", at(6.5), "FALHA_A"),
    ]  # fmt: skip
    assert plant.store.failures(at(4), at(5.25)).height == 1


def test_labels_of_training_rows(plant: Plant) -> None:
    entities = pl.DataFrame(
        {"machine_id": ["M1", "M2", "M3", "M1", "M1"], "event_timestamp": [at(3), at(3), at(3), at(4), at(11)], "x": 1}
    )
    found = plant.store.labels(entities, horizon="2h")
    assert found.columns == [*entities.columns, "label", "time_to_failure", "failure_code", "status"]
    assert found.schema["label"] == pl.Int8
    assert found.select("label", "failure_code", "status").rows() == [
        (1, "FALHA_A", "observed"), (0, None, "observed"), (0, None, "observed"),
        (None, None, "after_failure"), (None, None, "censored"),
    ]  # fmt: skip
    assert found.get_column("time_to_failure").to_list()[0] == timedelta(minutes=30)
    assert plant.store.labels(entities, horizon="2h", codes=["FALHA_B"]).get_column("label").to_list()[:3] == [0, 0, 0]


def test_labels_by_time_to_failure(plant: Plant) -> None:
    entities = pl.DataFrame({"machine_id": ["M1", "M2", "M1"], "event_timestamp": [at(3), at(1), at(11)]})
    found = plant.store.labels(entities, kind="time_to_failure")
    assert found.select("label", "failure_code", "status").rows() == [
        (0.5, "FALHA_A", "observed"), (4.25, "FALHA_B", "observed"), (None, None, "censored"),
    ]  # fmt: skip


def test_labels_read_the_failure_files_that_matter(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = FileScanner.scan

    def note(scanner: FileScanner, keys: Sequence[str], *args: Any, **more: Any) -> pl.LazyFrame:
        read.extend(keys)
        return real(scanner, keys, *args, **more)

    monkeypatch.setattr(FileScanner, "scan", note)
    entities = pl.DataFrame({"machine_id": ["M1"], "event_timestamp": [at(10)]})
    plant.store.labels(entities, horizon="1h")
    assert [key for key in read if "failures" in key] == [failures_key(at(hour)) for hour in range(8, HOURS)]
    assert len(read) < HOURS - 8 + 2


@pytest.mark.parametrize("left", ["tiles", "failures", "no arrivals"])
def test_hours_after_the_newest_arrival_are_ignored(left: str, tmp_path: Path) -> None:
    for hour in range(4):
        write_raw(tmp_path, at(hour), "a.jsonl", [line("M1", at(hour + 0.5), vibration=hour)])
    newer = FeatureSpec.parse('windows = ["2h"]\n[[readings]]\nname = "vibration_rms"\nplausible = [0, 200]')
    Pipeline(tmp_path).backfill(at(0), at(4))
    Pipeline(tmp_path, spec=newer).run(at(24))
    if left != "tiles":
        shutil.rmtree(tmp_path / "processed" / "tiles")
    if left == "no arrivals":
        shutil.rmtree(tmp_path / "processed" / "failures")
    store = FeatureStore.open(tmp_path)
    last = at(24) if left == "no arrivals" else at(4)  # nothing tells then
    assert store.hours()[-1] == last
    rows = store.training(T0, at(48)).collect()
    assert rows.get_column("event_timestamp").max() == last
    entities = pl.DataFrame({"machine_id": ["M1"], "event_timestamp": [at(20)]})
    assert store.asof(entities, max_age="1d").get_column("feature_timestamp").item() == min(last, at(20))
    assert store.export(T0, at(48), tmp_path / "export").get_column("rows").sum() == rows.height
    if left == "tiles":
        store = FeatureStore.open(tmp_path)
        known = store.training(T0, at(48), knowledge="as_of").collect()
        assert known.get_column("event_timestamp").max() == last


def test_catalogue_reads_few_footers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for hour in range(40):
        write_raw(tmp_path, at(hour), "a.jsonl", [line("M1", at(hour + 0.5), vibration=1)])
    Pipeline(tmp_path).backfill(at(0), at(23))
    newer = FeatureSpec.parse('windows = ["1h", "3h"]\n[[readings]]\nname = "vibration_rms"\nplausible = [0, 200]')
    Pipeline(tmp_path, spec=newer, allowed_lateness=0 * HOUR).backfill(at(23), at(40))
    read: list[str] = []
    real = Lake.read_tails

    def note(lake: Lake, keys: Iterable[str]) -> Iterable[bytes]:
        noted = list(keys)
        read.extend(noted)
        return real(lake, noted)

    monkeypatch.setattr(Lake, "read_tails", note)
    since = dict(FeatureStore.open(tmp_path).features().select("name", "since").rows())
    assert (since["vibration_rms_mean_1h"], since["vibration_rms_mean_3h"]) == (at(1), at(24))
    assert len(read) < 12


def test_features_as_of_instants(plant: Plant) -> None:
    times = [at(6.5), at(2), at(2, minutes=-1), at(30), at(6.5)]
    entities = pl.DataFrame({"machine_id": ["M1", "M2", "M2", "M1", "M9"], "event_timestamp": times, "k": range(5)})
    found = plant.store.asof(entities, features=[MEAN], max_age="6h")
    assert found.columns == [*entities.columns, "feature_timestamp", "age", MEAN]
    assert found.get_column("k").to_list() == [0, 1, 2, 3, 4]
    assert found.get_column("feature_timestamp").to_list() == [at(6), at(2), at(1), None, None]
    assert found.get_column("age").to_list()[:3] == [HOUR / 2, timedelta(0), 59 * timedelta(minutes=1)]
    exactly = plant.store.asof(entities.head(1), features=[MEAN], max_age=HOUR / 2)
    assert exactly.get_column("feature_timestamp").to_list() == [at(6)]
    less = plant.store.asof(entities.head(1), features=[MEAN], max_age=HOUR / 2 - timedelta(microseconds=1))
    assert less.get_column(MEAN).to_list() == [None]


def test_catalogue_names_each_feature_once(plant: Plant) -> None:
    found = plant.store.features()
    assert found.get_column("name").to_list() == list(feature_schema(plant.pipeline.spec))
    assert found.columns == ["name", "reading", "statistic", "window", "unit", "meaning", "null_when", "since"]
    assert found.get_column("since").unique().to_list() == [at(-1)]  # late readings came before the first run
    assert found.null_count().sum_horizontal().item() == 0


@pytest.fixture
def changed(plant: Plant, tmp_path: Path) -> Pipeline:
    """The plant after its features changed: another window, and a reading less."""
    shutil.copytree(plant.pipeline.root, tmp_path, dirs_exist_ok=True)
    spec = FeatureSpec.parse('windows = ["1h", "3h"]\n[[readings]]\nname = "vibration_rms"\nplausible = [0, 200]')
    pipeline = Pipeline(tmp_path, spec=spec, time_window=HOUR, allowed_lateness=HOUR)
    write_raw(tmp_path, at(HOURS), "a.jsonl", [line("M1", at(HOURS + 0.5), vibration=1)])
    pipeline.run(at(HOURS + 1))
    return pipeline


def test_files_of_different_specs_are_read_together(changed: Pipeline) -> None:
    store = FeatureStore.open(changed.root.as_uri())
    rows = store.training(T0, at(HOURS + 1)).collect()
    old = feature_schema(FeatureSpec.load())
    assert set(rows.columns) == {*KEYS, *feature_schema(changed.spec), *old}
    assert {rows.schema[name] for name in rows.columns if "_count_" in name} == {pl.Int64()}
    by_hour = rows.group_by("event_timestamp").agg(pl.all().is_not_null().any()).sort("event_timestamp")
    assert by_hour.get_column("temperature_celsius_mean_1h").to_list() == [True] * (HOURS - 1) + [False, False]
    assert by_hour.get_column("vibration_rms_mean_3h").to_list() == [False] * (HOURS - 1) + [True, True]
    catalogue = store.features()
    assert dict(catalogue.select("name", "since").rows())["vibration_rms_mean_3h"] == at(HOURS)


def test_damaged_footer_is_named(changed: Pipeline) -> None:
    path = changed.root / training_key(at(3))
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    with pytest.raises(LakeError, match=r"hour=03/features\.parquet: it is not as it was written; run a backfill"):
        FeatureStore.open(changed.root.as_uri()).training(T0, at(5))


def test_empty_lake_has_columns_and_no_rows(tmp_path: Path) -> None:
    store = FeatureStore.open(tmp_path.as_uri())
    assert store.training(T0, at(5)).collect().shape == (0, 3 + len(feature_schema(FeatureSpec.load())))
    assert store.training(T0, at(5), knowledge="as_of").collect().is_empty()
    assert store.failures(T0, at(5)).is_empty()
    entities = pl.DataFrame({"machine_id": ["M1"], "event_timestamp": [at(1)]})
    assert store.labels(entities, horizon="1h").get_column("status").to_list() == ["censored"]
    assert store.asof(entities, max_age="1h", features=[MEAN]).get_column(MEAN).to_list() == [None]


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        (pl.DataFrame({"machine": ["M1"]}), "entities have no column machine_id; they have machine"),
        (pl.DataFrame({"machine_id": ["M1"], "event_timestamp": [datetime(2025, 1, 1)]}), "not Datetime with a zone"),
    ],
)
def test_wrong_entities_get_one_line(entities: pl.DataFrame, message: str, plant: Plant) -> None:
    with pytest.raises(ValueError, match=message):
        plant.store.labels(entities, horizon="1h")
    with pytest.raises(ValueError, match=message):
        plant.store.asof(entities, max_age="1h")


def test_bucket_is_read_as_a_folder_is(plant: Plant, aws: Aws) -> None:
    for path in plant.pipeline.root.rglob("*.parquet"):
        key = path.relative_to(plant.pipeline.root).as_posix()
        aws.s3.put_object(Bucket="lake", Key=key, Body=path.read_bytes())
    store = FeatureStore.open("lake")
    here = plant.store
    assert_frame_equal(store.training(T0, at(5)).collect(), here.training(T0, at(5)).collect())
    assert_frame_equal(store.failures(T0, at(9)), here.failures(T0, at(9)))
    for knowledge in ("latest", "as_of"):
        few = [each.training(at(3), at(5), features=[MEAN], knowledge=knowledge).collect() for each in (store, here)]
        assert_frame_equal(*few)


def test_value_is_traced_to_its_lines(tmp_path: Path) -> None:
    lines = [
        line("M7", at(20.1), vibration=2), line("M7", at(20.2), vibration=3) + line("M7", at(20.3), vibration=4),
        line("M7", at(20.2), vibration=3), line("M7", at(20.4), vibration=900),
        line("M7", at(20.4), vibration=1, codigo_evento="F"), line("M7", "never", vibration=1),
        line("M7", at(20.5), temperature=50), line("M70", at(20.5), vibration=9), line("M7", at(-4.5), vibration=5),
    ]  # fmt: skip
    write_raw(tmp_path, at(20), "b.jsonl", lines)
    write_raw(tmp_path, at(22), "c.jsonl", [b"", line("M7", at(20.6), vibration=7)])
    Pipeline(tmp_path).run(at(23))
    store, key = FeatureStore.open(tmp_path.as_uri()), "raw/year=2025/month=10/day=15/hour={}/{}.jsonl"
    found = store.trace("M7", at(21), "vibration_rms_mean_1h")
    assert found.select("line_number", "value", "status").rows() == [
        (1, 2.0, "used"), (2, 3.0, "used"), (2, 4.0, "used"), (3, 3.0, "duplicate"), (4, 900.0, "out_of_range"),
        (5, 1.0, "failure"), (6, 1.0, "bad_timestamp"), (2, 7.0, "used"),
    ]  # fmt: skip
    assert found.get_column("source_key").unique(maintain_order=True).to_list() == [
        key.format(20, "b"), key.format(22, "c"),
    ]  # fmt: skip
    with pytest.warns(UnknownMachineWarning, match="there is no machine M8"):
        assert store.trace("M8", at(21), "vibration_rms_mean_1h").is_empty()
    late = store.trace("M7", at(-2), "vibration_rms_mean_24h")
    assert late.select("line_number", "status").rows() == [(6, "bad_timestamp"), (9, "too_late")]


@pytest.mark.parametrize("feature", ["mean_6h", "count_1h", "max_24h"])
def test_traced_lines_make_the_value(feature: str, plant: Plant) -> None:
    name = f"vibration_rms_{feature}"
    value = plant.store.training(at(7), at(8), features=[name], machines=["M2"]).collect().get_column(name).item()
    used = plant.store.trace("M2", at(8), name).filter(pl.col("status") == "used").get_column("value")
    expected = {"mean_6h": used.mean(), "count_1h": used.len(), "max_24h": used.max()}[feature]
    assert value == pytest.approx(expected, rel=1e-12)
    corr = plant.store.trace("M2", at(8), "temperature_celsius_vibration_rms_corr_1h")
    assert corr.get_column("reading").unique().sort().to_list() == ["temperature_celsius", "vibration_rms"]


def test_lines_that_are_gone_are_said_to_be(changed: Pipeline) -> None:
    (changed.root / "raw" / partition_path(at(7)) / "a.jsonl").unlink()
    with pytest.raises(LakeError, match="trace lines of 2025-10-15T07:00:00Z: its raw objects are gone"):
        FeatureStore.open(changed.root.as_uri()).trace("M1", at(8), MEAN)


def test_daily_files_are_never_changed(changed: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> None:
    store, to = FeatureStore.open(changed.root.as_uri()), tmp_path_factory.mktemp("export")
    first = store.export(at(-2), at(HOURS + 1), str(to))
    assert first.get_column("is_new").to_list() == [True, True]
    files = {path: path.read_bytes() for path in to.rglob("*.parquet")}
    assert len(files) == 2
    rows = pl.concat([pl.read_parquet(to / key) for key in first.get_column("key")])
    assert_frame_equal(rows, store.training(at(-2), at(HOURS + 1)).collect().select(rows.columns))
    again = store.export(at(-2), at(HOURS + 1), to.as_uri())
    assert again.get_column("is_new").to_list() == [False, False]
    assert again.get_column("rows").to_list() == first.get_column("rows").to_list()
    write_raw(changed.root, at(HOURS + 1), "a.jsonl", [line("M1", at(HOURS + 1.5), vibration=1)])
    changed.run(at(HOURS + 2))
    later = store.export(at(-2), at(HOURS + 2), str(to))
    assert later.get_column("is_new").to_list() == [False, True]
    assert all(path.read_bytes() == data for path, data in files.items())


def test_example_of_the_docs_gives_a_labelled_training_set(plant: Plant) -> None:
    """docs/features.md, with a folder in place of the bucket."""
    text = (Path(__file__).parents[3] / "docs" / "features.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace("plant-data-lake", plant.pipeline.root.as_uri()).replace("24h", "2h"), names)  # noqa: S102 - it is our own
    assert set(names["frame"]["label"].astype(int)) == {0, 1}
    assert len(names["frame"]) == names["labelled"].height > 0
