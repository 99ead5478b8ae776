"""A run in stages does what one run does: the same files, items and answer, whatever is cut and tried again."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from handler.definitions.errors import DamagedFileError, EventError, LakeError, OvertakenError, TooManyMachinesError
from handler.definitions.layout import hours_key, tiles_key
from handler.definitions.spec import FeatureSpec
from handler.lake.lake import Lake
from handler.pipeline.exchange import Exchange
from handler.pipeline.run import Job, Run
from handler.pipeline.stages import take_stage
from handler.plan import Plan
from tests.frames import assert_close
from tests.harness import NOW, Pipeline, at, check_sums, line, stamp, write_raw
from tests.staged import compare, take_stages, without_time


@dataclass
class Staged(Pipeline):
    """The same pipeline, a stage after the other; each has nothing but its event and the lake, as a process would."""

    part_bytes: int = 2_000
    machines: int = 2
    times: int = 1
    runs: int = 0

    def invoke(self, event: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        return self.take_stages(self.begin(event, **more))

    def begin(self, event: Mapping[str, Any], **more: Any) -> str:
        """Begin a run; return its name."""
        self.runs += 1
        name = f"run-{self.runs}"
        exchange = Exchange(Lake.open(self.root.resolve().as_uri()), name)
        exchange.write_plan(self.make_plan(event, **more), self.now, self.spec.digest)
        return name

    def take_stages(self, name: str) -> dict[str, Any]:
        plan, divide = {"part_bytes": self.part_bytes}, {"machines": self.machines}
        return take_stages(name, self.take, self.take_all, plan=plan, divide=divide)

    def take_all(self, listed: Mapping[str, Any]) -> None:
        """Take the stages of a list, as a distributed map reads it, in any order: here the other way round."""
        events = json.loads((self.root / listed["key"]).read_bytes())
        assert len(events) == listed["count"]
        for event in reversed(events):
            for _ in range(self.times):
                self.take(event)

    def take(self, event: Mapping[str, Any]) -> dict[str, Any]:
        event = json.loads(json.dumps(event))
        exchange = Exchange(Lake.open(self.root.resolve().as_uri()), event["run"])
        answer = take_stage(event, exchange, self.spec.digest, self.make_job)
        return json.loads(json.dumps(answer))  # type: ignore[no-any-return]


def failure(machine: str, time: datetime, code: str) -> bytes:
    return line(machine, time, codigo_evento=code)


def fill(root: Path) -> None:
    """Six hours of five machines: late and repeated lines, failures twice, bad lines, an empty hour, many objects."""
    for hour in (0, 1, 2, 4, 5):
        for part in range(6):
            lines = [
                line(f"M{machine}", at(hour, minutes=10 * part + second / 6), temperature=60 + machine + second / 7,
                     vibration=2 + (machine * second) % 5)
                for machine in range(5)
                for second in range(12)
            ]  # fmt: skip
            lines += [lines[3], failure(f"M{part % 3}", at(hour, minutes=10 * part), "E7")]
            if part:
                lines += [
                    failure("M0", at(hour), "E7"),
                    b"no json",
                    line("M1", at(hour - 3, minutes=part), vibration=9),
                ]
            if part == 5:  # what an earlier object had, which another process reads
                lines += [line("M2", at(hour, minutes=0), temperature=62, vibration=2)] * 2
            write_raw(root, at(hour), f"part-{part}.jsonl", lines)
    (root / "raw").joinpath("year=2025/month=10/day=15/hour=05/_notes.txt").write_text("")


@pytest.fixture
def both(tmp_path: Path) -> tuple[Pipeline, Staged]:
    for name in ("one", "stages"):
        (tmp_path / name).mkdir()
        fill(tmp_path / name)
    return Pipeline(tmp_path / "one"), Staged(tmp_path / "stages")


@pytest.mark.parametrize(
    ("part_bytes", "machines", "times"), [(2_000, 2, 1), (10**9, 100, 1), (2_000, 100, 2), (20_000, 1, 2)]
)
def test_stages_do_what_one_run_does(both: tuple[Pipeline, Staged], part_bytes: int, machines: int, times: int) -> None:
    """Partitions in parts or whole, machines in shards or not, each stage taken once or twice."""
    one, staged = both
    staged.part_bytes, staged.machines, staged.times = part_bytes, machines, times
    expected, answer = one.run(at(6)), staged.run(at(6))
    assert without_time(answer) == without_time(expected)
    check_sums(answer)
    assert min(answer["lines"]["duplicates"], answer["lines"]["late"]) > 0
    assert answer["tiles"]["built"] == 5
    compare(one, staged)


def test_runs_one_after_the_other(both: tuple[Pipeline, Staged]) -> None:
    """Late lines come between two runs, and a backfill follows: what is current is not written again."""
    one, staged = both
    for pipeline in (one, staged):
        pipeline.run(at(4))
        write_raw(pipeline.root, at(5), "late.jsonl", [line("M9", at(2.5), temperature=50)])
    assert without_time(staged.run(at(6))) == without_time(one.run(at(6)))
    compare(one, staged)
    assert without_time(staged.backfill(at(0), at(6))) == without_time(one.backfill(at(0), at(6)))
    compare(one, staged)


def test_stages_and_one_run_take_turns(both: tuple[Pipeline, Staged]) -> None:
    """What one way has built, the other takes as it is."""
    _, staged = both
    staged.run(at(6))
    other = Pipeline(staged.root, table=staged.table)
    answer = other.run(at(6))
    assert (answer["tiles"]["built"], answer["lines"]["read"]) == (0, 0)
    assert answer["training_current"] == answer["training"]["files"] == 6


def test_run_that_begins_again_goes_on_from_what_is_right(both: tuple[Pipeline, Staged]) -> None:
    """A file is damaged while a run is under way: the run says so, and at its second try builds this partition only."""
    one, staged = both
    expected = one.run(at(6))
    run = staged.begin({"as_of": stamp(at(6))})
    planned = staged.take({"stage": "plan", "run": run, "part_bytes": staged.part_bytes})
    staged.take_all(planned["maps"])
    staged.take_all(planned["combines"])
    damaged = staged.root / tiles_key(at(4))
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.raises(DamagedFileError, match="hour=04"):
        staged.take({"stage": "divide", "run": run})
    answer = staged.take_stages(run)
    partitions = staged.root / "processed/runs" / run / "partitions"
    assert [path.name for path in sorted(partitions.iterdir(), key=lambda path: path.stat().st_mtime_ns)][-1:] == [
        "20251015T0400.json"
    ]
    assert answer["lines"] == expected["lines"]
    compare(one, staged)


def test_runs_that_overlap_converge(both: tuple[Pipeline, Staged]) -> None:
    """A run stands still with its maps done, lines come late, another run takes them: the next one has all of it."""
    one, staged = both
    slow = staged.begin({"as_of": stamp(at(6))})
    planned = staged.take({"stage": "plan", "run": slow, "part_bytes": staged.part_bytes})
    staged.take_all(planned["maps"])
    for pipeline in (one, staged):
        write_raw(pipeline.root, at(5), "late.jsonl", [line("M9", at(2.5), temperature=50)])
    staged.run(at(6))
    staged.take_all(planned["combines"])
    divided = staged.take({"stage": "divide", "run": slow, "machines": 2})
    staged.take_all(divided["reduces"])
    staged.run(at(6))
    staged.take_all(divided["finishes"])
    with pytest.raises(OvertakenError):
        staged.take({"stage": "answer", "run": slow})
    staged.take_stages(slow)
    one.run(at(6))
    compare(one, staged)


def test_lake_without_anything(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    answer = Staged(tmp_path).run(at(6))
    assert (answer["machines"], answer["training"]["files"], answer["lines"]["read"]) == (0, 6, 0)


def test_line_in_two_parts_is_read_again_once(both: tuple[Pipeline, Staged], monkeypatch: pytest.MonkeyPatch) -> None:
    _, staged = both
    again: list[datetime] = []

    def read(raw: Any, *arguments: Any) -> None:
        again.append(raw.hour)
        read_partition(raw, *arguments)

    from handler.tiles.partition import read_partition

    monkeypatch.setattr("handler.tiles.parts.read_partition", read)
    staged.run(at(6))
    parts = len(list((staged.root / "processed/runs/run-1/parts").rglob("*.json")))
    assert parts < len(again) < 2 * parts


def test_features_that_change_during_a_run_end_it(both: tuple[Pipeline, Staged]) -> None:
    _, staged = both
    exchange = Exchange(Lake.open(staged.root.resolve().as_uri()), "run")
    exchange.write_plan(staged.make_plan({}), NOW, "other features")
    with pytest.raises(LakeError, match=r"features\.toml changed since it began"):
        staged.take({"stage": "plan", "run": "run"})


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ({"stage": "shuffle", "run": "run-1"}, "stage 'shuffle' is none of plan, map, combine"),
        ({"stage": "map", "run": "run-1"}, "stage map wants partition"),
        ({"stage": "map", "run": "run-1", "partition": "nine"}, "write an instant"),
        ({"stage": "map", "run": "run-1", "partition": "2025-10-15T01:00:00Z", "part": -1}, "part -1 must be"),
        ({"stage": "plan", "run": "run-1", "part_bytes": 0}, "part_bytes 0 must be a whole number from 1"),
        ({"stage": "map", "run": "../x"}, "run '../x' must be 1 to 80"),
    ],
)
def test_event_that_is_no_stage(both: tuple[Pipeline, Staged], event: dict[str, Any], says: str) -> None:
    _, staged = both
    staged.run(at(6))
    with pytest.raises(EventError, match=says):
        staged.take(event)


def test_every_number_of_shards_gives_the_same_rows(both: tuple[Pipeline, Staged]) -> None:
    one, staged = both
    one.run(at(6))
    rows: list[pl.DataFrame] = []
    for machines in (1, 3):
        staged.machines = machines
        for file in (staged.root / "processed").glob("training/**/*.parquet"):
            file.unlink()
        staged.run(at(6))
        rows.append(pl.concat(staged.training().values()))
    assert_close(rows[0], rows[1])
    assert_close(rows[0], pl.concat(one.training().values()))


@pytest.mark.parametrize("fleets", [{10: 40}, {3: 40, 20: 2}, dict.fromkeys(range(8, 16), 3)])
@pytest.mark.parametrize("kind", [Pipeline, Staged])
def test_rows_of_a_block_are_few_whenever_the_machines_were_there(
    kind: type[Pipeline], fleets: dict[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Machines by hour: all silent at the end, far fewer at the end, and others in each hour."""
    monkeypatch.setattr("handler.plan._MOST_ROWS", 100)
    pipeline = kind(tmp_path)
    if isinstance(pipeline, Staged):
        pipeline.machines = 1000
    for hour, machines in fleets.items():
        lines = [line(f"M{k + hour * 1000}", at(hour, minutes=9), vibration=1) for k in range(machines)]
        write_raw(tmp_path, at(hour), "a.jsonl", lines)
    sizes: list[tuple[int, int]] = []
    write = Run.write_training

    def note(run: Run, origins: Any, hours: Sequence[datetime], rows: pl.DataFrame) -> None:
        sizes.append((len(hours), rows.height))
        write(run, origins, hours, rows)

    monkeypatch.setattr(Run, "write_training", note)
    answer = pipeline.backfill(at(0), at(60))
    assert max(rows for hours, rows in sizes if hours > 1) <= 100
    assert len(sizes) < 60  # not every hour is a block of its own
    assert answer["training"] == {"files": 60, "rows": 24 * sum(fleets.values()), "kept": 0}
    assert sum(rows for _, rows in sizes) == 24 * sum(fleets.values())


