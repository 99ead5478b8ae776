"""Arguments as people give them: one text for a list, globs, frames of pandas, texts for times; errors are ours."""

import inspect
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from handler.definitions.layout import failures_key, training_key
from machine_features import FeatureStore, errors, to_pandas
from machine_features.online import KEPT_ITEMS
from tests.harness import HOUR, T0, Aws, Pipeline, at, line, write_raw
from tests.unit.machine_features.conftest import HOURS, MACHINES, Plant

MEAN, MAX = "vibration_rms_mean_1h", "vibration_rms_max_6h"
ENTITIES = pl.DataFrame({"machine_id": ["M1", "M2", "M3"], "event_timestamp": [at(3), at(4), at(11)]})


def test_one_text_is_a_list_of_one(plant: Plant, aws: Aws) -> None:
    store = plant.store
    for item in plant.pipeline.table.items.values():
        aws.dynamodb.put_item(TableName="features", Item=item)
    for knowledge in ("latest", "as_of"):
        one = store.training(T0, at(4), features=MEAN, machines="M1", knowledge=knowledge).collect()
        assert one.height == 4
        assert_frame_equal(
            one, store.training(T0, at(4), features=[MEAN], machines=["M1"], knowledge=knowledge).collect()
        )
    assert_frame_equal(
        store.asof(ENTITIES, features=MEAN, max_age="1h"), store.asof(ENTITIES, features=[MEAN], max_age="1h")
    )
    labels = store.labels(ENTITIES, horizon="2h", codes="FALHA_A")
    assert labels.get_column("label").to_list()[0] == 1
    assert_frame_equal(labels, store.labels(ENTITIES, horizon="2h", codes=["FALHA_A"]))
    online = FeatureStore.open(plant.pipeline.root, table="features").online("M1", features=MEAN, now=at(HOURS))
    assert online.select("machine_id", "status").rows() == [("M1", "present")]
    assert MEAN in online.columns


def test_names_may_be_in_any_collection(plant: Plant) -> None:
    expected = plant.store.training(T0, at(4), features=[MEAN], machines=["M1"]).collect()
    for make in (tuple, pl.Series, pd.Series, iter, dict.fromkeys):
        found = plant.store.training(T0, at(4), features=make([MEAN]), machines=make(["M1"])).collect()
        assert_frame_equal(found, expected)
    assert plant.store.training(T0, at(4), machines=[]).collect().is_empty()
    assert plant.store.training(T0, at(4), machines=[], knowledge="as_of").collect().is_empty()


@pytest.mark.parametrize("knowledge", ["latest", "as_of"])
def test_features_are_chosen_by_globs(knowledge: Any, plant: Plant) -> None:
    columns = plant.store.training(T0, at(2), features=[MAX, "*_mean_1h", "vibration_rms_m?x_6h"], knowledge=knowledge)
    assert columns.collect_schema().names()[3:] == [MAX, "temperature_celsius_mean_1h", MEAN]
    assert columns.collect().height == 10
    asof = plant.store.asof(ENTITIES, features="vibration_*_1h", max_age="1h")
    assert asof.columns[4:] == [f"vibration_rms_{each}_1h" for each in (
        "count", "mean", "min", "max", "range", "std", "first", "last", "rms", "crest_factor", "skew", "kurtosis",
        "slope_per_hour", "coverage",
    )]  # fmt: skip
    for wrong in ("*_mean_2h", ["*_mean_1h", "nothing_*"]):
        with pytest.raises(errors.UnknownNameError, match="there is no feature"):
            plant.store.training(T0, at(2), features=wrong, knowledge=knowledge)


