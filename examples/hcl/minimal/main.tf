# The smallest deployment: a project, and a bucket that is there already.
# First: make build (in the project), then terraform init and terraform apply here.
terraform {
  required_version = ">= 1.10.0"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100.0, < 7.0.0"
    }
  }
}

variable "s3_bucket_name" {
  type        = string
  description = "The bucket that the telemetry goes to."
}

module "processing" {
  source                = "../../../modules/processing"
  project_name          = "plant"
  s3_bucket_name        = var.s3_bucket_name
  pandas_layer_zip_path = "../../../lambda_artifacts/pandas_layer.zip"
  lambda_source_path    = "../../../lambda_artifacts/processing_lambda.zip"
}

output "function" {
  value = module.processing.processing_lambda_function_name
}

output "table" {
  value = module.processing.realtime_features_table_name
}
