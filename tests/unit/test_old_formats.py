"""Lakes that earlier releases wrote: a small one of each format is kept under ``tests/data/lakes``."""

import shutil
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from handler.definitions.errors import LakeError
from handler.definitions.layout import tiles_key, training_key
from handler.definitions.spec import FeatureSpec
from handler.lake.parquet import Seal, encode_parquet, seal
from handler.tiles.files import read_manifest
from handler.tiles.manifest import TILE_FORMAT
from machine_features import FeatureStore
from tests.harness import Pipeline, at

LAKES = Path(__file__).parents[1] / "data" / "lakes"
FORMATS = sorted(path.name for path in LAKES.iterdir() if path.is_dir())
SPEC = FeatureSpec.load(LAKES / "features.toml")


@pytest.fixture(params=FORMATS)
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(LAKES / request.param, tmp_path / "lake"))


def read_training(lake: Path) -> pl.DataFrame:
    return FeatureStore.open(lake.as_uri()).training(at(0), at(10)).collect()


def pretend_newer(tiles: bytes) -> bytes:
    """Write a tile file as a release with another format of tiles would."""
    found = Seal.read(tiles)
    assert found is not None
    metadata = {"manifest": found.metadata["manifest"].replace(f'"{TILE_FORMAT}:', f'"{TILE_FORMAT + 1}:')}
    return seal(encode_parquet(pl.DataFrame({"other": ["columns"]}), metadata), found.note)


def test_training_files_of_every_format_are_read(lake: Path) -> None:
    rows = read_training(lake)
    assert rows.select("machine_id", pl.col("event_timestamp").dt.hour()).rows() == [
        ("PUMP-A01", 9), ("PUMP-A02", 9), ("PUMP-A01", 10), ("PUMP-A02", 10),
    ]  # fmt: skip
    assert rows.get_column("temperature_celsius_mean_1h").to_list() == pytest.approx([68.375, 69.375, 69.375, 70.375])
    assert rows.get_column("vibration_rms_count_1h").to_list() == [4, 4, 4, 4]
    assert rows.get_column("vibration_rms_zone").to_list() == ["A"] * 4
    assert len(rows.columns) == 3 + 2 * 15 + 2
    assert FeatureStore.open(lake.as_uri()).failures(at(8), at(10)).height == 2


def test_files_of_an_older_format_are_built_again_where_raw_is_there(lake: Path) -> None:
    before = read_training(lake)
    pipeline = Pipeline(lake, spec=SPEC)
    answer = pipeline.run(at(10))
    assert answer["tiles"]["built"] == 2
    assert read_manifest((lake / tiles_key(at(9))).read_bytes()) is not None
    assert_frame_equal(
        read_training(lake).drop("created_timestamp"), before.drop("created_timestamp"), rel_tol=1e-9, abs_tol=1e-9
    )
    again = pipeline.run(at(10))
    assert again["tiles"] == {"built": 0, "reused": 2, "kept": 0}


@pytest.mark.parametrize("name", ["feff6be", "b8f7094", "of a newer release"])
def test_files_of_another_format_stand_unread_where_raw_is_gone(name: str, tmp_path: Path) -> None:
    """A newer format is met where code was rolled back."""
    is_newer = name not in FORMATS
    lake = Path(shutil.copytree(LAKES / ("9d6b79a" if is_newer else name), tmp_path / "lake"))
    shutil.rmtree(lake / "raw")
    if is_newer:
        for path in lake.rglob("tiles.parquet"):
            path.write_bytes(pretend_newer(path.read_bytes()))
    before = {path: path.read_bytes() for path in lake.rglob("*.parquet")}
    rows = read_training(lake)
    pipeline = Pipeline(lake, spec=SPEC)
    for answer in (pipeline.run(at(10)), pipeline.backfill(at(8), at(10))):
        assert (answer["damaged"], answer["tiles"]) == (0, {"built": 0, "reused": 0, "kept": 2})
    assert {path: path.read_bytes() for path in before} == before
    assert read_training(lake).equals(rows)


def test_a_damaged_training_file_is_still_told(lake: Path) -> None:
    path = lake / training_key(at(10))
    content = bytearray(path.read_bytes())
    content[-20] ^= 255  # in the footer
    path.write_bytes(content)
    with pytest.raises(LakeError, match=r"hour=10/features\.parquet"):
        read_training(lake)