def test_name_that_is_nowhere_is_an_error_with_the_nearest(plant: Plant) -> None:
    with pytest.raises(errors.UnknownNameError, match=r"there is no failure code FALHA_C; did you mean FALHA_[AB]"):
        plant.store.labels(ENTITIES, horizon="2h", codes=["FALHA_A", "FALHA_C"])
    early = ENTITIES.with_columns(event_timestamp=pl.lit(at(0), ENTITIES.schema["event_timestamp"]))
    found = plant.store.labels(early, horizon="1h", codes=["FALHA_B"])  # it is elsewhere in the lake
    assert found.get_column("label").to_list() == [0, 0, 0]
    with pytest.raises(errors.UnknownNameError, match="there is no feature vibration_rms_mean_1; did you mean vib"):
        plant.store.online("M1", features="vibration_rms_mean_1")
    with pytest.raises(errors.UnknownNameError, match="there is no feature vibration"):
        plant.store.trace("M1", at(3), "vibration")


def test_machine_that_is_nowhere_has_labels_and_a_warning(plant: Plant) -> None:
    entities = [("M1", at(3)), ("M77", at(3)), (None, at(3))]
    with pytest.warns(errors.UnknownMachineWarning, match="there is no machine M77"):
        assert plant.store.labels(entities, horizon="2h").get_column("label").to_list() == [1, 0, None]


def test_machine_that_is_nowhere_is_a_warning_with_the_nearest(tmp_path: Path) -> None:
    write_raw(tmp_path, at(0), "a.jsonl", [line("PUMP-A01", at(0.5), vibration=1)])
    write_raw(tmp_path, at(40), "a.jsonl", [line("PUMP-A02", at(40.5), vibration=1)])
    Pipeline(tmp_path).backfill(at(0), at(41))
    store = FeatureStore.open(tmp_path)
    for knowledge in ("latest", "as_of"):
        with pytest.warns(
            errors.UnknownMachineWarning, match=r"no machine PUMP-A08; did you mean PUMP-A0[12], PUMP-A0"
        ):
            rows = store.training(at(39), at(41), machines=["PUMP-A02", "PUMP-A08"], knowledge=knowledge)
        assert rows.collect().get_column("machine_id").to_list() == ["PUMP-A02"]
    assert FeatureStore.open(tmp_path).training(at(39), at(41), machines="PUMP-A01").collect().is_empty()  # it is known


FORMS: dict[str, Callable[[pl.DataFrame], Any]] = {
    "lazy": pl.DataFrame.lazy,
    "pandas": to_pandas,
    "pandas objects": lambda frame: pd.DataFrame(
        {name: pd.Series(frame[name].to_list(), dtype=object) for name in frame.columns}
    ),
    "columns": lambda frame: frame.to_dict(as_series=False),
    "rows": lambda frame: frame.rows(named=True),
    "pairs": lambda frame: frame.rows(),
    "texts": lambda frame: frame.with_columns(pl.col("event_timestamp").dt.strftime("%Y-%m-%dT%H:%M:%SZ")),
    "other zone": lambda frame: frame.with_columns(pl.col("event_timestamp").dt.convert_time_zone("Asia/Tokyo")),
    "categories": lambda frame: frame.with_columns(pl.col("machine_id").cast(pl.Categorical)),
}


@pytest.mark.parametrize("form", FORMS)
def test_entities_in_any_form(form: str, plant: Plant) -> None:
    given = FORMS[form](ENTITIES)
    assert_frame_equal(plant.store.labels(given, horizon="2h"), plant.store.labels(ENTITIES, horizon="2h"))
    assert_frame_equal(
        plant.store.asof(given, max_age="1h", features=MEAN), plant.store.asof(ENTITIES, max_age="1h", features=MEAN)
    )


