"""The stack as ``cdktf deploy`` applies it, by Terraform and the AWS provider, to an emulated AWS."""

import json
import os

import pytest

from processing.allocator import ALLOCATOR
from tests.infrastructure.conftest import BUCKET, Deployment
from tests.infrastructure.terraform import Terraform, write_artifacts

LAYER_KEYS = "artifacts/plant/pandas_layer-"

BAD_VALUES = {
    "project_name": ("", "project_name must be 1 to 40 letters, digits, hyphens or underscores"),
    "s3_bucket_name": ("s3://plant", "s3_bucket_name must be the name of an existing bucket"),
    "lambda_timeout": ("901", "lambda_timeout must be a whole number of seconds from 1 to 900."),
    "lambda_memory_size": ("64", "lambda_memory_size must be a whole number of MB from 256 to 10240."),
    "processing_schedule_expression": ("hourly", "processing_schedule_expression must be a rate or a cron expression"),
    "time_window_hours": ("0", "time_window_hours must be a whole number of hours from 1 to 168."),
    "pandas_layer_zip_path": ("layer.tar", "pandas_layer_zip_path must be the path of a .zip file"),
    "lambda_source_path": ("", "lambda_source_path must be the path of a .zip file"),
    "architecture": ("mips", "architecture must be x86_64 or arm64"),
    "allowed_lateness_hours": ("1.5", "allowed_lateness_hours must be a whole number of hours from 0 to 168."),
    "reserved_concurrency": ("-2", "reserved_concurrency must be -1, or a whole number of invocations up to 1000."),
    "log_level": ("LOUD", "log_level must be one of DEBUG, INFO, WARNING, ERROR and CRITICAL."),
    "log_retention_days": ("2", "log_retention_days must be a number of days that CloudWatch Logs knows"),
    "alarm_topic_arn": ("topic", "alarm_topic_arn must be the ARN of an SNS topic, or empty."),
    "missing_features_hours": ("169", "missing_features_hours must be a whole number of hours from 0 to 168."),
    "kms_key_arn": (
        "arn:aws:kms:us-east-1:123456789012:alias/lake",
        "kms_key_arn must be the ARN of a KMS key (of the",
    ),
    "tags": ('{ "aws:cost" = "x" }', "tags must not begin with aws:, which AWS keeps for itself."),
    "permissions_boundary_arn": ("boundary", "permissions_boundary_arn must be the ARN of a policy, or empty."),
    "role_name": ("a role", "role_name must be the name of a role, at most 50 characters, or empty."),
    "lambda_runtime": ("python3.9", "lambda_runtime must be python3.11, python3.12 or python3.13"),
    "ephemeral_storage_size": ("100", "ephemeral_storage_size must be a whole number of MB from 512 to 10240."),
    "tracing_mode": ("On", "tracing_mode must be Active or PassThrough."),
    "schedule_timezone": ("here now", "schedule_timezone must be the name of a time zone, such as Europe/Lisbon."),
    "features_file_path": ("features.json", "features_file_path must be the path of a .toml file, or empty."),
    "future_tolerance_minutes": ("61", "future_tolerance_minutes must be a whole number of minutes from 0 to 60."),
    "raw_retention_hours": ("0.5", "raw_retention_hours must be a whole number of hours from 0 to 999999."),
    "max_machines": ("0", "max_machines must be a whole number of machines from 1 to 99999999."),
    "rejected_share_percent": ("101", "rejected_share_percent must be a whole number of per cent from 0 to 100."),
    "glue_database_name": (
        "My-Lake",
        "glue_database_name must be lower-case letters, digits and underscores, or empty.",
    ),
}
BAD_SCHEDULES = ("cron(banana)", "cron(0 9 * * *)", "rate(6)", "at(2025-10-15T00:00:00)", "cron(0 9 * * ? * *)")


def test_outputs(deployed: Deployment) -> None:
    account = "us-east-1:123456789012"
    expected = {
        "processing_lambda_arn": f"arn:aws:lambda:{account}:function:plant-processing-lambda",
        "processing_lambda_function_name": "plant-processing-lambda",
        "realtime_features_table_name": "plant-RealtimeFeatures",
        "realtime_features_table_arn": f"arn:aws:dynamodb:{account}:table/plant-RealtimeFeatures",
        "pandas_layer_arn": f"arn:aws:lambda:{account}:layer:plant-pandas-layer:1",
        "processing_lambda_role_arn": "arn:aws:iam::123456789012:role/plant-processing-lambda-role",
    }
    assert {name: value for name, value in deployed.outputs.items() if name in expected} == expected


