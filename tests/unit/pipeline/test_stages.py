"""A run in stages does what one run does: the same files, items and answer, whatever is cut and tried again."""

import json
import os
import shutil
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest

from handler.definitions.errors import (
    DamagedFileError,
    EventError,
    LakeError,
    MissingObjectError,
    OvertakenError,
    TooManyMachinesError,
)
from handler.definitions.layout import (
    failures_key,
    hours_key,
    partition_path,
    quarantine_key,
    tiles_key,
    training_key,
)
from handler.definitions.spec import FeatureSpec
from handler.lake.lake import Lake
from handler.lake.parquet import TAIL_BYTES
from handler.pipeline.exchange import Exchange
from handler.pipeline.run import Job, Run
from handler.pipeline.stages import read_stage, take_stage
from handler.plan import Plan
from processing.states import write_states
from tests.frames import assert_close, assert_rows_close
from tests.harness import HOUR, NOW, Pipeline, at, check_sums, line, stamp, write_raw
from tests.interruptions import KilledError, die, flip, interrupting_at_write
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

    def plan(self, run: str) -> dict[str, Any]:
        """Take the first stage; return where its lists are."""
        return self.take({"stage": "plan", "run": run, "part_bytes": self.part_bytes})

    def take_until_divided(self, run: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Take all stages up to the one that divides; return where the lists of both are."""
        planned = self.plan(run)
        self.take_all(planned["maps"])
        self.take_all(planned["combines"])
        return planned, self.take({"stage": "divide", "run": run, "machines": self.machines})

    def take_stages_from_divide(self, run: str) -> dict[str, Any]:
        divided = self.take({"stage": "divide", "run": run, "machines": self.machines})
        self.take_all(divided["reduces"])
        self.take_all(divided["finishes"])
        return self.take({"stage": "answer", "run": run})

    def list_steps(self, run: str) -> Iterator[str]:
        """Take the stages of one kind after the other; name each kind when it is done."""
        planned = self.plan(run)
        yield "plan"
        for name in ("maps", "combines"):
            self.take_all(planned[name])
            yield name
        divided = self.take({"stage": "divide", "run": run, "machines": self.machines})
        yield "divide"
        for name in ("reduces", "finishes"):
            self.take_all(divided[name])
            yield name
        self.take({"stage": "answer", "run": run})

    def read_list(self, listed: Mapping[str, Any]) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = json.loads((self.root / listed["key"]).read_bytes())
        assert len(events) == listed["count"]
        return events

    def take_all(self, listed: Mapping[str, Any]) -> None:
        """Take the stages of a list, as a distributed map reads it, in any order: here the other way round."""
        for event in reversed(self.read_list(listed)):
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
    planned = staged.plan(run)
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
    planned = staged.plan(slow)
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
        ({"stage": None, "run": "run-1"}, "stage None is none of plan"),
        ({"stage": ["plan"], "run": "run-1"}, "stage .'plan'. is none of plan"),
        ({"stage": "map", "run": "run-1"}, "stage map wants partition, made_of, part"),
        ({"stage": "map", "run": "run-1", "partition": "nine"}, "write an instant"),
        ({"stage": "map", "run": "run-1", "partition": "2025-10-15T01:00:00Z", "part": -1}, "part -1 must be"),
        ({"stage": "map", "run": "run-1", "partition": "2025-10-15T01:00:00Z", "part": 0}, "stage map wants made_of"),
        ({"stage": "map", "run": "run-1", "made_of": "../plan"}, "made_of '../plan' must be a digest"),
        ({"stage": "combine", "run": "run-1", "partition": "2025-10-15T01:00:00Z"}, "stage combine wants made_of"),
        ({"stage": "plan", "run": "run-1", "part_bytes": 0}, "part_bytes 0 must be a whole number from 1"),
        ({"stage": "plan", "run": "run-1", "part_bytes": True}, "part_bytes True must be a whole number"),
        ({"stage": "plan", "run": "run-1", "evnt": {}}, "stage plan has no evnt; its fields are stage, run, event"),
        ({"stage": "divide", "run": "run-1", "machines": 1.5}, "machines 1.5 must be a whole number"),
        ({"stage": "divide", "run": "run-1", "as_of": "2025-10-15T01:00:00Z"}, "stage divide has no as_of"),
        ({"stage": "reduce", "run": "run-1"}, "stage reduce wants division, hours, shard"),
        ({"stage": "reduce", "run": "run-1", "hours": "2025-10-15T01:00:00Z"}, "hours '.*' must be a list"),
        ({"stage": "reduce", "run": "run-1", "hours": ["x"]}, "write an instant"),
        ({"stage": "finish", "run": "run-1", "hour": "2025-10-15T01:00:00Z"}, "stage finish wants division"),
        ({"stage": "answer", "run": "run-1", "division": "x"}, "stage answer has no division"),
        ({"stage": "map", "run": "../x"}, "run '../x' must be 1 to 80"),
        ({"stage": "answer", "run": None}, "run None must be 1 to 80"),
    ],
)
def test_event_that_is_no_stage(tmp_path: Path, event: dict[str, Any], says: str) -> None:
    """Whatever is wrong is said before anything is read, since another try would not mend it."""
    with pytest.raises(EventError, match=says):
        Staged(tmp_path).take(event)


def test_event_of_a_stage_that_its_run_does_not_have(both: tuple[Pipeline, Staged]) -> None:
    _, staged = both
    run = staged.begin({"as_of": stamp(at(6))})
    planned, divided = staged.take_until_divided(run)
    first = staged.read_list(planned["maps"])[0]
    with pytest.raises(EventError, match="part 99 is none of the 6 of partition 2025-10-15T00:00:00Z"):
        staged.take({**first, "part": 99})
    reduce, finish = staged.read_list(divided["reduces"])[0], staged.read_list(divided["finishes"])[0]
    with pytest.raises(EventError, match="has no shard 99 of these hours"):
        staged.take({**reduce, "shard": 99})
    with pytest.raises(EventError, match="has no shard 0 of these hours"):
        staged.take({**reduce, "hours": [stamp(at(5))]})
    with pytest.raises(EventError, match="does not write hour 2025-10-15T23:00:00Z"):
        staged.take({**finish, "hour": "2025-10-15T23:00:00Z"})
    with pytest.raises(OvertakenError, match="partitions/20251015T0000"):
        staged.take({**first, "made_of": "0" * 32})
    with pytest.raises(MissingObjectError):
        staged.take({**finish, "division": "0" * 32})


def stall_and_go_on(staged: Staged, event: Mapping[str, Any], go_on: Callable[[], object]) -> None:
    """Take a stage that stands still before its first write, while the run goes on without it."""
    with interrupting_at_write(0, go_on):
        staged.take(event)


@pytest.mark.parametrize("part_bytes", [1, 10**9])
def test_map_that_comes_back_late_changes_no_partition(tmp_path: Path, part_bytes: int) -> None:
    """Its run has begun again, after an object was replaced: it wrote under the new listing what it made of the old."""
    hour, staged = at(8), Staged(tmp_path, part_bytes=part_bytes, time_window=HOUR)
    write_raw(tmp_path, hour, "a.jsonl", [line("A", at(8, minutes=1), temperature=10)])
    write_raw(tmp_path, hour, "b.jsonl", [line("B", at(8, minutes=2), temperature=20)])
    run = staged.begin({"as_of": stamp(at(9))})
    planned = staged.plan(run)
    late = staged.read_list(planned["maps"])[-1]

    def go_on() -> None:
        nonlocal planned
        write_raw(tmp_path, hour, "b.jsonl", [line("B", at(8, minutes=2), temperature=99)])
        planned = staged.plan(run)
        staged.take_all(planned["maps"])

    stall_and_go_on(staged, late, go_on)
    staged.take_all(planned["combines"])
    if part_bytes == 1:
        answer = staged.take_stages_from_divide(run)
    else:  # it has written the partition's own files, which say so
        with pytest.raises(OvertakenError, match="hour=08/tiles"):
            staged.take_stages_from_divide(run)
        answer = staged.take_stages(run)
    means = {machine: row["temperature_celsius_mean_1h"] for machine, row in staged.rows_at(at(9)).items()}
    assert means == {"A": 10, "B": 99}
    assert (answer["tiles"]["built"], answer["lines"]["read"], answer["training"]) == (
        1,
        2,
        {"files": 1, "rows": 2, "kept": 0},
    )
    assert staged.run(at(9))["training_current"] == 1


@pytest.mark.parametrize("machines", [1, 100])
def test_reduce_that_comes_back_late_changes_no_training_file(tmp_path: Path, machines: int) -> None:
    """Its run has begun again, and divides more machines: its rows were those of other bounds."""
    hour, staged = at(8), Staged(tmp_path, machines=machines, time_window=HOUR)
    write_raw(tmp_path, hour, "a.jsonl", [line(name, at(8, minutes=1), temperature=10) for name in "ABC"])
    run = staged.begin({"as_of": stamp(at(9))})
    _, divided = staged.take_until_divided(run)
    late = staged.read_list(divided["reduces"])[machines == 1]

    def go_on() -> None:
        nonlocal divided
        write_raw(tmp_path, hour, "0.jsonl", [line(name, at(8, minutes=2), temperature=5) for name in "01"])
        _, divided = staged.take_until_divided(run)
        staged.take_all(divided["reduces"])

    stall_and_go_on(staged, late, go_on)
    staged.take_all(divided["finishes"])
    if machines == 100:  # it wrote the training file itself, which says so
        with pytest.raises(OvertakenError, match=r"training/.*hour=09"):
            staged.take({"stage": "answer", "run": run})
        answer = staged.take_stages(run)
    else:
        answer = staged.take({"stage": "answer", "run": run})
    assert list(staged.rows_at(at(9))) == ["0", "1", "A", "B", "C"]
    assert answer["training"] == {"files": 1, "rows": 5, "kept": 0}
    assert staged.run(at(9))["training_current"] == 1


def test_reduce_that_comes_back_late_puts_no_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands still when it has computed its rows; meanwhile its run has begun again, and put newer ones."""
    staged = Staged(tmp_path, time_window=HOUR)
    write_raw(tmp_path, at(8), "a.jsonl", [line("A", at(8, minutes=1), temperature=10)])
    run = staged.begin({"as_of": stamp(at(9))})
    _, divided = staged.take_until_divided(run)
    compute = Run.compute_block

    def compute_and_stand_still(*arguments: Any) -> Any:
        monkeypatch.undo()
        computed = compute(*arguments)
        write_raw(tmp_path, at(8), "a.jsonl", [line("A", at(8, minutes=1), temperature=99)])
        staged.take_stages(run)
        return computed

    monkeypatch.setattr(Run, "compute_block", compute_and_stand_still)
    with pytest.raises(OvertakenError, match="divided"):
        staged.take(staged.read_list(divided["reduces"])[0])
    assert staged.online_rows()["A"]["temperature_celsius_last_1h"] == 99


@pytest.mark.parametrize("group", ["maps", "combines", "reduces", "finishes"])
def test_stage_that_was_never_taken_is_no_success(both: tuple[Pipeline, Staged], group: str) -> None:
    _, staged = both
    run = staged.begin({"as_of": stamp(at(6))})

    def take_all_but_one(name: str, lists: Mapping[str, Any]) -> None:
        for event in staged.read_list(lists[name])[name == group :]:
            staged.take(event)

    def take_all() -> None:
        planned = staged.plan(run)
        take_all_but_one("maps", planned)
        take_all_but_one("combines", planned)
        divided = staged.take({"stage": "divide", "run": run, "machines": staged.machines})
        take_all_but_one("reduces", divided)
        take_all_but_one("finishes", divided)
        staged.take({"stage": "answer", "run": run})

    with pytest.raises(LakeError):
        take_all()


def test_run_that_begins_again_counts_what_is_there_once(both: tuple[Pipeline, Staged]) -> None:
    one, staged = both
    expected = one.run(at(6))
    run = staged.begin({"as_of": stamp(at(6))})
    _, divided = staged.take_until_divided(run)
    staged.take_all(divided["reduces"])
    for event in staged.read_list(divided["finishes"])[:3]:
        staged.take(event)
    assert without_time(staged.take_stages(run)) == without_time(expected)
    assert without_time(staged.take_stages(run)) == without_time(expected)
    compare(one, staged)


@pytest.mark.parametrize("number", [0, 1, 6])
def test_combine_that_dies_at_a_write_counts_once(both: tuple[Pipeline, Staged], number: int) -> None:
    one, staged = both
    expected = one.run(at(6))
    run = staged.begin({"as_of": stamp(at(6))})
    planned = staged.plan(run)
    staged.take_all(planned["maps"])
    with interrupting_at_write(number, die), suppress(KilledError):
        staged.take_all(planned["combines"])
    assert without_time(staged.take_stages(run)) == without_time(expected)


@pytest.mark.parametrize("kind", ["quarantine", "failures", "hours"])
def test_partition_without_raw_objects_needs_no_more_than_its_tiles(both: tuple[Pipeline, Staged], kind: str) -> None:
    """A lifecycle rule took one of its files: one process keeps it, and so do stages."""
    one, staged = both
    for pipeline in (one, staged):
        pipeline.run(at(6))
        shutil.rmtree(pipeline.root / f"raw/{partition_path(at(4))}")
        shutil.rmtree(pipeline.root / f"processed/{kind}/{partition_path(at(4))}")
    answer = staged.run(at(6))
    assert answer["tiles"] == {"built": 0, "reused": 4, "kept": 1}
    assert without_time(answer) == without_time(one.run(at(6)))
    assert_rows_close(staged.online_rows(), one.online_rows())


def test_partition_of_which_nothing_is_left_is_an_error_that_says_so(both: tuple[Pipeline, Staged]) -> None:
    _, staged = both
    staged.run(at(6))
    shutil.rmtree(staged.root / f"raw/{partition_path(at(4))}")
    tiles = staged.root / tiles_key(at(4))
    tiles.write_bytes(tiles.read_bytes()[:-9])
    with pytest.raises(DamagedFileError, match=r"hour=04.*its raw objects are gone; restore it, or delete it"):
        staged.run(at(6))


LEFT = ["plan", "planned.json", "partitions", "parts", "built", "divided.json", "divisions", "rows", "newest"]


@pytest.mark.parametrize(
    ("step", "name"),
    [
        *(("plan", name) for name in LEFT[:3]),
        *(("maps", name) for name in LEFT[:4]),
        *(("combines", name) for name in LEFT[:5]),
        *(("divide", name) for name in LEFT[:7]),
        *(("reduces", name) for name in LEFT),
        *(("finishes", name) for name in LEFT),
    ],
)
def test_flip_in_any_file_of_a_run_is_an_error_or_made_good(tmp_path: Path, step: str, name: str) -> None:
    one, staged = Pipeline(tmp_path / "one"), Staged(tmp_path / "stages", part_bytes=1)
    for pipeline in (one, staged):
        pipeline.time_window = HOUR
        for number in range(2):
            lines = [line(f"M{k}", at(5, minutes=k), temperature=k + number / 3) for k in range(5)]
            write_raw(pipeline.root, at(5), f"{number}.jsonl", [*lines, failure("M1", at(5), "E7"), b"no json"])
    one.run(at(6))
    random = Random(f"{step} {name}")
    run = staged.begin({"as_of": stamp(at(6))})
    folder = staged.root / "processed/runs" / run
    steps = staged.list_steps(run)
    while next(steps) != step:
        pass
    place = folder / name
    flip(place if place.is_file() else random.choice(sorted(place.rglob("*.*"))), random)
    try:
        deque(steps, maxlen=0)
    except LakeError:
        if name == "plan":  # the entry point writes it again
            staged.run(at(6))
        else:
            staged.take_stages(run)
    compare(one, staged)


def begin_again(staged: Staged, run: str) -> dict[str, Any]:
    """Take the stages of a run, three times at most."""
    for _ in range(2):
        with suppress(LakeError):
            return staged.take_stages(run)
    return staged.take_stages(run)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "flip": lambda path: flip(path, Random(1)),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:40]),
    "empty": lambda path: path.write_bytes(b""),
    "delete": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("step", ["combines", "finishes", "answered"])
