"""Listing, reading and writing, over a folder and in memory."""

import asyncio
import gzip
from pathlib import Path

import polars as pl
import pytest
from obstore.store import LocalStore, MemoryStore

from handler.definitions.errors import ConfigurationError, LakeError, MissingObjectError
from handler.definitions.raw import RawObject
from handler.lake.lake import Lake
from handler.lake.listing import Listing
from handler.lake.objects import split_by_size
from handler.lake.parquet import Seal, encode_parquet, seal
from tests.harness import at, write_raw


def open_lake(root: Path) -> Lake:
    return Lake.open(root.as_uri())


def names(listing: Listing) -> list[str]:
    return [item.key.rsplit("/", 1)[-1] for item in listing.objects]


@pytest.mark.parametrize("is_folder", [False, True])
def test_only_telemetry_objects_are_listed_and_the_rest_is_counted(tmp_path: Path, *, is_folder: bool) -> None:
    held = ["a.jsonl.gz", "b.jsonl", "c.json", "d.json.gz", "e.ndjson", "f.ndjson.gz"]
    others = ["d.jsonl.tmp", "_SUCCESS", "deep/e.jsonl", ".jsonl", "._a.jsonl", "_tmp.jsonl", "x.JSONL", "y.gz"]
    for name in [*held, *others]:
        write_raw(tmp_path, at(9), name, b"{}\n")
    lake = open_lake(tmp_path) if is_folder else Lake(LocalStore(tmp_path))
    listings, strays = lake.list_partitions([at(9), at(10)])
    assert names(listings[at(9)]) == held
    assert listings[at(9)].skipped == len(others)
    assert listings[at(10)] == Listing()
    assert strays == {}


@pytest.mark.parametrize("is_folder", [False, True])
def test_objects_above_the_partitions_are_strays(tmp_path: Path, *, is_folder: bool) -> None:
    write_raw(tmp_path, at(9), "a.jsonl", b"{}\n")
    for stray in (
        "raw/readme.md",
        "raw/backup/x.jsonl",
        "raw/year=2025/x.jsonl",
        "raw/year=2025/month=10/day=15/hour=24/x.jsonl",
        "raw/year=2025/month=10/day=15/hour=9/x.jsonl",
        "raw/year=2025/month=10/day=32/hour=09/x.jsonl",
        "raw/year=2025/month=13/x.jsonl",
    ):
        (tmp_path / stray).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / stray).write_bytes(b"{}")
    lake = open_lake(tmp_path) if is_folder else Lake(LocalStore(tmp_path))
    listings, strays = lake.list_partitions([at(9)])
    assert names(listings[at(9)]) == ["a.jsonl"]
    assert strays == {
        "raw": 2,
        "raw/year=2025": 2,
        "raw/year=2025/month=10": 1,
        "raw/year=2025/month=10/day=15": 2,
    }


def test_fingerprint_follows_the_listing(tmp_path: Path) -> None:
    lake = open_lake(tmp_path)

    def fingerprint() -> str:
        return lake.list_partitions([at(9)])[0][at(9)].fingerprint

    empty = fingerprint()
    write_raw(tmp_path, at(9), "a.jsonl", b"{}\n")
    one = fingerprint()
    write_raw(tmp_path, at(9), "notes.txt", b"not telemetry")
    assert fingerprint() == one != empty
    write_raw(tmp_path, at(9), "b.jsonl", b"{}\n")
    assert fingerprint() not in (one, empty)


def test_contents_come_in_the_listings_order_in_batches_of_bytes(tmp_path: Path) -> None:
    for index in range(5):
        write_raw(tmp_path, at(9), f"{index}.jsonl", b"x" * 10)
    lake = open_lake(tmp_path)
    listing = lake.list_partitions([at(9)])[0][at(9)]
    batches = [list(read()) for read in lake.split_batches(listing, batch_bytes=25)]
    assert [[content.key[-7:] for content in batch] for batch in batches] == [
        ["0.jsonl", "1.jsonl"],
        ["2.jsonl", "3.jsonl"],
        ["4.jsonl"],
    ]


def test_object_larger_than_a_batch_is_a_batch_of_its_own() -> None:
    objects = [RawObject(str(size), size) for size in (1, 100, 1, 1)]
    assert [[item.size for item in batch] for batch in split_by_size(objects, 10)] == [[1], [100], [1, 1]]


def test_gzip_is_read_and_what_is_no_gzip_is_a_problem_of_that_object_alone(tmp_path: Path) -> None:
    whole = gzip.compress(b"one\n") + gzip.compress(b"two\n")
    write_raw(tmp_path, at(9), "a.jsonl.gz", whole)
    write_raw(tmp_path, at(9), "b.jsonl.gz", whole[:-3])
    write_raw(tmp_path, at(9), "c.jsonl.gz", b"plain text")
    write_raw(tmp_path, at(9), "d.jsonl.gz", whole[:12] + b"\x00" + whole[13:])
    write_raw(tmp_path, at(9), "gone.jsonl", b"{}")
    lake = open_lake(tmp_path)
    listing = lake.list_partitions([at(9)])[0][at(9)]
    next(tmp_path.rglob("gone.jsonl")).unlink()
    (batch,) = [list(read()) for read in lake.split_batches(listing)]
    assert b"".join(content.data for content in batch[:-4]) == b"one\ntwo\n"
    assert {content.key[-10:] for content in batch[:-4]} == {"a.jsonl.gz"}
    assert [content.problem is not None for content in batch[-5:]] == [False, True, True, True, True]
    assert batch[-1].problem == "the object was listed, but is gone"


