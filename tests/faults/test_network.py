"""Runs on a bad day of the network: equal features, or an error and, run again, equal; never a success that differs."""

import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from random import Random

import pytest

from handler.app import connect_dynamodb, open_lake, run
from handler.definitions.errors import ProcessingError
from handler.definitions.layout import partition_path
from handler.stores.dynamodb import DynamoDB, Patience
from tests.faults.amounts import NETWORK_SEEDS
from tests.faults.conftest import MACHINES, assert_undisturbed, put_raw
from tests.faults.proxy import FaultyProxy
from tests.harness import Aws, Pipeline, at, line

AS_OF = {"as_of": "2025-10-15T06:00:00Z"}


@pytest.fixture(autouse=True)
def _own_clients() -> Iterator[None]:
    for cache in (connect_dynamodb, open_lake):
        cache.cache_clear()
    yield
    for cache in (connect_dynamodb, open_lake):
        cache.cache_clear()


@pytest.mark.parametrize("seed", range(NETWORK_SEEDS))
@pytest.mark.parametrize("percent", [1, 10, 30])
def test_bad_network(percent: int, seed: int, undisturbed: Pipeline, aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    put_raw(undisturbed, aws)
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
    assert_undisturbed(aws, undisturbed)


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