def test_damaged_count_of_a_partition_is_made_again(both: tuple[Pipeline, Staged], step: str, damage: str) -> None:
    one, staged = both
    expected = one.run(at(6))
    run = staged.begin({"as_of": stamp(at(6))})
    steps = staged.list_steps(run)
    for name in steps:
        if name == step:
            break
    DAMAGE[damage](sorted((staged.root / "processed/runs" / run / "built").iterdir())[2])
    if step != "answered":
        with pytest.raises(LakeError, match=r"processed/runs/run-1/built/.*run again"):
            deque(steps, maxlen=0)
    assert without_time(begin_again(staged, run)) == without_time(expected)
    assert without_time(begin_again(staged, run)) == without_time(expected)
    compare(one, staged)


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_count_of_a_partition_without_raw_objects_ends_no_run(
    both: tuple[Pipeline, Staged], damage: str
) -> None:
    """It cannot be built again, and is there: a run under another name would say the same of it."""
    _, staged = both
    run = staged.begin({"as_of": stamp(at(6))})
    staged.take_stages(run)
    DAMAGE[damage](next((staged.root / "processed/runs" / run / "built").glob("20251015T0400-*")))
    shutil.rmtree(staged.root / f"raw/{partition_path(at(4))}")
    assert staged.take_stages(run)["tiles"] == {"built": 4, "reused": 0, "kept": 1}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["divisions/*/shards.json", "divisions/*/tiles.json", "set_out/20251015T0300.json"])