@pytest.mark.parametrize("is_text", [True, False])
def test_times_without_a_zone_are_refused_unless_their_zone_is_said(is_text: bool, plant: Plant) -> None:
    times = pl.col("event_timestamp").dt.convert_time_zone("America/Sao_Paulo").dt.replace_time_zone(None)
    local = ENTITIES.with_columns(times.dt.strftime("%Y-%m-%d %H:%M:%S") if is_text else times)
    for given in (local, to_pandas(local)):
        with pytest.raises(errors.ArgumentError, match="give timezone="):
            plant.store.labels(given, horizon="2h")
        with pytest.raises(errors.ArgumentError, match="give timezone="):
            plant.store.asof(given, max_age="1h")
        found = plant.store.labels(given, horizon="2h", timezone="America/Sao_Paulo")
        assert_frame_equal(found, plant.store.labels(ENTITIES, horizon="2h"))
        joined = plant.store.asof(given, max_age="1h", features=MEAN, timezone="America/Sao_Paulo")
        assert_frame_equal(joined, plant.store.asof(ENTITIES, max_age="1h", features=MEAN))


@pytest.mark.parametrize(
    ("local", "utc"),
    [("2018-02-17T23:30:00", datetime(2018, 2, 18, 1, 30)), ("2018-11-04T00:30:00", None)],
    ids=["twice: the earlier", "never"],
)
def test_local_times_at_a_change_of_clocks(local: str, utc: datetime | None, plant: Plant) -> None:
    given = {"machine_id": ["M1"], "event_timestamp": [local]}
    if utc is None:
        with pytest.raises(errors.ArgumentError, match="2018-11-04T00:30:00 is no time of America/Sao_Paulo"):
            plant.store.labels(given, horizon="1h", timezone="America/Sao_Paulo")
    else:
        found = plant.store.labels(given, horizon="1h", timezone="America/Sao_Paulo")
        assert found.get_column("event_timestamp").dt.replace_time_zone(None).to_list() == [utc]


CALLS: dict[str, Callable[[Any], object]] = {
    "no frame": lambda store: store.labels(5, horizon="1h"),
    "no such column": lambda store: store.asof([{"machine": "M1"}], max_age="1h"),
    "no time": lambda store: store.labels([("M1", "yesterday")], horizon="1h"),
    "a date": lambda store: store.labels(ENTITIES.with_columns(pl.col("event_timestamp").dt.date()), horizon="1h"),
    "numbers with a fraction": lambda store: store.labels([(1.5, at(3))], horizon="1h"),
    "lists": lambda store: store.labels([(["M1"], at(3))], horizon="1h"),
    "objects of pandas": lambda store: store.labels(
        pd.DataFrame({"machine_id": [object()], "event_timestamp": [at(3)]}), horizon="1h"
    ),
    "no such zone": lambda store: store.labels([("M1", datetime(2025, 1, 1))], horizon="1h", timezone="Mars"),
    "labels twice": lambda store: store.labels(store.labels(ENTITIES, horizon="1h"), horizon="2h"),
    "asof twice": lambda store: store.asof(store.asof(ENTITIES, max_age="1h", features=[]), max_age="1h", features=[]),
    "a feature twice": lambda store: store.asof(ENTITIES.with_columns(pl.lit(1).alias(MEAN)), max_age="1h"),
    "a number for a length": lambda store: store.labels(ENTITIES, horizon=24),
    "a length without a unit": lambda store: store.asof(ENTITIES, max_age="6"),
    "a negative length": lambda store: store.asof(ENTITIES, max_age=-HOUR),
    "a length beyond all time": lambda store: store.labels(ENTITIES, horizon="99999999999d"),
    "no horizon": lambda store: store.labels(ENTITIES),
    "no such kind": lambda store: store.labels(ENTITIES, horizon="1h", kind="regression"),
    "no codes": lambda store: store.labels(ENTITIES, horizon="1h", codes=[]),
    "an empty zone": lambda store: store.labels([("M1", datetime(2025, 1, 1))], horizon="1h", timezone=""),
    "a number for a zone": lambda store: store.labels([("M1", "2025-01-01T00:00:00")], horizon="1h", timezone=5),
    "a time beyond all years": lambda store: store.labels(
        ENTITIES.with_columns(event_timestamp=pl.lit(2**62).cast(pl.Datetime("us", "UTC"))), horizon="1h"
    ),
    "milliseconds beyond all years": lambda store: store.asof(
        ENTITIES.with_columns(event_timestamp=pl.lit(-(2**62)).cast(pl.Datetime("ms"))), max_age="1h", timezone="UTC"
    ),
    "columns of pandas with one name": lambda store: store.labels(
        pd.DataFrame({"machine_id": ["M1"], "event_timestamp": [at(3)], 0: [1], "0": [2]}), horizon="1h"
    ),
    "parity without machines": lambda store: store.parity(at(6), online={MEAN: [1.0]}),
    "parity of lists for machines": lambda store: store.parity(at(6), online={"machine_id": [["M1"]], MEAN: [1.0]}),
    "parity of lists": lambda store: store.parity(at(6), online={"machine_id": ["M1"], MEAN: [[1.0]]}),
    "parity of objects": lambda store: store.parity(at(6), online={"machine_id": ["M1"], MEAN: [object()]}),
    "parity of a machine twice": lambda store: store.parity(at(6), online={"machine_id": ["M1", "M1"]}),
    "a list for a feature": lambda store: store.trace("M1", at(3), [MEAN]),
    "a name that is too long": lambda _: FeatureStore.open("/" + "x" * 300),
    "codes of numbers": lambda store: store.labels(ENTITIES, horizon="1h", codes=[5]),
    "a number for codes": lambda store: store.labels(ENTITIES, horizon="1h", codes=5),
    "an instant without a zone": lambda store: store.training(datetime(2025, 10, 15), at(3)),
    "no instant": lambda store: store.training("soon", at(3)),
    "a number for an instant": lambda store: store.failures(0, at(3)),
    "no such knowledge": lambda store: store.training(T0, at(3), knowledge="then"),
    "no such missing": lambda store: store.training(T0, at(3), missing="drop"),
    "machines of numbers": lambda store: store.training(T0, at(3), machines=[1]),
    "an instant between tiles": lambda store: store.parity("2025-10-15T03:01:00Z"),
    "an instant beyond all time": lambda store: store.trace("M1", "9999-12-31T23:00:00Z", MEAN),
    "two machines to trace": lambda store: store.trace(["M1", "M2"], at(3), MEAN),
    "no such table": lambda store: store.online("M1"),
}


