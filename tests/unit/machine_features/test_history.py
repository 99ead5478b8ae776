"""Rows as they could be known, over tiles that are missing, damaged or foreign: right, an error, or null; not less."""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest

from handler.definitions.layout import partition_path, tiles_key
from handler.definitions.spec import FeatureSpec
from handler.lake.lake import Lake, ReadBatch
from handler.lake.listing import Listing
from handler.lake.parquet import encode_parquet, seal
from handler.tiles.files import read_manifest
from handler.tiles.manifest import Manifest
from machine_features import FeatureStore
from machine_features.errors import LakeError, UnknownPastError
from tests.frames import assert_close
from tests.harness import HOUR, T0, Aws, Pipeline, at, line, write_raw
from tests.unit.machine_features.conftest import HOURS, Plant

LAKES = Path(__file__).parents[2] / "data" / "lakes"
MEAN, COUNT = "vibration_rms_mean_1h", "vibration_rms_count_24h"
Spoil = Callable[[Path, datetime], None]


def read_past(root: Path, start: float = 0, end: float = HOURS, **options: Any) -> pl.DataFrame:
    rows = FeatureStore.open(root).training(at(start), at(end), knowledge="as_of", **options)
    return rows.drop("created_timestamp").collect()


def digest_tree(root: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()}


def find(root: Path, kind: str, hour: datetime) -> Path:
    (path,) = (root / kind / partition_path(hour)).iterdir()
    return path


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def damage_footer(root: Path, hour: datetime) -> None:
    flip(find(root, "processed/tiles", hour), -20)


def damage_pages(root: Path, hour: datetime) -> None:
    flip(find(root, "processed/tiles", hour), 100)
    flip(find(root, "processed/hours", hour), 100)


def remove_files(root: Path, hour: datetime) -> None:
    for kind in ("tiles", "hours", "failures", "quarantine"):
        shutil.rmtree(root / "processed" / kind / partition_path(hour))


def remove_tiles(root: Path, hour: datetime) -> None:
    find(root, "processed/tiles", hour).unlink()


def remove_raw(root: Path, hour: datetime) -> None:
    shutil.rmtree(root / "raw" / partition_path(hour))


@pytest.fixture
def root(plant: Plant, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plant.pipeline.root, tmp_path / "lake"))


SPOILS = [
    (damage_footer, "damaged"), (damage_pages, "damaged"),
    (remove_files, "neither tiles nor raw"), (remove_tiles, "neither tiles nor raw"),
]  # fmt: skip


@pytest.mark.parametrize("spoil", [spoil for spoil, _ in SPOILS])
def test_raw_takes_the_place_of_tiles_and_nothing_is_written(spoil: Spoil, root: Path) -> None:
    whole = read_past(root)
    for hour in (3, 4, 9):
        spoil(root, at(hour))
    before = digest_tree(root)
    assert_close(read_past(root), whole)
    assert digest_tree(root) == before


@pytest.mark.parametrize(("spoil", "cause"), SPOILS)
def test_partition_that_is_gone_is_an_error_that_names_hours_and_cause(spoil: Spoil, cause: str, root: Path) -> None:
    for hour in (3, 4):
        spoil(root, at(hour))
        remove_raw(root, at(hour))
    with pytest.raises(UnknownPastError, match=cause) as error:
        read_past(root)
    assert "of 2025-10-15T04:00:00Z to 2025-10-15T12:00:00Z" in str(error.value)
    assert "of the hours 2025-10-15T03:00:00Z to 2025-10-15T04:00:00Z" in str(error.value)
    assert error.value.hours == tuple(at(hour) for hour in range(4, HOURS + 1))
    assert set(error.value.causes) == {at(3), at(4)}
    assert isinstance(error.value, LakeError)
    assert read_past(root, 0, 3).height > 0  # rows that do not see them


