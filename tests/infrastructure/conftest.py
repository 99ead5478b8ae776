"""The stack, applied once a session to an emulated AWS, and destroyed at the end."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.synth import ROOT, make_files
from tests.infrastructure.emulated_cloud import Cloud as EmulatedCloud
from tests.infrastructure.emulated_cloud import emulated_cloud
from tests.infrastructure.moto_cloud import REGION, Cloud, moto_cloud
from tests.infrastructure.terraform import (
    Terraform,
    lay_out_stack,
    require_terraform,
    terraform_environment,
    write_artifacts,
)
from tests.tools import find_tool

collect_ignore = ["ministack_server.py"]  # it runs in ministack's environment, not in ours
BUCKET = "plant-data-lake"
RAW_KEY = "raw/year=2025/month=10/day=15/hour=09/readings.jsonl"
TAGS = '{ Project = "plant", Owner = "maintenance" }'


@dataclass(frozen=True)
class Deployment:
    """What was applied, where, and what it said."""

    cloud: Cloud
    terraform: Terraform
    project: Path
    outputs: dict[str, Any]

    def list_keys(self) -> list[str]:
        return list_keys(self.cloud, BUCKET)


RUN = """
import json, sys
from handler.app import run
from handler.definitions.timestamps import parse_instant
run(json.loads(sys.argv[1]), now=parse_instant(sys.argv[2]), function_name="plant")
"""


def run_handler(
    cloud: Cloud, credentials: Mapping[str, str], event: Mapping[str, str], *, bucket: str, table: str, now: str
) -> dict[str, Any]:
    """Run the handler in a process of its own, as the deployed function is configured; return its answer."""
    environment = {
        "PATH": os.environ["PATH"],
        **{name.upper(): value for name, value in credentials.items()},
        "AWS_ENDPOINT_URL": cloud.endpoint,
        "AWS_REGION": REGION,
        "DATA_LAKE_BUCKET": bucket,
        "DYNAMODB_TABLE_NAME": table,
        "TIME_WINDOW": "6",
    }
    command = [sys.executable, "-c", RUN, json.dumps(event), now]
    result = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr + result.stdout
    answers = [json.loads(entry) for entry in result.stdout.splitlines() if '"run finished"' in entry]
    answer: dict[str, Any] = answers[0]
    return answer


def list_keys(cloud: Cloud, bucket: str, prefix: str = "") -> list[str]:
    listed = cloud.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)
    return sorted(item["Key"] for item in listed.get("Contents", []))


@pytest.fixture(scope="session")
def synthesized() -> dict[Path, str]:
    """What ``make synth`` would write."""
    return make_files()


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON"))}
    with moto_cloud({**environment, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}) as running:
        yield running


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[EmulatedCloud]:
    """An AWS in which functions run, schedules fire and state machines are executed."""
    find_tool("ministack", ".ready")
    require_terraform()
    with emulated_cloud(tmp_path / "ministack") as running:
        yield running


@pytest.fixture(scope="session")
def deployed(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The stack as ``cdktf deploy`` lays it out and applies it, with artifacts in the project's folder."""
    require_terraform()
    project = tmp_path_factory.mktemp("project")
    write_artifacts(project / "lambda_artifacts")
    cloud.client("s3").create_bucket(Bucket=BUCKET)
    cloud.client("s3").put_object(Bucket=BUCKET, Key=RAW_KEY, Body=b"")
    environment = terraform_environment(
        cloud.endpoint, project, project_name="plant", s3_bucket_name=BUCKET, tags=TAGS, log_retention_days="30",
        deletion_protection="false",
    )  # fmt: skip
    terraform = Terraform(lay_out_stack(project), environment)
    terraform.init()
    terraform.run("validate")
    terraform.apply()
    deployment = Deployment(cloud, terraform, project, terraform.outputs())
    yield deployment
    terraform.destroy()
    left = deployment.list_keys()
    assert RAW_KEY in left, "destroying must leave the bucket's objects"
    assert not [key for key in left if key.startswith("artifacts/")]


@pytest.fixture
def fresh(deployed: Deployment, tmp_path: Path) -> Terraform:
    """The stack in a project where nothing was applied yet."""
    write_artifacts(tmp_path / "lambda_artifacts")
    terraform = Terraform(lay_out_stack(tmp_path), deployed.terraform.environment)
    terraform.init()
    return terraform
