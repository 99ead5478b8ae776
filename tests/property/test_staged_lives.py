"""Whatever happens to runs in stages: none answers success and is wrong, and the last leaves what one run leaves."""

import json
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
from hypothesis import event, given, note, settings
from hypothesis import strategies as st

from handler.definitions.errors import ProcessingError
from handler.definitions.layout import partition_path
from handler.definitions.spec import FeatureSpec
from handler.lake.lake import Lake
from handler.pipeline.exchange import Exchange
from handler.pipeline.run import Job
from handler.pipeline.stages import take_stage
from handler.plan import Plan
from handler.stores.online import OnlineResult
from tests import reference
from tests.frames import assert_rows_close
from tests.harness import HOUR, Pipeline, Row, Table, at, check_sums, line, stamp, write_raw
from tests.interruptions import KilledError, damage, die, interrupting_at_write
from tests.profiles import examples
from tests.property.test_runs import assert_same_training
from tests.staged import take_stages, without_time

HOURS = 5
LATENESS = 2 * HOUR
ANCHOR = "0.jsonl"
NAME = "vibration_rms"
WINDOWS = ({"1h": HOUR, "2h": 2 * HOUR}, {"1h": HOUR, "3h": 3 * HOUR})
SPECS = tuple(
    FeatureSpec.parse(f'windows = {list(windows)}\n[[readings]]\nname = "{NAME}"\nplausible = [0, {200 + number}]')
    for number, windows in enumerate(WINDOWS)
)
"""The second one has another range, so that tiles are built again, and another window."""

GROUPS = ("maps", "combines", "divide", "reduces", "finishes", "answer")
EVENTS = ({"as_of": stamp(at(HOURS))}, {"start": stamp(at(1)), "end": stamp(at(4))})


class GivenUpError(Exception):
    """A list of events cannot be read: the state machine begins the run again."""


@dataclass
class Execution:
    """An execution of the state machine: its run, and how far that is.

    Attributes
    ----------
    events
        What is to be taken of each group; the lists of the plan come first, then those of the division.
    known
        Every event that any list of the run has had: whoever is abandoned has one of these.
    left
        The groups to come.
    raw
        What the lake held when the run was planned last.
    put
        The items that it put into the table, by machine.
    before
        The lake as it was when the run began, as long as nobody else has changed it since.
    is_done, is_lost
        Whether it has answered, and whether a file was damaged that no try writes again: its plan, or what it counted.
    """

    name: str
    spec: FeatureSpec
    event: Mapping[str, str]
    events: dict[str, list[Row]] = field(default_factory=dict)
    known: list[Row] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    raw: dict[str, bytes] = field(default_factory=dict)
    put: dict[str, Row] = field(default_factory=dict)
    before: tuple[Path, Table] | None = None
    is_done: bool = False
    is_lost: bool = False


