"""A scheduled run on a lake with history, against DuckDB, which computes the same 24 hours from raw lines."""

import shutil
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from handler.definitions.layout import partition_path, tiles_key
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import HOUR
from handler.lake.lake import Lake
from handler.pipeline.run import Job, run_pipeline
from handler.plan import Plan
from handler.stores.online import OnlineResult
from tests.benchmarks.conftest import Collected, Sizes
from tests.benchmarks.figures import Bound, Contestant, Figure, at_least, at_most, run_race
from tests.benchmarks.handler_runs import HandlerRun
from tests.benchmarks.lake_generator import Fleet, GeneratedLake, generate_lake
from tests.benchmarks.peers import DUCKDB, check_equal, select_window
from tests.benchmarks.servers import BUCKET, COUNT, running_server

HISTORY = 30
LONG_HISTORY = 80
WINDOW = 24


@pytest.fixture(scope="module")
def history(work_folder: Path, sizes: Sizes) -> GeneratedLake:
    fleet = Fleet(sizes.history_machines, sizes.history_interval)
    lines = HISTORY * fleet.lines_an_hour
    return generate_lake(work_folder / "history", fleet, lines, lines_a_file=sizes.lines_a_file)


REQUESTS_BEFORE = 102
"""Of the same run when training files did not say yet what they were made of."""


def test_requests_of_a_scheduled_run(
    benchmark: BenchmarkFixture,
    collected: Collected,
    sizes: Sizes,
    work_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One new object has arrived since the last run; every partition of three days holds one."""
    fleet = Fleet(2, sizes.history_interval)
    history = generate_lake(work_folder / "days", fleet, LONG_HISTORY * fleet.lines_an_hour)
    spec = FeatureSpec.load()
    with running_server("s3", "--lake", str(history.root)) as endpoint:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "x")
        job = Job(
            lake=Lake.open(BUCKET, endpoint=endpoint, region="us-east-1"),
            write_online=lambda rows: OnlineResult(written=rows.height),
            spec=spec,
            now=history.end,
            report=lambda message, fields: None,
        )

        def count() -> int:
            with urllib.request.urlopen(f"{endpoint}/{COUNT}") as response:
                return int(response.read())

        def run() -> tuple[dict[str, Any], int]:
            before = count()
            plan = Plan(history.end - HOUR, history.end, spec.lookback, 24 * HOUR)
            return run_pipeline(plan, job), count() - before

        run()
        key = f"raw/{partition_path(history.end - HOUR)}/more.jsonl"
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{BUCKET}/{key}", b"\n", method="PUT")).close()
        answer, requests = benchmark.pedantic(run, rounds=1)  # type: ignore[no-untyped-call]
    assert answer["tiles"]["built"] == 1
    assert answer["training"]["files"] == 1
    collected.figures.append(
        Figure(
            f"a run every hour on {LONG_HISTORY} h of history: requests to S3",
            at_most(REQUESTS_BEFORE + 100),
            requests,
            "",
            1,
            f"an object an hour; {REQUESTS_BEFORE} before training files said what they are made of; less the table's",
        )
    )


def test_looking_for_stale_files_costs_little(
    benchmark: BenchmarkFixture, collected: Collected, history: GeneratedLake, sizes: Sizes
) -> None:
    """The same run, and one that looks at no training file but its own: the same rows, since no reading is late."""
    looking = HandlerRun(history.root, history.end)
    at_its_own = HandlerRun(history.root, history.end, allowed_lateness=timedelta(0))

    def forget_newest_partition() -> None:
        for kind in ("tiles", "hours", "failures", "quarantine"):
            folder = (history.root / tiles_key(history.end - HOUR).replace("tiles", kind)).parent
            shutil.rmtree(folder, ignore_errors=True)

    looking.run()
    forget_newest_partition()
    at_its_own.run()
    forget_newest_partition()
    looking.run()
    assert looking.answer["tiles"]["built"] == at_its_own.answer["tiles"]["built"] == 1
    race = run_race(
        benchmark,
        Contestant("with", looking.run, forget_newest_partition),
        Contestant("without", at_its_own.run, forget_newest_partition),
        rounds=sizes.rounds,
    )
    collected.figures.append(
        Figure(
            "a run every hour, with a look at what earlier training files were made of, against one without",
            at_most(1.15),
            race.ratio("with", "without"),
            "x",
            race.rounds,
            race.describe("with", "without"),
        )
    )


@pytest.mark.parametrize(("hours", "must_reach"), [(1, at_least(10)), (6, None)])
def test_scheduled_run_on_history(
    benchmark: BenchmarkFixture,
    collected: Collected,
    history: GeneratedLake,
    sizes: Sizes,
    hours: int,
    must_reach: Bound | None,
) -> None:
    handler = HandlerRun(history.root, history.end, timedelta(hours=hours))
    new, day = ([history.end - (hour + 1) * HOUR for hour in range(count)] for count in (hours, WINDOW))
    folders = {history.root / "raw" / partition_path(partition) for partition in day}
    files = [path for path in history.files if path.parent in folders]

    def forget_new_partitions() -> None:
        for partition in new:
            for kind in ("tiles", "hours", "failures", "quarantine"):
                folder = (history.root / tiles_key(partition).replace("tiles", kind)).parent
                shutil.rmtree(folder, ignore_errors=True)

    handler.forget_everything()
    handler.run()
    forget_new_partitions()
    handler.run()
    assert handler.answer["tiles"]["built"] == hours
    check_equal(select_window(handler.rows, "24h"), DUCKDB.to_frame(DUCKDB.compute(files)), DUCKDB.name)
    race = run_race(
        benchmark,
        Contestant("scheduled", handler.run, forget_new_partitions),
        Contestant(DUCKDB.name, lambda: DUCKDB.compute(files)),
        rounds=sizes.rounds,
    )
    collected.figures.append(
        Figure(
            f"a run every {hours} h on 30 h of history ({sizes.history_machines:,} machines), against DuckDB on the "
            f"{history.lines * WINDOW // HISTORY:,} raw lines of 24 h",
            must_reach,
            race.ratio(DUCKDB.name, "scheduled"),
            "x",
            race.rounds,
            f"{race.describe(DUCKDB.name, 'scheduled')}; partitions read {WINDOW} and {hours}",
        )
    )
