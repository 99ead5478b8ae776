"""The function, with its log group, its role, and the queue of what it failed at."""

from typing import Final

from processing.allocator import ALLOCATOR
from processing.artifact import Artifact
from processing.bindings import (
    CloudwatchLogGroup,
    Construct,
    LambdaFunction,
    LambdaFunctionEnvironment,
    LambdaFunctionEventInvokeConfig,
    LambdaFunctionEventInvokeConfigDestinationConfig,
    LambdaFunctionEventInvokeConfigDestinationConfigOnFailure,
    LambdaFunctionVpcConfig,
    Precondition,
    TerraformResourceLifecycle,
)
from processing.queue import DeadLetterQueue
from processing.role import ProcessingRole
from processing.variables import Variables, or_null

_RETRIES: Final = 2
_LONGEST_WAIT_SECONDS: Final = 6 * 3600


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
    """

    def __init__(
        self,
        scope: Construct,
        variables: Variables,
        artifact: Artifact,
        *,
        layer_arn: str,
        table_name: str,
        table_arn: str,
    ) -> None:
        super().__init__(scope, "function")
        name = f"{variables.project_name}-processing-lambda"
        logs = CloudwatchLogGroup(
            self,
            "processing_logs",
            name=f"/aws/lambda/{name}",
            retention_in_days=variables.log_retention_days,
            kms_key_id=or_null("kms_key_arn"),
            tags=variables.tags,
        )
        self.failures = DeadLetterQueue(self, "failed_events", "processing-failed-events", variables).queue
        role = ProcessingRole(
            self, variables, table_arn=table_arn, log_group_arn=logs.arn, failures_arn=self.failures.arn
        )
        self.role = role.role
        self.function = LambdaFunction(
            self,
            "processing_lambda",
            function_name=name,
            description="Computes features of machines from raw telemetry",
            role=self.role.arn,
            runtime="python3.11",
            handler="handler.app.lambda_handler",
            architectures=[variables.architecture],
            filename=artifact.path,
            source_code_hash=artifact.base64sha256,
            layers=[layer_arn],
            timeout=variables.lambda_timeout,
            memory_size=variables.lambda_memory_size,
            reserved_concurrent_executions=variables.reserved_concurrency,
            environment=LambdaFunctionEnvironment(
                variables={
                    "DATA_LAKE_BUCKET": variables.s3_bucket_name,
                    "DYNAMODB_TABLE_NAME": table_name,
                    "TIME_WINDOW": "${var.time_window_hours}",
                    "ALLOWED_LATENESS": "${var.allowed_lateness_hours}",
                    "LOG_LEVEL": variables.log_level,
                    **ALLOCATOR,
                }
            ),
            kms_key_arn=or_null("kms_key_arn"),
            vpc_config=LambdaFunctionVpcConfig(
                subnet_ids=variables.subnet_ids, security_group_ids=variables.security_group_ids
            ),
            tags=variables.tags,
            depends_on=[logs, *role.policies],
            lifecycle=TerraformResourceLifecycle(
                precondition=[
                    artifact.exists,
                    Precondition(
                        condition="${(length(var.subnet_ids) == 0) == (length(var.security_group_ids) == 0)}",
                        error_message="subnet_ids and security_group_ids must be given together, or neither.",
                    ),
                ]
            ),
        )
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
