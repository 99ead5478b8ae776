"""A small plant on an emulated AWS: what is deployed, what its machines sent, and what must come of it."""

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from handler.definitions.layout import partition_path
from tests import reference
from tests.builds import MACHINE_ARCH, Built
from tests.harness import HOUR, Pipeline, Table, line
from tests.infrastructure.emulated_cloud import Cloud, say
from tests.infrastructure.terraform import Terraform, lay_out_stack, terraform_environment

BUCKET = "plant-data-lake"
FUNCTION = "plant-processing-lambda"
TABLE = "plant-RealtimeFeatures"
MACHINES = ("PUMP-A01", "PUMP-A02", "PUMP-A03")
FAILED = "PUMP-A03"


def deploy(cloud: Cloud, built: Built, project: Path, **variables: str) -> Terraform:
    """Apply the committed stack with the real artifacts, where its default paths look for them."""
    directory = lay_out_stack(project / "project")
    shutil.copytree(built.out, project / "project" / "lambda_artifacts")
    stack = Terraform(
        directory,
        terraform_environment(
            cloud.endpoint,
            project,
            project_name="plant",
            deletion_protection="false",
            s3_bucket_name=BUCKET,
            processing_schedule_expression="rate(1 minutes)",
            architecture=MACHINE_ARCH,
            **variables,
        ),
    )
    stack.init()
    stack.apply()
    say("applied")
    outputs = stack.outputs()
    assert outputs["processing_lambda_function_name"] == FUNCTION
    assert outputs["realtime_features_table_name"] == TABLE
    assert outputs["processing_lambda_arn"].endswith(f":function:{FUNCTION}")
    assert outputs["realtime_features_table_arn"].endswith(f":table/{TABLE}")
    assert outputs["pandas_layer_arn"].endswith(":layer:plant-pandas-layer:1")
    assert outputs["processing_lambda_role_arn"].endswith(":role/plant-processing-lambda-role")
    return stack


def write_telemetry(lake: Path, *, step: timedelta = timedelta(seconds=20)) -> set[str]:
    """Write three machines' last 90 minutes into the newest partition that any run from now on sees, and one bad line.

    Parameters
    ----------
    lake
        The lake's folder.
    step
        Between two readings of a sensor.

    Returns
    -------
    set of str
        The keys.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    newest = now - timedelta(minutes=10)  # a run's time is floored to five minutes
    arrival = newest.replace(minute=0, second=0)
    objects: dict[str, list[bytes]] = {}
    for hour in (arrival - HOUR, arrival):
        start = max(hour, newest - timedelta(minutes=90))
        end = min(hour + HOUR, newest)
        for number, machine in enumerate(MACHINES):
            times = [start + k * step for k in range((end - start) // step)]
            for reading, base in (("temperature_celsius", 60.0), ("vibration_rms", 2.0)):
                objects[f"raw/{partition_path(hour)}/{machine}_{reading}.jsonl"] = [
                    line(machine, time, **{reading: base + number + (k * 7 % 23) / 10}) for k, time in enumerate(times)
                ]
    events = [line(FAILED, newest, codigo_evento="FALHA_VIBRACAO_ELEVADA"), b'{"machine_id":"PUMP-A01",']
    objects[f"raw/{partition_path(arrival)}/events.jsonl"] = events
    for key, lines in objects.items():
        path = lake / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(raw + b"\n" for raw in lines))
    return set(objects)


def upload(cloud: Cloud, lake: Path) -> None:
    s3 = cloud.client("s3")
    for path in sorted(lake.rglob("*.jsonl")):
        s3.upload_file(str(path), BUCKET, path.relative_to(lake).as_posix())
    say("telemetry is in the bucket")


def read_items(cloud: Cloud) -> Mapping[str, Mapping[str, Any]] | None:
    """Read the table once it has every machine's item."""
    items = cloud.scan(TABLE)
    return items if len(items) == len(MACHINES) else None


def check_features(items: Mapping[str, Mapping[str, Any]], lake: Path) -> None:
    """Compare each item with the exact reference, computed from the raw lines for the item's own instant."""
    readings = reference.read_lake(lake).readings
    for machine, item in items.items():
        as_of = datetime.strptime(item["event_timestamp"]["S"], "%Y-%m-%dT%H:%M:%S%z")
        assert abs(datetime.now(UTC) - as_of) < timedelta(minutes=10)
        assert as_of.minute % 5 == as_of.second == 0
        expected = reference.compute_rows(readings, as_of)[machine]
        actual = Pipeline(lake, table=Table({machine: dict(item)})).online_rows()
        assert reference.compare_rows(actual, {machine: expected}) == []
        assert int(expected["temperature_celsius_count_6h"] or 0) >= 180
    say(f"features of {len(items)} machines agree with the reference")
