"""The examples for users of HCL, each applied as it stands: all at a time, to an emulated AWS of their own."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from scripts.synth import MODULE, ROOT, read_document
from tests.infrastructure.moto_cloud import Cloud, moto_cloud
from tests.infrastructure.terraform import Terraform, require_terraform, terraform_environment, write_artifacts

EXAMPLES = ROOT / "examples" / "hcl"
VARIABLES: dict[str, dict[str, object]] = {
    "minimal": {"s3_bucket_name": "plant-data-lake"},
    "everything": {"s3_bucket_name": "everything-data-lake"},
    "two_plants": {
        "plants": {
            "north": {"bucket": "north-data-lake", "schedule": "rate(6 hours)"},
            "south": {"bucket": "south-data-lake", "schedule": "cron(0 */8 * * ? *)"},
        }
    },
}
BUCKETS = ("plant-data-lake", "everything-data-lake", "north-data-lake", "south-data-lake")


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mapping[str, Terraform], Mapping[str, Cloud]]]:
    require_terraform()
    project = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "modules", project / "modules")
    shutil.copytree(EXAMPLES, project / "examples" / "hcl")
    write_artifacts(project / "lambda_artifacts")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON"))}
    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    with moto_cloud(inherited | keys) as one, moto_cloud(inherited | keys) as other:
        clouds = {"minimal": one, "everything": other, "two_plants": one}  # two of them name one project

        def apply(name: str) -> Terraform:
            home = tmp_path_factory.mktemp(name)
            given = {
                key: value if isinstance(value, str) else json.dumps(value) for key, value in VARIABLES[name].items()
            }
            environment = terraform_environment(clouds[name].endpoint, home, **given)
            terraform = Terraform(project / "examples" / "hcl" / name, environment)
            terraform.init()
            terraform.apply()
            return terraform

        for cloud in (one, other):
            for bucket in BUCKETS:
                cloud.client("s3").create_bucket(Bucket=bucket)
        with ThreadPoolExecutor(len(VARIABLES)) as pool:
            yield dict(zip(VARIABLES, pool.map(apply, VARIABLES), strict=True)), clouds


def test_every_example_is_known(applied: tuple[Mapping[str, Terraform], Mapping[str, Cloud]]) -> None:
    assert {path.name for path in EXAMPLES.iterdir()} == set(applied[0])


@pytest.mark.parametrize("name", VARIABLES)
def test_example_is_applied_and_its_plan_is_empty(
    applied: tuple[Mapping[str, Terraform], Mapping[str, Cloud]], name: str
) -> None:
    assert applied[0][name].plan_changes() == ""


def test_outputs_of_the_examples(applied: tuple[Mapping[str, Terraform], Mapping[str, Cloud]]) -> None:
    terraform, clouds = applied
    assert terraform["minimal"].outputs() == {"function": "plant-processing-lambda", "table": "plant-RealtimeFeatures"}
    assert terraform["two_plants"].outputs()["tables"] == {
        "north": "north-RealtimeFeatures", "south": "south-RealtimeFeatures",
    }  # fmt: skip
    outputs = terraform["everything"].outputs()["processing"]
    assert outputs["scaled_run_arn"].endswith(":stateMachine:plant-processing")
    tables = clouds["two_plants"].client("dynamodb").list_tables()["TableNames"]
    assert sorted(tables) == ["north-RealtimeFeatures", "plant-RealtimeFeatures", "south-RealtimeFeatures"]


def test_everything_names_every_variable() -> None:
    text = (EXAMPLES / "everything" / "main.tf").read_text()
    unnamed = [name for name in read_document(ROOT / MODULE)["variable"] if f"  {name} " not in text]
    assert unnamed == ["permissions_boundary_arn"]  # a policy that the account's owners make
