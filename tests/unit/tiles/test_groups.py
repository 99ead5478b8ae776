"""Machine groups: each machine is in one of them."""

import polars as pl
import pytest

from handler.tiles.groups import divide_machines


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
def test_each_machine_is_in_one_group(count: int) -> None:
    ids = [f"M{k:02d}" for k in range(30)]
    parts = [pl.LazyFrame({"machine_id": ids[k : k + 9] * 2}) for k in range(0, 30, 3)]
    found = [pl.LazyFrame({"machine_id": ids}).filter(each.holds()).collect() for each in divide_machines(parts, count)]
    assert pl.concat(found).to_series().to_list() == ids
    assert max(each.height for each in found) == -(-len(ids) // count)
