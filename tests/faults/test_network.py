"""Runs on a bad day of the network: equal features, or an error and, run again, equal; never a success that differs."""

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random

import pytest

from handler.app import connect_dynamodb, open_lake, run
from handler.definitions.errors import ProcessingError
from handler.definitions.layout import partition_path
from handler.stores.dynamodb import DynamoDB, Patience
from tests.faults.conftest import MACHINES
from tests.faults.proxy import FaultyProxy
from tests.frames import assert_close, assert_rows_close
from tests.harness import Aws, Pipeline, at, line, read_online_rows

AS_OF = {"as_of": "2025-10-15T06:00:00Z"}
SEEDS = int(os.environ.get("FAULT_SEEDS", "2"))


@pytest.fixture(autouse=True)
def _own_clients() -> Iterator[None]:
    for cache in (connect_dynamodb, open_lake):
        cache.cache_clear()
    yield
    for cache in (connect_dynamodb, open_lake):
        cache.cache_clear()


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("percent", [1, 10, 30])
def test_bad_network(
    percent: int, seed: int, undisturbed: Pipeline, aws: Aws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for path in undisturbed.root.glob("raw/**/*.jsonl"):
        aws.s3.put_object(Bucket="lake", Key=path.relative_to(undisturbed.root).as_posix(), Body=path.read_bytes())
    proxy = FaultyProxy(aws.endpoint, percent / 100, Random(100 * percent + seed))
    monkeypatch.setattr("handler.lake.lake._REQUEST_TIME", timedelta(seconds=1))
    monkeypatch.setattr("handler.stores.dynamodb.DynamoDB", partial(DynamoDB, patience=Patience(read=1.0)))
    started = time.monotonic()
    with proxy.running() as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        for _ in range(3):  # as AWS tries an asynchronous invocation
            try:
                answer = run(AS_OF, now=at(6))
            except ProcessingError:
                continue
            break
        else:
            pytest.fail("three runs in a row raised")
    assert time.monotonic() - started < 300
    assert percent < 10 or sum(proxy.done.values()) > 5
    assert answer["machines"] == MACHINES
    assert answer["lines"]["read"] == 6 * (MACHINES + 2) or answer["tiles"]["reused"] > 0
    for name, rows in undisturbed.training().items():
        stored = aws.read_parquet(f"processed/training/{name}/features.parquet").drop("created_timestamp")
        assert_close(stored, rows)
    items = aws.dynamodb.scan(TableName="features")["Items"]
    found = read_online_rows({item["machine_id"]["S"]: item for item in items}, undisturbed.spec)
    assert_rows_close(found, undisturbed.online_rows())


@pytest.mark.parametrize("seconds", [1, 5])
def test_store_that_is_throttled_for_seconds_costs_no_run(
    seconds: float, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = line("M1", at(5.5), vibration=1)
    aws.s3.put_object(Bucket="lake", Key=f"raw/{partition_path(at(5))}/a.jsonl", Body=body)
    proxy = FaultyProxy(aws.endpoint, 0, Random(0))
    with proxy.running() as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        proxy.throttle(seconds)
        assert run(AS_OF, now=at(6))["machines"] == 1
