"""The table read many machines at a time: a row an id, whatever is stale, expired, missing or not processed at once."""

import time
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from handler.definitions.errors import ConfigurationError, OnlineStoreError
from handler.definitions.schema import feature_schema
from machine_features import FeatureStore
from machine_features.online import read_items
from tests.harness import HOUR, Aws, at
from tests.unit.machine_features.conftest import HOURS, Plant

MEAN, COUNT, ZONE = "vibration_rms_mean_1h", "vibration_rms_count_1h", "vibration_rms_zone"
LAST = at(HOURS)


@pytest.fixture
def store(plant: Plant, aws: Aws) -> FeatureStore:
    for item in plant.pipeline.table.items.values():
        aws.dynamodb.put_item(TableName="features", Item=item)
    return FeatureStore.open(plant.pipeline.root.as_uri(), table="features")


def test_row_for_each_id_in_the_order_asked(store: FeatureStore, plant: Plant) -> None:
    ids = ["M3", "gone", "M1", "M3"]
    found = store.online(ids, features=[ZONE, MEAN, COUNT], now=LAST + HOUR)
    assert found.columns == ["machine_id", "status", "event_timestamp", "age_seconds", ZONE, MEAN, COUNT]
    assert found.get_column("machine_id").to_list() == ids
    assert found.get_column("status").to_list() == ["present", "missing", "present", "present"]
    assert found.get_column("age_seconds").to_list() == [3600.0, None, 3600.0, 3600.0]
    assert found.schema[COUNT] == pl.Int64
    online = plant.pipeline.online_rows()
    assert found.row(0)[4:] == tuple(online["M3"][name] for name in (ZONE, MEAN, COUNT))
    whole = store.online(["M1"], now=LAST)
    assert whole.columns[4:] == list(feature_schema(plant.pipeline.spec))
    assert whole.row(0)[4:] == tuple(online["M1"].values())
    assert store.online([]).is_empty()


@pytest.mark.parametrize(
    ("age", "status"),
    [
        (2 * HOUR, "present"), (2 * HOUR + timedelta(microseconds=1), "stale"),
        (timedelta(days=7) - timedelta(microseconds=1), "stale"), (timedelta(days=7), "expired"),
    ],
)  # fmt: skip
def test_item_grows_stale_and_expires(age: timedelta, status: str, store: FeatureStore) -> None:
    row = store.online(["M1"], max_age="2h", features=[MEAN], now=LAST + age).row(0, named=True)
    assert row["status"] == status
    assert (row[MEAN] is None) == (row["event_timestamp"] is None) == (status == "expired")


def test_table_that_is_not_named_or_not_there_is_one_line(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OnlineStoreError, match="elsewhere"):
        FeatureStore.open(f"file://{store.location}", table="elsewhere").online(["M1"])
    monkeypatch.delenv("DYNAMODB_TABLE_NAME")
    with pytest.raises(ConfigurationError, match="no table is named"):
        FeatureStore.open(f"file://{store.location}").online(["M1"])


class HalfProcessed:
    """Leaves half of the keys unprocessed at first, as a table that is throttled does."""

    def __init__(self, client: Any, latency: float = 0) -> None:
        self.client, self.latency, self.calls = client, latency, 0
        self.seen: set[str] = set()

    def batch_get_item(self, **order: Any) -> Any:
        self.calls += 1
        time.sleep(self.latency)
        ((table, asked),) = order["RequestItems"].items()
        assert len(asked["Keys"]) <= 100
        new = [key for key in asked["Keys"] if key["machine_id"]["S"] not in self.seen]
        left = new[::2]
        self.seen.update(key["machine_id"]["S"] for key in asked["Keys"])
        done = [key for key in asked["Keys"] if key not in left]
        items = [{**key, "event_timestamp": {"S": "2025-10-15T12:00:00Z"}} for key in done]
        return {"Responses": {table: items}, "UnprocessedKeys": {table: {**asked, "Keys": left}} if left else {}}


def test_keys_that_were_not_processed_are_asked_for_again() -> None:
    client = HalfProcessed(None)
    machines = [f"M{k}" for k in range(1000)]
    assert sorted(read_items(client, "features", machines, [MEAN])) == sorted(machines)
    assert client.calls == 20


def test_table_that_processes_nothing_is_an_error() -> None:
    class Throttled(HalfProcessed):
        def batch_get_item(self, **order: Any) -> Any:
            return {"Responses": {}, "UnprocessedKeys": order["RequestItems"]}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("machine_features.online._FIRST_PAUSE", 0.0)
        with pytest.raises(OnlineStoreError, match="left 3 keys unprocessed 10 times in a row"):
            read_items(Throttled(None), "features", ["a", "b", "c"], None)