@pytest.mark.parametrize("spoil", [spoil for spoil, _ in SPOILS])
def test_rows_that_see_what_is_gone_are_null_there_where_nulls_are_asked_for(spoil: Spoil, root: Path) -> None:
    whole = read_past(root)
    spoil(root, at(4))
    remove_raw(root, at(4))
    found = read_past(root, missing="null")
    keys = ["machine_id", "event_timestamp"]
    assert found.select(keys).equals(whole.select(keys).sort("event_timestamp", "machine_id"))
    seen = found.filter(pl.col("event_timestamp") > at(4))
    assert seen.select(pl.selectors.ends_with("_24h", "_staleness_seconds").null_count()).sum_horizontal().item() == (
        seen.height * len([name for name in seen.columns if name.endswith(("_24h", "_staleness_seconds"))])
    )
    assert seen.filter(pl.col("event_timestamp") <= at(6)).get_column(MEAN).null_count() == 10
    short = ["machine_id", "event_timestamp", *(name for name in found.columns if name.endswith("_1h"))]
    assert_close(
        found.filter(pl.col("event_timestamp") > at(7)).select(short),
        whole.filter(pl.col("event_timestamp") > at(7)).select(short),
    )
    earlier = pl.col("event_timestamp") <= at(4)
    assert_close(found.filter(earlier), whole.filter(earlier))


def test_machine_that_only_a_gone_partition_knew_keeps_its_row_where_nulls_are_asked_for(tmp_path: Path) -> None:
    for hour in range(4):
        lines = [line("M1", at(hour + 0.5), vibration=1), *([line("M2", at(0.5), vibration=2)] if hour == 0 else [])]
        write_raw(tmp_path, at(hour), "a.jsonl", lines)
    Pipeline(tmp_path).backfill(at(0), at(4))
    shutil.rmtree(tmp_path / "raw")
    remove_files(tmp_path, at(0))
    with pytest.raises(UnknownPastError, match="of the hours 2025-10-15T00:00:00Z neither tiles nor raw"):
        read_past(tmp_path, 3, 4)
    found = read_past(tmp_path, 3, 4, missing="null", features=["vibration_rms_count_*"])
    assert found.rows() == [("M1", at(4), 1, None, None), ("M2", at(4), 0, None, None)]


@pytest.mark.parametrize("is_training_there", [True, False])
def test_earlier_release_and_hours_without_training_tell_by_other_files(is_training_there: bool, root: Path) -> None:
    remove_tiles(root, at(4))
    remove_raw(root, at(4))
    if is_training_there:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("handler.stores.training.Origin.list_partitions", lambda self: None)
            with pytest.raises(UnknownPastError, match="of the hours 2025-10-15T04:00:00Z neither"):
                read_past(root)
    else:
        shutil.rmtree(root / "processed" / "training" / partition_path(at(9)))
        with pytest.raises(UnknownPastError, match="rows of 2025-10-15T09:00:00Z: of the hours 2025-10-15T04:00:00Z"):
            read_past(root, 8, 9)


def test_hours_without_arrivals_are_no_fault(tmp_path: Path) -> None:
    for hour in (0, 1, 5, 6):
        write_raw(tmp_path, at(hour), "a.jsonl", [line("M1", at(hour + 0.5), vibration=hour)])
    Pipeline(tmp_path).backfill(at(0), at(7))
    shutil.rmtree(tmp_path / "raw")
    found = read_past(tmp_path, 0, 7, features=[COUNT])
    assert found.get_column(COUNT).to_list() == [1, 2, 2, 2, 2, 3, 4]


OTHERS = {
    "a reading was added": [("vibration_rms", "0, 200"), ("temperature_celsius", "-60, 400"), ("rpm", "0, 9")],
    "a range was changed": [("vibration_rms", "0, 2.5"), ("temperature_celsius", "-60, 400")],
    "a reading was renamed": [("shake", "0, 200"), ("temperature_celsius", "-60, 400")],
}


@pytest.fixture(params=OTHERS)
def other(request: pytest.FixtureRequest) -> FeatureSpec:
    readings = OTHERS[request.param]
    field = '\nfield = "vibration_rms"'
    tables = "".join(
        f'[[readings]]\nname = "{name}"\nplausible = [{ends}]{field if name == "shake" else ""}\n'
        for name, ends in readings
    )
    return FeatureSpec.parse(f'windows = ["1h", "6h", "24h"]\n{tables}')


