"""A scheduled run on a lake with history, against computing the same from raw lines."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from handler.definitions.layout import tiles_key
from handler.definitions.timestamps import HOUR
from tests.benchmarks.conftest import Collected, Sizes
from tests.benchmarks.figures import Bound, Contestant, Figure, at_least, describe, run_race
from tests.benchmarks.handler_runs import HandlerRun
from tests.benchmarks.lake_generator import Fleet, GeneratedLake, generate_lake
from tests.frames import assert_close

HISTORY = 30


@pytest.fixture(scope="module")
def history(work_folder: Path, sizes: Sizes) -> GeneratedLake:
    fleet = Fleet(sizes.history_machines, sizes.history_interval)
    lines = HISTORY * fleet.lines_an_hour
    return generate_lake(work_folder / "history", fleet, lines, lines_a_file=sizes.lines_a_file)


@pytest.mark.parametrize(("hours", "must_reach"), [(1, at_least(15)), (6, None)])
def test_scheduled_run_on_history(
    benchmark: BenchmarkFixture,
    collected: Collected,
    history: GeneratedLake,
    sizes: Sizes,
    hours: int,
    must_reach: Bound | None,
) -> None:
    span = timedelta(hours=hours)
    scheduled = HandlerRun(history.root, history.end, span)
    from_raw = HandlerRun(history.root, history.end, span)
    new = [history.end - (hour + 1) * HOUR for hour in range(hours)]

    def forget_new_partitions() -> None:
        for partition in new:
            for kind in ("tiles", "failures", "quarantine", "training"):
                folder = (history.root / tiles_key(partition).replace("tiles", kind)).parent
                shutil.rmtree(folder, ignore_errors=True)

    from_raw.forget_everything()
    from_raw.run()
    forget_new_partitions()
    scheduled.run()
    assert_close(scheduled.rows, from_raw.rows)
    built = (scheduled.answer["tiles"]["built"], from_raw.answer["tiles"]["built"])
    assert built == (hours, min(HISTORY, 24 + hours))
    race = run_race(
        benchmark,
        Contestant("scheduled", scheduled.run, forget_new_partitions),
        Contestant("from raw", from_raw.run, from_raw.forget_everything),
        rounds=sizes.rounds,
    )
    times = describe({name: race.median_of(name) for name in ("from raw", "scheduled")})
    collected.figures.append(
        Figure(
            f"a run every {hours} h on 30 h of history ({sizes.history_machines:,} machines, {history.lines:,} lines), "
            "against all from raw",
            must_reach,
            race.ratio("from raw", "scheduled"),
            "x",
            race.rounds,
            f"{times}; partitions read {built[1]} and {built[0]}",
        )
    )
