"""A state machine that takes a run in stages, for whoever outgrew one function. By variable."""

from processing.bindings import (
    CloudwatchLogGroup,
    Construct,
    Precondition,
    SfnStateMachine,
    SfnStateMachineLoggingConfiguration,
    SfnStateMachineTracingConfiguration,
    TerraformLocal,
    TerraformResourceLifecycle,
    Token,
)
from processing.place import Place
from processing.policy import allow, attach, make_role
from processing.role import KEY_ACTIONS
from processing.states import write_states
from processing.variables import Variables, or_null, when

_LOG_DELIVERY = (
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
)
"""AWS takes these on every resource only."""


class ScaleOut(Construct):
    """The state machine with its role and its log, where ``scale_out`` is true.

    Parameters
    ----------
    scope
        The construct that it is added to.
    variables
        The module's variables.
    place
        Where the deployment is.
    function_arn
        ARN of the function that takes the stages.

    Attributes
    ----------
    arn
        The state machine's, made or not.
    made_arn
        The same as an expression: null where it is not made.
    """

    def __init__(self, scope: Construct, variables: Variables, place: Place, *, function_arn: str) -> None:
        super().__init__(scope, "scale_out")
        is_on = when("var.scale_out")
        name = f"{variables.project_name}-processing"
        self.arn = place.arn("states", f"stateMachine:{name}")
        executions = place.arn("states", f"execution:{name}")
        runs = f"arn:{place.partition}:s3:::{variables.s3_bucket_name}/processed/runs"
        role = make_role(
            self,
            "scaled_run_role",
            '${var.role_name == "" ? "${var.project_name}-processing-scaled-run" : "${var.role_name}-scaled-run"}',
            service="states.amazonaws.com",
            source_account=place.account,
            variables=variables,
        )
        policy = attach(
            self,
            "scaled_run",
            f"${{{role.fqn}[0].name}}",
            [
                allow("Invoke", ["lambda:InvokeFunction"], [function_arn]),
                allow("ReadLists", ["s3:GetObject"], [f"{runs}/*"]),
                allow(
                    "WriteResults",
                    ["s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:PutObject"],
                    [f"{runs}/*/results/*"],
                ),
                allow("StartMaps", ["states:StartExecution"], [self.arn]),
                allow(
                    "FollowMaps",
                    ["states:DescribeExecution", "states:RedriveExecution", "states:StopExecution"],
                    [f"{executions}:*", f"{executions}/*"],
                ),
                allow("DeliverLogs", _LOG_DELIVERY, ["*"]),
            ],
            only_when={
                'var.kms_key_arn != ""': allow("UseKey", KEY_ACTIONS, ["${var.kms_key_arn}"]),
                'var.tracing_mode == "Active"': allow(
                    "Trace", ["xray:PutTelemetryRecords", "xray:PutTraceSegments"], ["*"]
                ),
            },
        )
        logs = CloudwatchLogGroup(
            self,
            "scaled_run_logs",
            name=f"/aws/vendedlogs/states/{name}",
            retention_in_days=variables.log_retention_days,
            kms_key_id=or_null("kms_key_arn"),
            tags=variables.tags,
        )
        states = write_states(partition=place.partition, function_arn=function_arn, bucket=variables.s3_bucket_name)
        definition = TerraformLocal(self, "scaled_run_states", states)
        machine = SfnStateMachine(
            self,
            "scaled_run",
            name=name,
            definition=f"${{jsonencode({definition.fqn})}}",
            role_arn=f"${{{role.fqn}[0].arn}}",
            logging_configuration=SfnStateMachineLoggingConfiguration(
                level="ERROR", include_execution_data=True, log_destination=f"${{{logs.fqn}[0].arn}}:*"
            ),
            tracing_configuration=SfnStateMachineTracingConfiguration(
                enabled=Token.as_any('${var.tracing_mode == "Active"}')
            ),
            tags=variables.tags,
            depends_on=[policy],
            lifecycle=TerraformResourceLifecycle(
                precondition=[
                    Precondition(
                        condition="${var.reserved_concurrency < 0 || var.reserved_concurrency >= var.max_concurrency}",
                        error_message="reserved_concurrency: the function may run ${var.reserved_concurrency} times at "
                        "once, and a scaled run takes ${var.max_concurrency} stages side by side (max_concurrency). "
                        "Give -1, or at least as many.",
                    )
                ]
            ),
        )
        self.made_arn = f"one({machine.fqn}[*].arn)"
        for resource in (role, policy, logs, machine):
            resource.count = is_on
            # Turned off, they go after the schedule has moved to the function.
            resource.add_override("lifecycle.create_before_destroy", True)  # noqa: FBT003 - jsii's own signature
