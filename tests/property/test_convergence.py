"""Whatever happens between runs: each span run once more leaves the training files of one backfill."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.lake.lake import Lake
from tests.harness import HOUR, T0, Pipeline, at, line, write_raw
from tests.property.test_runs import assert_same_training

HOURS = 12
LATENESS = 3 * HOUR
ANCHOR = "0.jsonl"


class KilledError(Exception):
    """A run ends here, as if the machine had been switched off."""


@contextmanager
def killing_at_write(number: int) -> Iterator[None]:
    """End the run before its write of this number, counted from 0; files of one write are written one by one."""
    write = Lake.write
    written = 0

    def count(lake: Lake, files: Mapping[str, bytes]) -> dict[str, str]:
        nonlocal written
        versions: dict[str, str] = {}
        for key, data in files.items():
            if written == number:
                raise KilledError
            written += 1
            versions |= write(lake, {key: data})
        return versions

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lake, "write", count)
        yield


objects = st.builds(
    lambda arrival, name, late, machine, value: (
        arrival, name, line(f"M{machine}", at(arrival + 0.5 - late, minutes=value), vibration=value)
    ),
    st.integers(0, HOURS - 1), st.sampled_from(["1.jsonl", "2.jsonl"]), st.sampled_from([0, 0, 1, 2, 3, 4]),
    st.integers(1, 2), st.integers(0, 20),
)  # fmt: skip
steps = st.one_of(
    st.tuples(st.just("put"), objects),
    st.tuples(st.just("delete"), st.integers(0, 10)),
    st.tuples(st.just("run"), st.integers(1, HOURS)),
    st.tuples(st.just("kill"), st.tuples(st.integers(1, HOURS), st.integers(0, 40))),
)


@settings(max_examples=200)
@given(steps=st.lists(steps, min_size=2, max_size=8))
def test_each_span_run_once_more_leaves_what_a_backfill_leaves(steps: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        lived = Pipeline(Path(one), allowed_lateness=LATENESS)
        lived.root.joinpath("raw").mkdir()
        for kind, what in steps:
            if kind == "put":
                arrival, name, raw = what
                for held, data in ((ANCHOR, b""), (name, raw)):  # a partition that loses all objects keeps its files
                    write_raw(lived.root, at(arrival), held, data)
            elif kind == "delete":
                held = sorted(path for path in lived.root.glob("raw/**/*.jsonl") if path.name != ANCHOR)
                if held:
                    held[what % len(held)].unlink()
            elif kind == "run":
                lived.run(at(what))
            else:
                as_of, number = what
                with killing_at_write(number), suppress(KilledError):
                    lived.run(at(as_of))
        for as_of in range(6, HOURS + 1, 6):
            lived.run(at(as_of))
        at_once = Pipeline(Path(other), allowed_lateness=LATENESS)
        for path in lived.root.glob("raw/**/*.jsonl"):
            copy = at_once.root / path.relative_to(lived.root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        at_once.root.joinpath("raw").mkdir(exist_ok=True)
        at_once.backfill(T0, at(HOURS))
        kept = {name: frame for name, frame in lived.training().items() if name in at_once.training()}
        assert_same_training(kept, at_once.training())
        assert all(frame.is_empty() for name, frame in lived.training().items() if name not in kept)
