"""The whole system: real Terraform, the real artifacts, a schedule that fires, a function that runs. ``make e2e``.

All of it happens on ministack, an emulator. What it does not do, and what therefore is not shown here:

- ``ministack_server.py`` mends what it does otherwise than AWS where that can be mended.
- Its scheduler runs the function once, without the retries and the failed events' queue of an asynchronous
  invocation. These come with an ``Event`` invocation through Lambda's own address, which is what the scheduler makes
  in AWS; so the failure is shown with one of ours. Its retries come after tenths of a second, not minutes. What the
  scheduler could not deliver would go to no queue.
- ``AWS/Lambda`` metrics count only what is invoked through Lambda's address, ``Errors`` only where the caller waited.
  Alarms are looked at when a metric is put, without their dimensions and their treatment of missing data.
- Metrics in the embedded format stay lines of the log, so that no alarm on them changes.
- The older protocol, which Terraform's provider speaks, is not told all of an alarm: a second plan would set it again.
- After an error the next run starts cold.
- It asks no role for permission; the role has tests of its own.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.builds import Built
from tests.infrastructure.emulated_cloud import Cloud, say, wait_until
from tests.infrastructure.plant import (
    BUCKET,
    FAILED,
    FUNCTION,
    TABLE,
    check_features,
    deploy,
    read_items,
    upload,
    write_telemetry,
)
from tests.infrastructure.terraform import Terraform

UNSAID_OF_ALARMS = {
    "actions_enabled",
    "alarm_description",
    "dimensions",
    "period",
    "statistic",
    "treat_missing_data",
}


def test_schedule_brings_features_and_failures_are_kept(first: Built, emulator: Cloud, tmp_path: Path) -> None:
    emulator.client("s3").create_bucket(Bucket=BUCKET)
    stack = deploy(emulator, first, tmp_path)
    check_second_plan(stack)
    check_empty_lake(emulator)
    lake = tmp_path / "lake"
    raw = write_telemetry(lake)
    upload(emulator, lake)

    items = wait_until(
        "the schedule has fired and the features are in the table", lambda: read_items(emulator), seconds=150
    )
    check_features(items, lake)
    check_processed(emulator, items)
    check_failure_is_kept(emulator)
    check_repair(emulator, stack)

    stack.destroy()
    assert emulator.client("dynamodb").list_tables()["TableNames"] == []
    left = emulator.list_keys(BUCKET)
    assert raw <= set(left)
    assert any(key.startswith("processed/tiles/") for key in left)
    assert not any(key.startswith("artifacts/") for key in left)
    say("destroyed; the lake was left alone")


def check_second_plan(stack: Terraform) -> None:
    """Nothing would change but what ministack does not say of alarms."""
    changes = stack.plan_attributes()
    assert set().union(*changes.values()) <= UNSAID_OF_ALARMS
    assert {address.split(".")[0] for address in changes} <= {"aws_cloudwatch_metric_alarm"}
    say("a second plan changes nothing")


def check_empty_lake(cloud: Cloud) -> None:
    """A bucket without ``raw/`` is an empty window, and that is no error."""
    assert cloud.list_keys(BUCKET, "raw/") == []
    error, answer = cloud.invoke(FUNCTION, {})
    assert error is None, answer
    assert answer["lines"]["read"] == 0
    assert answer["online"] == {"written": 0, "stale_skipped": 0, "expired_skipped": 0}
    assert cloud.scan(TABLE) == {}
    say(f"an empty lake is no error: {answer['duration_ms']} ms")


def check_processed(cloud: Cloud, items: Mapping[str, Any]) -> None:
    """Look at what the schedule's run left in the lake; it writes the table last."""
    files = {
        kind: [cloud.read_parquet(BUCKET, key) for key in cloud.list_keys(BUCKET, f"processed/{kind}/")]
        for kind in ("training", "tiles", "failures", "quarantine")
    }
    assert all(files.values()), {kind: len(frames) for kind, frames in files.items()}
    machines = {machine for frame in files["training"] for machine in frame["machine_id"]}
    assert machines == set(items)
    assert sum(frame["n"].sum() for frame in files["tiles"]) > 1000
    failures = [row for frame in files["failures"] for row in frame.iter_rows(named=True)]
    assert [(row["machine_id"], row["codigo_evento"]) for row in failures] == [(FAILED, "FALHA_VIBRACAO_ELEVADA")]
    assert [reason for frame in files["quarantine"] for reason in frame["reason"]] == ["not_json"]
    say("training files, tiles, failures and quarantine are in processed/")


def check_failure_is_kept(cloud: Cloud) -> None:
    """Take the table away: an event ends in the queue after its retries, and the alarm's metric counts the error."""
    cloud.client("dynamodb").delete_table(TableName=TABLE)
    event = {"as_of": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    cloud.client("lambda").invoke(FunctionName=FUNCTION, InvocationType="Event", Payload=json.dumps(event).encode())
    sqs = cloud.client("sqs")
    queue = sqs.get_queue_url(QueueName="plant-processing-failed-events")["QueueUrl"]
    messages = wait_until(
        "the failed event is in its queue", lambda: sqs.receive_message(QueueUrl=queue).get("Messages"), seconds=60
    )
    record = json.loads(messages[0]["Body"])
    assert record["requestPayload"] == event
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert f"table {TABLE}: does not exist" in record["responsePayload"]["errorMessage"]

    error, answer = cloud.invoke(FUNCTION, event)
    assert error == "Unhandled", answer
    assert cloud.sum_metric("AWS/Lambda", "Errors", FunctionName=FUNCTION) == 1
    assert raised_alarms(cloud) == {"plant-processing-errors"}
    logged = read_log(cloud)
    assert any('"level":"ERROR"' in text and "DYNAMODB_TABLE_NAME" in text for text in logged)
    assert any('"_aws"' in text and '"ItemsWritten"' in text for text in logged)
    say("the failure is in the queue, the log, the metric and the alarm")


def raised_alarms(cloud: Cloud) -> set[str]:
    """Name the alarms that are raised. ministack looks at them when anyone puts a metric, whichever."""
    cloudwatch = cloud.client("cloudwatch")
    cloudwatch.put_metric_data(Namespace="Tests", MetricData=[{"MetricName": "Looked", "Value": 1}])
    return {alarm["AlarmName"] for alarm in cloudwatch.describe_alarms(StateValue="ALARM")["MetricAlarms"]}


def read_log(cloud: Cloud) -> list[str]:
    pages = cloud.client("logs").get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{FUNCTION}")
    return [event["message"] for page in pages for event in page["events"]]


def check_repair(cloud: Cloud, stack: Terraform) -> None:
    """Apply again: the table comes back, and the same event sent again fills it from tiles that are there."""
    assert "aws_dynamodb_table.realtime_features: Creation complete" in stack.apply()
    error, answer = cloud.invoke(FUNCTION, {})
    assert error is None, answer
    assert answer["tiles"]["built"] == 0
    assert read_items(cloud) is not None
    say("repaired by another apply")
