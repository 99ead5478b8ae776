"""What reading takes downstream: a month of training rows, features as of instants, pandas, the table."""

import io
from datetime import timedelta
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pytest_benchmark.fixture import BenchmarkFixture

from handler.definitions.layout import training_key
from handler.definitions.schema import feature_schema, row_schema
from handler.definitions.spec import FeatureSpec
from handler.lake.lake import Lake
from handler.plan import Plan
from handler.stores.online import to_items
from handler.stores.training import Origin, write_training_hours
from handler.tiles.files import PartitionFiles
from machine_features import FeatureStore, to_pandas
from machine_features.online import make_client, read_items
from tests.benchmarks.conftest import Collected, Sizes
from tests.benchmarks.figures import Contestant, Figure, at_least, at_most, run_race
from tests.benchmarks.servers import running_server
from tests.harness import HOUR, T0, at, line, write_raw

SPEC = FeatureSpec.load()
FIVE = [name for name in feature_schema(SPEC) if "mean" in name or "std" in name][:5]
LATENCY = 0.005


def draw_rows(hour: int, machines: int) -> pl.DataFrame:
    chance = np.random.default_rng(hour)
    columns: dict[str, object] = {}
    for name, dtype in row_schema(SPEC).items():
        if name == "machine_id":
            columns[name] = [f"M{number:05d}" for number in range(machines)]
        elif name == "event_timestamp":
            columns[name] = [at(hour)] * machines
        elif dtype == pl.String:
            columns[name] = chance.choice(list("ABCD"), machines)
        else:
            columns[name] = chance.integers(0, 99, machines) if dtype == pl.Int64 else chance.normal(5, 1, machines)
    return pl.DataFrame(columns, schema=row_schema(SPEC))


@pytest.fixture(scope="module")
def store(work_folder: Path, sizes: Sizes) -> FeatureStore:
    """A month of training files."""
    folder = work_folder / "month"
    folder.mkdir()
    lake = Lake.open(folder.as_uri())
    origin = Origin.describe(SPEC, timedelta(hours=24), {})
    for hour in range(1, sizes.training_hours + 1):
        write_training_hours(lake, {at(hour): origin}, draw_rows(hour, sizes.training_machines), T0)
    return FeatureStore.open(folder.as_uri())


def test_month_of_training_rows(
    benchmark: BenchmarkFixture, collected: Collected, sizes: Sizes, store: FeatureStore
) -> None:
    keys = [training_key(at(hour)) for hour in range(1, sizes.training_hours + 1)]

    def read_whole_files() -> pl.DataFrame:
        return pl.concat([pl.read_parquet(io.BytesIO(data)) for data in store.lake.read(keys)])

    def read(features: list[str] | None = None) -> pl.DataFrame:
        fresh = FeatureStore.open(f"file://{store.location}")  # which knows no footer yet
        return fresh.training(T0, at(sizes.training_hours), features=features).collect()

    assert_frame_equal(read(), read_whole_files())
    race = run_race(
        benchmark,
        Contestant("five columns", lambda: read(FIVE)),
        Contestant("all columns", read),
        Contestant("whole files one by one", read_whole_files),
        rounds=sizes.few_rounds,
    )
    month = f"{sizes.training_hours} h of {sizes.training_machines:,} machines"
    for name, other, bound in (
        ("five columns", "whole files one by one", at_least(10)),
        ("five columns", "all columns", at_least(4)),
        ("all columns", "whole files one by one", None),
    ):
        title = f"`training`, {month}, {name}, against {other}"
        how = race.describe(name, other)
        collected.figures.append(Figure(title, bound, race.ratio(other, name), "x", race.rounds, how))


@pytest.fixture(scope="module")
def arrived(work_folder: Path, sizes: Sizes) -> FeatureStore:
    """The tiles of a month and a day of ten machines, with readings that come late."""
    folder = work_folder / "arrived"
    for hour in range(sizes.training_hours + 24):
        lines = [
            line(
                f"M{machine}", at(hour - (hour % 10 == machine), minutes=5 * tile), vibration=machine, temperature=tile
            )
            for machine in range(10)
            for tile in range(12)
        ]
        write_raw(folder, at(hour), "a.jsonl", lines)
    lake = Lake.open(folder.as_uri())
    plan = Plan(T0, at(sizes.training_hours + 24), SPEC.lookback, timedelta(hours=24))
    for _ in PartitionFiles(lake, SPEC, plan).bring_up_to_date():
        pass
    return FeatureStore.open(folder)


