"""From the module of the first release, out of git, to the present one: with data in table and lake."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from handler.definitions.layout import tiles_key
from machine_features import FeatureStore
from scripts.synth import MODULE, ROOT
from tests.harness import at
from tests.infrastructure.conftest import list_keys, run_handler
from tests.infrastructure.moto_cloud import REGION, Cloud
from tests.infrastructure.terraform import Terraform, require_terraform, terraform_environment, write_artifacts

RELEASE = "feff6be"
BUCKET, TABLE = "upgraded-data-lake", "upgraded-RealtimeFeatures"
LAKE = ROOT / "tests" / "data" / "lakes" / RELEASE
KEYS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
ROOT_MODULE = """
module "processing" {
  source                = "./module"
  project_name          = "upgraded"
  s3_bucket_name        = "upgraded-data-lake"
  pandas_layer_zip_path = "./lambda_artifacts/pandas_layer.zip"
  lambda_source_path    = "./lambda_artifacts/processing_lambda.zip"
}
output "all" { value = module.processing }
"""


@pytest.fixture
def old_module() -> str:
    """The module as the first release had it; a clone without history cannot tell."""
    command = ["git", "show", f"{RELEASE}:{MODULE.as_posix()}"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"git has no {RELEASE}: the clone is shallow")
    return found.stdout


def list_actions(terraform: Terraform) -> dict[str, list[str]]:
    terraform.run("plan", "-input=false", "-out=plan")
    document = json.loads(terraform.run("show", "-json", "plan").stdout)
    changes = {item["address"]: item["change"]["actions"] for item in document["resource_changes"]}
    return {address: actions for address, actions in changes.items() if actions not in (["no-op"], ["read"])}


def test_an_upgrade_destroys_nothing_and_everything_is_readable(
    cloud: Cloud, tmp_path: Path, old_module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_terraform()
    s3, dynamodb, sqs = cloud.client("s3"), cloud.client("dynamodb"), cloud.client("sqs")
    s3.create_bucket(Bucket=BUCKET)
    module = tmp_path / "module" / "main.tf.json"
    module.parent.mkdir()
    module.write_text(old_module)
    (tmp_path / "main.tf").write_text(ROOT_MODULE)
    write_artifacts(tmp_path / "lambda_artifacts")
    terraform = Terraform(tmp_path, terraform_environment(cloud.endpoint, tmp_path))
    terraform.init()
    terraform.apply()
    for path in LAKE.rglob("*.*"):
        s3.upload_file(str(path), BUCKET, path.relative_to(LAKE).as_posix())
    item = {"machine_id": {"S": "PUMP-A01"}, "event_timestamp": {"S": "2025-10-15T10:00:00Z"}}
    dynamodb.put_item(TableName=TABLE, Item=item)
    queue = sqs.get_queue_url(QueueName="upgraded-processing-failed-events")["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="a failed event")

    shutil.copy(ROOT / MODULE, module)
    terraform.init()
    actions = list_actions(terraform)
    assert {address: found for address, found in actions.items() if "delete" in found} == {}
    assert "update" in actions["module.processing.aws_lambda_function.processing_lambda"]
    terraform.apply()
    assert terraform.plan_changes() == ""

    assert dynamodb.get_item(TableName=TABLE, Key={"machine_id": {"S": "PUMP-A01"}})["Item"] == item
    for name, value in {**{key.upper(): value for key, value in KEYS.items()}, "AWS_REGION": REGION}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.endpoint)
    rows = FeatureStore.open(BUCKET, TABLE, REGION).training(at(8), at(10)).collect()
    assert rows.height == 4
    old_tiles = s3.head_object(Bucket=BUCKET, Key=tiles_key(at(9)))["ETag"]
    as_of = "2025-10-15T10:00:00Z"
    answer = run_handler(cloud, KEYS, {"as_of": as_of}, bucket=BUCKET, table=TABLE, now=as_of)
    assert (answer["tiles"]["built"], answer["online"]["written"]) == (2, 2)
    assert s3.head_object(Bucket=BUCKET, Key=tiles_key(at(9)))["ETag"] != old_tiles
    again = FeatureStore.open(BUCKET, TABLE, REGION).training(at(8), at(10), features=["vibration_rms_mean_1h"])
    assert again.collect().get_column("vibration_rms_mean_1h").to_list() == pytest.approx(
        rows.get_column("vibration_rms_mean_1h").to_list()
    )

    assert "Messages" in sqs.receive_message(QueueUrl=queue)
    refused = terraform.run("destroy", "-input=false", "-auto-approve", exits=(1,))
    assert "can't be deleted while DeletionProtectionEnabled" in refused.stderr
    (tmp_path / "main.tf").write_text(ROOT_MODULE.replace("\n}\noutput", "\n  deletion_protection = false\n}\noutput"))
    terraform.apply()
    terraform.destroy()
    assert not list_keys(cloud, BUCKET, "artifacts/")
    assert list_keys(cloud, BUCKET, "raw/")
