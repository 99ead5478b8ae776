"""Raw lines to features, against every other way a user would do it; and what bad lines and unknown fields cost."""

import os
import shutil
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import orjson
import polars as pl
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import HOUR
from handler.features.rows import compute_features
from handler.ingest.classes import parse_lines
from handler.ingest.duplicates import drop_repeated
from handler.lake.lake import Lake
from handler.tiles.build import build_tiles
from handler.tiles.merge import merge_tiles
from tests.benchmarks.conftest import Collected, Sizes
from tests.benchmarks.figures import Bound, Contestant, Figure, Race, at_least, run_race
from tests.benchmarks.handler_runs import HandlerRun
from tests.benchmarks.lake_generator import Fleet, GeneratedLake, generate_lake
from tests.benchmarks.peers import (
    DUCKDB,
    PANDAS,
    POLARS,
    PYTHON,
    READINGS,
    Peer,
    check_equal,
    compute_with_tsflex,
    select_window,
    split_into_series,
    tsflex_to_frame,
)
from tests.benchmarks.report import Limits
from tests.frames import assert_close

WINDOW = 24 * HOUR
STORE = "handler by the store"
MUST_REACH = {PANDAS: at_least(12), POLARS: at_least(1.3), DUCKDB: at_least(0.8), PYTHON: None}
MORE_MUST_REACH = {**MUST_REACH, DUCKDB: at_least(1.0)}


ONE_HOUR_ONLY = timedelta(0)
"""No reading is late; with more, the first run also writes every earlier training hour, which no peer does."""


def test_raw_lines_to_features(
    benchmark: BenchmarkFixture, collected: Collected, lake: GeneratedLake, sizes: Sizes
) -> None:
    store = HandlerRun(lake.root, lake.end, allowed_lateness=ONE_HOUR_ONLY, is_store=True)
    through_store = Contestant(STORE, store.run, store.forget_everything)
    race = race_peers(benchmark, collected, lake, MUST_REACH, sizes.rounds, through_store)
    collected.figures.append(
        Figure(
            f"raw lines to features, {lake.lines:,} lines, read as from S3, against DuckDB",
            None,
            race.ratio(DUCKDB.name, STORE),
            "x",
            race.rounds,
            f"{race.describe(DUCKDB.name, STORE)}; the same folder, by the interface to object stores; DuckDB as above",
        )
    )


def test_more_raw_lines_to_features(
    benchmark: BenchmarkFixture, collected: Collected, sizes: Sizes, work_folder: Path
) -> None:
    if not sizes.more_lines:
        pytest.skip("--more-lines 0 asks for no larger lake")
    folder = work_folder / "more"
    lake = generate_lake(folder, Fleet(sizes.machines), sizes.more_lines, lines_a_file=sizes.lines_a_file)
    peers = {peer: bound for peer, bound in MORE_MUST_REACH.items() if bound is not None}
    race_peers(benchmark, collected, lake, peers, sizes.few_rounds)
    shutil.rmtree(folder)


def race_peers(
    benchmark: BenchmarkFixture,
    collected: Collected,
    lake: GeneratedLake,
    peers: Mapping[Peer, Bound | None],
    rounds: int,
    *others: Contestant,
) -> Race:
    """Run the handler against peers, whose results must be equal, and note the figures."""
    handler = HandlerRun(lake.root, lake.end, allowed_lateness=ONE_HOUR_ONLY)
    handler.run()
    assert handler.answer["lines"]["accepted"] == lake.lines
    ours = select_window(handler.rows, "24h")
    for peer in peers:
        check_equal(ours, peer.to_frame(peer.compute(lake.files)), peer.name)
    race = run_race(
        benchmark,
        Contestant("handler", handler.run, handler.forget_everything),
        *(Contestant(peer.name, lambda peer=peer: peer.compute(lake.files)) for peer in peers),  # type: ignore[misc]
        *others,
        rounds=rounds,
    )
    for peer, must_reach in peers.items():
        collected.figures.append(
            Figure(
                f"raw lines to features, {lake.lines:,} lines, against {peer.name}",
                must_reach,
                race.ratio(peer.name, "handler"),
                "x",
                race.rounds,
                race.describe(peer.name, "handler"),
            )
        )
    return race


def test_feature_stage(benchmark: BenchmarkFixture, collected: Collected, lake: GeneratedLake, sizes: Sizes) -> None:
    spec = FeatureSpec.load()
    readings = _parse(lake, spec)
    series = split_into_series(readings)

    def run_ours() -> pl.DataFrame:
        return compute_features(merge_tiles(build_tiles(drop_repeated(readings), spec.reading_names)), [lake.end], spec)

    theirs = tsflex_to_frame(compute_with_tsflex(series, lake.end, WINDOW))
    check_equal(select_window(run_ours(), "24h"), theirs, "tsflex")
    race = run_race(
        benchmark,
        Contestant("handler", run_ours),
        Contestant("tsflex", lambda: compute_with_tsflex(series, lake.end, WINDOW)),
        rounds=sizes.rounds,
    )
    collected.figures.append(
        Figure(
            f"parsed lines to features, {lake.lines:,} lines, against tsflex",
            None,
            race.ratio("tsflex", "handler"),
            "x",
            race.rounds,
            f"{race.describe('tsflex', 'handler')}; "
            "ours builds tiles, three windows and a correlation, tsflex one window",
        )
    )


