"""Two runs at once, their requests delayed at random: items never go back, and the files are as of one run."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from random import Random

import pytest

from tests.benchmarks.servers import ROOT
from tests.faults.amounts import INTERLEAVINGS
from tests.faults.conftest import assert_undisturbed, put_raw
from tests.faults.proxy import FaultyProxy
from tests.harness import Aws, Pipeline, environment_without_python

RUN = """
import json, sys
from handler.app import run
from handler.definitions.errors import OvertakenError
from handler.definitions.timestamps import parse_instant
event = json.loads(sys.argv[1])
sys.stdout, out = sys.stderr, sys.stdout
for attempt in range(3):  # as AWS tries an asynchronous invocation
    try:
        answer = run(event, now=parse_instant("2025-10-15T06:00:00Z"))
        break
    except OvertakenError:
        continue
print(json.dumps({"attempts": attempt + 1, **answer}), file=out)
"""
NEWER = {"as_of": "2025-10-15T06:00:00Z"}
BESIDE = {
    "the same": NEWER,
    "an older": {"as_of": "2025-10-15T05:00:00Z"},
    "a backfill": {"start": "2025-10-15T00:00:00Z", "end": "2025-10-15T05:00:00Z"},
}


@contextmanager
def watching_items(aws: Aws) -> Iterator[list[str]]:
    """Look at the table again and again; give what was seen to go back."""
    ended = threading.Event()
    newest: dict[str, str] = {}
    gone_back: list[str] = []

    def watch() -> None:
        while not ended.wait(0.02):
            for item in aws.dynamodb.scan(TableName="features", ConsistentRead=True)["Items"]:
                machine, time = item["machine_id"]["S"], item["event_timestamp"]["S"]
                if time < newest.get(machine, ""):
                    gone_back.append(f"{machine}: from {newest[machine]} to {time}")
                newest[machine] = time

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield gone_back
    finally:
        ended.set()
        thread.join()
    assert newest


def start(event: Mapping[str, str], environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", RUN, json.dumps(event)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("seed", range(INTERLEAVINGS))
def test_two_runs_at_once(seed: int, undisturbed: Pipeline, aws: Aws) -> None:
    put_raw(undisturbed, aws)
    random = Random(seed)
    events = [NEWER, BESIDE[sorted(BESIDE)[seed % 3]]]
    random.shuffle(events)
    proxy = FaultyProxy(aws.endpoint, random.choice([0.1, 0.3, 0.6]), random, faults=["slow"])
    with proxy.running() as endpoint, watching_items(aws) as gone_back:
        environment = environment_without_python() | dict(os.environ) | aws.environment | {"AWS_ENDPOINT_URL": endpoint}
        with start(events[0], environment) as first, start(events[1], environment) as second:
            outputs = [process.communicate()[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0]
    assert all(json.loads(output)["machines"] for output in outputs)
    assert proxy.done["slow"] > 10
    assert gone_back == []
    assert_undisturbed(aws, undisturbed)
