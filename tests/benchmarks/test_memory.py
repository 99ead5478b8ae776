"""Peak memory of the function's own entry point, in a process of its own, on a short and on a long history."""

import json
import math
import subprocess
import sys
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

from processing.allocator import ALLOCATOR
from tests.benchmarks.conftest import Collected, Sizes
from tests.benchmarks.figures import Figure, at_most
from tests.benchmarks.lake_generator import Fleet, GeneratedLake, generate_lake
from tests.benchmarks.servers import ROOT, running_server
from tests.harness import environment_without_python, stamp

HOURS = 24
# Not getrusage: a process begins with the peak of the one that started it.
INVOKE = """
import json, re, sys
from handler.app import run
from handler.definitions.timestamps import parse_instant
sys.stdout, answer = sys.stderr, run({"as_of": sys.argv[1]}, now=parse_instant(sys.argv[1]))
peak = int(re.search(r"VmHWM:\\s+([0-9]+) kB", open("/proc/self/status").read())[1])
print(json.dumps({"peak_mb": peak * 1024 / 1e6, **answer["lines"], "written": answer["online"]["written"]}),
      file=sys.__stdout__)
"""


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


def _measure(benchmark: BenchmarkFixture, lake: GeneratedLake, *, is_timed: bool) -> float:
    """Invoke the function in a fresh process; return its peak in MB (10⁶ bytes)."""
    if not is_timed:
        return _invoke(lake)
    peak: float = benchmark.pedantic(_invoke, args=(lake,), rounds=1)  # type: ignore[no-untyped-call]
    return peak


def _invoke(lake: GeneratedLake) -> float:
    with running_server("dynamodb") as endpoint:
        environment = {
            **environment_without_python(),
            **ALLOCATOR,
            "AWS_ENDPOINT_URL": endpoint,
            "DATA_LAKE_BUCKET": lake.root.resolve().as_uri(),
            "DYNAMODB_TABLE_NAME": "features",
            "TIME_WINDOW": "1",
        }
        done = subprocess.run(
            [sys.executable, "-c", INVOKE, stamp(lake.end)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["accepted"] == lake.lines
    assert told["written"] > 0
    return float(told["peak_mb"])
