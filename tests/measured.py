"""The function's own entry point in a process of its own: what it answers, its peak memory and its time."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from processing.allocator import ALLOCATOR
from tests.harness import environment_without_python, stamp

ROOT = Path(__file__).parents[1]
# Not getrusage's peak: a process begins with that of the one that started it.
INVOKE = """
import json, re, sys, time
from handler.app import run
from handler.definitions.timestamps import parse_instant
sys.stdout = sys.stderr
for line in sys.stdin:
    event, now = json.loads(line)
    started, before = time.monotonic(), time.process_time()
    answer = run(event, now=parse_instant(now))
    seconds, used = time.monotonic() - started, time.process_time()
    peak = int(re.search(r"VmHWM:\\s+([0-9]+) kB", open("/proc/self/status").read())[1])
    measured = {
        "peak_mb": peak * 1024 / 1e6, "seconds": seconds, "cpu_seconds": used, "answer": answer,
        "own_cpu_seconds": used - before,
    }
    print(json.dumps(measured), file=sys.__stdout__, flush=True)
"""


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """One run.

    Attributes
    ----------
    peak_mb
        The largest resident size, 10⁶ bytes.
    seconds, cpu_seconds
        Of the run on the wall, and of the whole process so far on all cores.
    own_cpu_seconds
        Of the run alone: a process that was there before has its imports behind it.
    answer
        What the handler returned.
    """

    peak_mb: float
    seconds: float
    cpu_seconds: float
    own_cpu_seconds: float
    answer: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.peak_mb:.0f} MB, {self.seconds:.1f} s, {self.cpu_seconds:.1f} s of CPU"


def measure_run(
    as_of: datetime, *, lake: str, endpoint: str, time_window: int = 1, more: Mapping[str, str] = {}
) -> MeasuredRun:
    """Run for an instant, which is also the time of the call; else as :func:`measure_event`."""
    event = {"as_of": stamp(as_of)}
    return measure_event(event, as_of, lake=lake, endpoint=endpoint, time_window=time_window, more=more)


def measure_event(
    event: Mapping[str, Any],
    now: datetime,
    *,
    lake: str,
    endpoint: str,
    time_window: int = 1,
    more: Mapping[str, str] = {},
) -> MeasuredRun:
    """Invoke the function in a fresh process, with the allocators' settings of the deployed function.

    Parameters
    ----------
    event
        What it is sent.
    now
        The time of the call.
    lake
        The bucket, or the folder's URL.
    endpoint
        The URL of the table's server, and of the bucket's.
    time_window
        Hours.
    more
        Of the environment.

    Returns
    -------
    MeasuredRun
        What was measured.
    """
    with FunctionProcess(lake=lake, endpoint=endpoint, time_window=time_window, more=more) as process:
        return process.invoke(event, now)


class FunctionProcess:
    """The function in a process of its own, which is invoked any number of times, as Lambda does.

    Parameters
    ----------
    lake, endpoint, time_window, more
        As of :func:`measure_event`.
    core
        The core that it has to itself, counted from 0; None: any of them, and all.
    """

    def __init__(
        self,
        *,
        lake: str,
        endpoint: str,
        time_window: int = 1,
        more: Mapping[str, str] = {},
        core: int | None = None,
    ) -> None:
        environment = {
            **environment_without_python(),
            **ALLOCATOR,
            "AWS_ENDPOINT_URL": endpoint,
            "DATA_LAKE_BUCKET": lake,
            "DYNAMODB_TABLE_NAME": "features",
            "TIME_WINDOW": str(time_window),
            "MAX_MACHINES": "10000000",
            **more,
        }
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-c", INVOKE], cwd=ROOT, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
        )  # fmt: skip
        if core is not None:
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(self._process.pid, {cores[core % len(cores)]})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._log.close()

    def invoke(self, event: Mapping[str, Any], now: datetime) -> MeasuredRun:
        """Invoke it; it must answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([event, stamp(now)]) + "\n")
        self._process.stdin.flush()
        told = self._process.stdout.readline()
        if not told:
            self._process.wait()
            self._log.seek(0)
            raise AssertionError(self._log.read()[-2000:])
        return MeasuredRun(**json.loads(told))
