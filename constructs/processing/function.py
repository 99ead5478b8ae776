"""The function, with its log group, its role, and the queue of what it failed at."""

from collections.abc import Iterator, Mapping
from typing import Final

from processing.allocator import ALLOCATOR
from processing.artifact import Artifact, LocalFile
from processing.bindings import (
    CloudwatchLogGroup,
    Construct,
    DataAwsS3Bucket,
    LambdaFunction,
    LambdaFunctionEnvironment,
    LambdaFunctionEphemeralStorage,
    LambdaFunctionEventInvokeConfig,
    LambdaFunctionEventInvokeConfigDestinationConfig,
    LambdaFunctionEventInvokeConfigDestinationConfigOnFailure,
    LambdaFunctionTracingConfig,
    LambdaFunctionVpcConfig,
    Precondition,
    S3Object,
    TerraformLocal,
    TerraformResourceLifecycle,
    Token,
)
from processing.place import Place
from processing.queue import DeadLetterQueue
from processing.role import ProcessingRole
from processing.upload import upload
from processing.variables import Variables, or_null, when

_RETRIES: Final = 2
_LONGEST_WAIT_SECONDS: Final = 6 * 3600
_ENVIRONMENT_BYTES: Final = 4096
"""Lambda's limit of a function's environment: the developer guide, "Lambda quotas"."""


