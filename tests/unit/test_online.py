"""Items, conditions, and what happens when the table refuses."""

import json
import threading
import time
from decimal import Decimal
from typing import Any

import boto3
import polars as pl
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from handler.app import connect_dynamodb
from handler.errors import OnlineStoreError
from handler.online import Item, OnlineResult, to_items, write_items
from tests.harness import NOW, at, create_table, stamp


def rows(**columns: Any) -> pl.DataFrame:
    frame = {"machine_id": ["M1"], "event_timestamp": [at(9)], **{k: [v] for k, v in columns.items()}}
    return pl.DataFrame(frame, schema_overrides={"event_timestamp": pl.Datetime("us", "UTC")})


def item(machine: str, hour: int) -> Item:
    return {"machine_id": {"S": machine}, "event_timestamp": {"S": stamp(at(hour))[:19] + "Z"}}


def test_item_holds_every_feature_that_is_not_null() -> None:
    (made,) = to_items(rows(count_1h=0, mean_1h=71.25, std_1h=None, zone="B"), NOW)
    assert made == {
        "machine_id": {"S": "M1"},
        "event_timestamp": {"S": "2025-10-15T09:00:00Z"},
        "created_timestamp": {"S": "2026-01-01T00:00:00Z"},
        "expires_at": {"N": "1761123600"},
        "count_1h": {"N": "0"},
        "mean_1h": {"N": "71.25"},
        "zone": {"S": "B"},
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_never_reaches_the_table(value: float) -> None:
    (made,) = to_items(rows(mean_1h=value), NOW)
    assert "mean_1h" not in made


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_number_keeps_its_digits_and_fits_dynamodb(value: float) -> None:
    (made,) = to_items(rows(mean_1h=value), NOW)
    number = Decimal(made["mean_1h"]["N"])
    assert len(number.as_tuple().digits) <= 38
    assert number == 0 or Decimal("1e-130") <= abs(number) < Decimal("1e126")
    if number and abs(value) < 9.9e125:
        assert abs(number - Decimal(value)) <= abs(Decimal(value)) * Decimal("1e-12")


@mock_aws
def test_newer_item_is_kept_and_an_equal_one_replaced() -> None:
    client = boto3.client("dynamodb", "us-east-1")
    create_table(client)
    assert write_items(client, "features", [item("M1", 9), item("M2", 9)]) == OnlineResult(2, 0)
    assert write_items(client, "features", [item("M1", 8), item("M2", 10)]) == OnlineResult(1, 1)
    again = item("M1", 9) | {"mark": {"S": "second"}}
    assert write_items(client, "features", [again]) == OnlineResult(1, 0)
    stored = {i["machine_id"]["S"]: i for i in client.scan(TableName="features")["Items"]}
    assert stored == {"M1": again, "M2": item("M2", 10)}


@mock_aws
def test_backfill_replaces_only_older_items() -> None:
    client = boto3.client("dynamodb", "us-east-1")
    create_table(client)
    write_items(client, "features", [item("M1", 9), item("M2", 8)])
    result = write_items(client, "features", [item("M1", 9), item("M2", 9), item("M3", 9)], only_newer=True)
    assert result == OnlineResult(2, 1)


@pytest.mark.parametrize(
    "code", ["ThrottlingException", "ProvisionedThroughputExceededException", "InternalServerError"]
)
def test_throttled_and_failed_requests_are_sent_again(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    client = connect_dynamodb("http://127.0.0.1:9", "us-east-1")
    answers = iter([code, code, None])

    def respond(request: Any, **kwargs: Any) -> AWSResponse:
        error = next(answers)
        status = 200 if error is None else 500 if error == "InternalServerError" else 400
        body = json.dumps(
            {} if error is None else {"__type": f"com.amazonaws.dynamodb#{error}", "message": "slow down"}
        )
        response = AWSResponse(request.url, status, {"x-amzn-requestid": "1"}, None)
        response._content = body.encode()
        return response

    client.meta.events.register("before-send.dynamodb.PutItem", respond)  # type: ignore[attr-defined]
    try:
        assert write_items(client, "features", [item("M1", 9)]) == OnlineResult(1, 0)
        assert next(answers, "none left") == "none left"
    finally:
        connect_dynamodb.cache_clear()


class Table:
    """A table whose every put does what ``respond`` says."""

    def __init__(self, respond: Any) -> None:
        self.respond = respond
        self.calls = 0
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()

    def put_item(self, **kwargs: Any) -> dict[str, Any]:
        with self._lock:
            self.calls += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.respond(kwargs["Item"]["machine_id"]["S"])
        finally:
            with self._lock:
                self.at_once -= 1
        return {}


def refuse(code: str) -> Any:
    raise ClientError({"Error": {"Code": code, "Message": "no"}}, "PutItem")


def test_many_puts_are_in_flight_and_few_items_wait() -> None:
    taken = 0

    def items() -> Any:
        nonlocal taken
        for k in range(500):
            taken = k
            yield item(str(k), 9)

    behind = []

    def respond(machine: str) -> None:
        behind.append(taken - int(machine))
        time.sleep(0.001)

    table = Table(respond)
    assert write_items(table, "features", items()) == OnlineResult(500, 0)
    assert table.most_at_once > 8
    assert max(behind) < 100


def test_every_other_item_is_tried_when_one_fails() -> None:
    table = Table(lambda machine: refuse("ThrottlingException") if machine == "3" else None)
    with pytest.raises(OnlineStoreError, match=r"^table features: 1 items could not be written after retries"):
        write_items(table, "features", [item(str(k), 9) for k in range(50)])
    assert table.calls == 50


def test_missing_table_stops_at_once_and_says_so() -> None:
    table = Table(lambda machine: refuse("ResourceNotFoundException"))
    with pytest.raises(OnlineStoreError, match="does not exist; check DYNAMODB_TABLE_NAME"):
        write_items(table, "features", [item(str(k), 9) for k in range(2000)])
    assert table.calls < 1000


def test_failed_condition_is_no_error() -> None:
    table = Table(lambda machine: refuse("ConditionalCheckFailedException") if machine < "2" else None)
    assert write_items(table, "features", [item(str(k), 9) for k in range(5)]) == OnlineResult(3, 2)


def test_no_items_are_no_puts() -> None:
    table = Table(lambda machine: None)
    assert write_items(table, "features", []) == OnlineResult(0, 0)
    assert table.calls == 0