class Life:
    """A lake, an ordinary pipeline on it, and executions of the state machine.

    A partition that loses all of its objects keeps its files, so each has an object without lines that stays.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pipeline = Pipeline(folder / "lake", SPECS[0], HOURS * HOUR, LATENESS)
        self.root = self.pipeline.root
        self.root.joinpath("raw").mkdir(parents=True)
        self.executions: dict[int, Execution] = {}
        self.begun = 0

    # What others do

    def put(self, arrival: int, name: str, raw: bytes) -> None:
        folder = self.root / "raw" / partition_path(at(arrival))
        for held, data in ((ANCHOR, b""), (name, raw)):
            folder.joinpath(held).unlink(missing_ok=True)  # copies share it
            write_raw(self.root, at(arrival), held, data)
        self.change()

    def delete(self, number: int) -> None:
        held = sorted(path for path in self.root.glob("raw/**/*.jsonl") if path.name != ANCHOR)
        if held:
            held[number % len(held)].unlink()
            self.change()

    def run(self, as_of: int) -> None:
        self.pipeline.run(at(as_of))
        self.change()

    def damage(self, seed: int) -> None:
        random = Random(seed)
        files = sorted(path for path in self.root.glob("processed/**/*") if path.is_file())
        if files:
            hurt = random.choice(files)
            damage(hurt, random)
            for execution in self.executions.values():
                if hurt.parent.name in ("plan", "built") and execution.name in hurt.parts:
                    execution.is_lost = True
            self.change()

    def set_features(self, number: int) -> None:
        self.pipeline.spec = SPECS[number]

    def change(self) -> None:
        """From now on no run under way can be compared with one that began as it did."""
        for execution in self.executions.values():
            execution.before = None

    # What executions do

    def begin(self, slot: int, part_bytes: int, machines: int) -> Execution:
        """Start an execution, in the place of another one."""
        self.begun += 1
        before = self.copy(f"before-{self.begun}")
        execution = Execution(f"run-{self.begun}", self.pipeline.spec, EVENTS[slot])
        for other in self.executions.values():
            other.before = None
        self.executions[slot] = execution
        execution.before = before, Table(dict(self.pipeline.table.items))
        self.part_bytes, self.machines = part_bytes, machines
        plan = self.pipeline.make_plan(execution.event)
        self.exchange(execution).write_plan(plan, self.pipeline.now, execution.spec.digest)
        self.plan(execution)
        return execution

    def copy(self, name: str) -> Path:
        """Copy the lake by links, so that the version of each file is the same; whoever writes one writes it anew."""
        copy: Path = shutil.copytree(self.root, self.folder / name, copy_function=os.link)
        return copy

    def exchange(self, execution: Execution) -> Exchange:
        return Exchange(Lake.open(self.root.resolve().as_uri()), execution.name)

    def take(self, execution: Execution, event: Mapping[str, Any]) -> Row:
        """Take a stage by what its process knows: its event, the lake, and the features of now."""

        def prepare(plan: Plan, started: datetime) -> Job:
            return replace(self.pipeline.make_job(plan, started), write_online=partial(self.write, execution, plan))

        answer = take_stage(json.loads(json.dumps(event)), self.exchange(execution), self.pipeline.spec.digest, prepare)
        return json.loads(json.dumps(answer))  # type: ignore[no-any-return]

    def write(self, execution: Execution, plan: Plan, rows: pl.DataFrame) -> OnlineResult:
        """Put items as the table takes them, which knows those of the same run: a backfill replaces its own."""
        items = self.pipeline.table.items
        for machine in rows.get_column("machine_id"):
            if machine in items and items[machine] is execution.put.get(machine):
                del items[machine]
        before = dict(items)
        result: OnlineResult = self.pipeline.table.writer(plan)(rows)
        execution.put |= {machine: item for machine, item in items.items() if item is not before.get(machine)}
        return result

    def plan(self, execution: Execution) -> None:
        """Begin the run, once more or for the first time."""
        execution.left = []
        execution.raw = self.read_raw()
        try:
            self.read_lists(execution, {"stage": "plan", "part_bytes": self.part_bytes})
            execution.left = list(GROUPS)
        except (ProcessingError, GivenUpError) as error:
            note(f"{execution.name} plan: {error}")

    def read_lists(self, execution: Execution, event: Row) -> None:
        answer = self.take(execution, {**event, "run": execution.name})
        for name, listed in answer.items():
            if name != "run":
                try:
                    execution.events[name] = json.loads((self.root / listed["key"]).read_bytes())
                except ValueError as error:
                    raise GivenUpError from error
                execution.known += execution.events[name]

    def go_on(self, slot: int, groups: int, seed: int) -> None:
        """Take the next groups of stages, each stage once or twice, in any order within a group."""
        execution, random = self.executions.get(slot), Random(seed)
        if execution is None:
            return
        for other in self.executions.values():
            other.before = execution.before if other is execution else None
        if not execution.left:
            self.plan(execution)
        for group in execution.left[:groups]:
            try:
                self.take_group(execution, group, random)
            except (ProcessingError, GivenUpError) as error:
                note(f"{execution.name} {group}: {error}")
                execution.left = []
                return
            execution.left = execution.left[1:]

    def take_group(self, execution: Execution, group: str, random: Random) -> None:
        if group == "divide":
            for _ in range(random.choice([1, 1, 2])):
                self.read_lists(execution, {"stage": "divide", "machines": self.machines})
        elif group == "answer":
            self.check(execution, self.take(execution, {"stage": "answer", "run": execution.name}))
        else:
            events = execution.events[group] + random.sample(execution.events[group], len(execution.events[group]) // 3)
            random.shuffle(events)
            for each in events:
                self.take(execution, each)

    def kill(self, slot: int, number: int, seed: int) -> None:
        """Take stages of the next group until one is killed at a write."""
        with interrupting_at_write(number, die):
            try:
                self.go_on(slot, 1, seed)
            except KilledError:
                event("killed")

    def stall(self, slot: int, pick: int, number: int, go_on: Callable[[], None]) -> None:
        """Take a stage that stands still before a write while life goes on, and that nobody waits for."""
        execution = self.executions.get(slot)
        if execution is None or not execution.known:
            return
        resumed = False

        def stand_still() -> None:
            nonlocal resumed
            resumed = True
            go_on()

        table = self.pipeline.table
        with interrupting_at_write(number, stand_still):
            try:
                self.take(execution, execution.known[pick % len(execution.known)])
            except ProcessingError as error:
                note(f"abandoned: {error}")
        assert self.pipeline.table is table
        if resumed:
            event("came back late")
            self.change()

    def finish(self) -> None:
        """Let each execution come to its end: with nothing else going on, its second try succeeds."""
        for slot, execution in self.executions.items():
            if execution.spec.digest != self.pipeline.spec.digest:
                event("its features changed")
                continue
            for _ in range(3):
                self.go_on(slot, len(GROUPS), slot)
                if execution.is_done:
                    break
            assert execution.is_done or execution.is_lost

    # What has to hold

    def read_raw(self) -> dict[str, bytes]:
        return {
            path.relative_to(self.root).as_posix(): path.read_bytes()
            for path in sorted(self.root.glob("raw/**/*.jsonl"))
        }

    def copy_raw(self, raw: Mapping[str, bytes]) -> Pipeline:
        """A lake of nothing but raw objects."""
        root = Path(tempfile.mkdtemp(dir=self.folder))
        root.joinpath("raw").mkdir()
        for key, data in raw.items():
            root.joinpath(key).parent.mkdir(parents=True, exist_ok=True)
            root.joinpath(key).write_bytes(data)
        return replace(self.pipeline, root=root, table=Table())

    def check(self, execution: Execution, answer: Row) -> None:
        """Compare the training files of a run that succeeded, and its answer if nothing else happened meanwhile."""
        check_sums(answer)
        event("succeeded")
        execution.is_done = True
        if self.read_raw() != execution.raw:  # an object that is gone when it is read is one of those unreadable
            return
        plan = self.pipeline.make_plan(execution.event)
        self.check_by_reference(self.root, execution.spec, plan.training_hours)
        if execution.before is not None:
            root, table = execution.before
            one = replace(self.pipeline, root=root, spec=execution.spec, table=table)
            assert without_time(answer) == without_time(json.loads(json.dumps(one.invoke(execution.event))))
            event("compared with the answer of one run")
            execution.before = None

    def end(self) -> None:
        """Take one run more in stages: files, items and answer are those of one process, and of the reference."""
        spec, last = self.pipeline.spec, {"as_of": stamp(at(HOURS))}
        one = replace(self.pipeline, root=self.copy("copy"), table=Table(dict(self.pipeline.table.items)))
        expected = one.invoke(last)
        name = "last"
        exchange = Exchange(Lake.open(self.root.resolve().as_uri()), name)
        exchange.write_plan(self.pipeline.make_plan(last), self.pipeline.now, spec.digest)
        execution = Execution(name, spec, last)

        def take(event: Mapping[str, Any]) -> Row:
            return self.take(execution, event)

        def take_all(listed: Mapping[str, Any]) -> None:
            for each in json.loads((self.root / listed["key"]).read_bytes()):
                take(each)

        answer = take_stages(name, take, take_all, plan={"part_bytes": 1}, divide={"machines": 1})
        assert without_time(answer) == without_time(json.loads(json.dumps(expected)))
        at_once = self.copy_raw(self.read_raw())
        at_once.invoke(last)
        expected_training = at_once.training()
        places = {name: self.root / "processed" / "training" / name / "features.parquet" for name in expected_training}
        found = {name: pl.read_parquet(path).drop("created_timestamp") for name, path in places.items()}
        assert_same_training(found, expected_training)  # others, which may be damaged, lie beyond the last run's reach
        assert_rows_close(
            {machine: row for machine, row in self.pipeline.online_rows().items() if machine in at_once.table.items},
            at_once.online_rows(),
        )
        for kind in ("failures", "quarantine"):
            assert read(self.pipeline, kind) == read(at_once, kind)
        rows = self.check_by_reference(at_once.root, spec, map(at, range(1, HOURS + 1)))
        items = {name: row for name, row in self.pipeline.online_rows().items() if name in rows}
        assert reference.compare_rows(items, rows) == []

    def check_by_reference(self, root: Path, spec: FeatureSpec, hours: Iterable[datetime]) -> dict[str, Row]:
        """Compare training hours with the exact reference, of the raw objects in a folder; give the last one's rows."""
        number, rows = SPECS.index(spec), dict[str, Row]()
        lake = reference.read_lake(root, {NAME: (0.0, 200.0 + number)}, LATENESS)
        for hour in sorted(hours):
            rows = reference.compute_rows(
                lake.readings, hour, names=[NAME], windows=WINDOWS[number], pairs=(), zones={}, allowed=LATENESS
            )
            assert reference.compare_rows(self.pipeline.rows_at(hour), rows) == []
        return rows


