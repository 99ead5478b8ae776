"""A run in stages, each taken by one of a few processes: what a state machine and Lambda do, without either."""

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests.harness import stamp
from tests.measured import FunctionProcess, MeasuredRun


@dataclass
class StagedRun:
    """One run, and what each of its stages took.

    Attributes
    ----------
    lake
        The lake's folder.
    endpoint
        Of the table's server.
    processes
        How many there are; each takes one stage after the other.
    part_bytes, machines
        As the stages take them; None for their own.
    stages
        What was measured, by the kind of stage.
    seconds
        Of the whole run, on the wall.
    """

    lake: Path
    endpoint: str
    processes: int = 1
    part_bytes: int | None = None
    machines: int | None = None
    stages: dict[str, list[MeasuredRun]] = field(default_factory=dict)
    seconds: float = field(init=False, default=0)
    _idle: SimpleQueue[FunctionProcess] = field(default_factory=SimpleQueue)
    _now: datetime = field(init=False)

    def run(self, as_of: datetime, *, time_window: int) -> dict[str, Any]:
        """Take all stages; return the run's answer."""
        self._now, started = as_of, time.monotonic()
        with ExitStack() as stack:
            for _ in range(self.processes):
                process = FunctionProcess(lake=self.lake.as_uri(), endpoint=self.endpoint, time_window=time_window)
                self._idle.put(stack.enter_context(process))
            planned = self._take("plan", event={"as_of": stamp(as_of)}, part_bytes=self.part_bytes)
            for name in ("maps", "combines"):
                self._take_all(planned[name])
            divided = self._take("divide", machines=self.machines)
            for name in ("reduces", "finishes"):
                self._take_all(divided[name])
            answer = self._take("answer")
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

    def _take(self, stage: str, **more: Any) -> dict[str, Any]:
        given = {name: value for name, value in more.items() if value is not None}
        return self._invoke({"stage": stage, "run": "measured", **given}).answer

    def _take_all(self, listed: Mapping[str, Any]) -> None:
        events = json.loads((self.lake / listed["key"]).read_bytes())
        with ThreadPoolExecutor(self.processes) as pool:
            list(pool.map(self._invoke, events))

    def _invoke(self, event: Mapping[str, Any]) -> MeasuredRun:
        process = self._idle.get()
        measured = process.invoke(event, self._now)
        self._idle.put(process)
        self.stages.setdefault(event["stage"], []).append(measured)
        return measured
