"""What readers of features get by variable: a Glue table with projected partitions, and a policy to read with."""

from collections.abc import Iterator
from dataclasses import dataclass

import boto3
import polars as pl
import pytest
from botocore.exceptions import ClientError

from handler.definitions.layout import training_key
from handler.definitions.schema import feature_schema
from handler.definitions.spec import FeatureSpec
from machine_features import FeatureStore
from scripts.synth import ROOT
from tests.harness import at, line
from tests.infrastructure.conftest import run_handler
from tests.infrastructure.moto_cloud import REGION, Cloud
from tests.infrastructure.terraform import Terraform, require_terraform, terraform_environment, write_artifacts

BUCKET, DATABASE = "readers-data-lake", "readers_features"
TABLE = "readers-RealtimeFeatures"
AS_OF = "2025-10-15T09:00:00Z"
ROOT_KEYS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
MAIN = f"""
module "processing" {{
  source                = "{ROOT}/modules/processing"
  project_name          = "readers"
  s3_bucket_name        = "{BUCKET}"
  create_reader_policy  = true
  glue_database_name    = "{DATABASE}"
  deletion_protection   = false
  pandas_layer_zip_path = "./lambda_artifacts/pandas_layer.zip"
  lambda_source_path    = "./lambda_artifacts/processing_lambda.zip"
}}
resource "aws_iam_role" "scientist" {{
  name               = "scientist"
  assume_role_policy = jsonencode({{ Version = "2012-10-17", Statement = [
    {{ Effect = "Allow", Action = "sts:AssumeRole", Principal = {{ AWS = "*" }} }}
  ] }})
}}
resource "aws_iam_role_policy_attachment" "scientist" {{
  role       = aws_iam_role.scientist.name
  policy_arn = module.processing.reader_policy_arn
}}
output "role" {{ value = aws_iam_role.scientist.arn }}
"""


@dataclass(frozen=True)
class Lake:
    """A lake with features, and a role that may read them."""

    cloud: Cloud
    terraform: Terraform
    role: str


@pytest.fixture(scope="module")
def lake(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    require_terraform()
    folder = tmp_path_factory.mktemp("readers")
    write_artifacts(folder / "lambda_artifacts")
    (folder / "main.tf").write_text(MAIN)
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    lines = [line("M1", at(8, minutes=5 * n), temperature=70.0 + n, vibration=1.0 + n / 10) for n in range(12)]
    s3.put_object(Bucket=BUCKET, Key="raw/year=2025/month=10/day=15/hour=08/a.jsonl", Body=b"\n".join(lines))
    s3.put_object(Bucket=BUCKET, Key="private/plans.txt", Body=b"not for readers")
    terraform = Terraform(folder, terraform_environment(cloud.endpoint, folder))
    terraform.init()
    terraform.apply()
    run_handler(cloud, ROOT_KEYS, {"as_of": AS_OF}, bucket=BUCKET, table=TABLE, now=AS_OF)
    yield Lake(cloud, terraform, terraform.outputs()["role"])
    terraform.destroy()


def test_plan_is_empty_after_the_apply(lake: Lake) -> None:
    assert lake.terraform.plan_changes() == ""


def test_glue_table_leads_to_the_files_and_knows_their_columns(lake: Lake) -> None:
    table = lake.cloud.client("glue").get_table(DatabaseName=DATABASE, Name="training_rows")["Table"]
    columns = {column["Name"]: column["Type"] for column in table["StorageDescriptor"]["Columns"]}
    body = lake.cloud.client("s3").get_object(Bucket=BUCKET, Key=training_key(at(9)))["Body"].read()
    hive = {pl.String(): "string", pl.Float64(): "double", pl.Int64(): "bigint"}
    assert columns == {
        name: hive.get(dtype, "timestamp")
        for name, dtype in pl.read_parquet_schema(body).items()
    } | {name: hive[dtype] for name, dtype in feature_schema(FeatureSpec.load()).items()}  # fmt: skip
    assert [key["Name"] for key in table["PartitionKeys"]] == ["year", "month", "day", "hour"]
    template = table["Parameters"]["storage.location.template"]
    digits = {name: int(table["Parameters"][f"projection.{name}.digits"]) for name in ("year", "month", "day", "hour")}
    values = {"year": 2025, "month": 10, "day": 15, "hour": 9}
    for name, value in values.items():
        template = template.replace(f"${{{name}}}", f"{value:0{digits[name]}d}")
        low, high = map(int, table["Parameters"][f"projection.{name}.range"].split(","))
        assert low <= value <= high
    assert f"{template}/features.parquet" == f"s3://{BUCKET}/{training_key(at(9))}"


def test_columns_of_ones_own_features(lake: Lake) -> None:
    plan = lake.terraform.directory
    (plan / "main.tf").write_text(
        MAIN.replace(
            "  create_reader_policy",
            '  glue_columns = [{ name = "rpm_mean_1h", type = "double" }]\n  create_reader_policy',
        )
    )
    changed = lake.terraform.plan_attributes()
    (plan / "main.tf").write_text(MAIN)
    assert changed == {"module.processing.aws_glue_catalog_table.training_rows[0]": {"storage_descriptor"}}


def test_reader_reads_all_that_the_package_reads_and_writes_nothing(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = lake.cloud.assume(lake.role)
    for name, value in keys.items():
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", lake.cloud.endpoint)
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it may hold the credentials of another test
    with lake.cloud.access_control():
        store = FeatureStore.open(BUCKET, TABLE, REGION)
        rows = store.training(at(8), at(9), features=["vibration_rms_mean_1h"]).collect()
        assert rows.get_column("vibration_rms_mean_1h").to_list() == pytest.approx([1.55])
        assert store.training(at(8), at(9), knowledge="as_of").collect().height == 1
        assert store.online(["M1", "M9"], now=at(9)).get_column("status").to_list() == ["present", "missing"]
        assert store.trace("M1", at(9), "vibration_rms_mean_1h").height == 12
        s3 = lake.cloud.client("s3", **keys)
        with pytest.raises(ClientError, match=r"AccessDenied|Forbidden"):
            s3.put_object(Bucket=BUCKET, Key="processed/x", Body=b"")
        with pytest.raises(ClientError, match=r"AccessDenied|Forbidden"):
            s3.get_object(Bucket=BUCKET, Key="private/plans.txt")
        with pytest.raises(ClientError, match=r"AccessDenied|not authorized"):
            lake.cloud.client("dynamodb", **keys).delete_item(TableName=TABLE, Key={"machine_id": {"S": "M1"}})
        assert lake.cloud.client("glue", **keys).get_table(DatabaseName=DATABASE, Name="training_rows")
