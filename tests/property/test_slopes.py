"""Slopes of readings that lie close together, of one machine of many: within the contract's tolerance, also where 0."""

from collections import defaultdict
from datetime import datetime, timedelta
from random import Random

import pytest

from handler.definitions.spec import FeatureSpec
from handler.features.rows import compute_features
from handler.ingest.duplicates import UniqueLines
from handler.tiles.build import build_tiles
from tests import reference
from tests.frames import frame
from tests.harness import at

SPEC = FeatureSpec.load()
MACHINES = 2_000
NAME = "temperature_celsius_slope_per_hour_1h"


@pytest.mark.parametrize("grid", [500, 1_000, 10_000, 250_000, 1_000_000, 60_000_000])
@pytest.mark.parametrize("digits", [0, 2])
@pytest.mark.parametrize("has_ties", [True, False])
def test_slope_of_few_values_of_three_digits_on_a_grid(grid: int, digits: int, *, has_ties: bool) -> None:
    """Event times in steps of half a millisecond to a minute: symmetrical values have a slope of exactly 0."""
    random = Random(grid + digits)
    series: dict[str, list[tuple[datetime, float]]] = defaultdict(list)
    for machine in range(MACHINES):
        start = at(8) + timedelta(microseconds=random.randrange(3_000_000_000))
        count = random.choice([2, 3, 4])
        steps = random.choices(range(5), k=count) if has_ties else random.sample(range(5), k=count)
        points = {
            (start + step * timedelta(microseconds=grid), round(random.uniform(390, 400), digits)) for step in steps
        }
        series[f"M{machine}"] = sorted(points)
    lines = frame(*((machine, *point, None) for machine, points in series.items() for point in points))
    tiles = build_tiles(UniqueLines(lines, has_ties), SPEC.reading_names)
    found = dict(compute_features(tiles, [at(9)], SPEC).select("machine_id", NAME).iter_rows())
    expected = {machine: reference.compute_statistics(points)["slope_per_hour"] for machine, points in series.items()}
    assert digits or sum(slope == 0 for slope in expected.values()) > 50
    assert {machine for machine, slope in found.items() if slope is None} == {
        machine for machine, slope in expected.items() if slope is None
    }
    slopes = {machine: slope for machine, slope in expected.items() if isinstance(slope, float)}
    assert {machine: found[machine] for machine in slopes} == pytest.approx(slopes, rel=1e-6, abs=1e-9 * 400)
