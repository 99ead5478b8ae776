"""What the store reads: training rows now and then, failures, labels, features as of instants, parity."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from handler.definitions.errors import LakeError
from handler.definitions.layout import training_key
from handler.definitions.schema import feature_schema
from handler.definitions.spec import FeatureSpec
from machine_features import FeatureStore
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
