"""The whole system: real Terraform, the real artifacts, a schedule that fires, a function that runs. ``make e2e``.

All of it happens on ministack, an emulator. What it does not do, and what therefore is not shown here:

- Its scheduler leaves ``<aws.scheduler.scheduled-time>`` in the input; ``ministack_server.py`` mends that.
- Its scheduler runs the function once, without the retries and the failed events' queue of an asynchronous
  invocation. These come with an ``Event`` invocation through Lambda's own address, which is what the scheduler makes
  in AWS; so the failure is shown with one of ours. Its retries come after tenths of a second, not minutes. What the
  scheduler could not deliver would go to no queue.
- ``AWS/Lambda`` metrics count only what is invoked through Lambda's address, ``Errors`` only where the caller waited.
  Alarms are looked at when a metric is put, without their dimensions and their treatment of missing data.
- Metrics in the embedded format stay lines of the log, so that no alarm on them changes.
- The older protocol, which Terraform's provider speaks, is not told all of an alarm: a second plan would set it again.
- An error's type is ``Runtime.HandlerError``, whatever was raised, and the next run starts cold.
- It asks no role for permission; the role has tests of its own.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from handler.definitions.layout import partition_path
from tests import reference
from tests.builds import MACHINE_ARCH, Built
from tests.harness import HOUR, Pipeline, Table, line
from tests.infrastructure.emulated_cloud import MINISTACK, Cloud, emulated_cloud, say, wait_until
from tests.infrastructure.terraform import Terraform, lay_out_stack, require_terraform, terraform_environment

BUCKET = "plant-data-lake"
FUNCTION = "plant-processing-lambda"
TABLE = "plant-RealtimeFeatures"
MACHINES = ("PUMP-A01", "PUMP-A02", "PUMP-A03")
FAILED = "PUMP-A03"
UNSAID_OF_ALARMS = {
    "actions_enabled",
    "alarm_description",
    "dimensions",
    "period",
    "statistic",
    "treat_missing_data",
}

pytestmark = pytest.mark.skipif(
    not (MINISTACK / ".ready").exists(), reason="ministack is not here: `make test` and `make e2e` set it up"
)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    require_terraform()
    with emulated_cloud(tmp_path / "ministack") as running:
        yield running


def test_schedule_brings_features_and_failures_are_kept(first: Built, cloud: Cloud, tmp_path: Path) -> None:
    cloud.client("s3").create_bucket(Bucket=BUCKET)
    stack = deploy(cloud, first, tmp_path)
    check_second_plan(stack)
    check_empty_lake(cloud)
    lake = tmp_path / "lake"
    raw = write_telemetry(lake)
    upload(cloud, lake)

    items = wait_until(
        "the schedule has fired and the features are in the table", lambda: read_items(cloud), seconds=150
    )
    check_features(items, lake)
    check_processed(cloud, items)
    check_failure_is_kept(cloud)
    check_repair(cloud, stack)

    stack.destroy()
    assert cloud.client("dynamodb").list_tables()["TableNames"] == []
    left = cloud.list_keys(BUCKET)
    assert raw <= set(left)
    assert any(key.startswith("processed/tiles/") for key in left)
    assert not any(key.startswith("artifacts/") for key in left)
    say("destroyed; the lake was left alone")


def deploy(cloud: Cloud, built: Built, project: Path) -> Terraform:
    """Apply the committed stack with the real artifacts, where its default paths look for them."""
    directory = lay_out_stack(project / "project")
    shutil.copytree(built.out, project / "project" / "lambda_artifacts")
    stack = Terraform(
        directory,
        terraform_environment(
            cloud.endpoint,
            project,
            project_name="plant",
            deletion_protection="false",
            s3_bucket_name=BUCKET,
            processing_schedule_expression="rate(1 minutes)",
            architecture=MACHINE_ARCH,
        ),
    )
    stack.init()
    stack.apply()
    say("applied")
    outputs = stack.outputs()
    assert outputs["processing_lambda_function_name"] == FUNCTION
    assert outputs["realtime_features_table_name"] == TABLE
    assert outputs["processing_lambda_arn"].endswith(f":function:{FUNCTION}")
    assert outputs["realtime_features_table_arn"].endswith(f":table/{TABLE}")
    assert outputs["pandas_layer_arn"].endswith(":layer:plant-pandas-layer:1")
    assert outputs["processing_lambda_role_arn"].endswith(":role/plant-processing-lambda-role")
    return stack


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


def write_telemetry(lake: Path) -> set[str]:
    """Write three machines' last 90 minutes into the newest partition that any run from now on sees, and one bad line.

    Returns
    -------
    set of str
        The keys.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    newest = now - timedelta(minutes=10)  # a run's time is floored to five minutes
    arrival = newest.replace(minute=0, second=0)
    objects: dict[str, list[bytes]] = {}
    for hour in (arrival - HOUR, arrival):
        start = max(hour, newest - timedelta(minutes=90))
        end = min(hour + HOUR, newest)
        for number, machine in enumerate(MACHINES):
            times = [start + k * timedelta(seconds=20) for k in range((end - start) // timedelta(seconds=20))]
            for reading, base in (("temperature_celsius", 60.0), ("vibration_rms", 2.0)):
                objects[f"raw/{partition_path(hour)}/{machine}_{reading}.jsonl"] = [
                    line(machine, time, **{reading: base + number + (k * 7 % 23) / 10}) for k, time in enumerate(times)
                ]
    events = [line(FAILED, newest, codigo_evento="FALHA_VIBRACAO_ELEVADA"), b'{"machine_id":"PUMP-A01",']
    objects[f"raw/{partition_path(arrival)}/events.jsonl"] = events
    for key, lines in objects.items():
        path = lake / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(raw + b"\n" for raw in lines))
    return set(objects)


def upload(cloud: Cloud, lake: Path) -> None:
    s3 = cloud.client("s3")
    for path in sorted(lake.rglob("*.jsonl")):
        s3.upload_file(str(path), BUCKET, path.relative_to(lake).as_posix())
    say("telemetry is in the bucket")


def read_items(cloud: Cloud) -> Mapping[str, Mapping[str, Any]] | None:
    """Read the table once it has every machine's item."""
    items = cloud.scan(TABLE)
    return items if len(items) == len(MACHINES) else None


def check_features(items: Mapping[str, Mapping[str, Any]], lake: Path) -> None:
    """Compare each item with the exact reference, computed from the raw lines for the item's own instant."""
    readings = reference.read_lake(lake).readings
    for machine, item in items.items():
        as_of = datetime.strptime(item["event_timestamp"]["S"], "%Y-%m-%dT%H:%M:%S%z")
        assert abs(datetime.now(UTC) - as_of) < timedelta(minutes=10)
        assert as_of.minute % 5 == as_of.second == 0
        expected = reference.compute_rows(readings, as_of)[machine]
        actual = Pipeline(lake, table=Table({machine: dict(item)})).online_rows()
        assert reference.compare_rows(actual, {machine: expected}) == []
        assert int(expected["temperature_celsius_count_6h"] or 0) >= 180
    say(f"features of {len(items)} machines agree with the reference")


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
