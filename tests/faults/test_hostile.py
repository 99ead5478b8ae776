"""Hostile lakes, a fixed corpus: each line is counted, memory is bounded, nothing is written outside processed/."""

import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.benchmarks.servers import running_server
from tests.faults.amounts import HOSTILE_SHARE, IS_FULL
from tests.harness import HOUR, Aws, Pipeline, Row, at, check_sums, line, write_raw
from tests.measured import measure_run

MANY_MACHINES = "1,000,000 machines in one partition"
GOOD = line("M1", at(8.5), vibration=1)


def scaled(count: int) -> int:
    return max(10, round(count * HOSTILE_SHARE))


def write(root: Path, name: str, parts: Iterable[bytes]) -> None:
    path = write_raw(root, at(8), name, b"")
    with gzip.open(path, "wb", compresslevel=1) if name.endswith(".gz") else path.open("wb") as file:
        file.writelines(parts)


def with_field(value: bytes, minutes: int = 0) -> bytes:
    return line("M1", at(8, minutes=minutes), vibration=1).removesuffix(b"}") + b',"x":' + value + b"}\n"


def long_line(count: int) -> Iterable[bytes]:
    yield b'{"machine_id":"'
    yield from (b"a" * 2**20 for _ in range(count))
    yield b'"}\n' + GOOD


def deep_lines() -> Iterable[bytes]:
    depth = scaled(100_000)
    yield with_field(b"[" * depth + b"]" * depth, 1)
    yield with_field(b'{"a":' * depth + b"1" + b"}" * depth, 2)
    yield with_field(b"[" * depth, 3)
    yield b"[" * depth + b"]" * depth + b"\n"
    yield b"{" * depth + b"\n"


def similar_ids() -> Iterable[bytes]:
    """Ids of one length that differ in few places, as for a hash of fixed constants."""
    for k in range(scaled(40_000)):
        places = bytearray(b"A" * 200)
        for bit in range(18):
            places[bit * 8] += k >> bit & 1
        yield line(places.decode(), at(8.5), vibration=1) + b"\n"


CORPUS: dict[str, tuple[Callable[[Path], None], Row]] = {
    "a line of 1 GB": (
        lambda root: write(root, "a.jsonl", long_line(max(70, scaled(1000)))),
        {"read": 2, "accepted": 1, "rejected": {"too_long": 1}},
    ),
    "a gzip bomb of 1 GB, one line": (
        lambda root: write(root, "a.jsonl.gz", long_line(max(70, scaled(1000)))),
        {"read": 2, "accepted": 1, "rejected": {"too_long": 1}},
    ),
    "a gzip bomb of 10,000,000 lines": (
        lambda root: write(root, "a.jsonl.gz", (b"1\n" * 10**4 for _ in range(scaled(1000)))),
        {"read": 10**4 * scaled(1000), "rejected": {"not_object": 10**4 * scaled(1000)}},
    ),
    "a gzip bomb of 1 GB, line feeds": (
        lambda root: write(root, "a.jsonl.gz", (b"\n" * 2**20 for _ in range(scaled(1000)))),
        {"read": 0},
    ),
    MANY_MACHINES: (
        lambda root: write(
            root, "a.jsonl", (line(f"M{k:07d}", at(8.5), vibration=1) + b"\n" for k in range(scaled(1_000_000)))
        ),
        {"accepted": scaled(1_000_000)},
    ),
    "100,000 levels deep": (lambda root: write(root, "a.jsonl", deep_lines()), {"read": 5}),
    "lone surrogates": (
        lambda root: write(
            root, "a.jsonl",
            [GOOD.replace(b"M1", b"\\ud800") + b"\n", with_field(b'"\\udc00\\ud800"', 1), with_field(b'{"\\ud8":1}', 2),
             GOOD.replace(b"M1", b"\xed\xa0\x80") + b"\n", GOOD],
        ),
        {"read": 5, "accepted": 1, "rejected": {"not_json": 4}},
    ),
    "NULs": (
        lambda root: write(
            root, "a.jsonl",
            [bytes(2**20) + b"\n", b"\x00" + GOOD + b"\n", GOOD + b"\x00\n", GOOD.replace(b"M1", b"M\\u00001") + b"\n",
             GOOD.replace(b"M1", b"M\x001") + b"\n", GOOD],
        ),
        {"read": 6, "accepted": 2, "rejected": {"not_json": 4}},
    ),
    "ids chosen against a hash": (
        lambda root: write(root, "a.jsonl", similar_ids()), {"accepted": scaled(40_000)},
    ),
}  # fmt: skip
"""How each is written, and what is to be counted."""


