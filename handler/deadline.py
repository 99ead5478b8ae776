"""A run's time, and whether it will do for one more step."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from operator import length_hint
from typing import Final, TypeVar

from handler.definitions.errors import OutOfTimeError

_RESERVE: Final = timedelta(milliseconds=500)
"""For the log, the answer and whatever is under way."""

_LONGER: Final = 1.5
"""A step may take so many times what the longest of its kind has taken."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a run has to end.

    Attributes
    ----------
    remaining
        Tells how much time there still is.
    """

    remaining: Callable[[], timedelta]

    @classmethod
    def of_function(cls, context: object) -> "Deadline":
        """Ask Lambda's context object; without one that tells, the deadline is never reached."""
        tell = getattr(context, "get_remaining_time_in_millis", None)
        if tell is None or not isinstance(tell(), int | float):
            return cls.never()
        return cls(lambda: timedelta(milliseconds=tell()))

    @classmethod
    def never(cls) -> "Deadline":
        """Make one that is never reached."""
        return cls(lambda: timedelta.max)

    def pace(self, steps: Iterable[T], describe: Callable[[], str]) -> Iterator[T]:
        """Give steps one after the other, as long as there is time for one more.

        Parameters
        ----------
        steps
            Whatever takes time to make, or to deal with.
        describe
            Says how far the run came.

        Yields
        ------
        T
            Each step.

        Raises
        ------
        OutOfTimeError
            If the time will not do for the next.
        """
        longest = timedelta(0)
        waiting = iter(steps)
        while length_hint(waiting, 1):  # 0 at the end of a list; of other steps nobody knows
            if self.remaining() < _RESERVE + _LONGER * longest:
                raise OutOfTimeError(describe())
            started = time.monotonic()
            try:
                step = next(waiting)
            except StopIteration:
                return
            yield step
            longest = max(longest, timedelta(seconds=time.monotonic() - started))
