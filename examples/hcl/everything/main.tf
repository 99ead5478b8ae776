# Every choice that the module has, beside resources of one's own, in one apply.
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

data "aws_caller_identity" "current" {}

resource "aws_kms_key" "lake" {
  description = "The lake, and what is computed from it"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect    = "Allow"
        Principal = { AWS = "arn:aws:iam::${data.aws_caller_identity.current.account_id}:root" }
        Action    = "kms:*"
        Resource  = "*"
      },
      {
        Effect    = "Allow"
        Principal = { Service = ["logs.amazonaws.com", "scheduler.amazonaws.com"] }
        Action    = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
        Resource  = "*"
      },
    ]
  })
}

resource "aws_sns_topic" "alarms" {
  name = "plant-alarms"
}

resource "aws_vpc" "plant" {
  cidr_block = "10.0.0.0/16"
}

resource "aws_subnet" "plant" {
  count      = 2
  vpc_id     = aws_vpc.plant.id
  cidr_block = "10.0.${count.index}.0/24"
}

resource "aws_security_group" "processing" {
  name   = "plant-processing"
  vpc_id = aws_vpc.plant.id

  egress {
    from_port   = 443
    to_port     = 443
    protocol    = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

module "processing" {
  source         = "../../../modules/processing"
  project_name   = "plant"
  s3_bucket_name = var.s3_bucket_name

  # What is deployed
  pandas_layer_zip_path  = "../../../lambda_artifacts/pandas_layer.zip"
  lambda_source_path     = "../../../lambda_artifacts/processing_lambda.zip"
  architecture           = "x86_64"
  lambda_runtime         = "python3.11"
  lambda_memory_size     = 3008
  lambda_timeout         = 900
  ephemeral_storage_size = 512
  reserved_concurrency   = -1
  keep_layer_versions    = false
  environment_variables  = { POLARS_MAX_THREADS = "2" }
  tags                   = { Project = "plant", Owner = "maintenance" }

  # When it runs, and what a run answers for
  processing_schedule_expression = "cron(0 6,18 * * ? *)"
  schedule_timezone              = "Europe/Lisbon"
  schedule_enabled               = true
  time_window_hours              = 12
  allowed_lateness_hours         = 24
  future_tolerance_minutes       = 15
  raw_retention_hours            = 8760
  max_machines                   = 100000
  features_file_path             = "./features.toml"

  # Many functions for one run
  scale_out       = true
  max_concurrency = 20
  part_megabytes  = 256
  shard_machines  = 10000

  # Who is told
  alarm_topic_arn        = aws_sns_topic.alarms.arn
  missing_features_hours = 24
  rejected_share_percent = 5
  log_level              = "INFO"
  log_retention_days     = 90
  tracing_mode           = "Active"

  # A key, a network and a role of one's own
  kms_key_arn            = aws_kms_key.lake.arn
  server_side_encryption = "aws:kms"
  subnet_ids             = aws_subnet.plant[*].id
  security_group_ids     = [aws_security_group.processing.id]
  role_name              = "plant-features"
  deletion_protection    = true

  # Who reads
  create_reader_policy = true
  glue_database_name   = "plant_features"
  glue_columns = concat(
    [{ name = "machine_id", type = "string" }, { name = "event_timestamp", type = "timestamp" }],
    [for window in ["1h", "8h"] : { name = "oil_bar_mean_${window}", type = "double" }],
  )
}

output "processing" {
  value = module.processing
}
