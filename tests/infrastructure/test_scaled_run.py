"""A scaled run on an emulator that executes it: started by the schedule, with workers that die and none to spare."""

import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

from handler.definitions.timestamps import HOUR, parse_instant
from tests.builds import Built
from tests.harness import Pipeline, Table, stamp
from tests.infrastructure.emulated_cloud import Cloud, say, wait_until
from tests.infrastructure.plant import BUCKET, FUNCTION, TABLE, check_features, deploy, upload, write_telemetry
from tests.staged import compare, without_time

SCALED = {"scale_out": "true", "max_concurrency": "2", "part_megabytes": "1", "shard_machines": "2"}
"""Small parts and shards, so that a small plant has several."""
DIES = {"stage": "map", "part": 1}


def test_scheduled_run_in_stages_whatever_dies(first: Built, emulator: Cloud, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    write_telemetry(lake, step=timedelta(seconds=1))
    emulator.client("s3").create_bucket(Bucket=BUCKET)
    upload(emulator, lake)
    (emulator.log.parent / "deaths.json").write_text(json.dumps(DIES))
    stack = deploy(emulator, first, tmp_path, **SCALED)
    machine = stack.outputs()["scaled_run_arn"]

    (execution,) = wait_until(
        "the schedule has started an execution", lambda: list_executions(emulator, stateMachineArn=machine), seconds=150
    )
    pause(emulator)
    answer = wait_for(emulator, execution)
    check_deaths(emulator, execution)
    check_result(emulator, lake, answer)
    check_two_backfills_without_capacity(emulator, machine, lake)
    check_refusal(emulator, machine)

    stack.destroy()
    assert emulator.client("stepfunctions").list_state_machines()["stateMachines"] == []
    say("destroyed")


def pause(cloud: Cloud) -> None:
    """Let the schedule start no other run."""
    scheduler = cloud.client("scheduler")
    schedule = scheduler.get_schedule(Name="plant-processing")
    known = {name: schedule[name] for name in ("Name", "ScheduleExpression", "FlexibleTimeWindow", "Target")}
    scheduler.update_schedule(**known, State="DISABLED")


def list_executions(cloud: Cloud, **of: str) -> list[str]:
    """The executions' ARNs, the newest first."""
    found = cloud.client("stepfunctions").list_executions(**of)["executions"]
    return [each["executionArn"] for each in found]


def wait_for(cloud: Cloud, execution: str, status: str = "SUCCEEDED") -> dict[str, Any]:
    """Wait for an execution's end; return its answer, or what it says of its failure."""
    states = cloud.client("stepfunctions")

    def probe() -> dict[str, Any] | None:
        described: dict[str, Any] = states.describe_execution(executionArn=execution)
        return None if described["status"] == "RUNNING" else described

    ended = wait_until("the execution has ended", probe, seconds=240)
    assert ended["status"] == status, ended
    return json.loads(ended["output"]) if status == "SUCCEEDED" else ended


def list_failures(cloud: Cloud, execution: str) -> dict[str, list[str]]:
    """The errors of each stage of an execution that was taken from a list, by its event."""
    states = cloud.client("stepfunctions")
    failures = {}
    for run in states.list_map_runs(executionArn=execution)["mapRuns"]:
        for child in list_executions(cloud, mapRunArn=run["mapRunArn"]):
            event = states.describe_execution(executionArn=child)["input"]
            history = states.get_execution_history(executionArn=child)["events"]
            failures[event] = [
                step["taskFailedEventDetails"]["error"] for step in history if step["type"] == "TaskFailed"
            ]
    return failures


def check_deaths(cloud: Cloud, execution: str) -> None:
    """Two workers died at one part, the third try went on, and nothing else was tried again."""
    failures = list_failures(cloud, execution)
    stages = {json.loads(event)["stage"] for event in failures}
    assert stages == {"map", "combine", "reduce", "finish"}
    died = [event for event, errors in failures.items() if errors]
    assert len(died) == 1, failures
    assert json.loads(died[0]).items() >= DIES.items()
    assert len(failures[died[0]]) == 2
    say(f"{len(failures)} stages were taken from lists; one of them died twice")


def check_result(cloud: Cloud, lake: Path, answer: Mapping[str, Any]) -> None:
    """The same as one process makes of the same lines, and as the exact reference says."""
    one = Pipeline(lake, now=datetime.now(UTC))
    expected = one.run(parse_instant(answer["as_of"]))
    assert without_time(answer) == without_time(json.loads(json.dumps(expected)))
    compare(one, download(cloud, lake.with_name("downloaded")))
    check_features(cloud.scan(TABLE), lake)


def download(cloud: Cloud, folder: Path) -> Pipeline:
    """Bring what the runs left into a folder."""
    for kind in ("training", "failures", "quarantine"):
        for key in cloud.list_keys(BUCKET, f"processed/{kind}/"):
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            cloud.client("s3").download_file(BUCKET, key, str(path))
    return Pipeline(folder, table=Table(cloud.scan(TABLE)))


def check_two_backfills_without_capacity(cloud: Cloud, machine: str, lake: Path) -> None:
    """Start a backfill twice at once, where one stage runs at a time: both end, and what they wrote is right."""
    for key in cloud.list_keys(BUCKET, "processed/"):
        cloud.client("s3").delete_object(Bucket=BUCKET, Key=key)
    cloud.client("lambda").put_function_concurrency(FunctionName=FUNCTION, ReservedConcurrentExecutions=1)
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    event = json.dumps({"start": stamp(end - 3 * HOUR), "end": stamp(end)})
    states = cloud.client("stepfunctions")
    started = [states.start_execution(stateMachineArn=machine, input=event)["executionArn"] for _ in range(2)]
    for execution in started:
        wait_for(cloud, execution)
    errors = [each for execution in started for each in chain(*list_failures(cloud, execution).values())]
    assert "Lambda.TooManyRequestsException" in errors
    cloud.client("lambda").delete_function_concurrency(FunctionName=FUNCTION)

    shutil.rmtree(lake / "processed")
    one = Pipeline(lake, now=datetime.now(UTC), table=Table(cloud.scan(TABLE)))
    one.backfill(end - 3 * HOUR, end)
    compare(one, download(cloud, lake.with_name("backfilled")))
    say(f"two backfills at once, {len(errors)} times without capacity")


def check_refusal(cloud: Cloud, machine: str) -> None:
    """An event that names no run ends at once, with the function's own words."""
    states = cloud.client("stepfunctions")
    started = states.start_execution(stateMachineArn=machine, input=json.dumps({"as_of": "yesterday"}))
    failed = wait_for(cloud, started["executionArn"], "FAILED")
    assert failed["error"] == "EventError"
    assert "yesterday" in json.loads(failed["cause"])["errorMessage"]
