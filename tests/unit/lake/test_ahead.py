"""Work ahead: results in order, errors in their turn, and nothing begun that nobody waits for."""

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from handler.lake.ahead import work_ahead


def test_results_come_in_the_order_of_the_jobs() -> None:
    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number

    jobs = (partial(work, number) for number in range(20))
    assert list(work_ahead(jobs, threads=4, ahead=5, name="test")) == list(range(20))
    assert list(work_ahead([], threads=1, ahead=0, name="test")) == []


def test_only_so_many_jobs_are_taken_ahead() -> None:
    taken: list[int] = []

    def list_jobs() -> Iterator[Callable[[], int]]:
        for number in range(50):
            taken.append(number)
            yield partial(int, number)

    results = work_ahead(list_jobs(), threads=2, ahead=3, name="test")
    assert next(results) == 0
    assert taken == [0, 1, 2, 3]
    results.close()
    assert len(taken) == 4


def test_error_comes_in_its_turn_and_ends_the_work() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise ValueError("two")
        return number

    results = work_ahead((partial(work, number) for number in range(50)), threads=1, ahead=4, name="test")
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)
    assert len(begun) < 10
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test")]
