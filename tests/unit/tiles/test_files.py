"""The files of partitions: what is damaged is built again, and who is overtaken learns of it."""

import os
from collections.abc import Iterable
from pathlib import Path
from pkgutil import resolve_name

import polars as pl
import pytest

from handler.definitions.errors import DamagedFileError, OvertakenError
from handler.definitions.layout import hours_key, tiles_key, training_key
from handler.lake.lake import Lake
from tests.frames import assert_close, assert_rows_close
from tests.harness import HOUR, Pipeline, Row, at, line, write_raw

KINDS = ("tiles", "hours", "failures", "quarantine", "training")


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """Six hours of two machines and a failure, run once; some windows begin within an hour."""
    for hour in range(6):
        lines = [line(f"M{k}", at(hour, minutes=m), vibration=m + k) for k in (1, 2) for m in range(0, 60, 5)]
        write_raw(tmp_path, at(hour), "a.jsonl", [*lines, line("M1", at(hour), codigo_evento="FALHA"), b"oops"])
    pipeline = Pipeline(tmp_path)
    pipeline.run(AS_OF)
    return pipeline


AS_OF = at(6, minutes=30)


def path_of(pipeline: Pipeline, kind: str, hour: int) -> Path:
    (path,) = (pipeline.root / f"processed/{kind}").rglob(f"hour={hour:02d}/*.parquet")
    return path


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(data)


def flip_unseen(path: Path) -> None:
    """Flip a bit so that the version stays, as where a disk loses it."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(100)
        (byte,) = file.read(1)
        file.seek(100)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("kind", ["tiles", "hours"])
def test_damage_that_only_readers_see_is_counted_once_and_built_again(pipeline: Pipeline, kind: str) -> None:
    """Two blocks of rows read the same file; the partition is in one state, though it was right at first."""
    path = path_of(pipeline, kind, 5 if kind == "tiles" else 2)
    before, online = path.read_bytes(), pipeline.online_rows()
    flip_unseen(path)
    for training in pipeline.root.glob("processed/training/**/*.parquet"):
        training.unlink()
    answer = pipeline.run(AS_OF)
    assert (answer["damaged"], answer["tiles"]) == (1, {"built": 1, "reused": 5, "kept": 0})
    assert answer["lines"]["read"] == 26
    assert path.read_bytes()[:200] == before[:200]
    assert_rows_close(pipeline.online_rows(), online)
    again = pipeline.run(AS_OF)
    assert (again["damaged"], again["tiles"]) == (0, {"built": 0, "reused": 6, "kept": 0})


def test_hour_file_that_cannot_be_built_again_is_counted_once_a_run(pipeline: Pipeline) -> None:
    online = pipeline.online_rows()
    flip_unseen(path_of(pipeline, "hours", 2))
    for training in pipeline.root.glob("processed/training/**/*.parquet"):
        training.unlink()
    for path in pipeline.root.glob("raw/**/hour=02/*"):
        path.unlink()
    answer = pipeline.run(AS_OF)
    assert (answer["damaged"], answer["tiles"]) == (1, {"built": 0, "reused": 5, "kept": 1})
    assert_rows_close(pipeline.online_rows(), online)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", [flip, lambda path: path.write_bytes(path.read_bytes()[:-9]), Path.unlink])
def test_damaged_file_is_built_again_and_counted(pipeline: Pipeline, kind: str, damage: object) -> None:
    path = path_of(pipeline, kind, 4)
    before, online = pl.read_parquet(path), pipeline.online_rows()
    assert callable(damage)
    damage(path)
    answer = pipeline.run(AS_OF)
    is_deleted = damage is Path.unlink
    assert answer["damaged"] == int(kind != "training" and not (kind == "tiles" and is_deleted))
    assert answer["tiles"]["built"] == int(kind != "training")
    assert_rows_close(pipeline.online_rows(), online)
    assert_close(pl.read_parquet(path), before)
    assert pipeline.run(AS_OF)["damaged"] == 0


class WrongBody:
    """A store that gives a wrong body of one object, a number of times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, key: str, times: int) -> None:
        read = Lake.read

        def read_wrong(lake: Lake, keys: Iterable[str]) -> list[bytes]:
            nonlocal times
            keys = list(keys)
            found = read(lake, keys)
            if key in keys and times:
                times -= 1
                place = keys.index(key)
                found[place] = found[place][:50] + b"?" + found[place][51:]
            return found

        monkeypatch.setattr(Lake, "read", read_wrong)