def test_damaged_division_of_an_earlier_try_changes_no_answer(
    both: tuple[Pipeline, Staged], name: str, damage: str
) -> None:
    one, staged = both
    expected = one.run(at(6))
    run = staged.begin({"as_of": stamp(at(6))})
    _, divided = staged.take_until_divided(run)
    staged.take_all(divided["reduces"])
    for event in staged.read_list(divided["finishes"])[:4]:
        staged.take(event)
    (path,) = (staged.root / "processed/runs" / run).glob(name)
    DAMAGE[damage](path)
    assert without_time(begin_again(staged, run)) == without_time(expected)
    compare(one, staged)


def test_plan_that_is_damaged_is_written_again_by_its_event(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path.as_uri())
    exchange, pipeline = Exchange(lake, "run"), Pipeline(tmp_path)
    assert not exchange.is_begun("event")
    exchange.write_plan(pipeline.make_plan({}), NOW, pipeline.spec.digest, "event")
    assert exchange.is_begun("event")
    with pytest.raises(EventError, match="run run began with another event; give each execution a name of its own"):
        exchange.is_begun("another")
    flip(tmp_path / "processed/runs/run/plan/plan.json", Random(1))
    with pytest.raises(DamagedFileError, match=r"plan/plan\.json: it is damaged; run again"):
        exchange.read_plan(pipeline.spec.digest)
    assert not exchange.is_begun("event")


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


