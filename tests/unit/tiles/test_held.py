"""Tiles that are held: merged and taken in groups, they are those merged at once."""

import threading
from random import Random

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from handler.definitions.raw import RawContent
from handler.definitions.schema import TILE_SCHEMA, empty_frame
from handler.lake.spool import Spool
from handler.tiles import held as tiles_held
from handler.tiles.held import HeldTiles
from handler.tiles.merge import merge_tiles
from handler.tiles.partition import RawPartition, map_partitions
from tests.frames import assert_close, frame, tiles_of
from tests.harness import at, feature_spec, line

SPEC = feature_spec(temperature_celsius=(-60, 400), vibration_rms=(0, 200))


def some_tiles(random: Random, machines: int, count: int) -> pl.DataFrame:
    rows = [
        (f"M{random.randrange(machines)}", at(0, minutes=random.randrange(60)), random.random(), random.random())
        for _ in range(count)
    ]
    return tiles_of(frame(*rows), SPEC)


@pytest.mark.parametrize("machines", [1, 40])
@pytest.mark.parametrize(("held", "a_group", "unpacked"), [(10**9, 10**9, 10**9), (100, 30, 5000), (1, 1, 1)])
def test_held_tiles_are_the_tiles_merged_at_once(
    held: int, a_group: int, unpacked: int, machines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles_held, "_TILES_HELD", held)
    monkeypatch.setattr(tiles_held, "_TILES_A_GROUP", a_group)
    monkeypatch.setattr(tiles_held, "_BYTES_UNPACKED", unpacked)
    random = Random(machines)
    batches = [some_tiles(random, machines, 60) for _ in range(12)]
    tiles = HeldTiles()
    for batch in batches:
        tiles.add(batch)
    taken = list(tiles.take())
    expected = merge_tiles(pl.concat(batches))
    assert_close(pl.concat(taken), expected)
    assert len(taken) == min(machines, -(-expected.height // a_group)) or a_group == 30


def test_no_tiles_are_one_empty_group() -> None:
    assert_frame_equal(pl.concat(HeldTiles().take()), empty_frame(TILE_SCHEMA))


def test_tiles_that_cannot_be_encoded_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are encoded in a thread, which must not lose them in silence."""
    add = Spool.add

    def fail(spool: Spool, rows: pl.DataFrame) -> None:
        if threading.current_thread().name.startswith("encode"):
            raise MemoryError("no room")
        add(spool, rows)

    monkeypatch.setattr(Spool, "add", fail)
    content = RawContent("a.jsonl", line("M1", at(0.5), vibration=1))
    with pytest.raises(MemoryError, match="no room"):
        list(map_partitions([RawPartition(at(0), [lambda: [content]], "state")], SPEC))
