"""What a run costs in stages, against one process; and how much memory and time the largest of its stages takes."""

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.benchmarks.conftest import Collected, Sizes
from tests.benchmarks.figures import Figure, at_least, at_most
from tests.benchmarks.lake_generator import Fleet, GeneratedLake, generate_lake
from tests.benchmarks.servers import running_server
from tests.harness import stamp
from tests.measured import FunctionProcess, measure_run
from tests.staged import StagedRun


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with running_server("dynamodb") as url:
        yield url


def test_stages_cost_little_more_than_one_run(
    benchmark: BenchmarkFixture, collected: Collected, sizes: Sizes, work_folder: Path, endpoint: str
) -> None:
    """One run, the stages in one process, the stages in two: each on the same raw lines, each from nothing."""
    fleet = Fleet(sizes.machines)
    lake = generate_lake(work_folder / "scaled", fleet, sizes.scaled_lines)
    window = -(-lake.lines // fleet.lines_an_hour)
    one = measure_run(lake.end, lake=lake.root.as_uri(), endpoint=endpoint, time_window=window)
    alone, answer = _take_stages(lake, endpoint, window, processes=1)
    pair = StagedRun(_clear(lake), endpoint, processes=2)
    in_two = benchmark.pedantic(pair.run, args=(lake.end,), kwargs={"time_window": window}, rounds=1)  # type: ignore[no-untyped-call]
    for each in (answer, in_two):
        assert each["lines"] == one.answer["lines"]
        assert each["training"] == one.answer["training"]
    shutil.rmtree(lake.root)
    note = f"{lake.lines:,} lines in {window} partitions; {{}}; one process: {one}"
    collected.figures += [
        Figure(
            "processor time of a run in stages, against one run",
            at_most(1.4),
            alone.cpu_seconds / one.cpu_seconds,
            "x",
            1,
            note.format(alone.describe()),
        ),
        Figure(
            "stages in two processes on two cores, against one",
            at_least(1.7),
            alone.seconds / pair.seconds,
            "x",
            1,
            f"{alone.seconds:.1f} s and {pair.seconds:.1f} s on the wall; each process has one core, as 1,769 MB buy",
        ),
    ]


def test_map_in_a_process_of_its_own(
    benchmark: BenchmarkFixture, collected: Collected, sizes: Sizes, work_folder: Path, endpoint: str
) -> None:
    """A cold process reads one part; one run reads as much four times."""
    lines = sizes.part_lines
    fleet = Fleet(lines // 1000, interval=timedelta(seconds=7.2))  # an hour has this many lines
    lake = generate_lake(work_folder / "parts", fleet, 4 * lines)
    megabytes = lake.size / 4 / 1e6
    run = measure_run(lake.end, lake=lake.root.as_uri(), endpoint=endpoint, time_window=4)
    _clear(lake)
    event = {"stage": "plan", "run": "one", "event": {"as_of": stamp(lake.end)}}
    with FunctionProcess(lake=lake.root.as_uri(), endpoint=endpoint, time_window=4) as process:
        planned = process.invoke(event, lake.end).answer
    (first, *_) = json.loads((lake.root / planned["maps"]["key"]).read_bytes())
    with FunctionProcess(lake=lake.root.as_uri(), endpoint=endpoint, time_window=4) as process:
        measured = benchmark.pedantic(process.invoke, args=(first, lake.end), rounds=1)  # type: ignore[no-untyped-call]
    shutil.rmtree(lake.root)
    collected.figures.append(
        Figure(
            "processor time of one map in a process of its own, against the same bytes within one run",
            at_most(1.3),
            measured.cpu_seconds / (run.cpu_seconds / 4),
            "x",
            1,
            f"{megabytes:.0f} MB; {measured}, its start included; one run of four such partitions: {run}",
        )
    )


@pytest.mark.parametrize(
    ("interval", "hours", "most"), [(timedelta(minutes=5), 6, 700), (timedelta(seconds=10), 1, 1024)]
)
def test_memory_of_the_largest_stage(
    benchmark: BenchmarkFixture,
    collected: Collected,
    sizes: Sizes,
    work_folder: Path,
    endpoint: str,
    interval: timedelta,
    hours: int,
    most: int,
) -> None:
    """Each process takes many stages, so that the peak is that of the largest."""
    fleet = Fleet(sizes.fleet, interval=interval)
    lake = generate_lake(work_folder / "fleet", fleet, hours * fleet.lines_an_hour)
    staged = StagedRun(lake.root, endpoint, processes=2)
    answer = benchmark.pedantic(staged.run, args=(lake.end,), kwargs={"time_window": hours}, rounds=1)  # type: ignore[no-untyped-call]
    assert answer["machines"] == fleet.machines
    shutil.rmtree(lake.root)
    collected.figures.append(
        Figure(
            f"peak memory of any stage, a reading every {interval.seconds:,} s",
            at_most(most),
            staged.peak_mb,
            "MB",
            1,
            f"{fleet.machines:,} machines, hours: {hours}, {lake.lines:,} lines: {staged.describe()}",
        )
    )


def _take_stages(
    lake: GeneratedLake, endpoint: str, window: int, *, processes: int
) -> tuple[StagedRun, dict[str, object]]:
    staged = StagedRun(_clear(lake), endpoint, processes=processes)
    return staged, staged.run(lake.end, time_window=window)


def _clear(lake: GeneratedLake) -> Path:
    """Take away what an earlier run wrote."""
    shutil.rmtree(lake.root / "processed", ignore_errors=True)
    return lake.root
