"""The CloudWatch dashboard: what a run says of itself, and how it went."""

from typing import Any, Final

METRIC_NAMESPACE: Final = "FeaturePipeline"
METRIC_SERVICE: Final = "feature-pipeline"

_COLUMNS: Final = 3
_WIDTH: Final = 8
_HEIGHT: Final = 6
_PERIOD_SECONDS: Final = 3600

_RUN_WIDGETS: Final = (
    ("Lines", "Sum", ("RowsAccepted", "RowsRejected", "Duplicates", "Failures")),
    ("Late readings", "Sum", ("Late", "TooLate")),
    ("Objects", "Sum", ("ObjectsRead", "ObjectsSkipped", "ObjectsUnreadable")),
    ("Features written", "Sum", ("ItemsWritten", "StaleSkipped", "TrainingRows")),
    ("Machines", "Maximum", ("Machines",)),
    ("Longest silence of a machine (s)", "Maximum", ("Staleness",)),
)


def draw_dashboard(region: str, function_name: str, queue_names: tuple[str, ...]) -> dict[str, Any]:
    """Lay out the dashboard's widgets, three a row.

    Parameters
    ----------
    region
        The deployment's region; a reference is fine.
    function_name
        The function's name; a reference is fine.
    queue_names
        The dead-letter queues' names; references are fine.

    Returns
    -------
    dict of str to Any
        CloudWatch's dashboard body.
    """
    run_dimensions = ["function_name", function_name, "service", METRIC_SERVICE]
    widgets = [
        (title, statistic, [[METRIC_NAMESPACE, metric, *run_dimensions] for metric in metrics])
        for title, statistic, metrics in _RUN_WIDGETS
    ]
    function = ["FunctionName", function_name]
    widgets += [
        ("Duration (ms)", "Maximum", [["AWS/Lambda", "Duration", *function]]),
        ("Invocations", "Sum", [["AWS/Lambda", name, *function] for name in ("Invocations", "Errors", "Throttles")]),
        (
            "Events not done",
            "Maximum",
            [["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", queue] for queue in queue_names],
        ),
    ]
    return {
        "widgets": [
            {
                "type": "metric",
                "x": _WIDTH * (place % _COLUMNS),
                "y": _HEIGHT * (place // _COLUMNS),
                "width": _WIDTH,
                "height": _HEIGHT,
                "properties": {
                    "title": title,
                    "region": region,
                    "stat": statistic,
                    "period": _PERIOD_SECONDS,
                    "metrics": metrics,
                },
            }
            for place, (title, statistic, metrics) in enumerate(widgets)
        ]
    }
