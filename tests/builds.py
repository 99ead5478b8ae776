"""The build's command line, run as a person would, and what a run of it left."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MACHINE_ARCH = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), "x86_64")


@dataclass(frozen=True)
class Built:
    """One run of the build's command line."""

    out: Path
    manifest: Mapping[str, Any]
    log: str
    seconds: float


def run_build(
    out: Path, cache: Path, *arguments: str, root: Path = ROOT, env: Mapping[str, str] | None = None
) -> Built:
    """Run the command line in a process of its own, as a person would."""
    command = [sys.executable, "-m", "layer_build", "--json", "--out", str(out), "--cache", str(cache), *arguments]
    start = time.perf_counter()
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=root, env={**os.environ, **(env or {})}, check=False
    )
    seconds = time.perf_counter() - start
    assert result.returncode == 0, result.stderr
    return Built(out, json.loads(result.stdout), result.stderr, seconds)