def test_tiles_of_other_features_are_computed_anew_from_raw(other: FeatureSpec, root: Path, tmp_path: Path) -> None:
    write_raw(root, at(HOURS), "a.jsonl", [line("M1", at(HOURS + 0.5), vibration=1)])
    raw = shutil.copytree(root / "raw", tmp_path / "other" / "raw")
    changed = Pipeline(root, spec=other, time_window=HOUR, allowed_lateness=0 * HOUR)
    changed.run(at(HOURS + 1), lookback=0 * HOUR)  # only the newest partition has the new readings
    Pipeline(raw.parent, spec=other).backfill(at(-2), at(HOURS + 1))
    assert FeatureStore.open(root).spec == other
    before = digest_tree(root)
    assert_close(read_past(root), read_past(raw.parent))
    assert digest_tree(root) == before
    remove_raw(root, at(5))
    with pytest.raises(UnknownPastError, match=r"15T05:00:00Z the tiles are of another features\.toml or release"):
        read_past(root)


def test_tiles_of_another_release_are_computed_anew(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_past(root)
    monkeypatch.setattr("handler.tiles.manifest.TILE_FORMAT", 999)
    monkeypatch.setattr("machine_features.history.TILE_FORMAT", 999)
    assert_close(read_past(root), whole)
    remove_raw(root, at(5))
    with pytest.raises(UnknownPastError, match="or release"):
        read_past(root, 5, 6)


def change_fingerprint(root: Path, hour: datetime, fingerprint: str) -> None:
    path = find(root, "processed/tiles", hour)
    manifest = read_manifest(path.read_bytes())
    assert manifest is not None
    other = Manifest(fingerprint or f"{manifest.fingerprint}:incomplete", manifest.lateness)
    path.write_bytes(seal(encode_parquet(pl.read_parquet(path).head(1), other.to_metadata())))


@pytest.mark.parametrize("fingerprint", ["", "another form"])
def test_tiles_that_lack_objects_or_are_of_another_form_are_computed_anew(fingerprint: str, root: Path) -> None:
    whole = read_past(root)
    change_fingerprint(root, at(5), fingerprint)
    assert_close(read_past(root), whole)
    remove_raw(root, at(5))
    if fingerprint:
        with pytest.raises(UnknownPastError, match="or release"):
            read_past(root)
    else:
        assert read_past(root).height == whole.height  # no more of it can be known


def test_object_that_is_deleted_while_it_is_read_is_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remove_files(root, at(5))
    real = Lake.split_batches

    def delete(lake: Lake, listing: Listing) -> Iterator[ReadBatch]:
        remove_raw(root, at(5))
        return real(lake, listing)

    monkeypatch.setattr(Lake, "split_batches", delete)
    with pytest.raises(LakeError, match="hour=05/: objects were deleted meanwhile; read again"):
        read_past(root)


@pytest.mark.parametrize("name", sorted(path.name for path in LAKES.iterdir() if path.is_dir()))
def test_lake_of_an_earlier_release_is_computed_from_raw(name: str, tmp_path: Path) -> None:
    lake = Path(shutil.copytree(LAKES / name, tmp_path / "lake"))
    rows = read_past(lake, 0, 10)
    shutil.copytree(lake / "raw", tmp_path / "new" / "raw")
    Pipeline(tmp_path / "new", spec=FeatureSpec.load(LAKES / "features.toml")).run(at(10))
    assert_close(rows, read_past(tmp_path / "new", 0, 10))
    assert rows.height == 4
    shutil.rmtree(lake / "raw")
    manifest = read_manifest(find(lake, "processed/tiles", at(9)).read_bytes())
    if manifest is None or not manifest.is_of_this_format:
        with pytest.raises(UnknownPastError, match="or release, and the raw objects are gone"):
            read_past(lake, 0, 10)
    else:
        assert_close(read_past(lake, 0, 10), rows)


def test_partition_that_no_run_has_seen_counts(root: Path) -> None:
    write_raw(root, at(HOURS), "a.jsonl", [line("M1", at(HOURS + 0.5), vibration=9)])
    found = read_past(root, HOURS, HOURS + 1, machines="M1", features=[MEAN])
    assert found.rows() == [("M1", at(HOURS + 1), 9.0)]


def test_no_rows_past_the_end_of_the_lake(root: Path) -> None:
    assert read_past(root, 0, 10_000).get_column("event_timestamp").max() == at(HOURS)
    assert read_past(root, -10_000, 0).filter(pl.col("event_timestamp") < T0).is_empty()
    ages = FeatureStore.open(root).training("1970-01-01T00:00:00Z", "9999-12-31T00:00:00Z", knowledge="as_of")
    assert ages.select("event_timestamp").max().collect().item() == at(HOURS)


@pytest.mark.parametrize("seed", range(6))
def test_any_windows_and_any_lateness_equal_what_a_run_at_the_hour_saw(seed: int, tmp_path: Path) -> None:
    chance = Random(seed)
    windows = chance.choice([["30m", "90m", "5h"], ["1h", "26h"], ["55m"], ["2h", "3h"]])
    text = f"""windows = {windows}\npairs = [["a", "b"]]
    [[readings]]\nname = "a"\nplausible = [-100, 100]\nzones = [1, 2, 3]
    [[readings]]\nname = "b"\nplausible = [-100, 100]\n"""
    spec = FeatureSpec.parse(text)
    pipeline = Pipeline(tmp_path, spec=spec, time_window=HOUR, allowed_lateness=4 * HOUR)
    then = []
    for hour in range(10):
        lines = [
            line(
                f"M{chance.randrange(4)}",
                at(hour + 1.2 - chance.expovariate(1)),
                a=chance.gauss(2, 1),
                b=chance.random(),
            )
            for _ in range(chance.choice([0, 3, 60]))
        ]
        if lines:
            write_raw(tmp_path, at(hour), "a.jsonl", lines)
        pipeline.run(at(hour + 1))
        then.append(pl.read_parquet(find(tmp_path, "processed/training", at(hour + 1))).drop("created_timestamp"))
    store = FeatureStore.open(tmp_path, allowed_lateness="4h")
    rows = store.training(at(0), at(10), knowledge="as_of").drop("created_timestamp").collect()
    end = rows.get_column("event_timestamp").max()
    assert rows.height
    assert_close(rows, pl.concat(then).filter(pl.col("event_timestamp") <= end))


def test_bucket_without_some_tiles_is_computed_from_raw(plant: Plant, aws: Aws) -> None:
    root = plant.pipeline.root
    for path in (*root.rglob("*.parquet"), *root.rglob("*.jsonl")):
        key = path.relative_to(root).as_posix()
        if not key.startswith((tiles_key(at(3)), f"raw/{partition_path(at(9))}")):
            aws.s3.put_object(Bucket="lake", Key=key, Body=path.read_bytes())
    rows = FeatureStore.open("lake").training(T0, at(HOURS), knowledge="as_of").drop("created_timestamp").collect()
    assert_close(rows, read_past(root))


@pytest.mark.parametrize("kept", ["tiles", "failures"])
def test_trace_says_that_raw_objects_are_gone(kept: str, root: Path) -> None:
    remove_raw(root, at(5))
    (other,) = {"tiles", "failures"} - {kept}
    find(root, f"processed/{other}", at(5)).unlink()
    with pytest.raises(LakeError, match="trace lines of 2025-10-15T05:00:00Z: its raw objects are gone"):
        FeatureStore.open(root).trace("M1", at(6), MEAN)


KINDS = ("raw", *(f"processed/{kind}" for kind in ("tiles", "hours", "failures", "quarantine")))


@pytest.fixture
def expired(tmp_path: Path) -> Path:
    """48 hours, of which the first 30 have left nothing but training files."""
    for hour in range(48):
        write_raw(tmp_path, at(hour), "a.jsonl", [line("M1", at(hour + part), vibration=1) for part in (0.1, 0.5)])
    Pipeline(tmp_path).backfill(at(0), at(48))
    for kind in KINDS:
        for hour in range(30):
            shutil.rmtree(tmp_path / kind / partition_path(at(hour)))
    return tmp_path


@pytest.mark.parametrize(("start", "end"), [(0, 20), (0, 30), (20, 40), (0, 48)])
def test_hours_that_only_training_files_know_are_not_left_out(start: int, end: int, expired: Path) -> None:
    with pytest.raises(UnknownPastError, match="neither tiles nor raw") as error:
        read_past(expired, start, end)
    assert error.value.hours == tuple(at(hour) for hour in range(start + 1, end + 1))
    found = read_past(expired, start, end, missing="null", features=COUNT)
    assert found.rows() == [("M1", at(hour), None) for hour in range(start + 1, end + 1)]
    assert FeatureStore.open(expired).training(at(start), at(end)).collect().height == end - start


def test_lake_of_training_files_only_has_a_past_that_is_not_known(expired: Path) -> None:
    for kind in KINDS:
        shutil.rmtree(expired / kind)
    with pytest.raises(UnknownPastError) as error:
        read_past(expired, 0, 60)
    assert error.value.hours == tuple(at(hour) for hour in range(1, 49))
    assert read_past(expired, 0, 60, missing="null", features=COUNT).height == 48


def test_hour_first_written_after_a_loss_is_no_smaller_in_silence(tmp_path: Path) -> None:
    for hour in range(60):
        write_raw(tmp_path, at(hour), "a.jsonl", [line("M1", at(hour + part), vibration=1) for part in (0.1, 0.5)])
    pipeline = Pipeline(tmp_path)
    pipeline.backfill(at(0), at(48))
    for kind in KINDS:
        for hour in range(40):
            shutil.rmtree(tmp_path / kind / partition_path(at(hour)))
    pipeline.backfill(at(48), at(54))
    with pytest.raises(UnknownPastError) as error:
        read_past(tmp_path, 53, 54)
    assert set(error.value.causes) >= {at(hour) for hour in range(30, 40)}
    counts = read_past(tmp_path, 53, 54, missing="null", features=["*_count_24h", "*_count_6h"])
    assert counts.select(COUNT, COUNT.replace("24h", "6h")).row(0) == (None, 12)


@pytest.mark.parametrize("limit", ["_WINDOW_ROWS", "_LITTLE_BYTES", "_FILE_BYTES"])
@pytest.mark.parametrize("is_copy", [False, True], ids=["hours", "tiles"])
def test_memory_bounds_change_no_row(
    limit: str, is_copy: bool, plant: Plant, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = root if is_copy else plant.pipeline.root  # a copied file is of another version than its tile file notes
    whole = read_past(lake, machines=["M1", "M3"])
    monkeypatch.setattr(f"machine_features.history.{limit}", 1)
    assert_close(read_past(lake, machines=["M1", "M3"]), whole)
    assert whole.height == 2 * HOURS


def test_what_is_asked_for_decides_what_is_read(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = Lake.read

    def note(lake: Lake, keys: Iterable[str]) -> list[bytes]:
        noted = list(keys)
        read.extend(noted)
        return real(lake, noted)

    monkeypatch.setattr(Lake, "read", note)
    read_past(plant.pipeline.root, 10, 12)
    assert len([key for key in read if "/hours/" in key]) == HOURS
    assert len(read) == len(set(read))  # each file once, whatever number of hours
    text = 'windows = ["1h", "168h"]\n[[readings]]\nname = "vibration_rms"\nplausible = [0, 200]\n'
    for hour in range(100):
        write_raw(tmp_path, at(hour), "a.jsonl", [line("M1", at(hour + 0.5), vibration=1)])
    Pipeline(tmp_path, spec=FeatureSpec.parse(text)).backfill(at(90), at(100))
    read.clear()
    assert read_past(tmp_path, 99, 100, features="vibration_rms_count_1h").row(0)[2] == 1
    assert len(read) == 25
    assert read_past(tmp_path, 99, 100, features="*_count_168h").row(0)[2] == 100