@pytest.mark.parametrize("call", CALLS)
def test_wrong_arguments_are_errors_of_ours_in_one_line(call: str, plant: Plant) -> None:
    with pytest.raises(errors.ProcessingError) as error:
        CALLS[call](plant.store)
    assert isinstance(error.value, ValueError | errors.ConfigurationError)
    assert "\n" not in str(error.value).strip()


def _make_objects(times: list[datetime]) -> pd.DataFrame:
    return pd.DataFrame({"machine_id": "M1", "event_timestamp": pd.Series(times, dtype=object)})


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("timezone", [None, "America/Sao_Paulo"])
@pytest.mark.parametrize(
    "make",
    [
        _make_objects,
        lambda times: {"machine_id": ["M1", "M1"], "event_timestamp": times},
        lambda times: [("M1", time) for time in times],
        lambda times: [{"machine_id": "M1", "event_timestamp": time} for time in times],
    ],
    ids=["pandas", "columns", "pairs", "rows"],
)
def test_times_with_a_zone_and_without_are_not_mixed(
    make: Callable[[list[datetime]], Any], timezone: str | None, is_reversed: bool, plant: Plant
) -> None:
    times = [at(3), datetime(2025, 10, 15, 2)]
    with pytest.raises(errors.ArgumentError, match=r"with a zone and times without|supertype"):
        plant.store.labels(make(times[::-1] if is_reversed else times), horizon="1h", timezone=timezone)


@pytest.mark.parametrize("knowledge", ["latest", "as_of"])
def test_last_hour_of_all_years_has_no_rows(knowledge: Any, plant: Plant) -> None:
    rows = plant.store.training("9999-12-31T23:10:00Z", "9999-12-31T23:50:00Z", knowledge=knowledge)
    assert rows.collect().is_empty()


