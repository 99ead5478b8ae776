"""Peak memory of the function's own entry point, in a process of its own, on long histories and hostile objects."""

import gzip
import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.benchmarks.conftest import Collected, Sizes
from tests.benchmarks.figures import Figure, at_most
from tests.benchmarks.lake_generator import Fleet, GeneratedLake, generate_lake
from tests.benchmarks.servers import running_server
from tests.harness import at, write_raw
from tests.measured import MeasuredRun, measure_run

HOURS = 24


def _make_lines(count: int, tail: bytes) -> Iterator[bytes]:
    """Make lines of an hour, 400 machines in turn."""
    for k in range(count):
        tenths = (k // 400) * 36_000 * 400 // (count + 400)
        yield b'{"machine_id":"PUMP-%04d","timestamp_utc":"2025-10-15T08:%02d:%02d.%d00Z",%s\n' % (
            k % 400, tenths // 600, tenths // 10 % 60, tenths % 10, tail
        )  # fmt: skip


def _write(root: Path, name: str, lines: Iterable[bytes], *, is_packed: bool = False) -> None:
    path = write_raw(root, at(8), name, b"")
    with gzip.open(path, "wb", compresslevel=1) if is_packed else path.open("wb") as file:
        file.writelines(lines)


GOOD = b'"temperature_celsius":70.5,"vibration_rms":1.25,"sensor_type":"both","mqtt_topic":"a/b"}'
BAD = b'"temperature_celsius":9999.5,"vibration_rms":1.25,"sensor_type":"both","mqtt_topic":"a/b"}'
FAILED = b'"codigo_evento":"FALHA_VIBRACAO_ELEVADA","sensor_type":"both","mqtt_topic":"a/b"}'


def _write_duplicates(root: Path, count: int) -> None:
    lines = list(_make_lines(count // 100, GOOD))
    for number in range(100):
        _write(root, f"{number}.jsonl", lines)


HOSTILE: dict[str, tuple[int, Callable[[Path, int], None], str]] = {
    "2 M lines rejected": (2_000_000, lambda root, n: _write(root, "a.jsonl", _make_lines(n, BAD)), "rejected"),
    "2 M lines that are no JSON, all different": (
        2_000_000,
        lambda root, n: _write(root, "a.jsonl", (b"%032x no JSON\n" % (k * 2**89 // 7919) for k in range(n))),
        "rejected",
    ),
    "2 M failures": (2_000_000, lambda root, n: _write(root, "a.jsonl", _make_lines(n, FAILED)), "failures"),
    "2 M duplicates": (2_000_000, _write_duplicates, "duplicates"),
    "4 M bad lines in 12 KB of gzip": (
        4_000_000, lambda root, n: _write(root, "a.jsonl.gz", (b"{}\n" for _ in range(n)), is_packed=True), "rejected",
    ),
    "a gzip bomb of 1 GB, one line": (
        1000, lambda root, n: _write(root, "a.jsonl.gz", (bytes(2**20) for _ in range(n)), is_packed=True), "rejected",
    ),
    "500,000 good lines in one gzip": (
        500_000, lambda root, n: _write(root, "a.jsonl.gz", _make_lines(n, GOOD), is_packed=True), "accepted",
    ),
    "6 M good lines in one gzip": (
        6_000_000, lambda root, n: _write(root, "a.jsonl.gz", _make_lines(n, GOOD), is_packed=True), "accepted",
    ),
    "one plain object of 500 MB": (
        3_100_000, lambda root, n: _write(root, "a.jsonl", _make_lines(n, GOOD)), "accepted",
    ),
}  # fmt: skip
"""Lines, how they are written, and what becomes of them."""


def test_memory_does_not_grow_with_history(
    benchmark: BenchmarkFixture, collected: Collected, sizes: Sizes, work_folder: Path
) -> None:
    """Both lakes are of one fleet, whose full day is 20 times the lines."""
    fleet = Fleet(math.ceil(20 * sizes.lines / Fleet(1).lines_an_hour / HOURS))
    most = sizes.growth * sizes.lines
    peaks = {
        lines: _measure(benchmark, generate_lake(work_folder / str(lines), fleet, lines), is_timed=lines == most)
        for lines in (sizes.lines, most)
    }
    short, long = peaks[sizes.lines], peaks[most]
    partitions = math.ceil(most / fleet.lines_an_hour)
    how = f"{sizes.lines:,} lines {short:.0f} MB, {most:,} lines in {partitions} partitions {long:.0f} MB"
    collected.figures += [
        Figure(
            f"peak memory, {sizes.lines:,} against {most:,} lines: growth",
            at_most(25),
            100 * (long / short - 1),
            "%",
            1,
            f"{how}; {fleet.machines:,} machines both times, resident, a process each",
        ),
        Figure(
            f"peak memory at {most:,} lines",
            at_most(400),
            long,
            "MB",
            1,
            "`lambda_handler`, lake on disk, table behind a server",
        ),
    ]


@pytest.mark.parametrize("kind", HOSTILE)
def test_memory_does_not_grow_with_what_is_hostile(
    benchmark: BenchmarkFixture, collected: Collected, sizes: Sizes, work_folder: Path, kind: str
) -> None:
    count, write, field = HOSTILE[kind]
    lines = max(count * sizes.lines // 1_000_000, 100)
    root = work_folder / kind.replace(" ", "_")
    write(root, lines)
    run: MeasuredRun = benchmark.pedantic(_invoke, args=(root, at(9)), rounds=1)  # type: ignore[no-untyped-call]
    told = run.answer["lines"]
    found = told["rejected"].values() if field == "rejected" else [told[field]]
    assert sum(found) >= 0.98 * told["read"] > 0
    shutil.rmtree(root)
    collected.figures.append(
        Figure(
            f"peak memory, {kind}",
            at_most(400),
            run.peak_mb,
            "MB",
            1,
            f"{told['read']:,} lines of one partition, of which {sum(found):,} {field}",
        )
    )


def _measure(benchmark: BenchmarkFixture, lake: GeneratedLake, *, is_timed: bool) -> float:
    """Invoke the function in a fresh process; return its peak in MB (10⁶ bytes)."""
    where = lake.root, lake.end
    told = benchmark.pedantic(_invoke, args=where, rounds=1) if is_timed else _invoke(*where)  # type: ignore[no-untyped-call]
    assert told.answer["lines"]["accepted"] == lake.lines
    return float(told.peak_mb)


def _invoke(root: Path, end: datetime) -> MeasuredRun:
    with running_server("dynamodb") as endpoint:
        return measure_run(end, lake=root.resolve().as_uri(), endpoint=endpoint)
