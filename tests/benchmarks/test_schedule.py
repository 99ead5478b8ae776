"""A scheduled run on a lake with history, against DuckDB, which computes the same 24 hours from raw lines."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from handler.definitions.layout import partition_path, tiles_key
from handler.definitions.timestamps import HOUR
from tests.benchmarks.conftest import Collected, Sizes
from tests.benchmarks.figures import Bound, Contestant, Figure, at_least, run_race
from tests.benchmarks.handler_runs import HandlerRun
from tests.benchmarks.lake_generator import Fleet, GeneratedLake, generate_lake
from tests.benchmarks.peers import DUCKDB, check_equal, select_window

HISTORY = 30
WINDOW = 24


@pytest.fixture(scope="module")
def history(work_folder: Path, sizes: Sizes) -> GeneratedLake:
    fleet = Fleet(sizes.history_machines, sizes.history_interval)
    lines = HISTORY * fleet.lines_an_hour
    return generate_lake(work_folder / "history", fleet, lines, lines_a_file=sizes.lines_a_file)


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
            for kind in ("tiles", "failures", "quarantine", "training"):
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
