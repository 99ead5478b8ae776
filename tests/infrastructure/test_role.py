"""The function under its own role: what it needs is allowed, and the rest is refused."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.harness import at, line
from tests.infrastructure.conftest import BUCKET, Deployment, run_handler

RAW = "raw/year=2025/month=10/day=15/hour=08/readings.jsonl"
AS_OF = "2025-10-15T09:00:00Z"
OTHER_BUCKET, OTHER_TABLE = "plant-accounts", "plant-Orders"


@pytest.fixture(scope="module")
def credentials(deployed: Deployment) -> Mapping[str, str]:
    s3, dynamodb = deployed.cloud.client("s3"), deployed.cloud.client("dynamodb")
    lines = [line("PUMP-A01", at(8, minutes=5 * n), temperature=70.0 + n, vibration=1.0 + n / 10) for n in range(12)]
    s3.put_object(Bucket=BUCKET, Key=RAW, Body=b"\n".join([*lines, b"no json"]))
    s3.put_object(Bucket=BUCKET, Key="private/plans.txt", Body=b"not for the function")
    s3.create_bucket(Bucket=OTHER_BUCKET)
    s3.put_object(Bucket=OTHER_BUCKET, Key="raw/one.jsonl", Body=b"")
    dynamodb.create_table(
        TableName=OTHER_TABLE,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "machine_id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "machine_id", "AttributeType": "S"}],
    )
    return deployed.cloud.assume(deployed.outputs["processing_lambda_role_arn"])


@pytest.fixture
def as_role(deployed: Deployment, credentials: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Credentials of the role, while every call's permissions are checked."""
    with deployed.cloud.access_control():
        yield credentials


def test_a_run_needs_no_more_than_the_role_allows(deployed: Deployment, as_role: Mapping[str, str]) -> None:
    def run(event: Mapping[str, str]) -> dict[str, Any]:
        table = deployed.outputs["realtime_features_table_name"]
        return run_handler(deployed.cloud, as_role, event, bucket=BUCKET, table=table, now=AS_OF)

    answer = run({"as_of": AS_OF})
    assert answer["lines"]["accepted"] == 12
    assert answer["online"]["written"] == 1
    again = run({"as_of": AS_OF})
    assert (again["lines"]["read"], again["tiles"]["built"]) == (0, 0)
    backfill = run({"start": "2025-10-15T06:00:00Z", "end": AS_OF})
    assert backfill["training"]["files"] == 3
    listed = deployed.cloud.client("s3", **as_role).list_objects_v2(Bucket=BUCKET, Prefix="processed/")
    keys = [item["Key"] for item in listed["Contents"]]
    assert "processed/training/year=2025/month=10/day=15/hour=09/features.parquet" in keys
    assert "processed/quarantine/year=2025/month=10/day=15/hour=08/rejected.parquet" in keys


REFUSED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "write raw": ("s3", "put_object", {"Bucket": BUCKET, "Key": "raw/new.jsonl", "Body": b""}),
    "write elsewhere in the bucket": ("s3", "put_object", {"Bucket": BUCKET, "Key": "artifacts/x.zip", "Body": b""}),
    "write another bucket": ("s3", "put_object", {"Bucket": OTHER_BUCKET, "Key": "processed/x", "Body": b""}),
    "delete processed": ("s3", "delete_object", {"Bucket": BUCKET, "Key": "processed/x"}),
    "delete raw": ("s3", "delete_object", {"Bucket": BUCKET, "Key": RAW}),
    "read another prefix": ("s3", "get_object", {"Bucket": BUCKET, "Key": "private/plans.txt"}),
    "read another bucket": ("s3", "get_object", {"Bucket": OTHER_BUCKET, "Key": "raw/one.jsonl"}),
    "list another prefix": ("s3", "list_objects_v2", {"Bucket": BUCKET, "Prefix": "private/"}),
    "list the whole bucket": ("s3", "list_objects_v2", {"Bucket": BUCKET}),
    "list another bucket": ("s3", "list_objects_v2", {"Bucket": OTHER_BUCKET, "Prefix": "raw/"}),
    "put into another table": ("dynamodb", "put_item", {"TableName": OTHER_TABLE, "Item": {"machine_id": {"S": "x"}}}),
    "read its own table": ("dynamodb", "scan", {"TableName": "plant-RealtimeFeatures"}),
    "delete from its own table": (
        "dynamodb",
        "delete_item",
        {"TableName": "plant-RealtimeFeatures", "Key": {"machine_id": {"S": "PUMP-A01"}}},
    ),
    "make a log group": ("logs", "create_log_group", {"logGroupName": "/aws/lambda/other"}),
    "read the failed events": ("sqs", "receive_message", {"QueueUrl": "plant-processing-failed-events"}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_role_may_not(what: str, deployed: Deployment, as_role: Mapping[str, str]) -> None:
    service, call, arguments = REFUSED[what]
    client = deployed.cloud.client(service, **as_role)
    with pytest.raises(ClientError) as refused:
        getattr(client, call)(**arguments)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert re.search("Access ?Denied|not authorized to perform", str(refused.value))


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("get_object", {"Bucket": BUCKET, "Key": RAW}),
        ("list_objects_v2", {"Bucket": BUCKET, "Prefix": "raw/year=2025/"}),
        ("list_objects_v2", {"Bucket": BUCKET, "Prefix": "processed/"}),
        ("put_object", {"Bucket": BUCKET, "Key": "processed/x", "Body": b""}),
    ],
)
def test_the_role_may(
    call: str, arguments: Mapping[str, Any], deployed: Deployment, as_role: Mapping[str, str]
) -> None:
    """The same calls where they belong: what is refused above is not refused for another reason."""
    assert getattr(deployed.cloud.client("s3", **as_role), call)(**arguments)


def test_wrong_secret_is_refused(deployed: Deployment, as_role: Mapping[str, str]) -> None:
    client = deployed.cloud.client("s3", **{**as_role, "aws_secret_access_key": "wrong"})
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        client.get_object(Bucket=BUCKET, Key=RAW)


def test_upload_in_parts_can_be_aborted(deployed: Deployment, as_role: Mapping[str, str]) -> None:
    s3, place = deployed.cloud.client("s3", **as_role), {"Bucket": BUCKET, "Key": "processed/large"}
    upload = s3.create_multipart_upload(**place)["UploadId"]
    s3.abort_multipart_upload(**place, UploadId=upload)
    s3.close()