@pytest.mark.parametrize("kind", CORPUS)
def test_hostile_lake(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_it, expected = CORPUS[kind]
    write_it(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with running_server("dynamodb") as endpoint:
        run = measure_run(at(9), lake=tmp_path.as_uri(), endpoint=endpoint)
    check_sums(run.answer)
    assert expected.items() <= run.answer["lines"].items(), json.dumps(run.answer["lines"])
    assert run.peak_mb < 500 or kind == MANY_MACHINES
    assert sorted(path for path in tmp_path.rglob("*") if "processed" not in path.parts) == before
    if IS_FULL:
        with capsys.disabled():
            print(f"\n{kind}: {run}")


KEYS = (
    "raw/./a.jsonl",
    "raw/year=2025/month=10/day=15/hour=08/../a.jsonl",
    "raw/year=2025/month=10/day=15/hour=08//a.jsonl",
    "raw/year=2025/month=10/day=15/hour=08/a\tb.jsonl",
    "raw/year=2025/month=10/day=15/hour=08/a%2Fb.jsonl",
    "raw/year=2025/month=10/day=15/hour=08/a%0Ab.jsonl",
    "raw/year=2025/month=10/day=15/hour=08/%2e%2e/c.jsonl",
    "raw/year=2025/month=10/day=15/hour=08/a?b#c.jsonl",
    "raw/year=../month=10/day=15/hour=08/a.jsonl",
    "raw/year=2025%2Fmonth=10/day=15/hour=08/a.jsonl",
    "raw/year=2025/month=10/day=15/hour=08/ä ö.jsonl",
)


def test_hostile_keys(aws: Aws) -> None:
    for number, key in enumerate(KEYS):
        aws.s3.put_object(Bucket="lake", Key=key, Body=line(f"M{number}", at(8.5), vibration=1))
    before = list_keys(aws)
    assert len(before) == len(KEYS)
    answer = measure_run(at(9), lake="lake", endpoint=aws.endpoint).answer
    assert answer["objects"]["read"] == answer["lines"]["accepted"] == answer["machines"] > 0
    assert answer["objects"]["unreadable"] == 0
    assert {key for key in list_keys(aws) if not key.startswith("processed/")} == before
    again = measure_run(at(9), lake="lake", endpoint=aws.endpoint).answer
    assert (again["tiles"]["built"], again["machines"]) == (0, answer["machines"])


def test_hostile_names(tmp_path: Path) -> None:
    """In a folder, whose names may have line feeds, which moto does not take as keys."""
    names = ("a\nb.jsonl", "a%2Fb.jsonl", "a%0Ab.jsonl", "%2e%2e%2fc.jsonl", "a?b#c.jsonl", "ä ö.jsonl", "a\\b.jsonl")
    for number, name in enumerate(names):
        write_raw(tmp_path, at(8), name, line(f"M{number}", at(8.5), vibration=1))
    before = sorted(tmp_path.rglob("*"))
    pipeline = Pipeline(tmp_path, time_window=HOUR)
    answer = pipeline.run(at(9))
    assert answer["objects"]["read"] == answer["machines"] == len(names) - 1
    assert answer["objects"] == {"read": len(names) - 1, "skipped": 1, "unreadable": 0}
    assert sorted(path for path in tmp_path.rglob("*") if "processed" not in path.parts) == before


def list_keys(aws: Aws) -> set[str]:
    return {each["Key"] for each in aws.s3.list_objects_v2(Bucket="lake")["Contents"]}
