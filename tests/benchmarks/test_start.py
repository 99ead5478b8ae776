"""A fresh process: what importing the function costs, and its first answer."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

from tests.benchmarks.conftest import Collected, Sizes
from tests.benchmarks.figures import Bound, Contestant, Figure, Race, at_most, describe, run_race
from tests.benchmarks.servers import ROOT
from tests.harness import environment_without_python

MEASURE = """
import sys, time
started = time.perf_counter()
{work}
seconds = time.perf_counter() - started
import json
print(json.dumps({{"seconds": seconds, "has_pandas": "pandas" in sys.modules}}), file=sys.__stdout__)
"""
IMPORT_POLARS = "import polars"
IMPORT_HANDLER = "import handler.app"
FIRST_ANSWER = """
from handler.app import lambda_handler
sys.stdout = sys.stderr
assert lambda_handler({}, None)["machines"] == 0
"""


def measure_in_fresh_process(work: str, lake: Path) -> dict[str, Any]:
    """Time some statements in a new interpreter, whose own start does not count."""
    environment = {
        **environment_without_python(),
        "DATA_LAKE_BUCKET": lake.resolve().as_uri(),
        "DYNAMODB_TABLE_NAME": "features",
        "TIME_WINDOW": "6",
    }
    done = subprocess.run(
        [sys.executable, "-c", MEASURE.format(work=work)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def race_processes(
    benchmark: BenchmarkFixture, lake: Path, rounds: int, *, ours: str, theirs: str = IMPORT_POLARS
) -> Race:
    """Interleave fresh processes; the times are those they measured themselves."""
    for work in (ours, theirs):  # leave bytecode behind
        assert not measure_in_fresh_process(work, lake)["has_pandas"]
    seconds: dict[str, list[float]] = {"handler": [], "polars": []}

    def measure(name: str, work: str) -> None:
        seconds[name].append(measure_in_fresh_process(work, lake)["seconds"])

    run_race(
        benchmark,
        Contestant("handler", lambda: measure("handler", ours)),
        Contestant("polars", lambda: measure("polars", theirs)),
        rounds=rounds,
    )
    return Race(seconds)


def _compare(name: str, must_reach: Bound, race: Race, note: str) -> Figure:
    times = describe({"import polars": race.median_of("polars"), "handler": race.median_of("handler")})
    return Figure(name, must_reach, race.ratio("handler", "polars"), "x", race.rounds, f"{times}; {note}")


def test_import(benchmark: BenchmarkFixture, collected: Collected, sizes: Sizes, tmp_path: Path) -> None:
    race = race_processes(benchmark, tmp_path, sizes.starts, ours=IMPORT_HANDLER)
    note = "inside fresh processes; pandas is not imported"
    collected.figures.append(_compare("`import handler.app`, against `import polars`", at_most(1.5), race, note))


def test_first_answer_on_an_empty_window(
    benchmark: BenchmarkFixture, collected: Collected, sizes: Sizes, tmp_path: Path
) -> None:
    (tmp_path / "raw").mkdir()
    race = race_processes(benchmark, tmp_path, sizes.starts, ours=FIRST_ANSWER)
    note = "import and first invocation, lake on disk"
    collected.figures.append(
        _compare("first answer on an empty window, against `import polars`", at_most(2.0), race, note)
    )