def test_state_is_kept_in_the_projects_folder(deployed: Deployment) -> None:
    assert (deployed.project / "terraform.processing.tfstate").exists()


def test_table(deployed: Deployment) -> None:
    dynamodb = deployed.cloud.client("dynamodb")
    name = deployed.outputs["realtime_features_table_name"]
    table = dynamodb.describe_table(TableName=name)["Table"]
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert table["KeySchema"] == [{"AttributeName": "machine_id", "KeyType": "HASH"}]
    assert table["SSEDescription"]["Status"] == "ENABLED"
    ttl = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    assert ttl == {"AttributeName": "expires_at", "TimeToLiveStatus": "ENABLED"}
    backups = dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"


def test_function(deployed: Deployment) -> None:
    client = deployed.cloud.client("lambda")
    name = deployed.outputs["processing_lambda_function_name"]
    function = client.get_function_configuration(FunctionName=name)
    assert function["Environment"]["Variables"] == {
        "DATA_LAKE_BUCKET": BUCKET,
        "DYNAMODB_TABLE_NAME": "plant-RealtimeFeatures",
        "TIME_WINDOW": "6",
        "ALLOWED_LATENESS": "24",
        "FUTURE_TOLERANCE": "15",
        "MAX_MACHINES": "100000",
        "AWS_CHECKSUM_ALGORITHM": "sha256",
        "LOG_LEVEL": "INFO",
        **ALLOCATOR,
    }
    expected = {
        "Handler": "handler.app.lambda_handler",
        "Runtime": "python3.11",
        "Timeout": 300,
        "MemorySize": 1024,
        "Architectures": ["x86_64"],
        "Role": deployed.outputs["processing_lambda_role_arn"],
    }
    assert {key: function[key] for key in expected} == expected
    assert [layer["Arn"] for layer in function["Layers"]] == [deployed.outputs["pandas_layer_arn"]]
    retries = client.get_function_event_invoke_config(FunctionName=name)
    assert retries["DestinationConfig"]["OnFailure"]["Destination"].endswith(":plant-processing-failed-events")
    groups = deployed.cloud.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{name}")["logGroups"]
    assert [group["retentionInDays"] for group in groups] == [30]


def test_schedule(deployed: Deployment) -> None:
    schedule = deployed.cloud.client("scheduler").get_schedule(Name="plant-processing")
    target = schedule["Target"]
    assert schedule["ScheduleExpression"] == "rate(6 hours)"
    assert target["Arn"] == deployed.outputs["processing_lambda_arn"]
    assert target["Input"] == '{"as_of":"<aws.scheduler.scheduled-time>"}'
    assert target["DeadLetterConfig"]["Arn"].endswith(":plant-processing-undelivered-events")
    assert target["RoleArn"].endswith(":role/plant-processing-schedule")


def test_queues_are_encrypted(deployed: Deployment) -> None:
    sqs = deployed.cloud.client("sqs")
    urls = sqs.list_queues(QueueNamePrefix="plant-")["QueueUrls"]
    assert len(urls) == 2
    for url in urls:
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert attributes["SqsManagedSseEnabled"] == "true"


def test_alarms(deployed: Deployment) -> None:
    alarms = {
        alarm["AlarmName"].removeprefix("plant-processing-"): alarm
        for alarm in deployed.cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]
    }
    assert set(alarms) == {
        "errors", "throttles", "duration", "undelivered", "failed-events", "lost-failures", "missing-features",
        "rejected-lines", "clocks",
    }  # fmt: skip
    assert alarms["duration"]["Threshold"] == 300 * 1000 * 0.8
    missing = alarms["missing-features"]
    assert (missing["Period"], missing["EvaluationPeriods"], missing["TreatMissingData"]) == (3600, 12, "missing")
    assert missing["InsufficientDataActions"] == missing["AlarmActions"]
    assert missing["ActionsEnabled"] is True
    share = {query["Id"]: query for query in alarms["rejected-lines"]["Metrics"]}
    assert share["share"]["Expression"] == "IF(read > 0, 100 * rejected / read, 0)"
    assert share["rejected"]["MetricStat"]["Metric"]["MetricName"] == "RowsRejected"


