"""Hours in place of tiles: the same rows, and few tile files read."""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from handler.definitions.schema import HOUR_SCHEMA, TILE_SCHEMA
from handler.definitions.spec import FeatureSpec, Window
from handler.features.rows import compute_features, find_split_hours
from handler.lake.lake import Lake
from handler.tiles.hours import describe_hours, roll_up_hours
from tests.frames import Point, assert_close, assert_rows_close, frame, tiles_of
from tests.harness import HOUR, Pipeline, Row, at, line, write_raw

SPEC = FeatureSpec.load()
LENGTHS = {"15m": timedelta(minutes=15), "1h": HOUR, "24h": 24 * HOUR, "36h": 36 * HOUR}
QUARTERS = replace(SPEC, pairs=(), windows=tuple(Window(label, length) for label, length in LENGTHS.items()))


def some_tiles() -> pl.DataFrame:
    lines: list[Point] = [("M1", at(k / 7), float(k % 11), float(k % 3)) for k in range(200)]
    lines += [("M2", at(k / 5), k % 7 / 3, None) for k in range(60)]
    return tiles_of(frame(*lines), SPEC)


def test_no_tiles_make_no_hours() -> None:
    hours = roll_up_hours(pl.DataFrame(schema=dict(TILE_SCHEMA)), SPEC)
    assert hours.is_empty()
    assert dict(hours.schema) == dict(HOUR_SCHEMA)


def test_hour_holds_its_tiles_and_those_of_a_pair() -> None:
    minutes = (0, 1, 7, 59.5)
    lines = [("M1", at(3, minutes=m), 10.0 + m, 1.0 if m else None) for m in minutes]
    hours = roll_up_hours(tiles_of(frame(*lines, ("M1", at(4), 5.0, None)), SPEC), SPEC)
    assert hours.select("series", "hour_start", "tiles", "n", "first", "last").rows() == [
        ("temperature_celsius", at(3), 3, 4, 10.0, 69.5),
        ("temperature_celsius", at(4), 1, 1, 5.0, 5.0),
        ("temperature_celsius|vibration_rms", at(3), 3, 3, 0.0, 0.0),
        ("vibration_rms", at(3), 3, 3, 1.0, 1.0),
    ]
    assert hours["y_max"][0] == 59.5 * 60e6


@pytest.mark.parametrize("instants", [[at(12)], [at(8), at(9), at(28)], [at(12, minutes=35)]])
def test_rows_from_hours_are_those_from_tiles(instants: list[datetime]) -> None:
    tiles = some_tiles()
    is_split = pl.col("tile_start").dt.truncate("1h").is_in(find_split_hours(instants, SPEC))
    hours = roll_up_hours(tiles.filter(~is_split), SPEC)
    rows = compute_features(tiles.filter(is_split), instants, SPEC, hours)
    assert not rows.is_empty()
    assert_close(rows, compute_features(tiles, instants, SPEC))


def test_hours_of_other_pairs_or_readings_do_not_fit() -> None:
    assert describe_hours(SPEC, "x") == describe_hours(replace(SPEC, windows=QUARTERS.windows), "x")
    assert describe_hours(SPEC, "x") != describe_hours(QUARTERS, "x")
    assert describe_hours(SPEC, "x") != describe_hours(SPEC, "y")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that are read whole."""
    keys: list[str] = []
    original = Lake.read

    def note(self: Lake, wanted: Iterable[str]) -> list[bytes]:
        wanted = list(wanted)
        keys.extend(wanted)
        return original(self, wanted)

    monkeypatch.setattr(Lake, "read", note)
    return keys


def fill(root: Path, *, late: bool) -> None:
    for hour in range(30):
        lines = [line("M1", at(hour, minutes=m), vibration=hour + m / 7, temperature=m % 13) for m in range(0, 60, 4)]
        lines += [line(f"M{k}", at(hour, minutes=k), temperature=k) for k in range(2, 30)]
        if late and hour > 8:
            lines += [line("M1", at(hour - 8, minutes=m), vibration=m) for m in range(1, 60, 7)]
            lines += [line("M3", at(hour - 3, minutes=m), temperature=m) for m in range(1, 60, 7)]
        write_raw(root, at(hour), "a.jsonl", lines)


def rows_of(
    root: Path, instants: list[datetime], spec: FeatureSpec = SPEC
) -> tuple[dict[str, pl.DataFrame], dict[str, Row]]:
    """Backfill, then do the runs of some instants; return the training files and the table."""
    pipeline = Pipeline(root, spec=spec)
    pipeline.backfill(at(0), at(30))
    for instant in instants:
        pipeline.run(instant)
    return pipeline.training(), pipeline.online_rows()


def kinds(keys: list[str]) -> set[str]:
    return {key.split("/")[1] for key in keys}


def test_whole_hours_are_computed_without_tiles(tmp_path: Path, read: list[str]) -> None:
    fill(tmp_path, late=False)
    rows_of(tmp_path, [at(30)])
    assert kinds(read) == {"hours"}


def test_late_readings_take_the_tiles_of_their_hours(tmp_path: Path, read: list[str]) -> None:
    fill(tmp_path, late=False)
    write_raw(tmp_path, at(20), "b.jsonl", [line("M1", at(12, minutes=1), vibration=1)])
    rows_of(tmp_path, [at(30)])
    assert kinds(read) == {"hours", "tiles"}
    assert {key.split("/")[-2] for key in read if key.endswith("tiles.parquet")} == {"hour=12", "hour=20"}


def test_windows_that_split_hours_take_the_tiles_of_these_alone(tmp_path: Path, read: list[str]) -> None:
    fill(tmp_path, late=False)
    pipeline = Pipeline(tmp_path, time_window=HOUR)
    pipeline.run(at(29))
    read.clear()
    pipeline.run(at(29, minutes=50))
    tiles = sorted("/".join(key.split("/")[4:6]) for key in read if key.endswith("tiles.parquet"))
    assert tiles == ["day=15/hour=05", "day=15/hour=23", "day=16/hour=04", "day=16/hour=05"]


@pytest.mark.parametrize("spec", [SPEC, QUARTERS])
@pytest.mark.parametrize("late", [False, True])
def test_rows_are_the_same_where_hour_files_are_gone(tmp_path: Path, spec: FeatureSpec, late: bool) -> None:
    instants = [at(24), at(29, minutes=35), at(30)]
    fill(tmp_path, late=late)
    with_hours = rows_of(tmp_path, instants, spec)
    assert list((tmp_path / "processed" / "hours").rglob("*.parquet"))
    for folder in ("raw", "processed/hours", "processed/training"):  # with raw, they would be built again
        shutil.rmtree(tmp_path / folder)
    without = rows_of(tmp_path, instants, spec)
    assert not list((tmp_path / "processed").rglob("hours.parquet"))
    assert with_hours[0].keys() == without[0].keys()
    for hour, rows in with_hours[0].items():
        assert_close(rows, without[0][hour])
    assert_rows_close(with_hours[1], without[1])


def test_new_pair_is_computed_from_the_tiles_that_are_there(tmp_path: Path) -> None:
    fill(tmp_path, late=True)
    before = rows_of(tmp_path, [at(30)], QUARTERS)
    after = rows_of(tmp_path, [at(30)], SPEC)
    shutil.rmtree(tmp_path / "processed")
    assert before[1] != after[1]
    assert_rows_close(rows_of(tmp_path, [at(30)], SPEC)[1], after[1])