class ProcessingFunction(Construct):
    """The function and what it cannot run without.

    A failed run is tried twice more; then a record of it goes to the queue: its event, to be sent again, and the error.

    Parameters
    ----------
    scope
        The construct that it is added to.
    variables
        The module's variables.
    artifact
        The function's zip.
    features
        A features.toml of the user's own; its variable may be empty.
    place
        Where the deployment is.
    layer_arn
        ARN of the layer's version.
    table_name
        Name of the table that items are put into.
    table_arn
        ARN of the table that items are put into.

    Attributes
    ----------
    function
        The ``aws_lambda_function``.
    role
        Its ``aws_iam_role``.
    failures
        The ``aws_sqs_queue`` of events it failed at.
    logs
        Its ``aws_cloudwatch_log_group``.
    arn
        Its ARN.
    """

    def __init__(
        self,
        scope: Construct,
        variables: Variables,
        artifact: Artifact,
        features: LocalFile,
        place: Place,
        *,
        layer_arn: str,
        table_name: str,
        table_arn: str,
    ) -> None:
        super().__init__(scope, "function")
        name = f"{variables.project_name}-processing-lambda"
        self.arn = place.arn("lambda", f"function:{name}")
        logs = CloudwatchLogGroup(
            self,
            "processing_logs",
            name=f"/aws/lambda/{name}",
            retention_in_days=variables.log_retention_days,
            kms_key_id=or_null("kms_key_arn"),
            tags=variables.tags,
        )
        uploaded = self._upload_features(variables, features)
        lake = DataAwsS3Bucket(self, "lake", bucket=variables.s3_bucket_name)
        lake_is_here = Precondition(
            # Not by its region: under provider 6 that is the region in which the data source was read.
            condition=f'${{strcontains({lake.fqn}.bucket_regional_domain_name, join("", [".s3.", {place.region_name}, '
            '"."]))}',
            error_message="s3_bucket_name: the bucket ${var.s3_bucket_name} lies in another region than the function. "
            "Deploy to the bucket's region, or name a bucket of this one.",
        )
        failures = DeadLetterQueue(self, "failed_events", "processing-failed-events", variables, place)
        self.failures = failures.queue
        log_group_arn = place.arn("logs", f"log-group:/aws/lambda/{name}")
        role = ProcessingRole(
            self, variables, place, table_arn=table_arn, log_group_arn=log_group_arn, failures_arn=failures.arn
        )
        self.role = role.role
        self.function = LambdaFunction(
            self,
            "processing_lambda",
            function_name=name,
            description="Computes features of machines from raw telemetry",
            role=self.role.arn,
            runtime=variables.runtime,
            handler="handler.app.lambda_handler",
            architectures=[variables.architecture],
            filename=artifact.path,
            source_code_hash=artifact.base64sha256,
            layers=[layer_arn],
            timeout=variables.lambda_timeout,
            memory_size=variables.lambda_memory_size,
            reserved_concurrent_executions=variables.reserved_concurrency,
            environment=LambdaFunctionEnvironment(variables=self._write_environment(variables, uploaded, table_name)),
            ephemeral_storage=LambdaFunctionEphemeralStorage(size=variables.ephemeral_storage_size),
            tracing_config=LambdaFunctionTracingConfig(mode=variables.tracing_mode),
            kms_key_arn=or_null("kms_key_arn"),
            vpc_config=LambdaFunctionVpcConfig(
                subnet_ids=variables.subnet_ids, security_group_ids=variables.security_group_ids
            ),
            tags=variables.tags,
            depends_on=[logs, role.policy, uploaded],
            lifecycle=TerraformResourceLifecycle(
                precondition=[
                    artifact.exists,
                    artifact.is_whole,
                    lake_is_here,
                    *_list_limits(place),
                    Precondition(
                        condition="${(length(var.subnet_ids) == 0) == (length(var.security_group_ids) == 0)}",
                        error_message="subnet_ids and security_group_ids must be given together, or neither.",
                    ),
                ]
            ),
        )
        self.logs = logs
        LambdaFunctionEventInvokeConfig(
            self,
            "processing_lambda_retries",
            function_name=self.function.function_name,
            maximum_retry_attempts=_RETRIES,
            maximum_event_age_in_seconds=_LONGEST_WAIT_SECONDS,
            destination_config=LambdaFunctionEventInvokeConfigDestinationConfig(
                on_failure=LambdaFunctionEventInvokeConfigDestinationConfigOnFailure(destination=self.failures.arn)
            ),
        )

    def _upload_features(self, variables: Variables, features: LocalFile) -> S3Object:
        """Upload a features.toml of the user's own, if there is one."""
        uploaded = upload(
            self,
            "features_file",
            variables,
            key=f"artifacts/{variables.project_name}/features-{features.sha256}.toml",
            source=features.path,
            content_type="application/toml",
            preconditions=[features.exists],
        )
        uploaded.count = when('var.features_file_path != ""')
        return uploaded

    def _write_environment(self, variables: Variables, features: S3Object, table_name: str) -> Mapping[str, str]:
        """Write the function's environment: the user's variables, and over them its own, as far as they are given."""
        own = {
            "DATA_LAKE_BUCKET": variables.s3_bucket_name,
            "DYNAMODB_TABLE_NAME": table_name,
            "TIME_WINDOW": "${var.time_window_hours}",
            "ALLOWED_LATENESS": "${var.allowed_lateness_hours}",
            "FUTURE_TOLERANCE": "${var.future_tolerance_minutes}",
            "MAX_MACHINES": "${var.max_machines}",
            "LOG_LEVEL": variables.log_level,
            "AWS_CHECKSUM_ALGORITHM": "sha256",
            **ALLOCATOR,
        }
        is_kms = 'startswith(var.server_side_encryption, "aws:kms") && var.kms_key_arn != ""'
        optional = {
            "AWS_SERVER_SIDE_ENCRYPTION": 'var.server_side_encryption == "" ? null : var.server_side_encryption',
            "AWS_SSE_KMS_KEY_ID": f"{is_kms} ? var.kms_key_arn : null",
            "RAW_RETENTION_HOURS": "var.raw_retention_hours > 0 ? tostring(var.raw_retention_hours) : null",
            "FEATURES_FILE": f'one([for file in {features.fqn} : "s3://${{file.bucket}}/${{file.key}}"])',
        }
        TerraformLocal(self, "own_environment", own)
        TerraformLocal(self, "optional_environment", {name: f"${{{value}}}" for name, value in optional.items()})
        given = "{ for name, value in local.optional_environment : name => value if value != null }"
        TerraformLocal(self, "environment", f"${{merge(var.environment_variables, local.own_environment, {given})}}")
        return Token.as_string_map("${local.environment}")


def _list_limits(place: Place) -> Iterator[Precondition]:
    """List what AWS would refuse at the apply only."""
    yield Precondition(
        condition=f"${{length(base64encode(jsonencode(local.environment))) <= {_ENVIRONMENT_BYTES // 3 * 4 + 4}}}",
        error_message=f"environment_variables: with the function's own they take more than the {_ENVIRONMENT_BYTES:,} "
        "bytes that Lambda takes, written as JSON.",
    )
    for variable in ("alarm_topic_arn", "kms_key_arn"):
        region = f'try(split(":", var.{variable})[3], "")'
        yield Precondition(
            condition=f'${{var.{variable} == "" || {region} == {place.region_name}}}',
            error_message=f"{variable}: ${{var.{variable}}} lies in another region than the function, which is in "
            f"${{{place.region_name}}}. AWS takes one of the same region only.",
        )
