"""The module, used from plain HCL exactly as the contract shows."""

import shutil
from pathlib import Path

from scripts.synth import ROOT
from tests.infrastructure.conftest import RAW_KEY, list_keys
from tests.infrastructure.moto_cloud import Cloud
from tests.infrastructure.terraform import Terraform, require_terraform, terraform_environment, write_artifacts

BUCKET = "replyec-data-lake-20250115"
SNIPPET = """\
module "processing" {
  source                         = "./modules/processing"
  project_name                   = "replyec"
  s3_bucket_name                 = "replyec-data-lake-20250115"
  processing_schedule_expression = "rate(6 hours)"
  time_window_hours              = 6
  lambda_timeout                 = 300
  lambda_memory_size             = 1024
  pandas_layer_zip_path          = "./lambda_artifacts/pandas_layer.zip"
  lambda_source_path             = "./lambda_artifacts/processing_lambda.zip"
  tags                           = { Project = "Enterprise Challenge - Reply", Owner = "Fiap-RJ Team" }
}
"""
OUTPUTS = """
output "table" { value = module.processing.realtime_features_table_name }
output "function" { value = module.processing.processing_lambda_arn }
"""


def test_contracts_snippet_is_applied_and_destroyed(cloud: Cloud, tmp_path: Path) -> None:
    require_terraform()
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key=RAW_KEY, Body=b"")
    (tmp_path / "main.tf").write_text(SNIPPET + OUTPUTS)
    shutil.copytree(ROOT / "modules", tmp_path / "modules")
    write_artifacts(tmp_path / "lambda_artifacts")
    terraform = Terraform(tmp_path, terraform_environment(cloud.endpoint, tmp_path))

    terraform.init()
    terraform.run("validate")
    terraform.apply()
    assert terraform.plan_changes() == ""
    assert terraform.outputs()["table"] == "replyec-RealtimeFeatures"
    tags = cloud.client("lambda").list_tags(Resource=terraform.outputs()["function"])["Tags"]
    assert tags == {"Project": "Enterprise Challenge - Reply", "Owner": "Fiap-RJ Team"}

    refused = terraform.run("destroy", "-input=false", "-auto-approve", exits=(1,))
    assert "can't be deleted while DeletionProtectionEnabled" in refused.stderr
    (tmp_path / "main.tf").write_text(SNIPPET.replace("}\n}", "}\n  deletion_protection = false\n}") + OUTPUTS)
    terraform.apply()
    terraform.destroy()
    assert list_keys(cloud, BUCKET) == [RAW_KEY]
    assert "replyec-RealtimeFeatures" not in cloud.client("dynamodb").list_tables()["TableNames"]
