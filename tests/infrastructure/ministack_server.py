"""Run ministack, an emulator of AWS, with a few things mended, and with workers that die where a test says so.

Runs in ministack's own environment. Mended of ministack 1.5.33:

- EventBridge Scheduler replaces its keywords in a target's input; ministack leaves them as they are, and the function
  would refuse ``<aws.scheduler.scheduled-time>`` as no instant. Only the exact keyword is replaced, as in AWS: an input
  that Terraform wrote with escaped brackets would still fail.
- A function's error has the name of the exception that was raised; ministack says ``Runtime.HandlerError`` of all.
- Step Functions calls a throttled invocation ``Lambda.TooManyRequestsException``; ministack, ``Lambda.Unknown``.

A file ``deaths.json`` in its folder holds a part of an event. The first worker that is handed such an event is killed
at once. The second that is handed the same is killed when it has done its work, before its answer is known. The third
lives.
"""

import json
import os
import re
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ministack import app
from ministack.core import lambda_runtime
from ministack.services import eventbridge, lambda_svc

SCHEDULED_TIME = "<aws.scheduler.scheduled-time>"
DEATHS = Path("deaths.json")
RAISED = re.compile(r"^(?:\w+\.)*(\w+): ", re.MULTILINE)


def replace_keywords(invoke: Callable[..., None]) -> Callable[..., None]:
    """Wrap what invokes a target, so that the input of a schedule's says when it was due."""

    def invoke_with_time(target: dict[str, Any], event: dict[str, Any], *arguments: Any) -> None:
        if event.get("Source") == "aws.scheduler" and "Input" in target:
            due = datetime.fromtimestamp(event["Time"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            target = {**target, "Input": target["Input"].replace(SCHEDULED_TIME, due)}
        invoke(target, event, *arguments)

    return invoke_with_time


def name_errors(execute: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Wrap what executes a function, so that an error has its name and a throttle is one."""

    def execute_and_name(*arguments: Any) -> dict[str, Any]:
        result = execute(*arguments)
        if result.get("throttle"):
            result["body"]["errorType"] = "Lambda.TooManyRequestsException"
        elif result.get("error") and result["body"].get("errorType") == "Runtime.HandlerError":
            raised = RAISED.findall(result.get("log", ""))
            if raised:
                result["body"]["errorType"] = raised[-1]
        return result

    return execute_and_name


def die(invoke: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Wrap what hands an event to a worker, so that the worker dies at an event like that of ``deaths.json``."""
    tries: list[Any] = []

    def is_deadly(event: Any) -> bool:
        if tries:
            return len(tries) < 2 and event == tries[0]
        return DEATHS.exists() and json.loads(DEATHS.read_text()).items() <= event.items()

    def invoke_and_die(self: Any, event: Any, *arguments: Any, **more: Any) -> dict[str, Any]:
        if not is_deadly(event):
            return invoke(self, event, *arguments, **more)
        tries.append(event)
        if len(tries) == 2:
            invoke(self, event, *arguments, **more)
        elif self._proc is None or self._proc.poll() is not None:
            self._spawn()
        os.kill(self._proc.pid, signal.SIGKILL)
        self._proc.wait()
        return {"status": "error", "error": "Worker process died"}

    return invoke_and_die


if __name__ == "__main__":
    eventbridge._invoke_target = replace_keywords(eventbridge._invoke_target)
    lambda_svc._execute_function = name_errors(lambda_svc._execute_function)
    lambda_runtime.Worker.invoke = die(lambda_runtime.Worker.invoke)
    app.main()
