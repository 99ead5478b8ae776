"""The whole function against an emulated S3 and DynamoDB, through their real protocols."""

import json
from collections.abc import Iterator

import polars as pl
import pytest

from handler.app import connect_dynamodb, open_lake, run
from handler.definitions.errors import ConfigurationError, LakeError
from handler.definitions.layout import quarantine_key, tiles_key, training_key
from handler.lake.lake import Lake
from handler.lake.unpack import PART_BYTES
from tests.frames import assert_close
from tests.harness import Aws, Row, at, check_sums, line
from tests.integration.conftest import SimulatedPlant


@pytest.fixture(autouse=True)
def _own_client() -> Iterator[None]:
    connect_dynamodb.cache_clear()
    open_lake.cache_clear()
    yield
    connect_dynamodb.cache_clear()
    open_lake.cache_clear()


def put(aws: Aws, key: str, body: bytes) -> None:
    aws.s3.put_object(Bucket="lake", Key=key, Body=body)


FOLDER = "raw/year=2025/month=10/day=15/hour=08"


def test_run_on_s3_leaves_what_a_run_on_a_folder_leaves(aws: Aws, simulated: SimulatedPlant) -> None:
    root = simulated.pipeline.root
    for path in sorted((root / "raw/year=2025/month=10/day=15").glob("hour=0*/*")):
        aws.s3.put_object(Bucket="lake", Key=path.relative_to(root).as_posix(), Body=path.read_bytes())
    answer = run({"as_of": "2025-10-15T08:00:00Z"}, now=at(8))
    check_sums(answer)
    assert answer["lines"]["read"] > 40_000
    assert answer["online"] == {"written": 8, "stale_skipped": 0, "expired_skipped": 0}
    stored = aws.read_parquet(training_key(at(8))).drop("created_timestamp")
    assert_close(stored, pl.read_parquet(root / training_key(at(8))).drop("created_timestamp"))
    items = aws.dynamodb.scan(TableName="features")["Items"]
    assert len(items) == 8
    assert {item["event_timestamp"]["S"] for item in items} == {"2025-10-15T08:00:00Z"}
    again = run({"as_of": "2025-10-15T08:00:00Z"}, now=at(8))
    assert again["tiles"] == {"built": 0, "reused": answer["tiles"]["built"], "kept": 0}


def take_all(aws: Aws, listed: Row, *names: str) -> None:
    """Take the stages of lists, as a distributed map reads them."""
    for name in names:
        for stage in json.loads(aws.get(listed[name]["key"])):
            run(stage, now=at(9))


def test_stages_on_s3_leave_what_a_run_on_a_folder_leaves(aws: Aws, simulated: SimulatedPlant) -> None:
    """Each stage by its event, as a state machine sends it; partitions in parts, machines in shards."""
    root = simulated.pipeline.root
    for path in sorted((root / "raw/year=2025/month=10/day=15").glob("hour=0*/*")):
        aws.s3.put_object(Bucket="lake", Key=path.relative_to(root).as_posix(), Body=path.read_bytes())
    event = {"as_of": "2025-10-15T08:00:00Z"}
    planned = run({"stage": "plan", "run": "r1", "event": event, "part_bytes": 200_000}, now=at(8))
    assert planned["maps"]["count"] > planned["combines"]["count"] > 0
    take_all(aws, planned, "maps", "combines")
    take_all(aws, run({"stage": "divide", "run": "r1", "machines": 3}, now=at(9)), "reduces", "finishes")
    answer = run({"stage": "answer", "run": "r1"}, now=at(9))
    check_sums(answer)
    assert answer["online"] == {"written": 8, "stale_skipped": 0, "expired_skipped": 0}
    stored = aws.read_parquet(training_key(at(8)))
    assert stored.get_column("created_timestamp").unique().to_list() == [at(8)]
    assert_close(
        stored.drop("created_timestamp"), pl.read_parquet(root / training_key(at(8))).drop("created_timestamp")
    )
    again = run(event, now=at(9))
    assert again["tiles"] == {"built": 0, "reused": answer["tiles"]["built"], "kept": 0}
    assert again["training_current"] == again["training"]["files"]


def test_backfill_leaves_the_newest_item_alone(aws: Aws) -> None:
    put(aws, f"{FOLDER}/a.jsonl", line("M1", at(8.5), vibration=1))
    assert run({"as_of": "2025-10-15T09:00:00Z"}, now=at(9))["online"]["written"] == 1
    span = {"start": "2025-10-15T00:00:00Z", "end": "2025-10-15T09:00:00Z"}
    assert run(span, now=at(9))["online"] == {"written": 0, "stale_skipped": 1, "expired_skipped": 0}


