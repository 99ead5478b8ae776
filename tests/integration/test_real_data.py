"""Real sensor data as lakes: the pipeline against the exact reference."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from handler.definitions.timestamps import HOUR
from handler.lake.lake import Lake
from tests import reference
from tests.harness import Pipeline, check_sums
from tests.integration.conftest import convert_data_set

DATA_SETS = {
    "nab-machine": (datetime(2013, 12, 2, 21, tzinfo=UTC), 22_695),
    "ims2": (datetime(2004, 2, 12, 10, tzinfo=UTC), 3_936),
}
"""Where each begins, and how many readings it has."""


@pytest.mark.parametrize("data_set", DATA_SETS)
def test_features_of_real_data_agree_with_the_reference(shared: Path, tmp_path: Path, data_set: str) -> None:
    """A line a file, and a thousand lines a file: the same readings, so the reference is computed once."""
    start, rows = DATA_SETS[data_set]
    pipelines = []
    for lines_per_file in (1, 1000):
        lake = tmp_path / str(lines_per_file)
        convert_data_set(shared, data_set, lake, "--lines-per-file", str(lines_per_file))
        account = reference.read_lake(lake)
        end = max(reading.time for reading in account.readings).replace(minute=0, second=0, microsecond=0) + HOUR
        pipelines.append(Pipeline(lake))
        answer = pipelines[-1].backfill(start, end)
        check_sums(answer)
        lines = answer["lines"]
        assert (lines["read"], lines["accepted"]) == (account.lines, account.accepted)
        assert (lines["failures"], lines["duplicates"]) == (account.failures, account.duplicates)
        assert account.accepted + account.duplicates == rows
        assert Lake.open(lake.as_uri()).has_raw_objects()
    for as_of in (start + number * HOUR for number in range(1, (end - start) // HOUR + 1, 7)):
        expected = reference.compute_rows(account.readings, as_of)
        for pipeline in pipelines:
            assert reference.compare_rows(pipeline.rows_at(as_of), expected) == []
