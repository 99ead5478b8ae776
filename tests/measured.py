"""The function's own entry point in a process of its own: what it answers, its peak memory and its time."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from processing.allocator import ALLOCATOR
from tests.harness import environment_without_python, stamp

ROOT = Path(__file__).parents[1]
# Not getrusage's peak: a process begins with that of the one that started it.
INVOKE = """
import json, re, sys, time
from handler.app import run
from handler.definitions.timestamps import parse_instant
sys.stdout, started = sys.stderr, time.monotonic()
answer = run({"as_of": sys.argv[1]}, now=parse_instant(sys.argv[1]))
seconds = time.monotonic() - started
peak = int(re.search(r"VmHWM:\\s+([0-9]+) kB", open("/proc/self/status").read())[1])
measured = {"peak_mb": peak * 1024 / 1e6, "seconds": seconds, "cpu_seconds": time.process_time(), "answer": answer}
print(json.dumps(measured), file=sys.__stdout__)
"""


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """One run.

    Attributes
    ----------
    peak_mb
        The largest resident size, 10⁶ bytes.
    seconds, cpu_seconds
        Of the run on the wall, and of the whole process on all cores.
    answer
        What the handler returned.
    """

    peak_mb: float
    seconds: float
    cpu_seconds: float
    answer: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.peak_mb:.0f} MB, {self.seconds:.1f} s, {self.cpu_seconds:.1f} s of CPU"


def measure_run(
    as_of: datetime, *, lake: str, endpoint: str, time_window: int = 1, more: Mapping[str, str] = {}
) -> MeasuredRun:
    """Run in a fresh process, with the allocators' settings of the deployed function.

    Parameters
    ----------
    as_of
        The event's, and the time of the call.
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
    environment = {
        **environment_without_python(),
        **ALLOCATOR,
        "AWS_ENDPOINT_URL": endpoint,
        "DATA_LAKE_BUCKET": lake,
        "DYNAMODB_TABLE_NAME": "features",
        "TIME_WINDOW": str(time_window),
        **more,
    }
    command = [sys.executable, "-c", INVOKE, stamp(as_of)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return MeasuredRun(**json.loads(done.stdout.splitlines()[-1]))