@pytest.mark.parametrize("is_folder", [False, True])
def test_reading_what_does_not_exist_is_an_error_that_a_retry_mends(tmp_path: Path, *, is_folder: bool) -> None:
    lake = open_lake(tmp_path) if is_folder else Lake(LocalStore(tmp_path))
    lake.write({"processed/x": b"123"})
    for read in (lake.read, lake.read_tails):
        assert list(read(["processed/x"])) == [b"123"]
        with pytest.raises(MissingObjectError, match="could not read processed/y: it is not there"):
            list(read(["processed/x", "processed/y"]))


@pytest.mark.parametrize("is_folder", [False, True])
def test_tail_is_the_end_of_a_long_object(tmp_path: Path, *, is_folder: bool) -> None:
    lake = open_lake(tmp_path) if is_folder else Lake(LocalStore(tmp_path))
    data = bytes(range(256)) * 1000
    lake.write({"processed/x": data})
    assert list(lake.read_tails(["processed/x"])) == [data[-65536:]]


@pytest.mark.parametrize("is_folder", [False, True])
def test_tail_holds_the_whole_footer_however_long(tmp_path: Path, *, is_folder: bool) -> None:
    lake = open_lake(tmp_path) if is_folder else Lake(LocalStore(tmp_path))
    frame = pl.DataFrame({"value": pl.int_range(100_000, eager=True).hash()})
    files = {
        f"processed/{length}": seal(encode_parquet(frame, {"text": "x" * length}), {"note": "y" * length})
        for length in (0, 40_000, 10**6)
    }
    files["processed/cut"] = files["processed/1000000"][-900_000:]
    lake.write(files)
    keys = [*files, *reversed(files)] * 40
    for key, tail in zip(keys, lake.read_tails(keys), strict=True):
        assert files[key].endswith(tail)
        found = Seal.read(tail)
        assert (found and len(found.metadata["text"])) == (None if key == "processed/cut" else int(key[10:]))
    assert all(len(tail) < 2.1 * 10**6 < len(files["processed/1000000"]) for tail in lake.read_tails(files))


def test_file_that_states_a_footer_longer_than_itself_is_read_whole(tmp_path: Path) -> None:
    lake = open_lake(tmp_path)
    data = seal(encode_parquet(pl.DataFrame({"value": pl.int_range(100_000, eager=True).hash()})))
    lake.write({"processed/x": data[:-5] + b"\xff" + data[-4:]})
    (tail,) = lake.read_tails(["processed/x"])
    assert len(tail) == len(data)
    assert Seal.read(tail) is None


def test_lake_in_memory_works_alike() -> None:
    store = MemoryStore()
    store.put("raw/year=2025/month=10/day=15/hour=09/a.jsonl", b"{}\n")
    lake = Lake(store)
    listing = lake.list_partitions([at(9)])[0][at(9)]
    assert [[content.data for content in batch] for batch in (read() for read in lake.split_batches(listing))] == [
        [b"{}\n"]
    ]


def test_folder_that_is_not_there_is_a_mistake_in_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no folder"):
        open_lake(tmp_path / "nowhere")


def test_store_that_does_not_answer_is_an_error_and_not_a_bad_object(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = "http://127.0.0.1:9"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    lake = Lake.open("lake", endpoint=endpoint, region="us-east-1", max_retries=0)
    with pytest.raises(
        LakeError, match="the store does not answer; check the network, AWS_ENDPOINT_URL and AWS_CA_BUNDLE"
    ):
        lake.list_partitions([at(9)])
    with pytest.raises(LakeError, match=r"^lake: could not read raw/x"):
        [list(read()) for read in lake.split_batches(Listing((RawObject("raw/x", 1),)))]


@pytest.mark.parametrize("is_folder", [False, True])
def test_version_that_is_looked_up_is_that_of_the_last_write(tmp_path: Path, *, is_folder: bool) -> None:
    lake = open_lake(tmp_path) if is_folder else Lake(LocalStore(tmp_path))
    keys = [f"processed/tiles/year=2025/month=10/day=15/hour={hour}/tiles.parquet" for hour in ("08", "09", "10")]
    versions = lake.write({keys[0]: b"1", keys[1]: b"2"})
    assert lake.look_up(keys) == versions
    assert lake.look_up(keys[1:]) == {keys[1]: versions[keys[1]]}
    newer = lake.write({keys[0]: b"3"})
    assert lake.look_up(keys) == versions | newer != versions


def test_lake_is_read_and_written_inside_a_running_event_loop(tmp_path: Path) -> None:
    """Every cell of a notebook runs inside one."""
    write_raw(tmp_path, at(9), "a.jsonl", b"{}\n")

    async def cell() -> tuple[list[str], list[bytes]]:
        lake = Lake(LocalStore(tmp_path))
        lake.write({"processed/a": b"1"})
        return names(lake.list_partitions([at(9)])[0][at(9)]), lake.read(["processed/a"])

    assert asyncio.run(cell()) == (["a.jsonl"], [b"1"])
