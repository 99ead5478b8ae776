"""Lakes and runs for tests: write raw lines, run the pipeline on them, read back what it left."""

import io
import os
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import orjson
import polars as pl
from moto.server import ThreadedMotoServer

from handler.deadline import Deadline
from handler.definitions.layout import partition_path, training_key
from handler.definitions.schema import feature_schema
from handler.definitions.spec import FeatureSpec
from handler.lake.lake import Lake
from handler.pipeline.run import Job, run_pipeline
from handler.plan import Plan, make_plan
from handler.stores.online import OnlineResult, to_items

NOW = datetime(2026, 1, 1, tzinfo=UTC)
T0 = datetime(2025, 10, 15, tzinfo=UTC)
HOUR = timedelta(hours=1)

Row = dict[str, Any]


def at(hours: float = 0, **more: float) -> datetime:
    """The instant so many hours (and more) after T0."""
    return T0 + timedelta(hours=hours, **more)


def stamp(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def line(machine: str, time: datetime | str, **fields: Any) -> bytes:
    """One raw line; ``temperature`` and ``vibration`` are short for the readings' names."""
    names = {"temperature": "temperature_celsius", "vibration": "vibration_rms"}
    text = time if isinstance(time, str) else stamp(time)
    return orjson.dumps(
        {"machine_id": machine, "timestamp_utc": text, **{names.get(k, k): v for k, v in fields.items()}}
    )


def write_raw(root: Path, hour: datetime, name: str, lines: Sequence[bytes] | bytes) -> Path:
    """Put one object into the raw partition of an hour."""
    path = root / "raw" / partition_path(hour) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lines if isinstance(lines, bytes) else b"\n".join(lines) + b"\n")
    return path


@dataclass
class Table:
    """The online table's rule, in memory."""

    items: dict[str, dict[str, Any]] = field(default_factory=dict)

    def writer(self, plan: Plan) -> Any:
        def write(rows: pl.DataFrame) -> OnlineResult:
            written = skipped = 0
            for item in to_items(rows, NOW):
                old = self.items.get(item["machine_id"]["S"])
                new_time = item["event_timestamp"]["S"]
                old_time = "" if old is None else old["event_timestamp"]["S"]
                if old_time > new_time or (plan.is_backfill and old_time == new_time):
                    skipped += 1
                else:
                    self.items[item["machine_id"]["S"]] = item
                    written += 1
            return OnlineResult(written, skipped)

        return write


@dataclass
class Pipeline:
    """The pipeline on a folder, without AWS."""

    root: Path
    spec: FeatureSpec = field(default_factory=FeatureSpec.load)
    time_window: timedelta = 6 * HOUR
    allowed_lateness: timedelta = 24 * HOUR
    table: Table = field(default_factory=Table)
    now: datetime = NOW
    deadline: Deadline = field(default_factory=Deadline.never)

    def run(self, as_of: datetime, **more: Any) -> Row:
        """Run at an instant; other fields of the plan as given."""
        return self.invoke({"as_of": stamp(as_of)}, **more)

    def backfill(self, start: datetime, end: datetime) -> Row:
        return self.invoke({"start": stamp(start), "end": stamp(end)})

    def invoke(self, event: Mapping[str, Any], **more: Any) -> Row:
        plan = self.make_plan(event, **more)
        return run_pipeline(plan, self.make_job(plan, self.now))

    def make_plan(self, event: Mapping[str, Any], **more: Any) -> Plan:
        plan = make_plan(
            event,
            now=self.now,
            time_window=self.time_window,
            lookback=self.spec.lookback,
            allowed_lateness=self.allowed_lateness,
        )
        return replace(plan, **more)

    def make_job(self, plan: Plan, now: datetime) -> Job:
        return Job(
            lake=Lake.open(self.root.resolve().as_uri()),
            write_online=self.table.writer(plan),
            spec=self.spec,
            now=now,
            report=lambda message, fields: None,
            deadline=self.deadline,
        )

    def training(self) -> dict[str, pl.DataFrame]:
        """Every training file by its folder, less ``created_timestamp``."""
        return {
            path.parent.relative_to(self.root / "processed" / "training").as_posix(): pl.read_parquet(path).drop(
                "created_timestamp"
            )
            for path in sorted((self.root / "processed" / "training").rglob("*.parquet"))
        }

    def rows_at(self, as_of: datetime) -> dict[str, Row]:
        """The training rows of an hour: ``{machine: {feature: value}}``."""
        return to_rows(pl.read_parquet(self.root / training_key(as_of)))

    def online_rows(self) -> dict[str, Row]:
        """The table's features, nulls filled in: ``{machine: {feature: value}}``."""
        return read_online_rows(self.table.items, self.spec)

    def read_processed(self, kind: str) -> pl.DataFrame:
        """All files of ``failures``, ``quarantine`` or ``tiles``, in the partitions' order."""
        files = sorted((self.root / "processed" / kind).rglob("*.parquet"))
        return pl.concat([pl.read_parquet(path) for path in files])


