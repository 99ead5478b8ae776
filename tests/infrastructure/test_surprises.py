"""What surprised people at plan, apply or destroy: each scenario of docs/deploy.md, applied by Terraform."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from handler.definitions.spec import PACKAGED
from layer_build.wheels import hash_file
from processing.stack import name_stack
from scripts.release import write_release
from scripts.synth import ROOT
from tests.infrastructure.conftest import BUCKET, Deployment, list_keys
from tests.infrastructure.moto_cloud import Cloud
from tests.infrastructure.terraform import (
    Terraform,
    require_terraform,
    terraform_environment,
    write_artifacts,
)
from tests.wheel import build_wheel, run

ZIPS = """
  pandas_layer_zip_path = "./lambda_artifacts/pandas_layer.zip"
  lambda_source_path    = "./lambda_artifacts/processing_lambda.zip"
  deletion_protection   = false
"""
IN_ONE_APPLY = f"""
resource "aws_kms_key" "lake" {{ description = "lake" }}
resource "aws_vpc" "plant" {{ cidr_block = "10.0.0.0/16" }}
resource "aws_subnet" "plant" {{
  count      = 2
  vpc_id     = aws_vpc.plant.id
  cidr_block = "10.0.${{count.index}}.0/24"
}}
resource "aws_security_group" "plant" {{
  name   = "processing"
  vpc_id = aws_vpc.plant.id
}}
resource "aws_sns_topic" "alarms" {{ name = "alarms" }}
resource "aws_iam_policy" "boundary" {{
  name   = "boundary"
  policy = jsonencode({{ Version = "2012-10-17", Statement = [{{ Effect = "Allow", Action = "*", Resource = "*" }}] }})
}}
module "processing" {{
  source                         = "{ROOT}/modules/processing"
  project_name                   = "one"
  s3_bucket_name                 = "{BUCKET}"
  kms_key_arn                    = aws_kms_key.lake.arn
  subnet_ids                     = distinct(concat(aws_subnet.plant[*].id, aws_subnet.plant[*].id))
  security_group_ids             = [aws_security_group.plant.id]
  alarm_topic_arn                = aws_sns_topic.alarms.arn
  permissions_boundary_arn       = aws_iam_policy.boundary.arn
  role_name                      = "one-in-the-east"
  features_file_path             = "./features.toml"
  environment_variables          = {{ OWNER = "maintenance", TIME_WINDOW = "not this" }}
  tracing_mode                   = "Active"
  ephemeral_storage_size         = 1024
  raw_retention_hours            = 720
  schedule_timezone              = "Europe/Lisbon"
  processing_schedule_expression = "cron(0 6,18 * * ? *)"
  time_window_hours              = 12
  schedule_enabled               = false
  create_reader_policy           = true
  tags                           = {{ Project = "one" }}
{ZIPS}}}
output "all" {{ value = module.processing }}
"""
MANY_DEFAULT_TAGS = f"""
provider "aws" {{
  default_tags {{ tags = {{ for n in range(12) : "tag${{n}}" => "value" }} }}
}}
module "processing" {{
  source         = "{ROOT}/modules/processing"
  project_name   = "tagged"
  s3_bucket_name = "{BUCKET}"
  tags           = {{ Project = "tagged" }}
{ZIPS}}}
"""
SEVERAL = f"""
provider "aws" {{}}
provider "aws" {{
  alias  = "europe"
  region = "eu-west-1"
}}
module "plants" {{
  for_each       = toset(["north", "south"])
  source         = "{ROOT}/modules/processing"
  project_name   = each.key
  s3_bucket_name = "{BUCKET}"
{ZIPS}}}
module "none" {{
  count          = 0
  source         = "{ROOT}/modules/processing"
  project_name   = "none"
  s3_bucket_name = "{BUCKET}"
}}
module "europe" {{
  source         = "{ROOT}/modules/processing"
  providers      = {{ aws = aws.europe }}
  project_name   = "north"
  role_name      = "north-in-europe"
  s3_bucket_name = "european-data-lake"
{ZIPS}}}
"""


def make_root(cloud: Cloud, folder: Path, text: str) -> Terraform:
    require_terraform()
    (folder / "main.tf").write_text(text)
    write_artifacts(folder / "lambda_artifacts")
    terraform = Terraform(folder, terraform_environment(cloud.endpoint, folder))
    terraform.init()
    return terraform


def test_everything_in_one_apply_and_a_destroy_without_artifacts(
    deployed: Deployment, cloud: Cloud, tmp_path: Path
) -> None:
    (tmp_path / "features.toml").write_text(PACKAGED.read_text())
    terraform = make_root(cloud, tmp_path, IN_ONE_APPLY)
    terraform.apply()
    assert terraform.plan_changes() == ""
    outputs: dict[str, Any] = terraform.outputs()["all"]

    function = cloud.client("lambda").get_function_configuration(FunctionName="one-processing-lambda")
    variables = function["Environment"]["Variables"]
    (features,) = list_keys(cloud, BUCKET, "artifacts/one/features-")
    expected = {
        "OWNER": "maintenance", "TIME_WINDOW": "12", "RAW_RETENTION_HOURS": "720",
        "FEATURES_FILE": f"s3://{BUCKET}/{features}",
    }  # fmt: skip
    assert {name: variables[name] for name in expected} == expected
    assert function["TracingConfig"]["Mode"] == "Active"
    assert function["EphemeralStorage"]["Size"] == 1024
    assert len(function["VpcConfig"]["SubnetIds"]) == 2
    iam = cloud.client("iam")
    for role in ("one-in-the-east", "one-in-the-east-schedule"):
        assert iam.get_role(RoleName=role)["Role"]["PermissionsBoundary"]["PermissionsBoundaryArn"].endswith(
            "/boundary"
        )
    policy = iam.get_role_policy(RoleName="one-in-the-east", PolicyName="processing-lambda")["PolicyDocument"]
    sids = {statement["Sid"] for statement in policy["Statement"]}
    assert {"UseKey", "UseSubnets", "Trace", "ReadFeaturesFile"} <= sids
    schedule = cloud.client("scheduler").get_schedule(Name="one-processing")
    assert (schedule["ScheduleExpressionTimezone"], schedule["State"]) == ("Europe/Lisbon", "DISABLED")
    (missing,) = cloud.client("cloudwatch").describe_alarms(AlarmNames=["one-processing-missing-features"])[
        "MetricAlarms"
    ]
    assert (missing["EvaluationPeriods"], missing["ActionsEnabled"]) == (24, False)
    for name in (
        "failed_events_queue_url",
        "undelivered_events_queue_url",
        "processing_schedule_arn",
        "reader_policy_arn",
    ):
        assert outputs[name]
    assert outputs["processing_lambda_log_group_name"] == "/aws/lambda/one-processing-lambda"

    (tmp_path / "features.toml").write_text(PACKAGED.read_text() + "\n# another content\n")
    planned = set(terraform.plan_attributes())
    assert planned >= {
        "module.processing.aws_s3_object.features_file[0]", "module.processing.aws_lambda_function.processing_lambda",
    }  # fmt: skip
    terraform.apply()
    assert list_keys(cloud, BUCKET, "artifacts/one/features-") != [features]

    shutil.rmtree(tmp_path / "lambda_artifacts")
    (tmp_path / "features.toml").unlink()
    terraform.destroy()
    assert list_keys(cloud, BUCKET, "artifacts/one/features-") == []


def test_more_default_tags_than_an_object_takes(deployed: Deployment, cloud: Cloud, tmp_path: Path) -> None:
    terraform = make_root(cloud, tmp_path, MANY_DEFAULT_TAGS)
    layer = "-target=module.processing.aws_lambda_layer_version.pandas_layer"
    terraform.apply(layer)
    assert terraform.plan_changes(layer) == ""
    (key,) = list_keys(cloud, BUCKET, "artifacts/tagged/")
    tags = cloud.client("s3").get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"]
    assert tags == [{"Key": "Project", "Value": "tagged"}]
    terraform.destroy()


def test_several_deployments_in_one_root_module(deployed: Deployment, cloud: Cloud, tmp_path: Path) -> None:
    europe = {"LocationConstraint": "eu-west-1"}
    cloud.client("s3").create_bucket(Bucket="european-data-lake", CreateBucketConfiguration=europe)
    terraform = make_root(cloud, tmp_path, SEVERAL)
    terraform.apply()
    assert terraform.plan_changes() == ""
    shown = terraform.run("show", "-json").stdout
    modules = {module["address"] for module in json.loads(shown)["values"]["root_module"]["child_modules"]}
    assert modules == {'module.plants["north"]', 'module.plants["south"]', "module.europe"}
    terraform.destroy()


UNTOLD = ("cron(0 9 ? * MON-FRI *)", "cron(0 8-17 * * ? *)", "cron(0 0 1 * ? *)")
"""Days are left out, or hours are a range: both lengths must be given."""

GAPS = {
    "rate(12 hours)": "12",
    "rate(1 day)": "24",
    "rate(1500 minutes)": "25",
    "cron(0 9 * * ? *)": "24",
    "cron(30 2,8,20 * * ? *)": "12",
    "cron(0 */8 * * ? *)": "8",
}


def write_schedules(schedules: Sequence[str], more: str = "") -> str:
    return f"""