@dataclass
class Limited(Pipeline):
    """One run that may know five machines."""

    def make_job(self, plan: Plan, now: datetime) -> Job:
        return replace(super().make_job(plan, now), max_machines=5)


@dataclass
class LimitedStages(Staged):
    """Stages that may know five machines."""

    def make_job(self, plan: Plan, now: datetime) -> Job:
        return replace(super().make_job(plan, now), max_machines=5)


@pytest.mark.parametrize("kind", [Limited, LimitedStages])
def test_run_of_too_many_machines_stops_before_items_and_says_whose(kind: type[Pipeline], tmp_path: Path) -> None:
    pipeline = kind(tmp_path)
    write_raw(tmp_path, at(4), "a.jsonl", [line(f"PUMP-{k}", at(4.5), vibration=1) for k in range(3)])
    write_raw(tmp_path, at(5), "a.jsonl", [line(f"x{k}", at(5.5), vibration=1) for k in range(2)])
    assert pipeline.run(at(6))["machines"] == 5
    pipeline.table.items.clear()
    before = pipeline.training()
    write_raw(tmp_path, at(5), "b.jsonl", [line(f"x{k}", at(5.5), vibration=1) for k in range(2, 10)])
    told = (
        "^MAX_MACHINES: 13 machines have readings, and 5 may: 10 of their ids begin with 'x'; "
        "find out who sends these, or set MAX_MACHINES higher$"
    )
    with pytest.raises(TooManyMachinesError, match=told):
        pipeline.run(at(6))
    assert pipeline.table.items == {}
    assert pipeline.training().keys() == before.keys()
    assert pipeline.run(at(5))["machines"] == 3  # others are not there yet


