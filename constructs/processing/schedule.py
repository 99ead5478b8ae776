"""The schedule: what starts the function, and when."""

import json
from collections.abc import Iterator
from pathlib import Path
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
from processing.cron import write_locals
from processing.function import ProcessingFunction
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
_RATE: Final = "^rate\\\\(([0-9]+) (minute|hour|day)s?\\\\)$"
_RATE_HOURS: Final = (
    f'tonumber(regex("{_RATE}", {_EXPRESSION})[0]) '
    f'* {{minute = 1, hour = 60, day = 1440}}[regex("{_RATE}", {_EXPRESSION})[1]] / 60'
)
TIME_ZONES: Final = Path(__file__).with_name("time_zones.json")
"""The time zones there are, and which of them change their clocks; ``make synth`` writes it."""

_MOST_HOURS: Final = 168
"""Of the variables time_window_hours and allowed_lateness_hours."""

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
    processing
        The function that is invoked.
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
        self,
        scope: Construct,
        variables: Variables,
        place: Place,
        processing: ProcessingFunction,
        scaled: ScaleOut,
    ) -> None:
        super().__init__(scope, "schedule")
        undelivered = DeadLetterQueue(self, "undelivered_events", "processing-undelivered-events", variables, place)
        self.undelivered = undelivered.queue
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
                allow("Invoke", ["lambda:InvokeFunction"], [processing.arn]),
                allow("KeepUndelivered", ["sqs:SendMessage"], [undelivered.arn]),
            ],
            only_when={
                "var.scale_out": allow("Start", ["states:StartExecution"], [scaled.arn]),
                'var.kms_key_arn != ""': allow("UseKey", KEY_ACTIONS, ["${var.kms_key_arn}"]),
            },
        )
        self._write_locals()
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
                arn=f"${{var.scale_out ? {scaled.made_arn} : {processing.function.arn}}}",
                role_arn=role.arn,
                input=EVENT,
                retry_policy=SchedulerScheduleTargetRetryPolicy(
                    maximum_retry_attempts=_RETRIES, maximum_event_age_in_seconds=_LONGEST_WAIT_SECONDS
                ),
                dead_letter_config=SchedulerScheduleTargetDeadLetterConfig(arn=self.undelivered.arn),
            ),
            depends_on=[policy],
            lifecycle=TerraformResourceLifecycle(precondition=list(_list_conditions())),
        )

    def _write_locals(self) -> None:
        """Write the longest time between two runs, and what a run answers for; both in hours."""
        for name, value in write_locals(_EXPRESSION).items():
            TerraformLocal(self, name, value)
        zones = json.loads(TIME_ZONES.read_text(encoding="utf-8"))
        for name in ("fixed", "changing"):
            TerraformLocal(self, f"{name}_time_zones", f'${{split(" ", "{zones[name]}")}}')
        TerraformLocal(self, "schedule_hours", f"${{try({_RATE_HOURS}, local.cron_gap)}}")
        # An hour more where clocks are put back.
        changes = "length(local.cron_fields) > 0 && contains(local.changing_time_zones, var.schedule_timezone)"
        TerraformLocal(self, "longest_wait_hours", f"${{try(ceil(local.schedule_hours + ({changes} ? 1 : 0)), 0)}}")
        TerraformLocal(self, "hours_of_a_run", "${var.time_window_hours + var.allowed_lateness_hours}")


def _list_conditions() -> Iterator[Precondition]:
    """List what a schedule must fulfil. A run writes the hours of its span, and those that late readings can change."""
    yield Precondition(
        condition="${length(local.cron_wrong) == 0}",
        error_message=f"processing_schedule_expression: ${{{_EXPRESSION}}} will not do. See its "
        '${join(", ", local.cron_wrong)}: minutes are 0-59, hours 0-23, days 1-31, months 1-12 or JAN-DEC, days of the '
        "week 1-7 or SUN-SAT, years 1970-2199.",
    )
    yield Precondition(
        condition='${length([for n in [2, 4] : n if try(local.cron_fields[n], n == 2 ? "?" : "") == "?"]) == 1}',
        error_message=f"processing_schedule_expression: ${{{_EXPRESSION}}} must have a ? as day of the month or as day "
        "of the week, and only in one of these fields.",
    )
    yield Precondition(
        condition="${local.schedule_hours != null || length(local.cron_wrong) > 0}",
        error_message=f"processing_schedule_expression: ${{{_EXPRESSION}}} names no day that ever comes.",
    )
    yield Precondition(
        condition="${contains(local.fixed_time_zones, var.schedule_timezone) || "
        "contains(local.changing_time_zones, var.schedule_timezone)}",
        error_message="schedule_timezone: there is no time zone ${var.schedule_timezone}. Give a name of the tz "
        "database, such as Europe/Lisbon.",
    )
    wait = "local.longest_wait_hours"
    yield Precondition(
        condition=f"${{{wait} <= local.hours_of_a_run}}",
        error_message=f"time_window_hours: ${{{_EXPRESSION}}} leaves up to ${{{wait}}} hours between two runs, "
        "and a run writes the training rows of ${local.hours_of_a_run}: the ${var.time_window_hours} of "
        "time_window_hours and the ${var.allowed_lateness_hours} of allowed_lateness_hours. The hours between would "
        "have no rows. "
        f"${{{wait} <= {2 * _MOST_HOURS} ? "
        f'"Give at least ${{max(1, {wait} - var.allowed_lateness_hours) <= {_MOST_HOURS} ? '
        f'"${{max(1, {wait} - var.allowed_lateness_hours)}}" : '
        f'"${{{wait}}} by both together, each {_MOST_HOURS} at most"}}." : '
        f'"No run can write so many: let it run more often."}}',
    )
    yield Precondition(
        condition=f"${{var.raw_retention_hours == 0 || {wait} < var.raw_retention_hours}}",
        error_message=f"raw_retention_hours: ${{{_EXPRESSION}}} leaves up to ${{{wait}}} hours between two "
        "runs, and raw objects are gone after ${var.raw_retention_hours}. Keep them longer, or run more often.",
    )