module "plants" {{
  for_each                       = {{ for n, schedule in {json.dumps(list(schedules))} : "p${{n}}" => schedule }}
  source                         = "{ROOT}/modules/processing"
  project_name                   = each.key
  s3_bucket_name                 = "{BUCKET}"
  processing_schedule_expression = each.value
{more}{ZIPS}}}
"""


def test_hours_between_two_runs_that_no_run_answers_for_are_refused(
    deployed: Deployment, cloud: Cloud, tmp_path: Path
) -> None:
    terraform = make_root(cloud, tmp_path, write_schedules([*GAPS, *UNTOLD]))
    said = terraform.refuse("-refresh=false", "-target=module.plants")
    for schedule, hours in GAPS.items():
        assert f"time_window_hours: {schedule} leaves up to {hours} hours between two runs" in said
    for schedule in UNTOLD:
        assert f"missing_features_hours: the time between two runs cannot be told from {schedule}" in said
    more = "  time_window_hours      = 72\n  missing_features_hours = 80\n"
    (tmp_path / "main.tf").write_text(write_schedules([*GAPS, *UNTOLD], more))
    terraform.run("plan", "-input=false", "-target=module.plants")


def test_bucket_that_is_not_there_or_lies_elsewhere(fresh: Terraform, cloud: Cloud) -> None:
    assert "no-such-data-lake" in fresh.refuse("-var=s3_bucket_name=no-such-data-lake")
    there = {"LocationConstraint": "ap-southeast-2"}
    cloud.client("s3").create_bucket(Bucket="southern-data-lake", CreateBucketConfiguration=there)
    said = fresh.refuse("-var=s3_bucket_name=southern-data-lake")
    assert "the bucket southern-data-lake lies in another region than the function" in said


def test_artifacts_that_do_not_belong_together(fresh: Terraform) -> None:
    artifacts = fresh.directory.parents[2] / "lambda_artifacts"
    whole = {"arch": "x86_64", "python": "3.11"}
    for target, member, says in (
        (whole, {"layer": {"sha256": "0" * 64}}, "pandas_layer_zip_path: the file is not the layer that manifest.json"),
        (
            whole,
            {"function": {"sha256": "0" * 64}},
            "lambda_source_path: the file is not the function that manifest.json",
        ),
        ({**whole, "python": "3.12"}, {}, "it was not built for python3.11"),
    ):
        (artifacts / "manifest.json").write_text(json.dumps({"target": target, **member}))
        assert says in fresh.refuse("-refresh=false")
    (artifacts / "manifest.json").write_text(json.dumps({"target": whole}))
    fresh.run("plan", "-input=false")


def test_each_deployment_has_its_own_stack_and_state(tmp_path: Path) -> None:
    assert name_stack({}) == "processing"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_VAR_")}
    for project in ("plant", "plant-test"):
        out = {"CDKTF_OUTDIR": str(tmp_path), "CDKTF_CONTEXT_JSON": "{}", "TF_VAR_project_name": project}
        subprocess.run([sys.executable, str(ROOT / "main.py")], env={**environment, **out}, cwd=tmp_path, check=True)
    found = {
        path.parent.name: json.loads(path.read_text())["terraform"]["backend"]["local"]["path"]
        for path in tmp_path.glob("stacks/*/cdk.tf.json")
    }
    assert found == {
        f"{project}-processing": f"../../../terraform.{project}-processing.tfstate"
        for project in ("plant", "plant-test")
    }


def test_construct_in_somebody_elses_app(deployed: Deployment, cloud: Cloud, tmp_path: Path) -> None:
    """Installed from the wheel, beside the packages that its extra `cdktf` names."""
    require_terraform()
    app = ROOT / "examples" / "cdktf_app" / "main.py"
    wheel = str(build_wheel(tmp_path))
    site = str(tmp_path / "site")
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel, folder=tmp_path)
    environment = {**os.environ, "PYTHONPATH": site, "CDKTF_CONTEXT_JSON": "{}"}
    subprocess.run([sys.executable, "-P", str(app)], cwd=tmp_path, env=environment, check=True)
    stack = tmp_path / "cdktf.out" / "stacks" / "plants"
    document = json.loads((stack / "cdk.tf.json").read_text())
    document["terraform"]["required_providers"]["aws"]["version"] = ">= 5.100.0"  # its own pin is newer than the mirror
    (stack / "cdk.tf.json").write_text(json.dumps(document))
    write_artifacts(tmp_path / "lambda_artifacts")
    terraform = Terraform(stack, terraform_environment(cloud.endpoint, tmp_path))
    terraform.init()
    terraform.run("validate")
    cloud.client("s3").create_bucket(Bucket="north-data-lake")
    cloud.client("s3").create_bucket(
        Bucket="south-data-lake", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    planned = terraform.plan_attributes()
    assert {
        "module.north.aws_lambda_function.processing_lambda",
        "module.south.aws_dynamodb_table.realtime_features",
    } <= set(planned)


def test_release_needs_no_build(deployed: Deployment, cloud: Cloud, tmp_path: Path) -> None:
    """The zips lie in the archive; the root module names it, a project and a bucket, and nothing else."""
    built = tmp_path / "built"
    write_artifacts(built)
    (built / "pandas_layer.cdx.json").write_text("{}")
    archive = write_release(tmp_path / "release", built, "processing-1.0")
    (digest, name) = (archive.parent / f"{archive.name}.sha256").read_text().split()
    assert (digest, name) == (hash_file(archive), archive.name)
    assert (archive.parent / "processing-1.0.cdx.json").read_text() == "{}"
    again = write_release(tmp_path / "again", built, "processing-1.0")
    assert again.read_bytes() == archive.read_bytes()
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "main.tf").write_text(f"""
module "processing" {{
  source         = "file::{archive}"
  project_name   = "released"
  s3_bucket_name = "{BUCKET}"
}}
""")
    terraform = Terraform(folder, terraform_environment(cloud.endpoint, folder))
    terraform.init()
    layer = "-target=module.processing.aws_lambda_layer_version.pandas_layer"
    terraform.apply(layer)
    assert len(list_keys(cloud, BUCKET, "artifacts/released/pandas_layer-")) == 1
    assert "module.processing.aws_lambda_function.processing_lambda" in terraform.plan_attributes()
    terraform.destroy()


def test_construct_refuses_a_variable_that_the_module_does_not_have(tmp_path: Path) -> None:
    from processing.bindings import App, TerraformStack
    from processing.module import ProcessingModule

    stack = TerraformStack(App(outdir=str(tmp_path)), "stack")
    with pytest.raises(Exception, match="the module has no variable memory_size; did you mean lambda_memory_size"):
        ProcessingModule(stack, "one", project_name="one", s3_bucket_name="lake", memory_size=512)