@pytest.mark.parametrize(
    ("schedule", "hours"),
    [
        ("rate(1 minutes)", 1),
        ("rate(45 minutes)", 2),
        ("rate(1 hour)", 2),
        ("cron(0 * * * ? *)", 2),
        ("cron(0 */4 * * ? *)", 8),
    ],
)
def test_missing_features_are_noticed_after_two_schedules(fresh: Terraform, schedule: str, hours: int) -> None:
    target = "aws_cloudwatch_metric_alarm.missing_features"
    plan = fresh.plan_changes("-refresh=false", f"-target={target}", f"-var=processing_schedule_expression={schedule}")
    assert f"+ evaluation_periods                    = {hours}\n" in plan


def test_dashboard_shows_the_metrics_that_runs_emit(deployed: Deployment) -> None:
    body = deployed.cloud.client("cloudwatch").get_dashboard(DashboardName="plant-processing")["DashboardBody"]
    metrics = {metric[1] for widget in json.loads(body)["widgets"] for metric in widget["properties"]["metrics"]}
    assert metrics >= {"RowsAccepted", "RowsRejected", "TooLate", "ItemsWritten", "Staleness", "Duration", "Errors"}


def test_second_plan_changes_nothing(deployed: Deployment) -> None:
    assert deployed.terraform.plan_changes() == ""


def test_unchanged_layer_built_again_changes_nothing(deployed: Deployment) -> None:
    for path in (deployed.project / "lambda_artifacts").iterdir():
        os.utime(path, (0, 0))
    assert deployed.terraform.plan_changes() == ""


def test_changed_layer_is_deployed_by_one_apply(deployed: Deployment) -> None:
    (before,) = [key for key in deployed.list_keys() if key.startswith(LAYER_KEYS)]
    write_artifacts(deployed.project / "lambda_artifacts", "second")
    try:
        deployed.terraform.apply()
        (after,) = [key for key in deployed.list_keys() if key.startswith(LAYER_KEYS)]
        assert after != before
        layer = deployed.terraform.outputs()["pandas_layer_arn"]
        name = deployed.outputs["processing_lambda_function_name"]
        function = deployed.cloud.client("lambda").get_function_configuration(FunctionName=name)
        assert [used["Arn"] for used in function["Layers"]] == [layer]
        assert deployed.terraform.plan_changes() == ""
    finally:
        write_artifacts(deployed.project / "lambda_artifacts")
        deployed.terraform.apply()


def test_every_bad_value_is_refused_with_what_would_be_right(fresh: Terraform) -> None:
    said = fresh.refuse("-refresh=false", *(f"-var={name}={value}" for name, (value, _) in BAD_VALUES.items()))
    for _, sentence in BAD_VALUES.values():
        assert sentence in said


@pytest.mark.parametrize("schedule", BAD_SCHEDULES)
def test_bad_schedules_are_refused(fresh: Terraform, schedule: str) -> None:
    said = fresh.refuse("-refresh=false", f"-var=processing_schedule_expression={schedule}")
    assert "processing_schedule_expression must be a rate or a cron expression of six fields" in said


def test_missing_artifact_is_refused_with_the_command_that_makes_it(fresh: Terraform) -> None:
    said = fresh.refuse("-refresh=false", "-var=pandas_layer_zip_path=nowhere/layer.zip")
    assert "pandas_layer_zip_path: there is no file nowhere/layer.zip. Run `make build`" in said


def test_layer_of_another_architecture_is_refused(fresh: Terraform) -> None:
    manifest = fresh.directory.parents[2] / "lambda_artifacts" / "manifest.json"
    manifest.write_text(json.dumps({"target": {"arch": "x86_64"}}))
    said = fresh.refuse("-refresh=false", "-var=architecture=arm64")
    assert "it was not built for arm64. Run `make build ARGS='--arch arm64'`" in said


def test_subnets_need_security_groups(fresh: Terraform) -> None:
    assert "must be given together" in fresh.refuse("-refresh=false", '-var=subnet_ids=["subnet-1"]')


def test_own_key_and_network_are_used_everywhere(fresh: Terraform) -> None:
    key = "arn:aws:kms:us-east-1:123456789012:key/one"
    plan = fresh.plan_changes(
        "-refresh=false", f"-var=kms_key_arn={key}", '-var=subnet_ids=["subnet-1"]', '-var=security_group_ids=["sg-1"]'
    )
    users = ("kms_key_arn", "kms_key_id", "kms_master_key_id")
    lines = [line for line in plan.splitlines() if f'"{key}"' in line and any(user in line for user in users)]
    assert len(lines) == 7  # the layer's object, the table, two queues, logs, the function, the schedule
