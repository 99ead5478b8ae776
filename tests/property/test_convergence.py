"""Whatever happens between runs: each span run once more leaves the training files of one backfill."""

import tempfile
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.definitions.errors import LakeError
from handler.definitions.spec import FeatureSpec
from tests.frames import assert_rows_close
from tests.harness import HOUR, T0, Pipeline, at, line, write_raw
from tests.interruptions import KilledError, damage, die, interrupting_at_write
from tests.profiles import examples
from tests.property.test_runs import assert_same_training

HOURS = 12
LATENESS = 3 * HOUR
ANCHOR = "0.jsonl"
SPEC = FeatureSpec.parse('windows = ["1h", "3h"]\n[[readings]]\nname = "vibration_rms"\nplausible = [0, 200]')


class Life:
    """A lake to which things happen.

    A partition that loses all of its objects keeps its files, so each has an object without lines that stays.
    """

    def __init__(self, root: Path) -> None:
        self.pipeline = Pipeline(root, spec=SPEC, allowed_lateness=LATENESS)
        root.joinpath("raw").mkdir()

    def put(self, arrival: int, name: str, raw: bytes) -> None:
        for held, data in ((ANCHOR, b""), (name, raw)):
            write_raw(self.pipeline.root, at(arrival), held, data)

    def delete(self, number: int) -> None:
        held = sorted(path for path in self.pipeline.root.glob("raw/**/*.jsonl") if path.name != ANCHOR)
        if held:
            held[number % len(held)].unlink()

    def run(self, as_of: int) -> None:
        self.pipeline.run(at(as_of))

    def kill(self, as_of: int, number: int) -> None:
        with interrupting_at_write(number, die), suppress(KilledError):
            self.run(as_of)

    def run_two(self, as_of: int, number: int, other: int) -> None:
        """Do a run, and all of another before one of its writes; the first may be overtaken."""
        with interrupting_at_write(number, lambda: self.run(other)), suppress(LakeError):
            self.run(as_of)

    def read(self, kind: str) -> dict[str, pl.DataFrame]:
        files = self.pipeline.root.glob(f"processed/{kind}/**/*.parquet")
        return {str(path): pl.read_parquet(path) for path in sorted(files)}

    def damage(self, seed: int) -> None:
        """Damage one or two files of the lake at rest."""
        random = Random(seed)
        files = sorted(self.pipeline.root.glob("processed/**/*.parquet"))
        for path in random.sample(files, min(len(files), random.choice([1, 1, 2]))):
            damage(path, random)


arrivals, as_ofs, writes = st.integers(0, HOURS - 1), st.integers(1, HOURS), st.integers(0, 40)
objects = st.builds(
    lambda arrival, name, late, machine, value: (
        arrival, name, line(f"M{machine}", at(arrival + 0.5 - late, minutes=value), vibration=value)
    ),
    arrivals, st.sampled_from(["1.jsonl", "2.jsonl"]), st.sampled_from([0, 0, 1, 2, 3, 4]),
    st.integers(1, 2), st.integers(0, 20),
)  # fmt: skip
steps = st.one_of(
    st.tuples(st.just("put"), objects),
    st.tuples(st.just("delete"), st.tuples(st.integers(0, 10))),
    st.tuples(st.just("run"), st.tuples(as_ofs)),
    st.tuples(st.just("kill"), st.tuples(as_ofs, writes)),
    st.tuples(st.just("run_two"), st.tuples(as_ofs, writes, as_ofs)),
    st.tuples(st.just("damage"), st.tuples(st.integers(0, 10**6))),
)


def run_each_span_once_more(pipeline: Pipeline) -> None:
    for as_of in range(0, HOURS + 1, 6):
        pipeline.run(at(as_of))


def assert_as_one_backfill(lived: Pipeline) -> None:
    """Compare training files with those that a backfill makes of the same raw objects elsewhere."""
    with tempfile.TemporaryDirectory() as folder:
        at_once = Pipeline(Path(folder), spec=SPEC, allowed_lateness=LATENESS)
        at_once.root.joinpath("raw").mkdir()
        for path in lived.root.glob("raw/**/*.jsonl"):
            copy = at_once.root / path.relative_to(lived.root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        at_once.backfill(T0, at(HOURS))
        expected = at_once.training()
    kept = {name: frame for name, frame in lived.training().items() if name in expected}
    assert_same_training(kept, expected)
    assert all(frame.is_empty() for name, frame in lived.training().items() if name not in kept)


@settings(max_examples=examples(200))
@given(steps=st.lists(steps, min_size=2, max_size=8))
def test_each_span_run_once_more_leaves_what_a_backfill_leaves(steps: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        life = Life(Path(folder))
        for kind, arguments in steps:
            getattr(life, kind)(*arguments)
        run_each_span_once_more(life.pipeline)
        assert_as_one_backfill(life.pipeline)


def test_damage_is_built_again_by_the_next_runs() -> None:
    with tempfile.TemporaryDirectory() as folder:
        life = Life(Path(folder))
        for hour in range(HOURS):
            lines = [line("M1", at(hour - k % 3, minutes=k), vibration=k) for k in range(9)]
            life.put(hour, "1.jsonl", b"\n".join([*lines, b"oops", line("M1", at(hour), codigo_evento="FALHA")]))
        run_each_span_once_more(life.pipeline)
        online, training, failures = life.pipeline.online_rows(), life.pipeline.training(), life.read("failures")
        for seed in range(examples(200)):
            life.damage(seed)
            run_each_span_once_more(life.pipeline)
            assert_rows_close(life.pipeline.online_rows(), online)
            assert_same_training(life.pipeline.training(), training)
            assert_same_training(life.read("failures"), failures)
