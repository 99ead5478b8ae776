"""What a platform engineer changes or removes: it is done, or refused before anything is."""

import json
from pathlib import Path
from typing import Any

from tests.infrastructure.conftest import BUCKET, Deployment
from tests.infrastructure.moto_cloud import Cloud
from tests.infrastructure.terraform import (
    Terraform,
    lay_out_stack,
    require_terraform,
    terraform_environment,
    write_artifacts,
)

OTHER_REGION = {
    "alarm_topic_arn": "arn:aws:sns:eu-west-1:123456789012:alarms",
    "kms_key_arn": "arn:aws:kms:eu-west-1:123456789012:key/one",
}
"""CloudWatch: "Notifying users on alarm changes", a topic of the alarm's own region. KMS: keys belong to a region."""


def write_variables(**variables: Any) -> list[str]:
    return [
        f"-var={name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in variables.items()
    ]


def test_tags_and_variables_that_aws_refuses_are_refused_at_plan(fresh: Terraform) -> None:
    """Limits: "Tag naming limits and requirements" of the tagging guide; Lambda's "Using environment variables"."""
    tags = {**{f"tag{n}": "v" for n in range(51)}, "long": "v" * 257, "n" * 129: "v", "odd!": "v"}
    said = fresh.refuse(
        "-refresh=false",
        *write_variables(
            tags=tags,
            environment_variables={"AWS_REGION": "eu-west-1", "bad-name": "x"},
            subnet_ids=[f"subnet-{n}" for n in range(17)],
            security_group_ids=[f"sg-{n}" for n in range(6)],
            server_side_encryption="rot13",
        ),
    )
    for sentence in (
        "tags must be 50 at most",
        "tags must have names of at most 128 characters and values of at most 256.",
        "tags must be of letters, digits, spaces and",
        "environment_variables must have names of two or more letters, digits or underscores, a letter first.",
        "environment_variables must not be those that Lambda sets itself",
        "subnet_ids must be 16 at most",
        "security_group_ids must be 5 at most",
        "server_side_encryption must be AES256",
    ):
        assert sentence in said


def test_what_is_too_large_or_lies_in_another_region_is_refused_at_plan(fresh: Terraform) -> None:
    said = fresh.refuse(
        "-refresh=false", *write_variables(environment_variables={"BIG": "x" * 5 * 1024}, **OTHER_REGION)
    )
    assert "more than the 4,096 bytes that Lambda takes" in said
    for name, arn in OTHER_REGION.items():
        assert f"{name}: {arn} lies in another region than the function, which is in us-east-1." in said


def test_tags_and_variables_at_the_limits_are_taken(fresh: Terraform) -> None:
    tags = {**{f"tag{n}": "v" * 256 for n in range(49)}, "Ünïcode über _.:/=+-@": "ß" * 256}
    fresh.run(
        "plan", "-input=false", "-refresh=false", "-target=aws_lambda_function.processing_lambda",
        *write_variables(tags=tags, environment_variables={"BIG": "x" * 3000, "A1": ""}),
    )  # fmt: skip


def test_a_plan_warns_of_two_projects_on_one_lake_and_of_columns_of_other_features(
    deployed: Deployment, tmp_path: Path
) -> None:
    write_artifacts(tmp_path / "lambda_artifacts")
    (tmp_path / "features.toml").write_text("")
    environment = {**deployed.terraform.environment, "TF_VAR_project_name": "second"}
    terraform = Terraform(lay_out_stack(tmp_path), environment)
    terraform.init()
    given = write_variables(features_file_path="./features.toml", glue_database_name="second_features")
    said = " ".join(terraform.plan_changes("-refresh=false", *given).split())
    assert f"project_name: the lake {BUCKET} has plant" in said
    assert "write the same files under processed/" in said
    assert "glue_columns: the table training_rows gets the columns of the packaged features.toml" in said
    columns = write_variables(glue_columns=[{"name": "rpm_mean_1h", "type": "double"}])
    assert "glue_columns:" not in terraform.plan_changes("-refresh=false", *given, *columns)


def test_a_releases_plan_shows_no_policy_that_is_not_known(deployed: Deployment) -> None:
    write_artifacts(deployed.project / "lambda_artifacts", "another release")
    try:
        planned = deployed.terraform.plan_attributes()
    finally:
        write_artifacts(deployed.project / "lambda_artifacts")
    assert set(planned) == {
        "aws_lambda_function.processing_lambda", "aws_lambda_layer_version.pandas_layer",
        "aws_s3_object.pandas_layer_zip",
    }  # fmt: skip


def test_a_key_that_is_taken_away_and_a_destroy_of_a_protected_table_are_refused_first(
    deployed: Deployment, cloud: Cloud, tmp_path: Path
) -> None:
    require_terraform()
    write_artifacts(tmp_path / "lambda_artifacts")
    cloud.client("s3").create_bucket(Bucket="kept-data-lake")
    key = cloud.client("kms").create_key()["KeyMetadata"]["Arn"]
    environment = terraform_environment(
        cloud.endpoint, tmp_path, project_name="kept", s3_bucket_name="kept-data-lake", kms_key_arn=key,
        server_side_encryption="aws:kms",
    )  # fmt: skip
    terraform = Terraform(lay_out_stack(tmp_path), environment)
    terraform.init()
    terraform.apply()
    assert terraform.plan_changes() == ""
    variables = cloud.client("lambda").get_function_configuration(FunctionName="kept-processing-lambda")
    written = variables["Environment"]["Variables"]
    assert written["AWS_CHECKSUM_ALGORITHM"] == "sha256"
    assert (written["AWS_SERVER_SIDE_ENCRYPTION"], written["AWS_SSE_KMS_KEY_ID"]) == ("aws:kms", key)

    assert f"kms_key_arn: the table and the module's objects are encrypted with {key}" in terraform.refuse(
        "-var=kms_key_arn="
    )

    queue = terraform.outputs()["failed_events_queue_url"]
    cloud.client("sqs").send_message(QueueUrl=queue, MessageBody="a failed event")
    state = tmp_path / "terraform.processing.tfstate"
    before = list_resources(state)
    refused = terraform.run("destroy", "-input=false", "-auto-approve", exits=(1,))
    assert "can't be deleted while DeletionProtectionEnabled" in refused.stderr
    assert list_resources(state) == before
    assert "Messages" in cloud.client("sqs").receive_message(QueueUrl=queue)

    unprotected = {**environment, "TF_VAR_deletion_protection": "false"}
    Terraform(terraform.directory, unprotected).apply()
    Terraform(terraform.directory, unprotected).destroy()
    assert list_resources(state) == []


def list_resources(state: Path) -> list[tuple[str, str]]:
    document = json.loads(state.read_text())
    return sorted((item["type"], item["name"]) for item in document["resources"] if item["mode"] == "managed")
