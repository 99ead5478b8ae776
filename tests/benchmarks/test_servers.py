"""The stand-ins behave as the services they stand in for, as far as the benchmarks go."""

import time
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.benchmarks.servers import BUCKET, running_server


def test_s3_lists_page_by_page_and_level_by_level(tmp_path: Path) -> None:
    (tmp_path / "raw" / "a").mkdir(parents=True)
    (tmp_path / "raw" / "b").mkdir()
    for number in range(2500):
        (tmp_path / "raw" / "a" / f"{number:04d}.jsonl").write_bytes(b"%d" % number)
    (tmp_path / "raw" / "b" / "x y&.jsonl").write_bytes(b"x")
    (tmp_path / "raw" / "stray").write_bytes(b"")
    with running_server("s3", "--lake", str(tmp_path)) as endpoint:
        client = boto3.client("s3", endpoint_url=endpoint)
        pages = list(client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="raw/a/"))
        assert [len(page["Contents"]) for page in pages] == [1000, 1000, 500]
        keys = [item["Key"] for page in pages for item in page["Contents"]]
        assert keys == [f"raw/a/{number:04d}.jsonl" for number in range(2500)]
        level = client.list_objects_v2(Bucket=BUCKET, Prefix="raw/", Delimiter="/")
        assert [item["Prefix"] for item in level["CommonPrefixes"]] == ["raw/a/", "raw/b/"]
        assert [item["Key"] for item in level["Contents"]] == ["raw/stray"]
        assert client.get_object(Bucket=BUCKET, Key="raw/b/x y&.jsonl")["Body"].read() == b"x"
        with pytest.raises(client.exceptions.NoSuchKey):
            client.get_object(Bucket=BUCKET, Key="raw/gone")
        client.close()


def test_dynamodb_keeps_the_newer_item_and_takes_its_time() -> None:
    with running_server("dynamodb", "--latency", "0.05") as endpoint:
        client = boto3.client("dynamodb", endpoint_url=endpoint)

        def put(stamp: str, comparison: str) -> None:
            client.put_item(
                TableName="t",
                Item={"machine_id": {"S": "M1"}, "event_timestamp": {"S": stamp}},
                ConditionExpression=f"attribute_not_exists(machine_id) OR event_timestamp {comparison} :t",
                ExpressionAttributeValues={":t": {"S": stamp}},
            )

        started = time.perf_counter()
        put("2", "<=")
        assert time.perf_counter() - started >= 0.05
        put("2", "<=")
        for stamp, comparison in (("2", "<"), ("1", "<=")):
            with pytest.raises(client.exceptions.ConditionalCheckFailedException):
                put(stamp, comparison)
        assert client.get_item(TableName="t", Key={"machine_id": {"S": "M1"}})["Item"]["event_timestamp"] == {"S": "2"}
        with pytest.raises(ClientError, match="UnknownOperation"):
            client.scan(TableName="t")
        client.close()