@pytest.mark.parametrize("kind", [Limited, LimitedStages])
def test_machines_that_fell_silent_do_not_count(kind: type[Pipeline], tmp_path: Path) -> None:
    """A window of a week sees more machines than have rows."""
    pipeline = kind(tmp_path, spec=FeatureSpec.parse(FeatureSpec.load().text.replace('"24h"', '"168h"')))
    for day in range(3):
        write_raw(
            tmp_path, at(24 * day), "a.jsonl", [line(f"M{day}{k}", at(24 * day + 0.5), vibration=1) for k in range(4)]
        )
    assert pipeline.run(at(49))["machines"] == 4


def test_object_that_changes_between_plan_and_map_ends_the_stage(both: tuple[Pipeline, Staged]) -> None:
    """Else the tiles hold other lines than their listing says, and nothing would ever build them again."""
    one, staged = both
    path = staged.root / "raw/year=2025/month=10/day=15/hour=05/part-1.jsonl"
    stat, lines = path.stat(), path.read_bytes()
    run = staged.begin({"as_of": stamp(at(6))})
    planned = staged.take({"stage": "plan", "run": run, "part_bytes": staged.part_bytes})
    path.write_bytes(lines.replace(b"6", b"5"))
    with pytest.raises(OvertakenError, match=r"hour=05/part-1\.jsonl: it was overwritten since it was listed"):
        staged.take_all(planned["maps"])
    path.write_bytes(lines)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    one.run(at(6))
    staged.take_stages(run)
    compare(one, staged)


def rot(path: Path) -> None:
    """Flip a bit of a file's first page; its version stays."""
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_hour_file_that_rots_before_machines_are_divided(both: tuple[Pipeline, Staged]) -> None:
    one, staged = both
    one.run(at(6))
    run = staged.begin({"as_of": stamp(at(6))})
    planned = staged.take({"stage": "plan", "run": run, "part_bytes": staged.part_bytes})
    staged.take_all(planned["maps"])
    staged.take_all(planned["combines"])
    rot(staged.root / hours_key(at(4)))
    divided = staged.take({"stage": "divide", "run": run, "machines": 2})
    staged.take_all(divided["reduces"])
    staged.take_all(divided["finishes"])
    compare(one, staged)
