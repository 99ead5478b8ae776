"""The schedule: what starts the function, and when."""

from typing import Final

from processing.bindings import (
    Construct,
    Precondition,
    SchedulerSchedule,
    SchedulerScheduleFlexibleTimeWindow,
    SchedulerScheduleTarget,
    SchedulerScheduleTargetDeadLetterConfig,
    SchedulerScheduleTargetRetryPolicy,
    TerraformLocal,
    TerraformResourceLifecycle,
)
from processing.place import Place
from processing.policy import allow, attach, make_role
from processing.queue import DeadLetterQueue
from processing.role import KEY_ACTIONS
from processing.scale_out import ScaleOut
from processing.variables import Variables, or_null

EVENT: Final = '{"as_of":"<aws.scheduler.scheduled-time>"}'
"""What the function is invoked with. Literal: Terraform's ``jsonencode`` would escape the angle brackets, and the
scheduler would not know its own keyword."""

_EXPRESSION: Final = "var.processing_schedule_expression"
_CRON_FIELDS: Final = f'${{try(split(" ", regex("^cron\\\\((.+)\\\\)$", {_EXPRESSION})[0]), null)}}'
_CRON_HOURS: Final = (
    '${try(local.cron_fields[1] == "*" ? range(24) : '
    'can(regex("/", local.cron_fields[1])) ? '
    'range(try(tonumber(split("/", local.cron_fields[1])[0]), 0), 24, tonumber(split("/", local.cron_fields[1])[1])) : '
    '[for hour in split(",", local.cron_fields[1]) : tonumber(hour)], null)}'
)
"""The hours of the day that a cron expression names; null where they are a range, or no cron is given."""

_CRON_GAP: Final = (
    'contains(["*", "?"], local.cron_fields[2]) && local.cron_fields[3] == "*" && '
    'contains(["*", "?"], local.cron_fields[4]) && local.cron_fields[5] == "*" ? '
    "max([for i, hour in local.cron_hours : "
    "(i + 1 < length(local.cron_hours) ? local.cron_hours[i + 1] : local.cron_hours[0] + 24) - hour]...) : null"
)
_RATE: Final = "rate\\\\(([0-9]+) (minute|hour|day)s?\\\\)"
_SCHEDULE_HOURS: Final = (
    f'${{try(tonumber(regex("^{_RATE}$", {_EXPRESSION})[0]) '
    f'* {{minute = 1, hour = 60, day = 1440}}[regex("^{_RATE}$", {_EXPRESSION})[1]] / 60, {_CRON_GAP}, null)}}'
)
"""The longest time between two runs; null for a cron expression that leaves out days, or has ranges of hours."""

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
    place
        Where the deployment is.
    function_arn
        ARN of the function that is invoked.
    scaled
        The state machine that is started in its place where ``scale_out`` is true.

    Attributes
    ----------
    schedule
        The ``aws_scheduler_schedule``.
    undelivered
        The ``aws_sqs_queue`` of events that never reached the function.
    """

    def __init__(
        self, scope: Construct, variables: Variables, place: Place, *, function_arn: str, scaled: ScaleOut
    ) -> None:
        super().__init__(scope, "schedule")
        self.undelivered = DeadLetterQueue(self, "undelivered_events", "processing-undelivered-events", variables).queue
        role = make_role(
            self,
            "processing_schedule_role",
            '${var.role_name == "" ? "${var.project_name}-processing-schedule" : "${var.role_name}-schedule"}',
            service="scheduler.amazonaws.com",
            source_account=place.account,
            variables=variables,
        )
        policy = attach(
            self,
            "processing_schedule",
            role.name,
            [
                allow("Invoke", ["lambda:InvokeFunction"], [function_arn]),
                allow("KeepUndelivered", ["sqs:SendMessage"], [self.undelivered.arn]),
            ],
            only_when={
                "var.scale_out": allow("Start", ["states:StartExecution"], [scaled.arn]),
                'var.kms_key_arn != ""': allow("UseKey", KEY_ACTIONS, ["${var.kms_key_arn}"]),
            },
        )
        TerraformLocal(self, "cron_fields", _CRON_FIELDS)
        TerraformLocal(self, "cron_hours", _CRON_HOURS)
        TerraformLocal(self, "schedule_hours", _SCHEDULE_HOURS)
        self.schedule = SchedulerSchedule(
            self,
            "processing_schedule",
            name=f"{variables.project_name}-processing",
            description="Starts the processing function",
            schedule_expression=variables.processing_schedule_expression,
            schedule_expression_timezone=variables.schedule_timezone,
            state='${var.schedule_enabled ? "ENABLED" : "DISABLED"}',
            flexible_time_window=SchedulerScheduleFlexibleTimeWindow(mode="OFF"),
            kms_key_arn=or_null("kms_key_arn"),
            target=SchedulerScheduleTarget(
                arn=f"${{var.scale_out ? {scaled.made_arn} : {function_arn}}}",
                role_arn=role.arn,
                input=EVENT,
                retry_policy=SchedulerScheduleTargetRetryPolicy(
                    maximum_retry_attempts=_RETRIES, maximum_event_age_in_seconds=_LONGEST_WAIT_SECONDS
                ),
                dead_letter_config=SchedulerScheduleTargetDeadLetterConfig(arn=self.undelivered.arn),
            ),
            depends_on=[policy],
            lifecycle=TerraformResourceLifecycle(
                precondition=[
                    Precondition(
                        condition="${coalesce(local.schedule_hours, 0) <= var.time_window_hours}",
                        error_message="time_window_hours: ${var.processing_schedule_expression} leaves up to "
                        "${ceil(coalesce(local.schedule_hours, 0))} hours between two runs, and a run answers for "
                        "${var.time_window_hours}: the hours between would have no training rows. Give at least "
                        "${ceil(coalesce(local.schedule_hours, 0))}.",
                    ),
                    Precondition(
                        condition="${local.schedule_hours != null || var.missing_features_hours > 0}",
                        error_message="missing_features_hours: the time between two runs cannot be told from "
                        "${var.processing_schedule_expression}. Give time_window_hours, at least the longest time "
                        "between two runs, and missing_features_hours, after which the alarm goes off.",
                    ),
                ]
            ),
        )
