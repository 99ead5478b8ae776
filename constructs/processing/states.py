"""The stages of a run as a state machine, in the Amazon States Language. Pure.

Lists of events are read by Distributed Map's own S3 reader, and its writer takes what the stages answer: no payload
grows with the lake. Each list's events are one stage each, taken side by side, each in an execution of its own.
"""

from typing import Any, Final

LONGEST_RUN_SECONDS: Final = 86_400
"""After this a run ends as timed out."""

_LONGEST_STAGE_SECONDS: Final = 960
"""A minute more than a function may run: an answer that is lost on its way ends the wait."""

_WHOLE_RUN: Final = ["DamagedFileError", "MissingObjectError", "OvertakenError"]
"""What a stage cannot mend by itself: the run begins again, and goes on from what is right."""

_STAGE_RETRY: Final = [
    {
        "ErrorEquals": ["EventError", "ConfigurationError", "LossError", "TooManyMachinesError", *_WHOLE_RUN],
        "MaxAttempts": 0,
    },
    {
        "ErrorEquals": ["Lambda.TooManyRequestsException"],
        "IntervalSeconds": 2,
        "BackoffRate": 2,
        "MaxAttempts": 12,
        "MaxDelaySeconds": 60,
        "JitterStrategy": "FULL",
    },
    {
        "ErrorEquals": ["States.ALL"],
        "IntervalSeconds": 5,
        "BackoffRate": 2,
        "MaxAttempts": 4,
        "MaxDelaySeconds": 60,
        "JitterStrategy": "FULL",
    },
]
"""An error that the same event brings again is not tried again. A function without capacity is waited for, minutes;
whatever else ended a stage may be gone at its next try."""

_RUN_RETRY: Final = [
    {
        "ErrorEquals": [*_WHOLE_RUN, "States.ExceedToleratedFailureThreshold"],
        "IntervalSeconds": 5,
        "BackoffRate": 2,
        "MaxAttempts": 2,
    }
]

States = dict[str, Any]


def write_states(*, partition: str, function_arn: str, bucket: str) -> States:
    """Write the state machine.

    Parameters
    ----------
    partition
        The AWS partition, such as ``aws``.
    function_arn
        ARN of the function that takes the stages.
    bucket
        The lake's bucket.

    Returns
    -------
    dict
        The definition. Its input is the event of a run, such as ``{}``; its output is the run's answer. Its numbers
        refer to the module's variables.
    """

    def take(event: States, **more: Any) -> States:
        return {
            "Type": "Task",
            "Resource": f"arn:{partition}:states:::lambda:invoke",
            "Parameters": {"FunctionName": function_arn, **event},
            "TimeoutSeconds": _LONGEST_STAGE_SECONDS,
            "Retry": _STAGE_RETRY,
            **more,
        }

    def take_one(stage: str, event: States, **more: Any) -> States:
        return take({"Payload": {"stage": stage, "run.$": "$$.Execution.Name", **event}}, **more)

    nothing = {"ResultSelector": {"taken": True}}

    def take_listed(name: str, listed: str, *, then: str) -> States:
        """Take each event of a list, many at a time, where there are any; what they answer is written beside it."""
        stage = name.lower()
        any_ = {"Variable": f"$.lists.{listed}.count", "NumericGreaterThan": 0, "Next": name}
        return {
            f"Any to {stage}": {"Type": "Choice", "Choices": [any_], "Default": then},
            name: {
                "Type": "Map",
                "Label": name,
                "ItemReader": {
                    "Resource": f"arn:{partition}:states:::s3:getObject",
                    "ReaderConfig": {"InputType": "JSON"},
                    "Parameters": {"Bucket": bucket, "Key.$": f"$.lists.{listed}.key"},
                },
                "ResultWriter": {
                    "Resource": f"arn:{partition}:states:::s3:putObject",
                    "Parameters": {
                        "Bucket": bucket,
                        "Prefix.$": f"States.Format('processed/runs/{{}}/results/{stage}', $$.Execution.Name)",
                    },
                },
                "MaxConcurrency": "${var.max_concurrency}",
                "ToleratedFailureCount": 0,
                "ItemProcessor": {
                    "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                    "StartAt": f"{name} one",
                    "States": {f"{name} one": take({"Payload.$": "$"}, **nothing, End=True)},
                },
                "ResultPath": "$.taken",
                **nothing,
                "Next": then,
            },
        }

    lists = {"ResultSelector": {"lists.$": "$.Payload"}}
    asked = {"event.$": "$", "started.$": "$$.Execution.StartTime", "part_bytes": "${var.part_megabytes * 1048576}"}
    stages = {
        "Plan": take_one("plan", asked, **lists, Next="Any to map"),
        **take_listed("Map", "maps", then="Any to combine"),
        **take_listed("Combine", "combines", then="Divide"),
        "Divide": take_one("divide", {"machines": "${var.shard_machines}"}, **lists, Next="Any to reduce"),
        **take_listed("Reduce", "reduces", then="Any to finish"),
        **take_listed("Finish", "finishes", then="Answer"),
        "Answer": take_one("answer", {}, OutputPath="$.Payload", End=True),
    }
    return {
        "Comment": "One run of the feature pipeline, in stages",
        "TimeoutSeconds": LONGEST_RUN_SECONDS,
        "StartAt": "Run",
        "States": {
            "Run": {
                "Comment": "One branch, so that the run as a whole can be tried again",
                "Type": "Parallel",
                "Branches": [{"StartAt": "Plan", "States": stages}],
                "Retry": _RUN_RETRY,
                "OutputPath": "$[0]",
                "End": True,
            }
        },
    }
