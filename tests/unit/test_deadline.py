"""Time: steps are given while there is enough of it for one more like the longest."""

from datetime import timedelta
from types import SimpleNamespace
from unittest import mock

import pytest

from handler.deadline import Deadline
from handler.definitions.errors import OutOfTimeError


class Clock:
    """A clock that steps move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.now = 0.0
        self.deadline = Deadline(lambda: timedelta(seconds=seconds - self.now))
        monkeypatch.setattr("time.monotonic", lambda: self.now)

    def take(self, *seconds: float) -> list[float]:
        done: list[float] = []
        for step in self.deadline.pace(seconds, lambda: f"{len(done)} steps of {len(seconds)}"):
            self.now += step
            done.append(step)
        return done


def test_all_steps_are_given_while_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Clock(monkeypatch, 10).take(1, 2, 3) == [1, 2, 3]


@pytest.mark.parametrize(("seconds", "steps", "done"), [(4.4, (1, 1, 1, 1), 3), (8, (1, 4, 1, 1), 2), (0.4, (1,), 0)])
def test_step_that_may_not_end_in_time_is_not_begun(
    monkeypatch: pytest.MonkeyPatch, seconds: float, steps: tuple[float, ...], done: int
) -> None:
    with pytest.raises(OutOfTimeError, match=f"^out of time: {done} steps of {len(steps)}; the next run goes on"):
        Clock(monkeypatch, seconds).take(*steps)


def test_lambdas_context_tells_the_time() -> None:
    told = SimpleNamespace(get_remaining_time_in_millis=lambda: 1500)
    assert Deadline.of_function(told).remaining() == timedelta(seconds=1.5)
    for context in (None, object(), mock.MagicMock()):
        assert Deadline.of_function(context).remaining() == timedelta.max


def test_time_that_never_ends_is_enough() -> None:
    assert list(Deadline.never().pace([1, 2], str)) == [1, 2]
