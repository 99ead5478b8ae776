"""What tells a person that something is wrong: alarms, and a dashboard of the run's own metrics."""

from typing import Any, Final

from processing.bindings import (
    CloudwatchDashboard,
    CloudwatchMetricAlarm,
    CloudwatchMetricAlarmMetricQuery,
    CloudwatchMetricAlarmMetricQueryMetric,
    Construct,
    Fn,
    TerraformLocal,
    Token,
)
from processing.dashboard import METRIC_NAMESPACE, METRIC_SERVICE, draw_dashboard
from processing.place import Place
from processing.variables import Variables, when

_FIVE_MINUTES: Final = 300
_HOUR: Final = 3600
_TIMEOUT_SHARE: Final = 0.8
"""A run that takes this share of its timeout is near it."""

_MISSING_HOURS: Final = (
    "${var.missing_features_hours > 0 ? var.missing_features_hours : "
    "max(1, min(168, ceil(2 * coalesce(local.schedule_hours, var.time_window_hours))))}"
)


class Watch(Construct):
    """Alarms on the function, both dead-letter queues, missing features and scaled runs; a dashboard.

    The alarm on missing features counts whole hours. It goes off when no item was written in the hours of the last two
    schedules. Where no run said anything it turns to INSUFFICIENT_DATA, and tells that as well. It is quiet while the
    schedule is paused. CloudWatch looks back a week at most.
    """

    def __init__(
        self,
        scope: Construct,
        variables: Variables,
        place: Place,
        *,
        function_name: str,
        undelivered: str,
        failures: str,
        scaled_run_arn: str,
    ) -> None:
        super().__init__(scope, "watch")
        self._variables = variables
        self._topic = Token.as_list('${var.alarm_topic_arn == "" ? [] : [var.alarm_topic_arn]}')
        TerraformLocal(self, "missing_hours", _MISSING_HOURS)
        self._watch_function(function_name)
        self._watch_lines(function_name)
        self._watch_queue("undelivered", undelivered, "The schedule could not invoke the function.")
        self._watch_queue("failed_events", failures, "The function failed at an event, retries included.")
        self._watch_features(function_name)
        self._watch_scaled_runs(scaled_run_arn)
        CloudwatchDashboard(
            self,
            "processing_dashboard",
            dashboard_name=f"{variables.project_name}-processing",
            dashboard_body=Fn.jsonencode(draw_dashboard(place.region, function_name, (undelivered, failures))),
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
            "lost_failures",
            "The record of a failed run did not reach its queue: see the queue's policy and key.",
            "AWS/Lambda",
            "DestinationDeliveryFailures",
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

    def _watch_lines(self, function_name: str) -> None:
        """Watch the share of rejected lines, and the machines whose clocks are wrong."""
        dimensions = {"function_name": function_name, "service": METRIC_SERVICE}
        self._alarm(
            "clocks",
            "Machines send lines that are more than a day late, or from the future: see `clocks` in the run's answer.",
            METRIC_NAMESPACE,
            "Clocks",
            dimensions,
            statistic="Maximum",
            threshold=1,
        )
        self._add(
            "rejected_lines",
            "Many lines were rejected: processed/quarantine has each with its reason.",
            comparison_operator="GreaterThanThreshold",
            threshold=Token.as_number("${var.rejected_share_percent}"),
            evaluation_periods=1,
            treat_missing_data="notBreaching",
            metric_query=[
                CloudwatchMetricAlarmMetricQuery(
                    id="share",
                    expression="IF(read > 0, 100 * rejected / read, 0)",
                    label="rejected lines, per cent",
                    return_data=True,
                ),
                *(
                    CloudwatchMetricAlarmMetricQuery(
                        id=id_,
                        metric=CloudwatchMetricAlarmMetricQueryMetric(
                            namespace=METRIC_NAMESPACE,
                            metric_name=metric,
                            dimensions=dimensions,
                            period=_HOUR,
                            stat="Sum",
                        ),
                    )
                    for id_, metric in (("rejected", "RowsRejected"), ("read", "RowsRead"))
                ),
            ],
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
            # A new deployment has no data and no alarm; that the data ends is told as that: INSUFFICIENT_DATA.
            treat_missing_data="missing",
            insufficient_data_actions=self._topic,
            actions_enabled=self._variables.schedule_enabled,
        )

    def _watch_scaled_runs(self, arn: str) -> None:
        for name, metric, description in (
            ("scaled_runs_failed", "ExecutionsFailed", "A scaled run failed, retries included: see its execution."),
            ("scaled_runs_timed_out", "ExecutionsTimedOut", "A scaled run took longer than a day: see its execution."),
        ):
            self._alarm(
                name,
                description,
                "AWS/States",
                metric,
                {"StateMachineArn": arn},
                statistic="Sum",
                threshold=1,
                count=when("var.scale_out"),
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
        **more: Any,
    ) -> None:
        """Add an alarm on one metric."""
        self._add(
            name,
            description,
            namespace=namespace,
            metric_name=metric,
            dimensions=dimensions,
            statistic=statistic,
            comparison_operator=comparison_operator,
            threshold=threshold,
            period=period,
            evaluation_periods=evaluation_periods,
            treat_missing_data=treat_missing_data,
            **more,
        )

    def _add(self, name: str, description: str, **properties: Any) -> None:
        """Add an alarm, with the name, the topic and the tags that all have."""
        CloudwatchMetricAlarm(
            self,
            name,
            alarm_name=f"{self._variables.project_name}-processing-{name.replace('_', '-')}",
            alarm_description=description,
            alarm_actions=self._topic,
            ok_actions=self._topic,
            tags=self._variables.tags,
            **properties,
        )