def write_too_many_machines_at_first(root: Path) -> dict[str, str]:
    """Write ten machines in one hour and one in those after; give the event of a backfill over all."""
    write_raw(root, at(0), "a.jsonl", [line(f"x{k}", at(0.5), vibration=1) for k in range(10)])
    for hour in range(1, 30):
        write_raw(root, at(hour), "a.jsonl", [line("P", at(hour + 0.5), vibration=1)])
    return {"start": stamp(at(0)), "end": stamp(at(30))}


@pytest.mark.parametrize("kind", [Limited, LimitedStages])
def test_hour_of_too_many_machines_is_not_written_though_the_newest_has_few(
    kind: type[Pipeline], tmp_path: Path
) -> None:
    pipeline = kind(tmp_path)
    event = write_too_many_machines_at_first(tmp_path)
    with pytest.raises(TooManyMachinesError, match=r"^MAX_MACHINES: 1[01] machines have readings, and 5 may: "):
        pipeline.invoke(event)
    assert all(frame.height <= 5 for frame in pipeline.training().values())


@pytest.mark.xfail(strict=True, reason="issue K: only the machines of the newest rows are counted before items")
@pytest.mark.parametrize("kind", [Limited, LimitedStages])
def test_hour_of_too_many_machines_stops_the_run_before_items(kind: type[Pipeline], tmp_path: Path) -> None:
    pipeline = kind(tmp_path)
    event = write_too_many_machines_at_first(tmp_path)
    with pytest.raises(TooManyMachinesError):
        pipeline.invoke(event)
    assert pipeline.table.items == {}


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
    with suppress(OvertakenError):  # whoever computes rows builds the file again, and the run begins again
        staged.take_all(divided["reduces"])
    staged.take_stages(run)
    compare(one, staged)


