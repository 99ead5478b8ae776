# Two plants of one account and region, each with a bucket, a table and a schedule of its own.
terraform {
  required_version = ">= 1.10.0"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100.0, < 7.0.0"
    }
  }
}

variable "plants" {
  type        = map(object({ bucket = string, schedule = string }))
  description = "By project name: the bucket, which is there already, and when to run."
}

module "processing" {
  for_each                       = var.plants
  source                         = "../../../modules/processing"
  project_name                   = each.key
  s3_bucket_name                 = each.value.bucket
  processing_schedule_expression = each.value.schedule
  pandas_layer_zip_path          = "../../../lambda_artifacts/pandas_layer.zip"
  lambda_source_path             = "../../../lambda_artifacts/processing_lambda.zip"
  tags                           = { Plant = each.key }
}

output "tables" {
  value = { for plant, deployed in module.processing : plant => deployed.realtime_features_table_name }
}
