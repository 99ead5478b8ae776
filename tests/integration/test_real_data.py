"""Real sensor data as lakes: the pipeline against the exact reference."""

from datetime import UTC, datetime, timedelta
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
@pytest.mark.parametrize("lines_per_file", [1, 1000])
def test_features_of_real_data_agree_with_the_reference(
    shared: Path, tmp_path: Path, data_set: str, lines_per_file: int
) -> None:
    start, rows = DATA_SETS[data_set]
    convert_data_set(shared, data_set, tmp_path, "--lines-per-file", str(lines_per_file))
    account = reference.read_lake(tmp_path)
    last = max(reading.time for reading in account.readings)
    end = last.replace(minute=0, second=0, microsecond=0) + HOUR
    pipeline = Pipeline(tmp_path)
    answer = pipeline.backfill(start, end)
    check_sums(answer)
    lines = answer["lines"]
    assert (lines["read"], lines["accepted"]) == (account.lines, account.accepted)
    assert (lines["failures"], lines["duplicates"]) == (account.failures, account.duplicates)
    assert account.accepted + account.duplicates == rows
    assert Lake.open(tmp_path.as_uri()).has_raw_objects()
    hours = (end - start) // HOUR
    for hour in range(1, hours + 1, 7):
        as_of = start + timedelta(hours=hour)
        expected = reference.compute_rows(account.readings, as_of)
        assert reference.compare_rows(pipeline.rows_at(as_of), expected) == []
