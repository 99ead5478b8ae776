"""The table says what was measured, also where it falls short; ratios are of runs beside each other."""

from pathlib import Path

import pytest

from tests.benchmarks.figures import Figure, Race, at_least, at_most
from tests.benchmarks.lake_generator import Fleet, generate_lake
from tests.benchmarks.report import Limits, write_report

LIMITS = Limits(disk=1, cache=2, polars=3, duckdb=4, orjson=5, handler=6)


@pytest.mark.parametrize(
    ("figure", "verdict"),
    [
        (Figure("a", at_least(2), 2.0, "x", 3), "OK"),
        (Figure("a", at_least(2), 1.99, "x", 3), "SHORT"),
        (Figure("a", at_most(25), 25.0, "%", 3), "OK"),
        (Figure("a", at_most(25), 25.1, "%", 3), "SHORT"),
        (Figure("a", None, 0.1, "x", 3), ""),
    ],
)
def test_figure_is_held_against_what_it_must_reach(figure: Figure, verdict: str) -> None:
    assert figure.verdict == verdict


def test_ratio_is_of_runs_in_the_same_round() -> None:
    race = Race({"ours": [1.0, 10.0, 1.0], "theirs": [2.0, 20.0, 3.0]})
    assert race.ratio("theirs", "ours") == 2.0
    assert race.rounds == 3


def test_page_keeps_every_figure_and_lists_those_that_fall_short(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    good, bad = Figure("near", at_least(1), 2.0, "x", 3, "how"), Figure("far", at_least(1234), 0.5, "x", 3)
    write_report(page, [good, bad], LIMITS, lines=5, commit="abc")
    text = page.read_text()
    assert "| near | ≥ 1 x | 2.00 x | OK | 3 | how |" in text
    assert "| far | ≥ 1,234 x | 0.50 x | SHORT | 3 |  |" in text
    assert "\n- far\n" in text
    assert "- near\n" not in text


def test_equal_seeds_give_equal_lakes_and_every_line_lies_in_its_hour(tmp_path: Path) -> None:
    fleet = Fleet(3)
    one, two = (generate_lake(tmp_path / name, fleet, 2500, lines_a_file=1000, bad_every=500) for name in "ab")
    assert [path.read_bytes() for path in one.files] == [path.read_bytes() for path in two.files]
    assert [path.parent.name for path in one.files] == ["hour=00"] * 3 + ["hour=01"]
    assert [path.read_bytes().count(b"\n") for path in one.files] == [1002, 1002, 160, 340]
    assert (one.lines, one.bad_lines) == (2500, 4)
