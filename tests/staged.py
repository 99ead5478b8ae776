"""A run in stages, without the state machine that starts them in AWS, and without Lambda."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from polars.testing import assert_frame_equal

from tests.frames import assert_close, assert_rows_close
from tests.harness import Pipeline, stamp
from tests.measured import FunctionProcess, MeasuredRun


def take_stages(
    run: str,
    take: Callable[[Mapping[str, Any]], dict[str, Any]],
    take_all: Callable[[Mapping[str, Any]], None],
    *,
    plan: Mapping[str, Any],
    divide: Mapping[str, Any],
) -> dict[str, Any]:
    """Take the stages of a run in their order; return its answer.

    Parameters
    ----------
    run
        The run's name.
    take, take_all
        Take the stage of an event, and those of a list, of which the length and the key are known.
    plan, divide
        What the events of these stages say besides.
    """
    planned = take({"stage": "plan", "run": run, **plan})
    for name in ("maps", "combines"):
        take_all(planned[name])
    divided = take({"stage": "divide", "run": run, **divide})
    for name in ("reduces", "finishes"):
        take_all(divided[name])
    return take({"stage": "answer", "run": run})


def compare(one: Pipeline, other: Pipeline) -> None:
    """Compare the items, training files, failures and quarantine of two ways to do the same."""
    assert other.table.items.keys() == one.table.items.keys()
    assert_rows_close(other.online_rows(), one.online_rows())
    expected, found = one.training(), other.training()
    assert expected.keys() == found.keys()
    for hour, frame in expected.items():
        assert_close(found[hour], frame)
    for kind in ("failures", "quarantine"):
        assert_frame_equal(one.read_processed(kind), other.read_processed(kind))


def without_time(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of an answer what differs from run to run."""
    return {name: value for name, value in answer.items() if name != "duration_ms"}


@dataclass
class StagedRun:
    """One run, and what each of its stages took; each is taken by one of a few processes.

    Each process has a core to itself, as a function of 1,769 MB has one.

    Attributes
    ----------
    lake
        The lake's folder.
    endpoint
        Of the table's server.
    processes
        How many there are; each takes one stage after the other.
    stages
        What was measured, by the kind of stage.
    seconds
        Of the whole run, on the wall.
    """

    lake: Path
    endpoint: str
    processes: int = 1
    stages: dict[str, list[MeasuredRun]] = field(default_factory=dict)
    seconds: float = field(init=False, default=0)
    _idle: SimpleQueue[FunctionProcess] = field(default_factory=SimpleQueue)
    _now: datetime = field(init=False)

    def run(self, as_of: datetime, *, time_window: int) -> dict[str, Any]:
        """Take all stages; return the run's answer."""
        self._now, started = as_of, time.monotonic()
        with ExitStack() as stack:
            for core in range(self.processes):
                process = FunctionProcess(
                    lake=self.lake.as_uri(), endpoint=self.endpoint, time_window=time_window, core=core
                )
                self._idle.put(stack.enter_context(process))
            event = {"as_of": stamp(as_of)}
            answer = take_stages("measured", self._take, self._take_all, plan={"event": event}, divide={})
            self.seconds = time.monotonic() - started
            return answer

    @property
    def cpu_seconds(self) -> float:
        """Of all stages, and of each process's start."""
        every = list(self._list_all())
        starts = sorted(each.cpu_seconds - each.own_cpu_seconds for each in every)[: self.processes]
        return sum(each.own_cpu_seconds for each in every) + sum(starts)

    @property
    def peak_mb(self) -> float:
        """The largest of any stage."""
        return max(each.peak_mb for each in self._list_all())

    def describe(self) -> str:
        """Say what each kind of stage took."""
        return "; ".join(
            f"{len(all_)} {kind}: {sum(each.own_cpu_seconds for each in all_):.1f} s of CPU, "
            f"at most {max(each.seconds for each in all_):.1f} s, {max(each.peak_mb for each in all_):.0f} MB"
            for kind, all_ in self.stages.items()
        )

    def _list_all(self) -> Iterator[MeasuredRun]:
        for measured in self.stages.values():
            yield from measured

    def _take_all(self, listed: Mapping[str, Any]) -> None:
        events = json.loads((self.lake / listed["key"]).read_bytes())
        with ThreadPoolExecutor(self.processes) as pool:
            list(pool.map(self._take, events))

    def _take(self, event: Mapping[str, Any]) -> dict[str, Any]:
        process = self._idle.get()
        measured = process.invoke(event, self._now)
        self._idle.put(process)
        self.stages.setdefault(event["stage"], []).append(measured)
        return measured.answer
