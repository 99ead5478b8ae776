"""Large fleets and many objects: what a run takes; full size in ``make faults``."""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from handler.definitions.timestamps import HOUR
from tests.benchmarks.lake_generator import Fleet, GeneratedLake, generate_lake
from tests.benchmarks.servers import BUCKET, running_server
from tests.faults.amounts import IS_FULL, MACHINES, OBJECTS
from tests.harness import at, line, write_raw
from tests.measured import MeasuredRun, measure_run

HISTORY = 30


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GeneratedLake]:
    """A fleet whose machines send two readings every five minutes: as many tiles as there can be."""
    fleet = Fleet(MACHINES, interval=timedelta(minutes=5))
    lake = generate_lake(tmp_path_factory.mktemp("fleet"), fleet, HISTORY * fleet.lines_an_hour)
    yield lake
    shutil.rmtree(lake.root)


def say(capsys: pytest.CaptureFixture[str], what: str, run: MeasuredRun) -> None:
    if IS_FULL:
        with capsys.disabled():
            print(f"\n{what}: {run}")


def test_fleet(lake: GeneratedLake, capsys: pytest.CaptureFixture[str]) -> None:
    """A first run, the hourly one after it, and a window of a day whose training files are to be written."""
    with running_server("dynamodb") as endpoint:
        for what, as_of, window in (
            ("first run", lake.end - HOUR, 6),
            ("hourly run", lake.end, 1),
            ("window of 24 h", lake.end, 24),
        ):
            if window == 24:
                shutil.rmtree(lake.root / "processed" / "training")
            run = measure_run(as_of, lake=lake.root.as_uri(), endpoint=endpoint, time_window=window)
            say(capsys, f"{MACHINES:,} machines, {HISTORY} h of history, {what}", run)
            assert run.answer["machines"] == run.answer["online"]["written"] + run.answer["online"]["stale_skipped"]
            assert run.answer["machines"] == MACHINES
            assert run.answer["training"]["files"] >= window
            assert run.peak_mb < 800


@pytest.mark.parametrize("where", ["folder", "S3"])
def test_many_objects(where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(OBJECTS):
        write_raw(tmp_path, at(8), f"{number}.jsonl", line(f"M{number % 100}", at(8, milliseconds=number), vibration=1))
    with running_server("dynamodb") as table, running_server("s3", "--lake", str(tmp_path)) as bucket:
        lake = BUCKET if where == "S3" else tmp_path.as_uri()
        more = {"AWS_ENDPOINT_URL_S3": bucket} if where == "S3" else {}
        run = measure_run(at(9), lake=lake, endpoint=table, more=more)
    say(capsys, f"{OBJECTS:,} objects of a line in an hour, {where}", run)
    assert run.answer["objects"]["read"] == run.answer["lines"]["accepted"] == OBJECTS
    assert run.peak_mb < 800