def test_features_file_lies_in_the_lakes_own_bucket(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURES_FILE", "s3://lake/config/features.toml")
    put(aws, f"{FOLDER}/a.jsonl", b'{"machine_id":"M1","timestamp_utc":1760517000500,"payload":{"rpm":1480}}')
    with pytest.raises(ConfigurationError, match=r"^FEATURES_FILE s3://lake/config/features.toml: does not exist; put"):
        run({"as_of": "2025-10-15T09:00:00Z"}, now=at(9))
    put(aws, "config/features.toml", b"\xff")
    with pytest.raises(ConfigurationError, match=r"^FEATURES_FILE s3://lake/config/features.toml: is no text in UTF-8"):
        run({"as_of": "2025-10-15T09:00:00Z"}, now=at(9))
    put(aws, "config/features.toml", SPEED)
    assert run({"as_of": "2025-10-15T09:00:00Z"}, now=at(9))["machines"] == 1
    (item,) = aws.dynamodb.scan(TableName="features")["Items"]
    assert float(item["rpm_mean_1h"]["N"]) == 1480
    assert float(item["rpm_staleness_seconds"]["N"]) == 1799.5


SPEED = b"""
windows = ["1h"]
[fields]
timestamp_format = "epoch_ms"
[[readings]]
name = "rpm"
field = "payload.rpm"
plausible = [0, 4000]
"""


def test_odd_keys_and_folder_markers_cost_nothing_but_a_count(aws: Aws) -> None:
    for key in ("raw/", "raw/year=2025/", f"{FOLDER}/", f"{FOLDER}/notes.txt"):
        put(aws, key, b"")
    good = line("M1", at(8.5), vibration=1)
    put(aws, f"{FOLDER}/with space %41 ñ#?.jsonl", good)
    answer = run({"as_of": "2025-10-15T09:00:00Z"}, now=at(9))
    assert answer["objects"] == {"read": 1, "skipped": 4, "unreadable": 0}
    assert answer["machines"] == 1


@pytest.mark.parametrize("stray", ["raw//x.jsonl", "raw/year=2025//x", "raw/year=2025/month=10/day=15/tab\t"])
def test_stray_with_an_impossible_key_costs_nothing_but_a_count(aws: Aws, stray: str) -> None:
    put(aws, stray, b"")
    put(aws, f"{FOLDER}/a.jsonl", line("M1", at(8.5), vibration=1))
    answer = run({"as_of": "2025-10-15T09:00:00Z"}, now=at(9))
    assert answer["objects"] == {"read": 1, "skipped": 1, "unreadable": 0}
    assert answer["machines"] == 1


@pytest.mark.parametrize("name", ["/a.jsonl", "tab\t.jsonl", "../a.jsonl"])
def test_impossible_key_in_a_partition_costs_nothing_but_a_count(aws: Aws, name: str) -> None:
    put(aws, f"{FOLDER}/{name}", b"")
    put(aws, f"{FOLDER}/a.jsonl", line("M1", at(8.5), vibration=1))
    answer = run({"as_of": "2025-10-15T09:00:00Z"}, now=at(9))
    assert answer["objects"] == {"read": 1, "skipped": 1, "unreadable": 0}
    assert answer["machines"] == 1


def test_missing_bucket_is_an_error_that_names_it(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_LAKE_BUCKET", "elsewhere")
    with pytest.raises(LakeError, match="the bucket does not exist; check DATA_LAKE_BUCKET"):
        run({"as_of": "2025-10-15T09:00:00Z"}, now=at(9))


def test_many_pages_of_small_objects_are_all_read(aws: Aws) -> None:
    for k in range(1203):
        put(aws, f"{FOLDER}/{k:05d}.jsonl", line(f"M{k % 7}", at(8, seconds=k), vibration=k % 50))
    answer = run({"as_of": "2025-10-15T09:00:00Z"}, now=at(9))
    assert answer["objects"]["read"] == answer["lines"]["accepted"] == 1203
    assert aws.read_parquet(tiles_key(at(8)))["n"].sum() == 1203


def test_object_larger_than_a_part_is_read_whole(aws: Aws) -> None:
    lines = [line(f"M{k % 7}", at(8, milliseconds=k), vibration=k % 50, note="x" * 40) for k in range(40_000)]
    data = b"\n".join([*lines, b"oops"])
    assert len(data) > 2 * PART_BYTES
    put(aws, f"{FOLDER}/large.jsonl", data)
    put(aws, f"{FOLDER}/small.jsonl", line("M7", at(8.5), vibration=1))
    answer = run({"as_of": "2025-10-15T09:00:00Z"}, now=at(9))
    assert answer["objects"] == {"read": 2, "skipped": 0, "unreadable": 0}
    assert (answer["lines"]["accepted"], answer["lines"]["rejected"]) == (40_001, {"not_json": 1})
    assert aws.read_parquet(tiles_key(at(8)))["n"].sum() == 40_001
    rejected = aws.read_parquet(quarantine_key(at(8)))
    assert rejected["line_number"].to_list() == [40_001]


def test_object_that_was_overwritten_since_it_was_listed_is_never_read_in_two_versions(aws: Aws) -> None:
    put(aws, f"{FOLDER}/large.jsonl", b"x" * (2 * PART_BYTES))
    lake = Lake.open("lake", endpoint=aws.endpoint, region="us-east-1")
    (read,) = lake.split_batches(lake.list_partitions([at(8)])[0][at(8)])
    put(aws, f"{FOLDER}/large.jsonl", b"y" * (2 * PART_BYTES))
    with pytest.raises(LakeError, match=r"large\.jsonl: it was overwritten while it was read; run again"):
        list(read())
