"""Structured logs and CloudWatch metrics (EMF), as one run's answer tells them."""

import io
import sys
from collections.abc import Mapping
from typing import IO, Any, Final, cast

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

SERVICE: Final = "feature-pipeline"
NAMESPACE: Final = "FeaturePipeline"


class _Stdout(io.TextIOBase):
    """Standard output as it is when a line is written, not when this module was imported."""

    def write(self, text: str) -> int:
        return sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


logger = Logger(service=SERVICE, level="INFO", stream=cast("IO[str]", _Stdout()))


def emit_metrics(answer: Mapping[str, Any], function_name: str) -> None:
    """Print the run's metrics in CloudWatch's embedded metric format.

    Parameters
    ----------
    answer
        The run's answer.
    function_name
        The metrics' one dimension beside the service: which deployment they are of.
    """
    lines = answer["lines"]
    metrics = EphemeralMetrics(namespace=NAMESPACE, service=SERVICE)  # shares nothing with the last invocation
    metrics.add_dimension(name="function_name", value=function_name)
    counts = {
        "RowsRead": lines["read"],
        "RowsAccepted": lines["accepted"],
        "RowsRejected": sum(lines["rejected"].values()),
        **{f"Rejected_{reason}": count for reason, count in lines["rejected"].items()},
        "Failures": lines["failures"],
        "Duplicates": lines["duplicates"],
        "Late": lines["late"],
        "TooLate": lines["too_late"],
        "Clocks": len(answer["clocks"]),
        "Machines": answer["machines"],
        "ObjectsRead": answer["objects"]["read"],
        "ObjectsSkipped": answer["objects"]["skipped"],
        "ObjectsUnreadable": answer["objects"]["unreadable"],
        "ItemsWritten": answer["online"]["written"],
        "StaleSkipped": answer["online"]["stale_skipped"],
        "TrainingRows": answer["training"]["rows"],
    }
    for name, count in counts.items():
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=count)
    metrics.add_metric(name="Duration", unit=MetricUnit.Milliseconds, value=answer["duration_ms"])
    if answer["stalest_machine_seconds"] is not None:
        metrics.add_metric(name="Staleness", unit=MetricUnit.Seconds, value=answer["stalest_machine_seconds"])
    metrics.flush_metrics()
