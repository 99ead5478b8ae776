"""Items, conditions, and what happens when the table refuses."""

import math
import threading
from collections import Counter
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.aws import NoCredentialsError, find_table_endpoint
from handler.definitions.errors import OnlineStoreError
from handler.stores.dynamodb import IN_FLIGHT, DynamoDB
from handler.stores.online import Item, OnlineResult, to_items, write_items
from tests.harness import NOW, Aws, at, stamp
from tests.table_server import OK, Reply, refuse, serving


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


@given(
    values=st.lists(
        st.floats() | st.none() | st.sampled_from([0.0, -0.0, 1e-4, 9.999999999999999e-05, 1e16, 9999999999999998.0]),
        min_size=1,
    )
)
def test_numbers_are_written_as_python_writes_them(values: list[float | None]) -> None:
    times = [at(9)] * len(values)
    frame = pl.DataFrame(
        {"machine_id": ["M"] * len(values), "event_timestamp": times, "mean_1h": values},
        schema_overrides={"event_timestamp": pl.Datetime("us", "UTC"), "mean_1h": pl.Float64},
    )
    for value, made in zip(values, to_items(frame, NOW), strict=True):
        if value is None or not math.isfinite(value):
            assert "mean_1h" not in made
        elif abs(value) < 1e-130:
            assert made["mean_1h"] == {"N": "0"}
        else:
            assert made["mean_1h"] == {"N": repr(math.copysign(min(abs(value), 9.9e125), value))}


def test_items_follow_their_rows_however_many_there_are() -> None:
    count = 1300
    frame = pl.DataFrame(
        {
            "machine_id": [str(k) for k in range(count)],
            "event_timestamp": [at(k % 3) for k in range(count)],
            "count_1h": [None if k % 7 == 0 else k for k in range(count)],
            "zone": [None if k % 5 == 0 else "null" for k in range(count)],
        },
        schema_overrides={"event_timestamp": pl.Datetime("us", "UTC")},
    )
    made = list(to_items(frame, NOW))
    assert [one["machine_id"]["S"] for one in made] == [str(k) for k in range(count)]
    for k, one in enumerate(made):
        assert one["event_timestamp"] == {"S": stamp(at(k % 3))[:19] + "Z"}
        assert one.get("count_1h") == (None if k % 7 == 0 else {"N": str(k)})
        assert one.get("zone") == (None if k % 5 == 0 else {"S": "null"})
    assert list(to_items(frame.head(0), NOW)) == []
    assert len(list(to_items(frame.select("machine_id", "event_timestamp"), NOW))) == count


@pytest.fixture
def client(aws: Aws) -> DynamoDB:
    return DynamoDB(find_table_endpoint(aws.endpoint, "us-east-1"))


def test_newer_item_is_kept_and_an_equal_one_replaced(aws: Aws, client: DynamoDB) -> None:
    assert write_items(client, "features", [item("M1", 9), item("M2", 9)]) == OnlineResult(2, 0)
    assert write_items(client, "features", [item("M1", 8), item("M2", 10)]) == OnlineResult(1, 1)
    again = item("M1", 9) | {"mark": {"S": "second"}}
    assert write_items(client, "features", [again]) == OnlineResult(1, 0)
    stored = {i["machine_id"]["S"]: i for i in aws.dynamodb.scan(TableName="features")["Items"]}
    assert stored == {"M1": again, "M2": item("M2", 10)}


def test_backfill_replaces_only_older_items(client: DynamoDB) -> None:
    write_items(client, "features", [item("M1", 9), item("M2", 8)])
    result = write_items(client, "features", [item("M1", 9), item("M2", 9), item("M3", 9)], only_newer=True)
    assert result == OnlineResult(2, 1)


def test_backfill_in_stages_that_begins_again_replaces_what_it_put(aws: Aws, client: DynamoDB) -> None:
    put = item("M1", 9) | {"created_timestamp": {"S": "2026-01-01T00:00:00Z"}}
    other = item("M2", 9) | {"created_timestamp": {"S": "2026-01-01T00:00:01Z"}}
    write_items(client, "features", [put, other])
    again = [each | {"created_timestamp": put["created_timestamp"], "mark": {"S": "again"}} for each in (put, other)]
    assert write_items(client, "features", again, only_newer="or own") == OnlineResult(1, 1)
    stored = {i["machine_id"]["S"]: i for i in aws.dynamodb.scan(TableName="features")["Items"]}
    assert stored == {"M1": again[0], "M2": other}


def test_odd_texts_arrive_as_they_are(aws: Aws, client: DynamoDB) -> None:
    odd = item('é"\\\n\u2028😀', 9) | {"zone": {"S": "\x00 ü"}}
    assert write_items(client, "features", [odd]) == OnlineResult(1, 0)
    assert aws.dynamodb.scan(TableName="features")["Items"] == [odd]