def test_wrong_body_of_an_hour_file_is_made_good_by_tiles(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    online = pipeline.online_rows()
    WrongBody(monkeypatch, hours_key(at(4)), 1)
    answer = pipeline.run(AS_OF)
    assert (answer["damaged"], answer["tiles"]["built"]) == (1, 0)
    assert_rows_close(pipeline.online_rows(), online)


def test_wrong_body_of_a_tile_file_builds_it_again(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    online = pipeline.online_rows()
    WrongBody(monkeypatch, tiles_key(at(5)), 1)
    answer = pipeline.run(AS_OF)
    assert (answer["damaged"], answer["tiles"]["built"], answer["lines"]["read"]) == (1, 1, 26)
    assert_rows_close(pipeline.online_rows(), online)
    assert pipeline.run(AS_OF)["damaged"] == 0


def test_file_that_stays_wrong_is_an_error_that_is_gone_with_its_cause(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = pipeline.online_rows()
    with monkeypatch.context() as patch:
        WrongBody(patch, tiles_key(at(5)), 99)
        with pytest.raises(DamagedFileError, match="it is damaged; run again"):
            pipeline.run(AS_OF)
    assert pipeline.run(AS_OF)["damaged"] == 0
    assert_rows_close(pipeline.online_rows(), online)


@pytest.mark.parametrize("raw", ["gone", "expired"])
def test_damaged_file_whose_raw_objects_are_gone_is_an_error_that_says_so(pipeline: Pipeline, raw: str) -> None:
    flip(path_of(pipeline, "tiles", 5))
    if raw == "gone":
        for path in pipeline.root.glob("raw/**/hour=05/*"):
            path.unlink()
    kept_from = {"raw_kept_from": at(7)} if raw == "expired" else {}
    with pytest.raises(DamagedFileError, match=r"tiles\.parquet: it is damaged, and its raw objects are gone; restore"):
        pipeline.run(AS_OF, **kept_from)


def test_kept_partition_whose_hour_file_is_damaged_is_read_from_its_tiles(pipeline: Pipeline) -> None:
    online = pipeline.online_rows()
    flip(path_of(pipeline, "hours", 4))
    answer = pipeline.run(AS_OF, raw_kept_from=at(7))
    assert (answer["damaged"], answer["tiles"]) == (1, {"built": 0, "reused": 0, "kept": 6})
    assert_rows_close(pipeline.online_rows(), online)


def late_line(pipeline: Pipeline) -> None:
    write_raw(pipeline.root, at(5), "late.jsonl", [line("M3", at(5.1), vibration=1)])


@pytest.mark.parametrize("moment", ["Run.find_hours_to_write", "group_into_blocks"])
def test_run_that_is_overtaken_says_so_and_its_retry_is_right(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Another run builds a partition anew: before the first one's rows are computed, or after."""
    original = resolve_name(f"handler.pipeline.run.{moment}")

    def overtake(*args: object, **more: object) -> object:
        monkeypatch.undo()
        late_line(pipeline)
        newer: Row = pipeline.run(at(7))
        assert newer["tiles"]["built"] == 1
        return original(*args, **more)

    monkeypatch.setattr(f"handler.pipeline.run.{moment}", overtake)
    with pytest.raises(OvertakenError, match="another run wrote it anew meanwhile; run again"):
        pipeline.run(AS_OF)
    pipeline.run(AS_OF)
    assert "M3" in pipeline.rows_at(at(6))


def test_file_of_another_run_between_a_partitions_own_is_seen(pipeline: Pipeline) -> None:
    """An older run that was overtaken wrote the hour file and died."""
    late_line(pipeline)
    path = path_of(pipeline, "hours", 5)
    older = path.read_bytes()
    pipeline.run(AS_OF)
    path.write_bytes(older)
    answer = pipeline.run(AS_OF)
    assert (answer["tiles"]["built"], answer["damaged"]) == (1, 1)
    assert path.read_bytes() != older


def test_training_file_within_reach_that_is_damaged_is_written_again(pipeline: Pipeline) -> None:
    path = pipeline.root / training_key(at(2))
    before = pl.read_parquet(path)
    flip(path)
    later = Pipeline(pipeline.root, time_window=HOUR)
    assert later.run(at(6))["training"]["files"] == 2
    assert_close(pl.read_parquet(path), before)
