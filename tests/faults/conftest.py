"""What runs are to leave, whatever happens to them."""

import pytest

from tests.harness import Pipeline, at, line, write_raw

MACHINES = 12


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Six hours of machines, some readings late, run once on a folder."""
    pipeline = Pipeline(tmp_path_factory.mktemp("undisturbed"))
    for hour in range(6):
        lines = [line(f"M{k}", at(hour - k % 2, minutes=5 * k), vibration=k + hour) for k in range(MACHINES)]
        write_raw(pipeline.root, at(hour), "a.jsonl", [*lines, b"oops"])
        write_raw(pipeline.root, at(hour), "b.jsonl", [line("M1", at(hour, minutes=59), codigo_evento="FALHA")])
    pipeline.run(at(6))
    return pipeline