@pytest.mark.parametrize(
    "code", ["ThrottlingException", "ProvisionedThroughputExceededException", "InternalServerError"]
)
def test_throttled_and_failed_requests_are_sent_again(code: str) -> None:
    status = 500 if code == "InternalServerError" else 400
    answers = iter([refuse(code, status), refuse(code, status), OK])
    with serving(lambda machine: next(answers)) as table:
        assert write_items(table.client(), "features", [item("M1", 9)]) == OnlineResult(1, 0)
    assert table.calls == 3


def test_many_puts_are_in_flight_and_few_items_wait() -> None:
    taken = 0

    def items() -> Any:
        nonlocal taken
        for k in range(500):
            taken = k
            yield item(str(k), 9)

    held: list[int] = []
    all_are_there = threading.Barrier(IN_FLIGHT)

    def respond(machine: str) -> Reply:
        with table.lock:
            held.append(taken + 1 - (table.calls - table.at_once))
        if int(machine) < IN_FLIGHT:
            all_are_there.wait(timeout=60)
        return OK

    with serving(respond) as table:
        assert write_items(table.client(), "features", items()) == OnlineResult(500, 0)
    assert table.most_at_once == IN_FLIGHT
    assert max(held) <= IN_FLIGHT
    assert table.connections <= IN_FLIGHT


def test_error_in_an_item_ends_all_with_that_error() -> None:
    def items() -> Any:
        yield item("1", 9)
        raise ValueError("no row")

    with serving(lambda machine: OK) as table, pytest.raises(ValueError, match="no row"):
        write_items(table.client(), "features", items())


def test_every_other_item_is_tried_when_one_fails() -> None:
    with (
        serving(lambda machine: refuse("ThrottlingException") if machine == "3" else OK) as table,
        pytest.raises(OnlineStoreError, match=r"^table features: 1 items could not be written after retries"),
    ):
        write_items(table.client(), "features", [item(str(k), 9) for k in range(50)])
    tries = Counter(order["Item"]["machine_id"]["S"] for order in table.orders)
    assert tries == {str(k): 8 if k == 3 else 1 for k in range(50)}


def test_table_that_never_answers_well_is_not_asked_eight_times_for_every_item() -> None:
    with (
        serving(lambda machine: refuse("InternalServerError", 500)) as table,
        pytest.raises(OnlineStoreError, match=r"1000 items could not be written .*\(InternalServerError\)"),
    ):
        write_items(table.client(), "features", [item(str(k), 9) for k in range(1000)])
    assert len({order["Item"]["machine_id"]["S"] for order in table.orders}) == 1000
    assert 1000 < table.calls <= 1000 + 7 * IN_FLIGHT


def test_refused_item_costs_no_other() -> None:
    with (
        serving(lambda machine: refuse("ItemCollectionSizeLimitExceededException") if machine == "3" else OK) as table,
        pytest.raises(OnlineStoreError, match=r"1 items could not be written"),
    ):
        write_items(table.client(), "features", [item(str(k), 9) for k in range(50)])
    assert table.calls == 50


@pytest.mark.parametrize("code", ["AccessDeniedException", "UnrecognizedClientException", "ValidationException"])
def test_table_closed_to_us_stops_at_once(code: str) -> None:
    with serving(lambda machine: refuse(code)) as table, pytest.raises(OnlineStoreError, match=rf"\({code}\)"):
        write_items(table.client(), "features", [item(str(k), 9) for k in range(2000)])
    assert table.calls < 1000


def test_missing_table_stops_at_once_and_says_so() -> None:
    with (
        serving(lambda machine: refuse("ResourceNotFoundException")) as table,
        pytest.raises(OnlineStoreError, match="does not exist; check DYNAMODB_TABLE_NAME"),
    ):
        write_items(table.client(), "features", [item(str(k), 9) for k in range(2000)])
    assert table.calls < 1000


def test_without_credentials_nothing_is_sent() -> None:
    def read() -> Any:
        raise NoCredentialsError("Unable to locate credentials")

    with (
        serving(lambda machine: OK) as table,
        pytest.raises(OnlineStoreError, match="the first: Unable to locate credentials"),
    ):
        write_items(table.client(read_credentials=read), "features", [item(str(k), 9) for k in range(2000)])
    assert table.calls == 0


def test_failed_condition_is_no_error() -> None:
    def respond(machine: str) -> Reply:
        return refuse("ConditionalCheckFailedException") if machine < "2" else OK

    with serving(respond) as table:
        assert write_items(table.client(), "features", [item(str(k), 9) for k in range(5)]) == OnlineResult(3, 2)
    assert table.calls == 5


def test_no_items_are_no_puts() -> None:
    with serving(lambda machine: OK) as table:
        assert write_items(table.client(), "features", []) == OnlineResult(0, 0)
    assert table.calls == table.connections == 0
