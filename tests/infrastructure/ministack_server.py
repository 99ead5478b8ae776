"""Run ministack, an emulator of AWS, with one thing mended: what its scheduler passes to a target.

Runs in ministack's own environment. EventBridge Scheduler replaces its keywords in a target's input; ministack 1.5.33
leaves them as they are, and the function would refuse ``<aws.scheduler.scheduled-time>`` as no instant. Only the exact
keyword is replaced, as in AWS: an input that Terraform wrote with escaped brackets would still fail.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ministack import app
from ministack.services import eventbridge

SCHEDULED_TIME = "<aws.scheduler.scheduled-time>"


def replace_keywords(invoke: Callable[..., None]) -> Callable[..., None]:
    """Wrap what invokes a target, so that the input of a schedule's says when it was due."""

    def invoke_with_time(target: dict[str, Any], event: dict[str, Any], *arguments: Any) -> None:
        if event.get("Source") == "aws.scheduler" and "Input" in target:
            due = datetime.fromtimestamp(event["Time"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            target = {**target, "Input": target["Input"].replace(SCHEDULED_TIME, due)}
        invoke(target, event, *arguments)

    return invoke_with_time


if __name__ == "__main__":
    eventbridge._invoke_target = replace_keywords(eventbridge._invoke_target)
    app.main()