def read_online_rows(items: Mapping[str, Mapping[str, Any]], spec: FeatureSpec) -> dict[str, Row]:
    """Items' features, nulls filled in: ``{machine: {feature: value}}``."""
    schema = feature_schema(spec)
    return {
        machine: {name: _read_attribute(item.get(name), schema[name]) for name in schema}
        for machine, item in sorted(items.items())
    }


def to_rows(frame: pl.DataFrame) -> dict[str, Row]:
    keys = ("machine_id", "event_timestamp", "created_timestamp")
    return {
        row["machine_id"]: {name: value for name, value in row.items() if name not in keys}
        for row in frame.iter_rows(named=True)
    }


def _read_attribute(attribute: Mapping[str, str] | None, dtype: pl.DataType) -> Any:
    if attribute is None:
        return None
    if "S" in attribute:
        return attribute["S"]
    return int(attribute["N"]) if dtype == pl.Int64 else float(attribute["N"])


def check_sums(answer: Row) -> None:
    """Each line ends in exactly one class."""
    lines = answer["lines"]
    parts = lines["accepted"] + lines["failures"] + lines["duplicates"] + sum(lines["rejected"].values())
    assert lines["read"] == parts


def feature_spec(**ranges: tuple[float, float]) -> FeatureSpec:
    """The packaged spec with other plausible ranges."""
    text = "".join(f'[[readings]]\nname = "{name}"\nplausible = [{a}, {b}]\n' for name, (a, b) in ranges.items())
    head = 'windows = ["1h", "6h", "24h"]\npairs = [["temperature_celsius", "vibration_rms"]]\n'
    zones = "zones = [2.3, 4.5, 7.1]\n"
    return FeatureSpec.parse(head + text + zones)


@dataclass
class Aws:
    """An emulated AWS: where it is, and clients to look into it."""

    endpoint: str
    environment: dict[str, str]
    s3: Any
    dynamodb: Any

    def get(self, key: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket="lake", Key=key)["Body"].read()
        return body

    def read_parquet(self, key: str) -> pl.DataFrame:
        return pl.read_parquet(io.BytesIO(self.get(key)))


@contextmanager
def emulated_aws() -> Iterator[Aws]:
    """Start a moto server on the loopback with the bucket ``lake`` and the table ``features``."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        urllib.request.urlopen(f"{endpoint}/moto-api/reset", data=b"").close()
        options = {"endpoint_url": endpoint, "region_name": "us-east-1"}
        s3, dynamodb = boto3.client("s3", **options), boto3.client("dynamodb", **options)
        s3.create_bucket(Bucket="lake")
        create_table(dynamodb)
        environment = {
            "AWS_ENDPOINT_URL": endpoint,
            "DATA_LAKE_BUCKET": "lake",
            "DYNAMODB_TABLE_NAME": "features",
            "TIME_WINDOW": "6",
        }
        yield Aws(endpoint, environment, s3, dynamodb)
        s3.close()
        dynamodb.close()
    finally:
        server.stop()


def create_table(dynamodb: Any) -> None:
    dynamodb.create_table(
        TableName="features",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "machine_id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "machine_id", "AttributeType": "S"}],
    )


def environment_without_python() -> dict[str, str]:
    """This process's environment for a child: no interpreter settings of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@contextmanager
def without_compiled_code() -> Iterator[None]:
    """Do as if there were no library."""
    with mock.patch("handler.ingest.decoder._LIBRARY", None):
        yield
