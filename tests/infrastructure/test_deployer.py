"""The policy for whoever deploys: docs/deployer-policy.json is enough for a deployment's life, and for no other's."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from handler.definitions.spec import PACKAGED
from scripts.synth import ROOT
from tests.infrastructure.moto_cloud import Cloud
from tests.infrastructure.terraform import (
    Terraform,
    lay_out_stack,
    require_terraform,
    terraform_environment,
    write_artifacts,
)

LAKE, DATABASE = "mill-data-lake", "mill_features"
NAMES = {"PROJECT": "mill", "BUCKET": LAKE, "DATABASE": DATABASE}
CHANGES = {
    "log_retention_days": "30",
    "lambda_timeout": "600",
    "processing_schedule_expression": "rate(1 hour)",
    "reserved_concurrency": "2",
    "max_concurrency": "2",
    "tags": '{ Project = "another" }',
}
OTHER_MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:other-processing"
REFUSED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "another function": ("lambda", "get_function", {"FunctionName": "other-processing-lambda"}),
    "another table": ("dynamodb", "delete_table", {"TableName": "other-RealtimeFeatures"}),
    "the table's items": ("dynamodb", "scan", {"TableName": "mill-RealtimeFeatures"}),
    "another role": ("iam", "delete_role", {"RoleName": "other-processing-lambda-role"}),
    "another policy": ("iam", "get_policy", {"PolicyArn": "arn:aws:iam::123456789012:policy/other-feature-reader"}),
    "another queue": ("sqs", "create_queue", {"QueueName": "other-processing-failed-events"}),
    "another schedule": ("scheduler", "get_schedule", {"Name": "other-processing"}),
    "another state machine": ("stepfunctions", "delete_state_machine", {"stateMachineArn": OTHER_MACHINE}),
    "another log group": ("logs", "delete_log_group", {"logGroupName": "/aws/lambda/other-processing-lambda"}),
    "another alarm": ("cloudwatch", "delete_alarms", {"AlarmNames": ["other-processing-errors"]}),
    "another database": ("glue", "get_database", {"Name": "other_features"}),
    "raw lines": ("s3", "get_object", {"Bucket": LAKE, "Key": "raw/a.jsonl"}),
    "another project's artifacts": ("s3", "put_object", {"Bucket": LAKE, "Key": "artifacts/other/a.zip", "Body": b""}),
}


@pytest.fixture(scope="module")
def keys(cloud: Cloud) -> Mapping[str, str]:
    policy = (ROOT / "docs" / "deployer-policy.json").read_text()
    for placeholder, name in NAMES.items():
        policy = policy.replace(placeholder, name)
    iam = cloud.client("iam")
    iam.create_user(UserName="deployer")
    iam.put_user_policy(UserName="deployer", PolicyName="deploy", PolicyDocument=policy)
    key = iam.create_access_key(UserName="deployer")["AccessKey"]
    cloud.client("s3").create_bucket(Bucket=LAKE)
    cloud.client("s3").put_object(Bucket=LAKE, Key="raw/a.jsonl", Body=b"")
    return {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}


def test_deployer_makes_changes_and_destroys_a_deployment(
    cloud: Cloud, keys: Mapping[str, str], tmp_path: Path
) -> None:
    """With everything that variables add, and a file path relative to the project, as `make deploy` is run."""
    require_terraform()
    write_artifacts(tmp_path / "lambda_artifacts")
    (tmp_path / "features.toml").write_text(PACKAGED.read_text())
    variables = {
        "project_name": "mill", "s3_bucket_name": LAKE, "glue_database_name": DATABASE, "create_reader_policy": "true",
        "scale_out": "true", "deletion_protection": "false", "features_file_path": "./features.toml",
        "tags": '{ Project = "mill" }',
    }  # fmt: skip
    environment = terraform_environment(cloud.endpoint, tmp_path, **variables)
    environment |= {name.upper(): value for name, value in keys.items()} | {"AWS_MAX_ATTEMPTS": "2"}
    terraform = Terraform(lay_out_stack(tmp_path), environment)
    terraform.init()
    with cloud.access_control():
        terraform.apply()
        write_artifacts(tmp_path / "lambda_artifacts", "second")
        (tmp_path / "features.toml").write_text(PACKAGED.read_text() + "\n# another content\n")
        changed = [f"-var={name}={value}" for name, value in CHANGES.items()]
        terraform.apply(*changed)
        assert terraform.plan_changes(*changed) == ""
        terraform.destroy()


@pytest.mark.parametrize("what", REFUSED)
def test_deployer_may_not_touch(what: str, cloud: Cloud, keys: Mapping[str, str]) -> None:
    service, call, arguments = REFUSED[what]
    client = cloud.client(service, **keys)
    with cloud.access_control(), pytest.raises(ClientError) as refused:
        getattr(client, call)(**arguments)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert "SignatureDoesNotMatch" not in str(refused.value)


def test_policy_fits_into_one_managed_policy() -> None:
    """IAM takes 6,144 characters without white space, names included."""
    policy = json.loads((ROOT / "docs" / "deployer-policy.json").read_text())
    longest = json.dumps(policy, separators=(",", ":")).replace("PROJECT", "p" * 40).replace("BUCKET", "b" * 63)
    assert len(longest) <= 6144
