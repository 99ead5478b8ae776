"""Another features.toml that takes rows from training hours stops a run, unless its event accepts the loss."""

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from handler.definitions.errors import LossError
from handler.definitions.spec import FeatureSpec
from tests.harness import Pipeline, at, line, stamp, write_raw
from tests.unit.pipeline.test_stages import Staged, rot

OWN = FeatureSpec.parse(
    'windows = ["1h"]\n[fields]\nmachine_id = "device"\ncodigo_evento = "event"\n'
    '[[readings]]\nname = "level"\nplausible = [0, 9]'
)
PACKAGED = FeatureSpec.load()
SPAN = {"start": stamp(at(0)), "end": stamp(at(6))}


def digest(spec: FeatureSpec) -> str:
    return hashlib.sha256(spec.text.encode()).hexdigest()


def change(old: str, new: str) -> FeatureSpec:
    return FeatureSpec.parse(OWN.text.replace(old, new))


def own_line(machine: str, hour: float, **fields: Any) -> bytes:
    return line("", at(hour), device=machine, **{"fault": "0", **fields}).replace(b'"machine_id":"",', b"")


@pytest.fixture(params=[Pipeline, Staged])
def pipeline(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Six hours of two machines, and their training set by features of one's own."""
    pipeline: Pipeline = request.param(tmp_path, spec=OWN)
    for hour in range(6):
        lines = [own_line(f"M{k}", hour + 0.1 * k, level=4 + k, temp=1) for k in (1, 2)]
        write_raw(tmp_path, at(hour), "a.jsonl", lines)
    pipeline.invoke(SPAN)
    pipeline.table.items.clear()
    return pipeline


def read_training(pipeline: Pipeline) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in pipeline.root.glob("processed/training/**/*.parquet")}


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (PACKAGED, "are rejected as missing_machine_id"),
        (change("device", "name"), "are rejected as missing_machine_id"),
        (change('"level"', '"tmp"'), "are rejected as no_reading"),
        (change("[0, 9]", "[0, 5.5]"), "are rejected as out_of_range"),
        (change('"event"', '"fault"'), "are failure events"),
    ],
)
def test_run_that_would_take_rows_stops_before_files_and_items(
    pipeline: Pipeline, spec: FeatureSpec, reason: str
) -> None:
    before = read_training(pipeline)
    pipeline.spec = spec
    told = (
        f"^features.toml {digest(spec)} would leave training hour 2025-10-15T01:00:00Z without rows that features.toml "
    )
    told += f"{digest(OWN)} has, first that of 'M[12]', since lines of raw/year=2025/.*/a.jsonl {reason}; .*accept_loss"
    for _ in range(2):  # the second time, tiles are there by the wrong features
        with pytest.raises(LossError, match=told):
            pipeline.invoke(SPAN)
    assert (read_training(pipeline), pipeline.table.items) == (before, {})
    accepted = pipeline.invoke({**SPAN, "accept_loss": True})
    assert accepted["training"]["files"] == 6
    assert accepted["training"]["rows"] < 12
    assert pipeline.invoke(SPAN)["training_current"] == 6  # what was accepted once is no loss again


@pytest.mark.parametrize("length", [3_000, 5_000])
def test_lines_of_which_quarantine_has_a_part_are_no_less_a_loss(pipeline: Pipeline, length: int) -> None:
    for hour in range(6):
        write_raw(pipeline.root, at(hour), "a.jsonl", [own_line("M1", hour + 0.1, level=4, tmp=1), b"?" * 5_000])
        write_raw(pipeline.root, at(hour), "b.jsonl", [own_line("M3", hour + 0.3, pad="x" * length, level=5)])
    pipeline.invoke(SPAN)
    before = read_training(pipeline)
    pipeline.spec = change('"level"', '"tmp"')
    with pytest.raises(
        LossError, match=r"first that of 'M3', since lines of raw/.*/b.jsonl are rejected as no_reading"
    ):
        pipeline.invoke(SPAN)
    assert read_training(pipeline) == before
    assert pipeline.invoke({**SPAN, "accept_loss": True})["training"]["rows"] == 6


def test_long_lines_that_no_features_take_are_no_loss(pipeline: Pipeline) -> None:
    for hour in range(6):
        write_raw(pipeline.root, at(hour), "a.jsonl", [own_line("M1", hour + 0.1, level=4), b"?" * 5_000])
    pipeline.spec = change("[0, 9]", "[0, 8]")
    pipeline.invoke(SPAN)  # M2 is gone from raw


def test_right_features_after_wrong_ones_leave_what_was_there(pipeline: Pipeline) -> None:
    before = read_training(pipeline)
    pipeline.spec = PACKAGED
    with pytest.raises(LossError):
        pipeline.invoke(SPAN)
    pipeline.spec = OWN
    assert pipeline.invoke(SPAN)["training_current"] == 6
    assert read_training(pipeline) == before
    assert len(pipeline.table.items) == 2


@pytest.mark.parametrize(
    "spec",
    [
        change('["1h"]', '["2h"]'),
        change("[0, 9]", "[-5, 99]"),
        change("[0, 9]", "[0, 7]"),
        FeatureSpec.parse(OWN.text + '\n[[readings]]\nname = "temp"\nplausible = [0, 1]'),
    ],
)
def test_change_that_leaves_every_row_is_no_loss(pipeline: Pipeline, spec: FeatureSpec) -> None:
    pipeline.spec = spec
    assert pipeline.invoke(SPAN)["training"] == {"files": 6, "rows": 12, "kept": 0}


def test_line_out_of_a_narrower_range_is_no_loss_where_its_machine_has_others(pipeline: Pipeline) -> None:
    """A broken sensor's lines go: the rows see other readings of the 24 hours before."""
    write_raw(pipeline.root, at(3), "b.jsonl", [own_line("M1", 3.7, level=8)])
    pipeline.invoke(SPAN)
    pipeline.spec = change("[0, 9]", "[0, 7]")
    assert pipeline.invoke(SPAN)["training"]["rows"] == 12


def test_rows_that_go_with_their_raw_objects_are_no_loss(pipeline: Pipeline) -> None:
    for path in pipeline.root.glob("raw/**/a.jsonl"):
        path.write_bytes(b"\n".join([own_line("M1", float(re.findall("hour=([0-9]+)", str(path))[0]), level=5)]))
    pipeline.spec = change("[0, 9]", "[0, 5.5]")
    assert pipeline.invoke(SPAN)["training"]["rows"] == 6


def test_features_of_another_release_are_no_loss(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can say which lines they accepted."""
    parse = FeatureSpec.parse
    pipeline.spec = change("[0, 9]", "[0, 5.5]")

    def refuse(text: str, **more: str) -> FeatureSpec:
        return parse(text.replace("windows", "panes") if "[0, 9]" in text else text, **more)

    monkeypatch.setattr(FeatureSpec, "parse", refuse)
    assert pipeline.invoke(SPAN)["training"]["rows"] == 6


def test_training_file_that_rots_is_no_loss_and_no_foreign_error(pipeline: Pipeline) -> None:
    for path in read_training(pipeline):
        rot(path)
    pipeline.spec = change("[0, 9]", "[0, 5.5]")
    assert pipeline.invoke(SPAN)["training"] == {"files": 6, "rows": 6, "kept": 0}
