"""What tells a person that something is wrong: alarms, and a dashboard of the run's own metrics."""

from typing import Final

from processing.bindings import (
    CloudwatchDashboard,
    CloudwatchMetricAlarm,
    Construct,
    DataAwsRegion,
    Fn,
    TerraformLocal,
    Token,
)
from processing.dashboard import METRIC_NAMESPACE, METRIC_SERVICE, draw_dashboard
from processing.variables import Variables

_FIVE_MINUTES: Final = 300
_HOUR: Final = 3600
_TIMEOUT_SHARE: Final = 0.8
"""A run that takes this share of its timeout is near it."""

_SCHEDULE_HOURS: Final = (
    "${try("
    r'tonumber(regex("^rate\\(([0-9]+) ", var.processing_schedule_expression)[0]) '
    r'* {minute = 1 / 60, hour = 1, day = 24}[regex("^rate\\([0-9]+ (minute|hour|day)", '
    "var.processing_schedule_expression)[0]], "
    "var.time_window_hours)}"
)
_MISSING_HOURS: Final = (
    "${var.missing_features_hours > 0 ? var.missing_features_hours : max(1, min(168, ceil(2 * local.schedule_hours)))}"
)


class Watch(Construct):
    """Alarms on the function, both dead-letter queues and missing features; a dashboard.

    The alarm on missing features counts whole hours. It goes off when no item was written in the hours of the last two
    schedules, also when no run said anything. CloudWatch looks back a week at most.
    """

    def __init__(
        self, scope: Construct, variables: Variables, *, function_name: str, undelivered: str, failures: str
    ) -> None:
        super().__init__(scope, "watch")
        self._variables = variables
        TerraformLocal(self, "schedule_hours", _SCHEDULE_HOURS)
        TerraformLocal(self, "missing_hours", _MISSING_HOURS)
        self._watch_function(function_name)
        self._watch_queue("undelivered", undelivered, "The schedule could not invoke the function.")
        self._watch_queue("failed_events", failures, "The function failed at an event, retries included.")
        self._watch_features(function_name)
        CloudwatchDashboard(
            self,
            "processing_dashboard",
            dashboard_name=f"{variables.project_name}-processing",
            dashboard_body=Fn.jsonencode(
                draw_dashboard(DataAwsRegion(self, "current").id, function_name, (undelivered, failures))
            ),
        )

    def _watch_function(self, function_name: str) -> None:
        dimensions = {"FunctionName": function_name}
        self._alarm(
            "errors",
            "A run failed: see its log.",
            "AWS/Lambda",
            "Errors",
            dimensions,
            statistic="Sum",
            threshold=1,
        )
        self._alarm(
            "throttles",
            "AWS had no capacity left for a run.",
            "AWS/Lambda",
            "Throttles",
            dimensions,
            statistic="Sum",
            threshold=1,
        )
        self._alarm(
            "duration",
            f"A run took {_TIMEOUT_SHARE:.0%} of its timeout: raise lambda_timeout or lambda_memory_size.",
            "AWS/Lambda",
            "Duration",
            dimensions,
            statistic="Maximum",
            threshold=Token.as_number(f"${{var.lambda_timeout * {_TIMEOUT_SHARE * 1000:.0f}}}"),
        )

    def _watch_queue(self, name: str, queue_name: str, description: str) -> None:
        self._alarm(
            name,
            f"{description} The events are in the queue, to be sent again.",
            "AWS/SQS",
            "ApproximateNumberOfMessagesVisible",
            {"QueueName": queue_name},
            statistic="Maximum",
            threshold=1,
        )

    def _watch_features(self, function_name: str) -> None:
        self._alarm(
            "missing_features",
            "No features were written for two schedules.",
            METRIC_NAMESPACE,
            "ItemsWritten",
            {"function_name": function_name, "service": METRIC_SERVICE},
            statistic="Sum",
            comparison_operator="LessThanThreshold",
            threshold=1,
            period=_HOUR,
            evaluation_periods=Token.as_number("${local.missing_hours}"),
            treat_missing_data="breaching",
        )

    def _alarm(
        self,
        name: str,
        description: str,
        namespace: str,
        metric: str,
        dimensions: dict[str, str],
        *,
        statistic: str,
        threshold: float,
        comparison_operator: str = "GreaterThanOrEqualToThreshold",
        period: int = _FIVE_MINUTES,
        evaluation_periods: float = 1,
        treat_missing_data: str = "notBreaching",
    ) -> None:
        topic = Token.as_list('${var.alarm_topic_arn == "" ? [] : [var.alarm_topic_arn]}')
        CloudwatchMetricAlarm(
            self,
            name,
            alarm_name=f"{self._variables.project_name}-processing-{name.replace('_', '-')}",
            alarm_description=description,
            namespace=namespace,
            metric_name=metric,
            dimensions=dimensions,
            statistic=statistic,
            comparison_operator=comparison_operator,
            threshold=threshold,
            period=period,
            evaluation_periods=evaluation_periods,
            treat_missing_data=treat_missing_data,
            alarm_actions=topic,
            ok_actions=topic,
            tags=self._variables.tags,
        )
