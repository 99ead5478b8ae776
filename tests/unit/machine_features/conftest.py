"""A lake whose schedule ran every hour, with late readings, and what was online at each hour."""

from dataclasses import dataclass, field
from datetime import datetime
from random import Random

import polars as pl
import pytest

from handler.definitions.schema import feature_schema
from machine_features import FeatureStore
from tests.harness import HOUR, Pipeline, Row, at, line, write_raw

HOURS = 12
MACHINES = 5


@dataclass
class Plant:
    """A lake after an hourly schedule."""

    pipeline: Pipeline
    online: dict[datetime, dict[str, Row]] = field(default_factory=dict)

    @property
    def store(self) -> FeatureStore:
        return FeatureStore.open(self.pipeline.root.as_uri())

    def online_frame(self, hour: datetime) -> pl.DataFrame:
        rows = [{"machine_id": machine, **row} for machine, row in self.online[hour].items()]
        return pl.DataFrame(rows, schema={"machine_id": pl.String(), **feature_schema(self.pipeline.spec)})


@pytest.fixture(scope="session")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    random = Random(3)
    plant = Plant(Pipeline(tmp_path_factory.mktemp("plant"), time_window=HOUR))
    for hour in range(HOURS):
        lines = []
        for machine in range(MACHINES):
            for k in range(12):
                late = random.choice([0, 0, 0, 0, 1, 2]) if machine else 0
                value = 1 + machine + random.random()
                lines.append(
                    line(f"M{machine}", at(hour - late, minutes=5 * k), vibration=value, temperature=60 + value)
                )
        if hour in (4, 7):
            lines.append(line("M1", at(hour - 0.5), codigo_evento="FALHA_A"))  # late by an hour
        if hour == 5:
            lines += [
                line("M1", at(4, minutes=10), codigo_evento="FALHA_A"),
                line("M2", at(5.25), codigo_evento="FALHA_B"),
            ]
        write_raw(plant.pipeline.root, at(hour), "a.jsonl", [*lines, lines[0], b"oops"])
        plant.pipeline.run(at(hour + 1))
        plant.online[at(hour + 1)] = plant.pipeline.online_rows()
    return plant
