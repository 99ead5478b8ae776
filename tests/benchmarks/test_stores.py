"""Many small objects from a store, and many items to a table, each request with a latency, against one by one."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Final

import boto3
import polars as pl
import pytest
from boto3.dynamodb.types import TypeDeserializer
from botocore.config import Config
from pytest_benchmark.fixture import BenchmarkFixture

from handler.app import connect_dynamodb, prepare_job
from handler.definitions.layout import partition_path
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import HOUR
from handler.lake.lake import Lake
from handler.plan import Plan
from handler.settings import Settings
from handler.stores.online import Item, OnlineResult, to_items
from tests.benchmarks.conftest import Collected, Sizes
from tests.benchmarks.figures import Contestant, Figure, Race, at_least, describe, run_race
from tests.benchmarks.handler_runs import HandlerRun
from tests.benchmarks.lake_generator import Fleet, generate_lake
from tests.benchmarks.servers import BUCKET, running_server

STORE_LATENCY = 0.025
TABLE_LATENCY = 0.005
_DESERIALIZER: Final = TypeDeserializer()
CONDITION = "attribute_not_exists(machine_id) OR event_timestamp <= :event_timestamp"


def test_many_one_line_objects(
    benchmark: BenchmarkFixture,
    collected: Collected,
    sizes: Sizes,
    work_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = Fleet(sizes.objects, timedelta(minutes=30))
    small = generate_lake(work_folder / "small", fleet, sizes.objects, lines_a_file=1)
    with running_server("s3", "--lake", str(small.root), "--latency", str(STORE_LATENCY)) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        lake = Lake.open(BUCKET, endpoint=endpoint, region="us-east-1")
        client = boto3.client("s3", endpoint_url=endpoint)

        def read_ours() -> dict[str, bytes]:
            listings, _ = lake.list_partitions([fleet.start])
            batches = lake.split_batches(listings[fleet.start])
            return {content.key: bytes(content.data) for read in batches for content in read()}

        def read_one_by_one(most: int) -> dict[str, bytes]:
            prefix = f"raw/{partition_path(fleet.start)}/"
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
            keys = [item["Key"] for page in pages for item in page["Contents"]]
            assert len(keys) == sizes.objects
            return {key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys[:most]}

        ours, theirs = read_ours(), read_one_by_one(sizes.one_by_one)
        assert len(ours) == sizes.objects
        assert {key: ours[key] for key in theirs} == theirs
        race = run_race(
            benchmark,
            Contestant("handler", read_ours),
            Contestant("boto3", lambda: read_one_by_one(sizes.one_by_one)),
            rounds=sizes.few_rounds,
        )
        client.close()
    rate, slow = sizes.objects / race.median_of("handler"), sizes.one_by_one / race.median_of("boto3")
    how = f"25 ms a request, listing included; boto3 one by one {slow:,.0f} objects/s, on {sizes.one_by_one} of them"
    collected.figures.append(
        Figure(f"{sizes.objects:,} one-line objects read", at_least(2000), rate, "objects/s", race.rounds, how)
    )


@pytest.fixture
def rows(work_folder: Path, sizes: Sizes) -> pl.DataFrame:
    """Feature rows of many machines, every column filled: those of a few, under other names."""
    fleet = Fleet(min(sizes.items, 100), timedelta(minutes=2))
    made = generate_lake(work_folder / "items", fleet, 2 * fleet.lines_an_hour)
    handler = HandlerRun(made.root, made.end)
    handler.run()
    copies = pl.concat([handler.rows] * -(-sizes.items // handler.rows.height)).head(sizes.items)
    names = [f"PUMP-{number:06d}" for number in range(sizes.items)]
    return copies.with_columns(pl.Series("machine_id", names))


@pytest.fixture
def table_endpoint() -> Iterator[str]:
    with running_server("dynamodb", "--latency", str(TABLE_LATENCY)) as endpoint:
        connect_dynamodb.cache_clear()
        yield endpoint
        connect_dynamodb.cache_clear()


def test_many_items(
    benchmark: BenchmarkFixture,
    collected: Collected,
    sizes: Sizes,
    rows: pl.DataFrame,
    table_endpoint: str,
    work_folder: Path,
) -> None:
    as_of = rows["event_timestamp"][0]
    settings = Settings(
        lake=work_folder.resolve().as_uri(),
        table="features",
        time_window=HOUR,
        endpoint=table_endpoint,
        region="us-east-1",
    )
    plan = Plan(as_of - HOUR, as_of, 24 * HOUR, 24 * HOUR)
    write = prepare_job(plan, FeatureSpec.load(), settings, now=as_of).write_online
    client = boto3.client("dynamodb", endpoint_url=table_endpoint, config=Config(retries={"mode": "standard"}))
    items = list(to_items(rows.head(sizes.one_by_one), as_of))

    def put_one_by_one() -> None:
        for item in items:
            client.put_item(
                TableName="one-by-one",
                Item=item,
                ConditionExpression=CONDITION,
                ExpressionAttributeValues={":event_timestamp": item["event_timestamp"]},
            )

    def get(table: str, item: Item) -> Item:
        found: Item = client.get_item(TableName=table, Key={"machine_id": item["machine_id"]})["Item"]
        return found

    plain = [deserialize(item) for item in to_items(rows, as_of)]
    batched = boto3.resource("dynamodb", endpoint_url=table_endpoint).Table("batched")

    def put_in_batches() -> None:
        with batched.batch_writer() as batch:
            for item in plain:
                batch.put_item(Item=item)

    assert write(rows) == OnlineResult(sizes.items, 0)
    put_in_batches()
    put_one_by_one()
    for table in ("features", "batched"):
        assert client.describe_table(TableName=table)["Table"]["ItemCount"] == sizes.items
    assert all(get("features", item) == get("one-by-one", item) == item for item in items[::5])
    assert all(deserialize(get("batched", item)) == deserialize(item) for item in items[::5])
    race = run_race(
        benchmark,
        Contestant("handler", lambda: write(rows)),
        Contestant("one by one", put_one_by_one),
        Contestant("batch_writer", put_in_batches),
        rounds=sizes.few_rounds,
    )
    client.close()
    batched.meta.client.close()
    collected.figures += _compare_items(race, sizes)


def deserialize(item: Item) -> dict[str, object]:
    """Turn an item into the plain values that boto3's resources take."""
    return {name: _DESERIALIZER.deserialize(value) for name, value in item.items()}


def _compare_items(race: Race, sizes: Sizes) -> list[Figure]:
    scale = sizes.items / sizes.one_by_one
    apiece = 1000 * median(race.processor["handler"]) / sizes.items
    times = describe({"one by one": scale * race.median_of("one by one"), "handler": race.median_of("handler")})
    return [
        Figure(
            f"{sizes.items:,} items with conditions, against one-by-one puts",
            at_least(25),
            scale * race.ratio("one by one", "handler"),
            "x",
            race.rounds,
            f"5 ms a request; {times}, one by one scaled from {sizes.one_by_one} items; "
            f"the handler's CPU {apiece:.2f} ms an item",
        ),
        Figure(
            f"{sizes.items:,} items with conditions, against boto3's `batch_writer` without",
            at_least(1),
            race.ratio("batch_writer", "handler"),
            "x",
            race.rounds,
            f"5 ms a request, 25 items in each of its BatchWriteItem; {race.describe('batch_writer', 'handler')}",
        ),
    ]