def test_month_of_rows_as_they_were_known(
    benchmark: BenchmarkFixture, collected: Collected, sizes: Sizes, arrived: FeatureStore
) -> None:
    machines = [f"M{number}" for number in range(10)]

    def read() -> pl.DataFrame:
        fresh = FeatureStore.open(arrived.location)
        rows = fresh.training(at(24), at(sizes.training_hours + 24), machines=machines, knowledge="as_of")
        return rows.collect()

    assert read().height == 10 * sizes.training_hours
    race = run_race(benchmark, Contestant("read", read), rounds=sizes.few_rounds)
    title = f"`training` as it was known, {sizes.training_hours} h of 10 machines, processor time"
    seconds = median(race.processor["read"])
    collected.figures.append(Figure(title, at_most(2), seconds, "s", race.rounds, race.describe("read")))


def test_features_as_of_instants(
    benchmark: BenchmarkFixture, collected: Collected, sizes: Sizes, store: FeatureStore
) -> None:
    chance = np.random.default_rng(1)
    machines = [f"M{number:05d}" for number in range(sizes.training_machines)]
    seconds = pl.Series(chance.integers(0, sizes.training_hours * 3600, sizes.entities) * 10**6)
    times = seconds.cast(pl.Duration("us")) + pl.Series([T0])
    entities = pl.DataFrame({"machine_id": chance.choice(machines, sizes.entities), "event_timestamp": times})
    found = store.asof(entities, features=FIVE, max_age="1h")
    assert found.select("machine_id", "event_timestamp").equals(entities)
    assert found.filter(pl.col("age") > HOUR).is_empty()
    race = run_race(
        benchmark,
        Contestant("asof", lambda: store.asof(entities, features=FIVE, max_age="1h")),
        rounds=sizes.few_rounds,
    )
    title = f"`asof` of {sizes.entities:,} rows, five columns"
    collected.figures.append(Figure(title, at_most(3), race.median_of("asof"), "s", race.rounds))


@pytest.mark.parametrize(("writable", "most"), [(False, 0.5), (True, None)])
def test_pandas(
    writable: bool,
    most: float | None,
    benchmark: BenchmarkFixture,
    collected: Collected,
    sizes: Sizes,
    store: FeatureStore,
) -> None:
    rows = store.training(T0, at(sizes.training_hours)).drop("created_timestamp").collect()
    to_pandas(rows.head(1))  # imports pandas
    race = run_race(
        benchmark, Contestant("to_pandas", lambda: to_pandas(rows, writable=writable)), rounds=sizes.few_rounds
    )
    bound = None if most is None else at_most(most)
    how = "a copy" if writable else "numbers share the frame's memory"
    title = f"`to_pandas`, {rows.height:,} by {rows.width}, {how}"
    collected.figures.append(Figure(title, bound, race.median_of("to_pandas"), "s", race.rounds))


def test_items_of_many_machines(benchmark: BenchmarkFixture, collected: Collected, sizes: Sizes) -> None:
    machines = [f"M{number:05d}" for number in range(sizes.training_machines)]
    with running_server("dynamodb", "--latency", str(LATENCY)) as endpoint:
        client = make_client(endpoint, "us-east-1")
        for item in to_items(draw_rows(1, sizes.training_machines), T0):
            client.put_item(TableName="features", Item=item)
        assert sorted(read_items(client, "features", machines, None)) == machines  # half were left unprocessed at first

        def get_one_by_one() -> None:
            for machine in machines:
                client.get_item(TableName="features", Key={"machine_id": {"S": machine}})

        race = run_race(
            benchmark,
            Contestant("online", lambda: read_items(client, "features", machines, None)),
            Contestant("one by one", get_one_by_one),
            rounds=sizes.few_rounds,
        )
    ratio = race.ratio("one by one", "online")
    title = f"`online`, {sizes.training_machines:,} machines at {LATENCY * 1000:.0f} ms, against one by one"
    collected.figures.append(
        Figure(title, at_least(15), ratio, "x", race.rounds, race.describe("online", "one by one"))
    )
