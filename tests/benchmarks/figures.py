"""What is measured, against what it must reach, and how two things are run against each other."""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure must reach: a limit that it may not fall below, or may not exceed."""

    limit: float
    is_floor: bool

    def holds_for(self, measured: float) -> bool:
        """Tell whether the figure reaches it."""
        return measured >= self.limit if self.is_floor else measured <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.is_floor else '≤'} {self.limit:,.{_digits(self.limit)}f}"


def at_least(limit: float) -> Bound:
    """The more the better."""
    return Bound(limit, is_floor=True)


def at_most(limit: float) -> Bound:
    """The less the better."""
    return Bound(limit, is_floor=False)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes
    ----------
    name
        What was measured.
    must_reach
        None for a figure given only for comparison.
    measured, unit
        The figure; a ratio has the unit ``x``.
    runs
        How many runs of each side it is the median of.
    note
        The times behind it, and how it was measured where that is not plain.
    """

    name: str
    must_reach: Bound | None
    measured: float
    unit: str
    runs: int
    note: str = ""

    @property
    def verdict(self) -> str:
        """``OK``, ``SHORT``, or empty where there is nothing to reach."""
        if self.must_reach is None:
            return ""
        return "OK" if self.must_reach.holds_for(self.measured) else "SHORT"

    def to_cells(self) -> tuple[str, ...]:
        """Write the figure as a row of the table."""
        reach = "" if self.must_reach is None else f"{self.must_reach} {self.unit}"
        return (
            self.name,
            reach,
            f"{self.measured:,.{_digits(self.measured)}f} {self.unit}",
            self.verdict,
            str(self.runs),
            self.note,
        )


HEADINGS = ("figure", "must reach", "measured", "", "runs", "how")


def _digits(value: float) -> int:
    if isinstance(value, int):
        return 0
    return 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2


@dataclass(frozen=True, slots=True)
class Contestant:
    """One side of a race.

    Attributes
    ----------
    name
        Names it among the others.
    work
        What is timed.
    prepare
        What is done before each run, untimed.
    """

    name: str
    work: Callable[[], Any]
    prepare: Callable[[], object] = lambda: None


@dataclass(slots=True)
class Race:
    """Runs of several contestants, one after the other, round by round.

    Attributes
    ----------
    seconds
        Each contestant's times, a round each.
    processor
        The processor time this process took for each, seconds, a round each: all threads, user and system.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    processor: dict[str, list[float]] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        """How often each contestant ran."""
        return min(map(len, self.seconds.values()))

    def median_of(self, name: str) -> float:
        """The median of one contestant's times, seconds."""
        return median(self.seconds[name])

    def ratio(self, slower: str, faster: str) -> float:
        """The median over the rounds of one contestant's time by another's in the same round."""
        return median(a / b for a, b in zip(self.seconds[slower], self.seconds[faster], strict=True))

    def describe(self, *names: str) -> str:
        """Write the times of some contestants, processor seconds beside those on the wall."""
        return ", ".join(
            f"{name} {_format_seconds(self.median_of(name))} (CPU {_format_seconds(median(self.processor[name]))})"
            for name in names
        )


def run_race(benchmark: BenchmarkFixture, ours: Contestant, *others: Contestant, rounds: int) -> Race:
    """Run each contestant once a round, interleaved: the others, then ours, which pytest-benchmark times as well."""
    race = Race()

    def run_others() -> None:
        for other in others:
            other.prepare()
            _time(other, race)
        ours.prepare()
        gc.collect()

    benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda: _time(ours, race), setup=run_others, rounds=rounds
    )
    return race


def _time(contestant: Contestant, race: Race) -> None:
    gc.collect()
    gc.freeze()  # else what pytest and other contestants keep is searched while this one is timed
    started, processor = time.perf_counter(), time.process_time()
    contestant.work()
    race.seconds.setdefault(contestant.name, []).append(time.perf_counter() - started)
    race.processor.setdefault(contestant.name, []).append(time.process_time() - processor)
    gc.unfreeze()


def describe(seconds: Mapping[str, float]) -> str:
    """Write the times behind a ratio."""
    return ", ".join(f"{name} {_format_seconds(value)}" for name, value in seconds.items())


def _format_seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"