def read(pipeline: Pipeline, kind: str) -> dict[str, list[Row]]:
    """Read the files of failures or quarantine, by their keys."""
    files = sorted(pipeline.root.glob(f"processed/{kind}/**/*.parquet"))
    return {path.relative_to(pipeline.root).as_posix(): pl.read_parquet(path).to_dicts() for path in files}


def make_object(late: int, machine: int, value: int, arrival: int, kind: str) -> bytes:
    time = at(arrival + 0.5 - late, minutes=value)
    good = line(f"M{machine}", time, vibration=value)
    more = {"good": [], "repeated": [good], "failure": [line(f"M{machine}", time, codigo_evento="E7")], "bad": [b"?"]}
    return b"\n".join([good, *more[kind]])


slots, writes, seeds = st.integers(0, 1), st.integers(0, 12), st.integers(0, 10**6)
objects = st.builds(
    lambda arrival, name, late, machine, value, kind: (
        arrival, name, make_object(late, machine, value, arrival, kind)
    ),
    st.integers(0, HOURS - 1), st.sampled_from(["1.jsonl", "2.jsonl"]), st.sampled_from([0, 0, 1, 2, 3]),
    st.integers(1, 3), st.integers(0, 20), st.sampled_from(["good", "good", "repeated", "failure", "bad"]),
)  # fmt: skip
steps = st.one_of(
    st.tuples(st.just("put"), objects),
    st.tuples(st.just("delete"), st.tuples(st.integers(0, 10))),
    st.tuples(st.just("run"), st.tuples(st.integers(1, HOURS))),
    st.tuples(st.just("damage"), st.tuples(seeds)),
    st.tuples(st.just("set_features"), st.tuples(slots)),
    st.tuples(st.just("begin"), st.tuples(slots, st.sampled_from([1, 10**9]), st.sampled_from([1, 10]))),
    *[st.tuples(st.just("go_on"), st.tuples(slots, st.integers(1, 6), seeds))] * 4,
    st.tuples(st.just("kill"), st.tuples(slots, writes, seeds)),
    *[st.tuples(st.just("stall"), st.tuples(slots, seeds, st.integers(0, 3), st.integers(1, 4)))] * 3,
)


def live(life: Life, left: deque[tuple[str, Any]], most: int) -> None:
    """Let some steps happen to a lake; a stage that stands still does so while the next ones happen."""
    for _ in range(most):
        if not left:
            return
        kind, arguments = left.popleft()
        if kind == "stall":
            slot, pick, number, meanwhile = arguments
            life.stall(slot, pick, number, partial(live, life, left, meanwhile))
        else:
            getattr(life, kind)(*arguments)


@settings(max_examples=min(3000, examples(300)))
@given(first=st.lists(objects, min_size=1, max_size=4), steps=st.lists(steps, min_size=2, max_size=9))
def test_runs_in_stages_are_right_or_say_so_and_the_last_leaves_what_one_run_leaves(
    first: list[tuple[int, str, bytes]], steps: list[tuple[str, Any]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        life = Life(Path(folder))
        for each in first:
            life.put(*each)
        life.begin(0, 1, 1)
        live(life, deque(steps), len(steps))
        life.finish()
        life.end()
