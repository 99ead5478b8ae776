"""The built zips under AWS's own Runtime Interface Emulator and runtime client, in an emptied environment."""

import json
import os
import platform
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from handler.definitions.layout import partition_path, training_key
from handler.definitions.timestamps import HOUR, floor_to
from handler.stores.online import to_items
from tests.frames import assert_close
from tests.harness import Aws, Pipeline, line, stamp
from tests.runtime.conftest import RUNTIME, Unpacked

EMULATOR = RUNTIME / "aws-lambda-rie"

pytestmark = [
    pytest.mark.skipif(platform.machine() != "x86_64", reason="AWS's emulator is locked for x86_64 only"),
    pytest.mark.skipif(
        not EMULATOR.exists() and platform.machine() == "x86_64",
        reason="AWS's emulator is not here: `make verify` sets it up",
    ),
]


@contextmanager
def emulated_function(unpacked: Unpacked, log: Path, environment: Mapping[str, str]) -> Iterator["Function"]:
    """Start the emulator with a plain Python that has the task, the layer and AWS's runtime, and nothing else."""
    ports = _find_free_ports(2)
    path = [unpacked.function, unpacked.layer, RUNTIME / "packages"]
    command = [
        str(EMULATOR), "--log-level", "info",
        "--runtime-interface-emulator-address", f"127.0.0.1:{ports[0]}",
        "--runtime-api-address", f"127.0.0.1:{ports[1]}",
        sys.executable, "-S", "-s", "-P", "-B", "-m", "awslambdaric", "handler.app.lambda_handler",
    ]  # fmt: skip
    clean = {
        **environment,
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_LAMBDA_FUNCTION_NAME": "replyec-processing-lambda",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "300",
        "LAMBDA_TASK_ROOT": str(unpacked.function),
    }
    with log.open("wb") as stream:
        process = subprocess.Popen(command, env=clean, cwd=unpacked.function, stdout=stream, stderr=stream)
        try:
            yield Function(process.pid, f"http://127.0.0.1:{ports[0]}/2015-03-31/functions/function/invocations", log)
        finally:
            process.terminate()
            process.wait(timeout=20)


class Function:
    """A function that the emulator runs."""

    def __init__(self, pid: int, url: str, log: Path) -> None:
        self._pid, self._url, self.log = pid, url, log

    def invoke(self, event: Mapping[str, Any]) -> Any:
        """Invoke it as the AWS SDK would; the first time waits for the emulator."""
        deadline = time.monotonic() + 60
        while True:
            try:
                request = urllib.request.Request(self._url, json.dumps(event).encode(), method="POST")
                with urllib.request.urlopen(request, timeout=120) as response:
                    return json.loads(response.read())
            except (ConnectionError, urllib.error.URLError) as error:
                if time.monotonic() > deadline:
                    raise AssertionError(f"the emulator does not answer: {self.log.read_text()}") from error
                time.sleep(0.05)

    def read_peak_memory(self) -> int:
        """Read the peak resident bytes of the function's process."""
        peaks = [0]
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                text, words = status.read_text(), status.with_name("cmdline").read_bytes()
            except OSError:
                continue
            parent = re.search(r"^PPid:\t(\d+)$", text, re.MULTILINE)
            if parent and int(parent[1]) == self._pid and b"awslambdaric" in words:
                peak = re.search(r"^VmHWM:\s+(\d+) kB$", text, re.MULTILINE)
                peaks.append(int(peak[1]) * 1024 if peak else 0)
        return max(peaks)


def test_handler_computes_features_in_the_real_runtime(unpacked: Unpacked, aws: Aws, tmp_path: Path) -> None:
    hour = floor_to(datetime.now(UTC), HOUR) - HOUR  # the runtime has a clock of its own
    lines = [
        line(machine, hour + timedelta(minutes=k / 2), temperature=70 + k % 7 + offset, vibration=1 + (k % 5) / 10)
        for machine, offset in (("PUMP-A01", 0), ("PUMP-A02", 5))
        for k in range(100)
    ]
    body = b"\n".join([*lines, b"no json", lines[0]]) + b"\n"
    key = f"raw/{partition_path(hour)}/a.jsonl"
    aws.s3.put_object(Bucket="lake", Key=key, Body=body)
    expected = Pipeline(tmp_path / "here", now=datetime.now(UTC))
    (expected.root / key).parent.mkdir(parents=True)
    (expected.root / key).write_bytes(body)
    expected_answer = expected.run(hour + HOUR)

    log = tmp_path / "emulator.log"
    environment = {**aws.environment, "AWS_ALLOW_HTTP": "true"}
    with emulated_function(unpacked, log, environment) as function:
        answer = function.invoke({"as_of": stamp(hour + HOUR)})
        again = function.invoke({"as_of": stamp(hour + HOUR)})
        peak = function.read_peak_memory()

    assert answer.get("lines") == expected_answer["lines"], (answer, log.read_text()[-3000:])
    assert answer["lines"]["accepted"] == 200
    assert answer["online"] == {"written": 2, "stale_skipped": 0, "expired_skipped": 0}
    assert again["tiles"] == {"built": 0, "reused": 1, "kept": 0}
    items = {item["machine_id"]["S"]: item for item in aws.dynamodb.scan(TableName="features")["Items"]}
    training = training_key(hour + HOUR)
    mine = pl.read_parquet(expected.root / training)
    assert_close(aws.read_parquet(training).drop("created_timestamp"), mine.drop("created_timestamp"))
    for item in to_items(mine.drop("created_timestamp"), hour + HOUR):
        machine = item["machine_id"]["S"]
        item["created_timestamp"] = items[machine]["created_timestamp"]
        assert_items_close(items[machine], item)
    report = re.findall(r"INIT REPORT\(durationMs: ([\d.]+)\)", log.read_text())
    assert len(report) == 1, log.read_text()[-3000:]
    assert 0 < peak < 1024 * 2**20
    print(f"\ninit: {float(report[0]):.0f} ms; peak memory: {peak / 2**20:.0f} MiB of 1024")


def assert_items_close(item: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Compare two items whose sums were added in another order: numbers may differ in their last digits."""
    assert item.keys() == expected.keys()
    for name, value in expected.items():
        if "N" in value:
            assert float(item[name]["N"]) == pytest.approx(float(value["N"]), rel=1e-12, abs=1e-12), name
        else:
            assert item[name] == value, name


def test_failed_run_is_an_error_of_the_invocation(unpacked: Unpacked, tmp_path: Path) -> None:
    with emulated_function(unpacked, tmp_path / "emulator.log", {}) as function:
        answer = function.invoke({})
    assert answer["errorType"] == "ConfigurationError"
    assert "DATA_LAKE_BUCKET" in answer["errorMessage"]


def _find_free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(server.getsockname()[1]) for server in sockets]
    for server in sockets:
        server.close()
    return ports
