"""The schedule: what starts the function, and when."""

from typing import Final

from processing.bindings import (
    Construct,
    DataAwsCallerIdentity,
    SchedulerSchedule,
    SchedulerScheduleFlexibleTimeWindow,
    SchedulerScheduleTarget,
    SchedulerScheduleTargetDeadLetterConfig,
    SchedulerScheduleTargetRetryPolicy,
)
from processing.policy import allow, attach, make_role
from processing.queue import DeadLetterQueue
from processing.role import KEY_ACTIONS
from processing.variables import Variables, or_null

EVENT: Final = '{"as_of":"<aws.scheduler.scheduled-time>"}'
"""What the function is invoked with. Literal: Terraform's ``jsonencode`` would escape the angle brackets, and the
scheduler would not know its own keyword."""

_RETRIES: Final = 3
_LONGEST_WAIT_SECONDS: Final = 3600


class ProcessingSchedule(Construct):
    """An EventBridge schedule with a role that may invoke this one function, and a queue for what it could not invoke.

    Parameters
    ----------
    scope
        The construct that it is added to.
    variables
        The module's variables.
    function_arn
        ARN of the function that is invoked.

    Attributes
    ----------
    undelivered
        The ``aws_sqs_queue`` of events that never reached the function.
    """

    def __init__(self, scope: Construct, variables: Variables, *, function_arn: str) -> None:
        super().__init__(scope, "schedule")
        self.undelivered = DeadLetterQueue(self, "undelivered_events", "processing-undelivered-events", variables).queue
        role = make_role(
            self,
            "processing_schedule_role",
            f"{variables.project_name}-processing-schedule",
            service="scheduler.amazonaws.com",
            source_account=DataAwsCallerIdentity(self, "current").account_id,
            variables=variables,
        )
        policies = [
            attach(
                self,
                "processing_schedule",
                role,
                [
                    allow("Invoke", ["lambda:InvokeFunction"], [function_arn]),
                    allow("KeepUndelivered", ["sqs:SendMessage"], [self.undelivered.arn]),
                ],
            ),
            attach(
                self,
                "processing_schedule_key",
                role,
                [allow("UseKey", KEY_ACTIONS, ["${var.kms_key_arn}"])],
                only_when='var.kms_key_arn != ""',
            ),
        ]
        SchedulerSchedule(
            self,
            "processing_schedule",
            name=f"{variables.project_name}-processing",
            description="Starts the processing function",
            schedule_expression=variables.processing_schedule_expression,
            schedule_expression_timezone="UTC",
            state='${var.schedule_enabled ? "ENABLED" : "DISABLED"}',
            flexible_time_window=SchedulerScheduleFlexibleTimeWindow(mode="OFF"),
            kms_key_arn=or_null("kms_key_arn"),
            target=SchedulerScheduleTarget(
                arn=function_arn,
                role_arn=role.arn,
                input=EVENT,
                retry_policy=SchedulerScheduleTargetRetryPolicy(
                    maximum_retry_attempts=_RETRIES, maximum_event_age_in_seconds=_LONGEST_WAIT_SECONDS
                ),
                dead_letter_config=SchedulerScheduleTargetDeadLetterConfig(arn=self.undelivered.arn),
            ),
            depends_on=policies,
        )
