"""An AWS in which functions run and schedules fire: ministack, a process of its own on the loopback."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import boto3
import polars as pl
from botocore.config import Config

from tests.builds import ROOT

MINISTACK = ROOT / ".tools" / "ministack"
SERVER = Path(__file__).with_name("ministack_server.py")
REGION = "us-east-1"

T = TypeVar("T")


@dataclass(frozen=True)
class Cloud:
    """Where it is, and what it wrote."""

    endpoint: str
    log: Path

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=120),
        )

    def list_keys(self, bucket: str, prefix: str = "") -> list[str]:
        pages = self.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def read_parquet(self, bucket: str, key: str) -> pl.DataFrame:
        return pl.read_parquet(io.BytesIO(self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()))

    def scan(self, table: str) -> dict[str, dict[str, Any]]:
        """Read the table's items by machine."""
        items = self.client("dynamodb").scan(TableName=table, ConsistentRead=True)["Items"]
        return {item["machine_id"]["S"]: item for item in items}

    def invoke(self, function: str, event: Mapping[str, Any]) -> tuple[str | None, Any]:
        """Invoke and wait; return the function's error, if it is one, and its answer."""
        response = self.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event).encode())
        return response.get("FunctionError"), json.loads(response["Payload"].read())

    def sum_metric(self, namespace: str, name: str, **dimensions: str) -> float:
        """Sum a metric over the last hour."""
        now = time.time()
        points = self.client("cloudwatch").get_metric_statistics(
            Namespace=namespace,
            MetricName=name,
            Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
            StartTime=now - 3600,
            EndTime=now + 60,
            Period=60,
            Statistics=["Sum"],
        )["Datapoints"]
        return float(sum(point["Sum"] for point in points))


@contextmanager
def emulated_cloud(folder: Path) -> Iterator[Cloud]:
    """Start ministack with its files in ``folder``; end it, and the functions it started, in any case.

    The functions find it without being told by Terraform: ministack gives each worker ``AWS_ENDPOINT_URL``, its own
    address, where neither the function's environment nor its own has one.
    """
    folder.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
    endpoint = f"http://127.0.0.1:{port}"
    environment = {
        "PATH": os.pathsep.join([str(MINISTACK / "bin"), os.environ["PATH"]]),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_HOST": "127.0.0.1",
        "MINISTACK_REGION": REGION,
        "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "0.1",  # AWS waits one minute, then two
        "SFN_WAIT_SCALE": "0.2",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    log = folder / "ministack.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [str(MINISTACK / "bin" / "python"), str(SERVER)],
            env=environment,
            cwd=folder,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
        try:
            wait_until("ministack answers", lambda: _is_healthy(endpoint, process, log), seconds=60)
            yield Cloud(endpoint, log)
        finally:
            _end_group(process)


def _is_healthy(endpoint: str, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, f"ministack ended: {log.read_text()[-3000:]}"
    try:
        with urllib.request.urlopen(f"{endpoint}/_ministack/health", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """End the process and its children, which are a group of their own: asked first, then forced."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=10)


def wait_until(what: str, probe: Callable[[], T | None], *, seconds: float) -> T:
    """Probe until the answer is true, saying every ten seconds what is being waited for."""
    start = said = time.monotonic()
    while True:
        found = probe()
        now = time.monotonic()
        if found:
            say(f"{what}: after {now - start:.1f} s")
            return found
        assert now - start < seconds, f"not so within {seconds:.0f} s: {what}"
        if now - said >= 10:
            said = now
            say(f"waiting until {what}: {now - start:.0f} s")
        time.sleep(0.25)


def say(message: str) -> None:
    """Tell a person who watches (`make e2e`); pytest keeps it otherwise."""
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stdout, flush=True)