def test_entities_may_have_any_other_columns(plant: Plant) -> None:
    names = ("row", "_row", "index", "begin", "end", "start", "stop", "until", "code", "begins", "clear")
    entities = ENTITIES.with_columns(pl.lit(7).alias(name) for name in names)
    added = ["label", "time_to_failure", "failure_code", "status"]
    assert plant.store.labels(entities, horizon="1h").columns == [*entities.columns, *added]
    assert (
        plant.store.asof(entities, max_age="1h", features=MEAN).drop("feature_timestamp", "age", MEAN).equals(entities)
    )


@pytest.mark.parametrize("place", [-5, -40, 200, 4])
@pytest.mark.parametrize("make_key", [training_key, failures_key])
def test_damaged_file_is_named(make_key: Callable[[datetime], str], place: int, tmp_path: Path) -> None:
    for hour in range(4):
        write_raw(tmp_path, at(hour), "a.jsonl", [line("M1", at(hour + 0.5), vibration=1, codigo_evento="F"),
                                                  line("M1", at(hour + 0.6), vibration=1)])  # fmt: skip
    Pipeline(tmp_path).backfill(at(0), at(4))
    path = tmp_path / make_key(at(2))
    data = path.read_bytes()
    path.write_bytes(data[:place] + b"\xff\xfe\xfd\xfc" + data[place:])
    reads: Any = {
        training_key: (
            lambda store: store.training(T0, at(4)).collect(),
            lambda store: store.training(T0, at(4), features=MEAN).collect(),
            lambda store: store.asof(ENTITIES, max_age="9h"),
            lambda store: store.export(T0, at(4), tmp_path / "export"),
        ),
        failures_key: (
            lambda store: store.failures(T0, at(4)),
            lambda store: store.labels([("M1", at(2))], horizon="1h"),
        ),
    }[make_key]
    for read in reads:
        with pytest.raises(errors.LakeError, match=r"hour=02/\w+\.parquet: it is not as it was written; run"):
            read(FeatureStore.open(tmp_path))


@pytest.mark.parametrize("place", range(4, 40_000, 1999))
def test_any_flipped_bit_of_a_small_file_is_found(place: int, plant: Plant, tmp_path: Path) -> None:
    key = training_key(at(3))
    data = bytearray((plant.pipeline.root / key).read_bytes())
    data[place % len(data)] ^= 1
    (tmp_path / key).parent.mkdir(parents=True)
    (tmp_path / key).write_bytes(data)
    with pytest.raises(errors.LakeError, match="it is not as it was written; run a backfill over its hour"):
        FeatureStore.open(tmp_path).training(T0, at(4), features=MEAN).collect()


def test_every_error_of_the_module_is_of_one_tree() -> None:
    found = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, Exception)]
    assert len(found) > 8
    assert all(issubclass(each, errors.ProcessingError | Warning) for each in found)
    assert set(errors.__all__) == {each.__name__ for each in found}


def test_kept_items_that_are_damaged_are_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / KEPT_ITEMS).write_text('{"machine_id": {"S": "M1"}}\nnot json\n')
    with pytest.raises(errors.OnlineStoreError, match=r"online\.jsonl: it is not as"):
        FeatureStore.open(tmp_path).online("M1")


@pytest.mark.parametrize("wrong", [{}, {"event_timestamp": {"S": "soon"}}, {"event_timestamp": 5}])
def test_item_of_another_hand_is_an_error_of_ours(wrong: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / KEPT_ITEMS).write_text(json.dumps({"machine_id": {"S": "M1"}, **wrong}))
    with pytest.raises(errors.OnlineStoreError, match="an item is not as the function writes it"):
        FeatureStore.open(tmp_path).online("M1")


def test_machines_have_as_many_rows_as_before(plant: Plant) -> None:
    assert plant.store.training(T0, at(1)).collect().height == MACHINES
    assert plant.store.asof(ENTITIES, max_age=timedelta(0), features=MEAN).get_column(MEAN).null_count() == 0
