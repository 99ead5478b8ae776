"""What surprised people at plan, apply or destroy: each scenario of docs/deploy.md, applied by Terraform."""

import json
import os
import shutil
import subprocess
import sys
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


def synthesize(folder: Path, *deployments: tuple[str, str]) -> dict[str, Any]:
    """Synthesize a stack with a deployment for each pair of a parent's id, empty for the stack's own, and an id."""
    from processing.bindings import App, Construct, TerraformStack
    from processing.module import ProcessingModule

    app = App(outdir=str(folder), skip_validation=True)
    stack = TerraformStack(app, "stack")
    for number, (parent, id_) in enumerate(deployments):
        scope = Construct(stack, parent) if parent else stack
        ProcessingModule(scope, id_, project_name=f"p{number}", s3_bucket_name="lake")
    app.synth()
    document: dict[str, Any] = json.loads((folder / "stacks" / "stack" / "cdk.tf.json").read_text())
    return document


def test_deployments_of_one_id_below_two_parents_are_both_there(tmp_path: Path) -> None:
    stack = synthesize(tmp_path, ("north", "processing"), ("south", "processing"), ("", "processing"))
    assert {name: module["project_name"] for name, module in stack["module"].items()} == {
        "north_processing": "p0", "south_processing": "p1", "processing": "p2",
    }  # fmt: skip
    assert "moved" not in stack


def test_deployment_below_a_parent_is_moved_from_where_it_was(tmp_path: Path) -> None:
    stack = synthesize(tmp_path, ("north", "pumps"), ("", "fans"))
    assert set(stack["module"]) == {"north_pumps", "fans"}
    assert stack["moved"] == [{"from": "module.pumps", "to": "module.north_pumps"}]


def test_two_deployments_with_one_address_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"module\.a_b_c is the address of stack/a_b/c; give it another id"):
        synthesize(tmp_path, ("a_b", "c"), ("", "a_b_c"))


WRONG_ARGUMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "no such variable": ({"memory_size": 512}, "has no variable memory_size; did you mean lambda_memory_size"),
    "text for a number": ({"lambda_timeout": "five minutes"}, "lambda_timeout is a number, not 'five minutes'"),
    "true for a number": ({"lambda_timeout": True}, "lambda_timeout is a number, not True"),
    "text for a bool": ({"scale_out": "on"}, "scale_out is a bool, not 'on'"),
    "text for a list": ({"subnet_ids": "subnet-1"}, r"subnet_ids is a list\(string\), not 'subnet-1'"),
    "a list for a map": ({"tags": ["a"]}, r"tags is a map\(string\), not \['a'\]"),
    "a map within a map": ({"tags": {"a": {}}}, "tags is a string, not {}"),
    "nothing": ({"log_level": None}, "log_level is a string, not None"),
    "a list for a name": ({"project_name": ["one"]}, r"project_name is a string, not \['one'\]"),
}


@pytest.mark.parametrize("case", WRONG_ARGUMENTS)
def test_construct_refuses_what_the_modules_variables_do_not_take(tmp_path: Path, case: str) -> None:
    from processing.bindings import App, TerraformStack
    from processing.module import ProcessingModule

    given, says = WRONG_ARGUMENTS[case]
    stack = TerraformStack(App(outdir=str(tmp_path)), "stack")
    with pytest.raises(TypeError, match=says):
        ProcessingModule(stack, "one", **{"project_name": "one", "s3_bucket_name": "lake", **given})


def test_construct_takes_numbers_as_text_references_and_its_outputs_names(tmp_path: Path) -> None:
    from processing.bindings import App, TerraformStack, TerraformVariable
    from processing.module import ProcessingModule

    stack = TerraformStack(App(outdir=str(tmp_path)), "stack")
    memory = TerraformVariable(stack, "memory", type="number")
    deployment = ProcessingModule(
        stack,
        "one",
        project_name="one",
        s3_bucket_name="lake",
        lambda_timeout="300",
        lambda_memory_size=memory.number_value,
        subnet_ids=memory.list_value,
        tags={"Project": "one"},
        scale_out="true",
        allowed_lateness_hours=6,
    )
    assert deployment.output("processing_lambda_arn")
    with pytest.raises(TypeError, match="has no output processing_arn; did you mean processing_lambda_arn"):
        deployment.output("processing_arn")
