"""Files of a folder lake: whole or not there, whoever else writes, and whoever dies."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from handler.lake.folder import list_versions, read_file, write_file


def test_file_is_written_in_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "deep/er/x.parquet"
    versions = [write_file(path, data) for data in (b"one", b"second", b"")]
    assert len(set(versions)) == 3
    assert read_file(path) == b""
    assert list_versions(tmp_path) == {"deep/er/x.parquet": versions[-1]}
    assert list_versions(tmp_path / "nowhere") == {}


def die(*_: object) -> None:
    raise KeyboardInterrupt


def test_writer_that_dies_leaves_the_old_file_and_no_litter_after_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.parquet"
    write_file(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            write_file(path, b"a new one that is never put in place")
    assert read_file(path) == b"old"
    write_file(path, b"new")
    assert [each.name for each in tmp_path.iterdir()] == ["x.parquet"]
    assert read_file(path) == b"new"


def test_many_writers_of_one_file_leave_the_whole_of_one_of_them(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    contents = [bytes([number]) * 10_000 * (number + 1) for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda data: write_file(path, data), contents))
    assert read_file(path) in contents
    assert list_versions(tmp_path)["x.parquet"] in versions
    assert [each.name for each in tmp_path.iterdir()] == ["x.parquet"]


def test_file_that_goes_away_while_it_is_listed_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(tmp_path / "a", b"1")
    monkeypatch.setattr("os.walk", lambda place: [(place, [], ["a", "gone"])])
    assert list(list_versions(tmp_path)) == ["a"]
