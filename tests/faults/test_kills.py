"""Runs that are killed at any instant, then run again: files and items as undisturbed, nothing half, no litter."""

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random

import polars as pl
import pytest

from handler.lake.parquet import is_whole
from tests.benchmarks.servers import ROOT
from tests.faults.amounts import KILLS
from tests.faults.conftest import assert_items_undisturbed
from tests.frames import assert_close
from tests.harness import Aws, Pipeline, environment_without_python

RUN = """
import sys
from handler.app import run
from handler.definitions.timestamps import parse_instant
run({"as_of": sys.argv[1]}, now=parse_instant(sys.argv[1]))
"""


def start(environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", RUN, "2025-10-15T06:00:00Z"]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE)


@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_run(seed: int, undisturbed: Pipeline, aws: Aws, tmp_path: Path) -> None:
    random = Random(seed)
    for path in undisturbed.root.glob("raw/**/*.jsonl"):
        copy = tmp_path / path.relative_to(undisturbed.root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    environment = environment_without_python() | aws.environment | {"DATA_LAKE_BUCKET": tmp_path.as_uri()}
    with start(environment) as process:
        assert process.stdout is not None
        for _ in range(random.randrange(1, 7)):  # partitions that were read
            process.stdout.readline()
        time.sleep(random.uniform(0, 0.15))
        process.kill()
    for path in tmp_path.glob("processed/**/*.parquet"):
        assert is_whole(path.read_bytes()), path
    with start(environment) as process:
        assert process.communicate()[0]
    assert process.returncode == 0
    names = {path.name for path in tmp_path.glob("processed/**/*") if path.is_file()}
    assert names == {"tiles.parquet", "hours.parquet", "failures.parquet", "rejected.parquet", "features.parquet"}
    for name, rows in undisturbed.training().items():
        stored = pl.read_parquet(tmp_path / f"processed/training/{name}/features.parquet")
        assert_close(stored.drop("created_timestamp"), rows)
    assert_items_undisturbed(aws, undisturbed)