def test_memory_of_a_long_span_is_that_of_some_hours(tmp_path: Path) -> None:
    """400 hours that are right: the ends of their tile files, and of their training files, have 52 MB in all."""
    hours = 400
    values = Random(5)
    lines = [
        line(f"M{k:04d}", at(hours, minutes=m), temperature=values.uniform(0, 99), vibration=values.uniform(0, 9))
        for k in range(500)
        for m in (1, 31)
    ]
    write_raw(tmp_path, at(hours), "a.jsonl", lines)
    staged = Staged(tmp_path, part_bytes=10**9, machines=10**6, time_window=HOUR)
    staged.run(at(hours + 1))
    keys = (tiles_key, hours_key, failures_key, quarantine_key)
    for hour in range(hours):
        for key, moved in [*((key, 0) for key in keys), (training_key, 1)]:
            path = tmp_path / key(at(hour + moved))
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(tmp_path / key(at(hours + moved)), path)
    assert (tmp_path / training_key(at(hours))).stat().st_size > TAIL_BYTES
    run = staged.begin({"start": stamp(at(30)), "end": stamp(at(hours + 1))})
    tracemalloc.start()
    staged.plan(run)
    staged.take({"stage": "divide", "run": run, "machines": staged.machines})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 13 * 2**20


@pytest.mark.parametrize("hours", [49, 100])
def test_raw_objects_are_listed_some_hours_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    for hour in range(hours):
        write_raw(tmp_path, at(hour), "a.jsonl", [line("M", at(hour), temperature=1)])
        write_raw(tmp_path, at(hour), "_a.jsonl", b"")
    (tmp_path / "raw/stray").write_bytes(b"")
    listed: list[int] = []
    list_partitions = Lake.list_partitions

    def count(lake: Lake, asked: Iterable[datetime]) -> Any:
        asked = list(asked)
        listed.append(len(asked))
        return list_partitions(lake, asked)

    monkeypatch.setattr(Lake, "list_partitions", count)
    answer = Staged(tmp_path, part_bytes=10**9, machines=10**6).backfill(at(0), at(hours))
    assert max(listed) <= 48
    assert (answer["tiles"]["built"], answer["objects"]) == (
        hours,
        {"read": hours, "skipped": hours + 1, "unreadable": 0},
    )


