"""The real build, once a session, with a cache of its own; its zips as Lambda unpacks them."""

import json
import os
import platform
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / ".tools" / "runtime"
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


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def first(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The first build on a machine: nothing is in the cache."""
    return run_build(tmp_path_factory.mktemp("first"), cache, "--arch", MACHINE_ARCH)


@dataclass(frozen=True)
class Unpacked:
    """Layer and function as Lambda unpacks them."""

    layer: Path
    function: Path


@pytest.fixture(scope="session")
def unpacked(first: Built, tmp_path_factory: pytest.TempPathFactory) -> Unpacked:
    opt, task = tmp_path_factory.mktemp("opt"), tmp_path_factory.mktemp("task")
    for name, root in (("pandas_layer.zip", opt), ("processing_lambda.zip", task)):
        with zipfile.ZipFile(first.out / name) as archive:
            archive.extractall(root)
    return Unpacked(opt / "python", task)
