"""Rows that wait to be written come out as they went in, few or many."""

import io

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from handler.definitions.schema import REJECTED_SCHEMA
from handler.lake.spool import Spool


def some_rows(start: int, count: int) -> pl.DataFrame:
    rows = [(f"raw/{k // 3}.jsonl", k, "not_json", f"text {k}") for k in range(start, start + count)]
    return pl.DataFrame(rows, schema=dict(REJECTED_SCHEMA), orient="row")


@pytest.mark.parametrize("most_bytes", [1, 200, 10**6])
@pytest.mark.parametrize("counts", [[], [0], [3], [5, 0, 7, 1], [40] * 10])
def test_rows_come_out_as_they_went_in(counts: list[int], most_bytes: int) -> None:
    rows = Spool(REJECTED_SCHEMA, most_bytes)
    for number, count in enumerate(counts):
        rows.add(some_rows(100 * number, count))
    expected = pl.concat([some_rows(0, 0), *(some_rows(100 * number, count) for number, count in enumerate(counts))])
    assert rows.rows == expected.height
    assert_frame_equal(pl.concat(rows.scan()).collect(), expected)
    file = io.BytesIO(rows.to_parquet({"key": "value"}))
    assert_frame_equal(pl.read_parquet(file), expected)
    assert pl.read_parquet_metadata(file)["key"] == "value"
