"""Keys that no client can name, and links, never fail a listing: they are counted."""

import contextlib
import os
import socket
from pathlib import Path

import pytest

from handler.lake.lake import Lake
from handler.lake.listing import Listing
from tests.harness import Aws, at, line, write_raw

HOUR = "raw/year=2025/month=10/day=15/hour=09"
GOOD = line("M1", at(9), temperature=1)


def list_hour(lake: Lake) -> tuple[list[str], int, dict[str, int]]:
    listings, strays = lake.list_partitions([at(9)])
    found = listings[at(9)]
    return [item.key.removeprefix(f"{HOUR}/") for item in found.objects], found.skipped, strays


def test_links_out_of_the_lake_and_names_of_no_key_are_counted(tmp_path: Path) -> None:
    lake, elsewhere = tmp_path / "lake", tmp_path / "elsewhere.jsonl"
    elsewhere.write_bytes(GOOD)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x.jsonl").write_bytes(GOOD)
    write_raw(lake, at(9), "good.jsonl", GOOD)
    write_raw(lake, at(10), "other.jsonl", GOOD)
    folder = lake / HOUR
    (folder / "out.jsonl").symlink_to(elsewhere)
    (folder / "lost.jsonl").symlink_to(tmp_path / "nothing")
    (folder / "folder").symlink_to(tmp_path / "folder")
    (folder / "inside.jsonl").symlink_to(lake / HOUR.replace("hour=09", "hour=10") / "other.jsonl")
    (folder / "a\tb.jsonl").write_bytes(GOOD)
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.jsonl")).write_bytes(GOOD)
    (lake / "raw" / "year=2025" / "month=02" / "day=30" / "hour=01").mkdir(parents=True)
    (lake / "raw" / "year=2025" / "month=02" / "day=30" / "hour=01" / "x.jsonl").write_bytes(GOOD)
    assert list_hour(Lake.open(lake.as_uri())) == (["good.jsonl", "inside.jsonl"], 5, {})
    assert Lake.open(lake.as_uri()).list_partitions([at(9, days=-250)])[1] == {"raw/year=2025/month=02": 1}


@pytest.mark.parametrize("odd", [f"{HOUR}//a.jsonl", f"{HOUR}/a\tb.jsonl", f"{HOUR}/../a.jsonl"])
def test_key_that_obstore_cannot_name_costs_no_other_object(odd: str, aws: Aws) -> None:
    for key in (odd, f"{HOUR}/good.jsonl", f"{HOUR}/notes.txt"):
        aws.s3.put_object(Bucket="lake", Key=key, Body=GOOD)
    lake = Lake.open("lake", endpoint=aws.endpoint, region="us-east-1")
    assert list_hour(lake)[:2] == (["good.jsonl"], 2)
    assert lake.has_raw_objects()


@pytest.mark.parametrize(
    "odd", ["raw//a.jsonl", "raw/year=2025//a.jsonl", "raw/year=2025/a\tb/x.jsonl", "raw/../a.jsonl"]
)
def test_key_that_cannot_be_named_above_the_partitions_is_a_stray(odd: str, aws: Aws) -> None:
    for key in (odd, f"{HOUR}/good.jsonl"):
        aws.s3.put_object(Bucket="lake", Key=key, Body=GOOD)
    objects, skipped, strays = list_hour(Lake.open("lake", endpoint=aws.endpoint, region="us-east-1"))
    assert (objects, skipped, sum(strays.values())) == (["good.jsonl"], 0, 1)


def test_listing_by_either_client_has_the_same_fingerprint(aws: Aws) -> None:
    aws.s3.put_object(Bucket="lake", Key=f"{HOUR}/good.jsonl", Body=GOOD)
    lake = Lake.open("lake", endpoint=aws.endpoint, region="us-east-1")
    before = lake.list_partitions([at(9)])[0][at(9)].fingerprint
    aws.s3.put_object(Bucket="lake", Key=f"{HOUR}//a.jsonl", Body=GOOD)
    assert lake.list_partitions([at(9)])[0][at(9)].fingerprint == before


def test_what_is_no_file_of_the_folder_is_skipped_and_counted(tmp_path: Path) -> None:
    """A pipe, a socket, links to themselves and to each other, among the objects and above them."""
    write_raw(tmp_path, at(9), "good.jsonl", GOOD)
    folder = tmp_path / HOUR
    os.mkfifo(folder / "pipe.jsonl")
    with socket.socket(socket.AF_UNIX) as listening, contextlib.chdir(folder):  # its path has 108 bytes at most
        listening.bind("socket.jsonl")
    (folder / "self.jsonl").symlink_to("self.jsonl")
    (folder / "one.jsonl").symlink_to("other.jsonl")
    (folder / "other.jsonl").symlink_to("one.jsonl")
    (folder / "up").symlink_to("..")
    (folder.parent / "hour=10").symlink_to("hour=10")
    os.mkfifo(folder.parent / "hour=11")
    (tmp_path / "raw" / "year=2024").symlink_to("year=2024")
    lake = Lake.open(tmp_path.as_uri())
    day, strays = str(Path(HOUR).parent), {"raw": 1}
    assert list_hour(lake) == (["good.jsonl"], 6, strays | {day: 2})
    assert lake.list_partitions([at(10), at(11)])[0] == {at(10): Listing(), at(11): Listing()}
    assert lake.has_raw_objects()


def test_processed_folder_may_hold_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "processed").mkdir()
    (tmp_path / "processed" / "self.parquet").symlink_to("self.parquet")
    os.mkfifo(tmp_path / "processed" / "pipe.parquet")
    assert Lake.open(tmp_path.as_uri()).list_versions("processed") == {}