def test_state_machine_sends_the_fields_that_stages_have_and_tries_no_wrong_event_again() -> None:
    machine = write_states(partition="aws", function_arn="arn", bucket="lake")["States"]["Run"]
    stages = machine["Branches"][0]["States"]
    examples = {"event": {}, "started": "2025-10-15T09:06:00.123Z", "run": "run", "part_bytes": 1, "machines": 1}
    for name in ("Plan", "Divide", "Answer"):
        fields = [field.removesuffix(".$") for field in stages[name]["Parameters"]["Payload"] if field != "stage"]
        read_stage({"stage": name.lower(), **{field: examples[field] for field in fields}})
    every = [state.get("ItemProcessor", {"States": {name: state}})["States"] for name, state in stages.items()]
    retries = [task["Retry"] for states in every for task in states.values() if task["Type"] == "Task"]
    assert len(retries) == 7
    for retry in retries:
        assert "EventError" in retry[0]["ErrorEquals"]
        assert retry[0]["MaxAttempts"] == 0
    assert "EventError" not in machine["Retry"][0]["ErrorEquals"]


def test_partition_of_another_format_without_raw_objects_stands(
    both: tuple[Pipeline, Staged], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another release left it; nobody reads it, and no training file is written again without it."""
    one, staged = both
    for pipeline in (one, staged):
        pipeline.run(at(6))
        shutil.rmtree(pipeline.root / f"raw/{partition_path(at(4))}")
    monkeypatch.setattr("handler.tiles.manifest.TILE_FORMAT", 99)
    answer, expected = staged.run(at(6)), one.run(at(6))
    assert answer["tiles"] == {"built": 4, "reused": 0, "kept": 1}
    assert answer["training"]["kept"] == 5  # all but the first hour see its lines, some of which are three hours late
    assert without_time(answer) == without_time(expected)
    compare(one, staged)
