"""The costs in the documentation."""

import pytest

from handler.lake import unpack
from scripts.cost import PAGE, PART_BYTES, ROOT, estimate, fill


def test_committed_table_is_todays() -> None:
    page = (ROOT / PAGE).read_text()
    assert fill(page) == page, "run `make cost` and commit what it writes"


def test_ten_times_the_machines_write_ten_times_the_items() -> None:
    assert estimate(1_000, 1024)["DynamoDB"] == pytest.approx(10 * estimate(100, 1024)["DynamoDB"])


def test_large_objects_are_billed_by_the_ranges_they_are_read_by() -> None:
    assert unpack.PART_BYTES == PART_BYTES
    assert estimate(50_000, 1024)["S3 requests"] > 2 * estimate(1_000, 1024)["S3 requests"]


def test_twice_the_memory_halves_the_work_up_to_a_core() -> None:
    assert estimate(1_000, 1024)["seconds"] - 1 == pytest.approx((estimate(1_000, 512)["seconds"] - 1) / 2)
    assert estimate(1_000, 10_240)["seconds"] == estimate(1_000, 1769)["seconds"]
