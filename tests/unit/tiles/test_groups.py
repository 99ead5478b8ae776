"""Machine groups: each machine is in one of them."""

import polars as pl
import pytest

from handler.definitions.errors import TooManyMachinesError
from handler.tiles.groups import divide_machines, require_few_machines


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
def test_each_machine_is_in_one_group(count: int) -> None:
    ids = [f"M{k:02d}" for k in range(30)]
    parts = [pl.LazyFrame({"machine_id": ids[k : k + 9] * 2}) for k in range(0, 30, 3)]
    found = [pl.LazyFrame({"machine_id": ids}).filter(each.holds()).collect() for each in divide_machines(parts, count)]
    assert pl.concat(found).to_series().to_list() == ids
    assert max(each.height for each in found) == -(-len(ids) // count)


@pytest.mark.parametrize(
    ("ids", "prefix", "alike"),
    [
        ([str(number) for number in range(200)], "1", 111),
        ([*(f"PUMP-A{k}" for k in range(9)), *(f"evil/{k:09x}" for k in range(99))], "evil/0000000", 99),
        (["a", "ab", "ab1", "ab2", "ab3"], "ab", 4),
        (["é1", "é2", "ü1", "x"], "é", 2),
        (["same"], "same", 1),
    ],
)
def test_prefix_that_brought_most_ids_is_named(ids: list[str], prefix: str, alike: int) -> None:
    require_few_machines(pl.Series(ids), len(ids))
    with pytest.raises(TooManyMachinesError, match=f"{alike} of their ids begin with '{prefix}'"):
        require_few_machines(pl.Series(ids), len(ids) - 1)
