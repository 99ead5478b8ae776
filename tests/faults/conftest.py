"""What runs are to leave, whatever happens to them."""

import pytest

from tests.frames import assert_close, assert_rows_close
from tests.harness import Aws, Pipeline, at, line, read_online_rows, write_raw

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


def put_raw(undisturbed: Pipeline, aws: Aws) -> None:
    """Put the raw objects into the bucket."""
    for path in undisturbed.root.glob("raw/**/*.jsonl"):
        aws.s3.put_object(Bucket="lake", Key=path.relative_to(undisturbed.root).as_posix(), Body=path.read_bytes())


def assert_undisturbed(aws: Aws, undisturbed: Pipeline) -> None:
    """Compare the bucket's training files and the table's items with those of the run on a folder."""
    for name, rows in undisturbed.training().items():
        stored = aws.read_parquet(f"processed/training/{name}/features.parquet")
        assert_close(stored.drop("created_timestamp"), rows)
    assert_items_undisturbed(aws, undisturbed)


def assert_items_undisturbed(aws: Aws, undisturbed: Pipeline) -> None:
    """Compare the table's items."""
    items = aws.dynamodb.scan(TableName="features")["Items"]
    found = read_online_rows({item["machine_id"]["S"]: item for item in items}, undisturbed.spec)
    assert_rows_close(found, undisturbed.online_rows())