def _parse(lake: GeneratedLake, spec: FeatureSpec) -> pl.DataFrame:
    store = Lake.open(lake.root.resolve().as_uri())
    hours = [lake.end - (hour + 1) * HOUR for hour in range(24)]
    listings, _ = store.list_partitions(hours)
    parsed = pl.concat(
        parsed.readings.with_columns(pl.col("machine_id").cast(pl.String))
        for hour in sorted(hours)
        for read in store.split_batches(listings[hour])
        for parsed in parse_lines(read(), spec, hour)
    )
    return parsed.with_columns(pl.col("machine_id").cast(pl.Enum(parsed["machine_id"].unique().sort())))


def test_bad_lines_cost_little(
    benchmark: BenchmarkFixture, collected: Collected, lake: GeneratedLake, sizes: Sizes, work_folder: Path
) -> None:
    spoiled = generate_lake(
        work_folder / "spoiled",
        Fleet(sizes.machines),
        sizes.lines,
        lines_a_file=sizes.lines_a_file,
        bad_every=1000 if sizes.lines_a_file >= 10_000 else 100,
    )
    clean, handler = HandlerRun(lake.root, lake.end), HandlerRun(spoiled.root, spoiled.end)
    clean.forget_everything()
    clean.run()
    handler.run()
    assert sum(handler.answer["lines"]["rejected"].values()) == spoiled.bad_lines > 0
    assert_close(handler.rows, clean.rows)
    race = run_race(
        benchmark,
        Contestant("with bad lines", handler.run, handler.forget_everything),
        Contestant("clean", clean.run, clean.forget_everything),
        rounds=sizes.rounds,
    )
    collected.figures.append(
        Figure(
            f"the same with {spoiled.bad_lines / spoiled.lines:.1%} bad lines in every file, against the clean run",
            at_least(0.7),
            race.ratio("clean", "with bad lines"),
            "x",
            race.rounds,
            race.describe("clean", "with bad lines"),
        )
    )


def test_unknown_field_costs_little(
    benchmark: BenchmarkFixture, collected: Collected, lake: GeneratedLake, sizes: Sizes, work_folder: Path
) -> None:
    wide = generate_lake(
        work_folder / "wide",
        Fleet(sizes.machines),
        sizes.lines,
        lines_a_file=sizes.lines_a_file,
        more_fields=',"motor_current_amperes":11.75',
    )
    clean, handler = HandlerRun(lake.root, lake.end), HandlerRun(wide.root, wide.end)
    clean.forget_everything()
    clean.run()
    handler.run()
    assert handler.answer["lines"]["unknown_fields"] == wide.lines
    assert_close(handler.rows, clean.rows)
    race = run_race(
        benchmark,
        Contestant("with the field", handler.run, handler.forget_everything),
        Contestant("clean", clean.run, clean.forget_everything),
        rounds=sizes.rounds,
    )
    collected.figures.append(
        Figure(
            "the same with a numeric field on every line that the spec does not know, against the clean run",
            at_least(0.8),
            race.ratio("clean", "with the field"),
            "x",
            race.rounds,
            f"{race.describe('clean', 'with the field')}; {wide.size / lake.size - 1:.0%} more bytes",
        )
    )


def test_limits_of_the_machine(
    benchmark: BenchmarkFixture, collected: Collected, lake: GeneratedLake, sizes: Sizes
) -> None:
    handler = HandlerRun(lake.root, lake.end)
    schema = {"machine_id": pl.String, "timestamp_utc": pl.String, **dict.fromkeys(READINGS, pl.Float64)}
    contents = [path.read_bytes() for path in lake.files]
    race = run_race(
        benchmark,
        Contestant("handler", handler.run, handler.forget_everything),
        Contestant("disk", lambda: _read_all(lake.files), lambda: _drop_from_cache(lake.files)),
        Contestant("cache", lambda: _read_all(lake.files)),
        Contestant("polars", lambda: [pl.read_ndjson(data, schema=schema) for data in contents]),
        Contestant("duckdb", lambda: DUCKDB.compute(lake.files)),
        Contestant("orjson", lambda: _load_each(contents)),
        rounds=sizes.rounds,
    )
    rates = {name: lake.size / 1e6 / race.median_of(name) for name in race.seconds}
    collected.limits = Limits(**rates)


def _read_all(files: Sequence[Path]) -> None:
    for path in files:
        path.read_bytes()


def _drop_from_cache(files: Sequence[Path]) -> None:
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _load_each(contents: Sequence[bytes]) -> None:
    for data in contents:
        for line in data.splitlines():
            orjson.loads(line)
