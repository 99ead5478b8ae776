"""The simulated plant's lake, made once."""

import subprocess
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from local.simulate import Plant, simulate_hours
from tests.harness import HOUR, Pipeline, Row, environment_without_python


def convert_data_set(shared: Path, data_set: str, root: Path, *options: str) -> None:
    """Make a lake of real sensor data, as the files of a gateway."""
    command = [sys.executable, str(shared / "tools" / "to_lake.py"), data_set, "--out", str(root), *options]
    subprocess.run(command, check=True, env=environment_without_python(), stdout=subprocess.DEVNULL)


@dataclass
class SimulatedPlant:
    """The default plant after the runs of its schedule."""

    plant: Plant
    pipeline: Pipeline
    answers: list[Row] = field(default_factory=list)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> SimulatedPlant:
    """Let the plant's hours arrive, running the pipeline every six of them."""
    plant = Plant()
    made = SimulatedPlant(plant, Pipeline(tmp_path_factory.mktemp("lake")))
    for hour, objects in simulate_hours(plant):
        for key, data in objects.items():
            path = made.pipeline.root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        arrived = hour + HOUR
        if (arrived - plant.start) % (6 * HOUR) == timedelta(0):
            made.answers.append(made.pipeline.run(arrived))
    return made
