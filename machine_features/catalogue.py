"""What each feature is, from the spec. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from handler.definitions.spec import PRESENCE, ZONE_WINDOW, FeatureSpec
from handler.definitions.timestamps import HOUR, INSTANT

_MEANINGS: Final[Mapping[str, tuple[str, str, str]]] = {
    "count": ("number of readings", "never", "1"),
    "mean": ("mean", "no reading", "unit"),
    "min": ("smallest reading", "no reading", "unit"),
    "max": ("largest reading", "no reading", "unit"),
    "range": ("largest less smallest reading", "no reading", "unit"),
    "std": ("sample standard deviation, divisor n - 1", "fewer than 2 readings", "unit"),
    "first": ("reading at the earliest event time, the largest of several", "no reading", "unit"),
    "last": ("reading at the latest event time, the largest of several", "no reading", "unit"),
    "rms": ("square root of the mean of squares", "no reading", "unit"),
    "crest_factor": ("largest absolute reading by rms", "rms is 0", "1"),
    "skew": ("population skewness", "all readings are equal", "1"),
    "kurtosis": ("population excess kurtosis, 0 for a normal distribution", "all readings are equal", "1"),
    "slope_per_hour": ("least squares slope over time", "fewer than 2 distinct times", "unit/h"),
    "coverage": ("share of the window in which readings came as often as expected", "never", "1"),
}
"""Of each statistic: its meaning, when it is null, and its unit."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature.

    Attributes
    ----------
    name
        The column's.
    readings
        The readings it is computed from: one, or two of a correlation.
    statistic, window
        The statistic, and the label of the time it looks back on.
    hours
        That time in hours.
    unit, meaning, null_when
        For people.
    """

    name: str
    readings: tuple[str, ...]
    statistic: str
    window: str
    hours: float
    unit: str
    meaning: str
    null_when: str


def list_features(spec: FeatureSpec) -> Iterator[Feature]:
    """List the features of a spec.

    Parameters
    ----------
    spec
        Readings, windows, pairs and zones.

    Yields
    ------
    Feature
        In the order of the columns.
    """
    for reading in spec.readings:
        name, unit = reading.name, reading.unit or "reading's unit"
        for window in spec.windows:
            for statistic, (meaning, null_when, kind) in _MEANINGS.items():
                yield Feature(
                    f"{name}_{statistic}_{window.label}", (name,), statistic, window.label, window.length / HOUR,
                    kind.replace("unit", unit), meaning, null_when,
                )  # fmt: skip
        yield Feature(
            f"{name}_staleness_seconds", (name,), "staleness", "24h", PRESENCE / HOUR,
            "s", "time since the latest reading within 24 hours", "no reading within 24 hours",
        )  # fmt: skip
        if reading.zone_boundaries:
            bounds = ", ".join(f"{each:g}" for each in reading.zone_boundaries)
            yield Feature(
                f"{name}_zone", (name,), "zone", "1h", ZONE_WINDOW / HOUR,
                "", f"A to D of the mean of one hour; zones end at {bounds} {reading.unit}".rstrip(), "no reading",
            )  # fmt: skip
    for a, b in spec.pairs:
        for window in spec.windows:
            yield Feature(
                f"{a}_{b}_corr_{window.label}", (a, b), "corr", window.label, window.length / HOUR,
                "1", "Pearson's correlation of the means of five minutes in which both readings exist",
                "fewer than 3 such means, or one side is constant",
            )  # fmt: skip


def write_catalogue(spec: FeatureSpec, since: Mapping[str, datetime]) -> pl.DataFrame:
    """Write the catalogue of a spec's features.

    Parameters
    ----------
    spec
        The newest spec.
    since
        The first training hour that has each feature; of one without rows it is null.

    Returns
    -------
    pl.DataFrame
        ``name``, ``reading``, ``statistic``, ``window``, ``unit``, ``meaning``, ``null_when`` (String) and ``since``
        (Datetime, µs, UTC).
    """
    schema = dict.fromkeys(("name", "reading", "statistic", "window", "unit", "meaning", "null_when"), pl.String())
    rows = [
        (each.name, ", ".join(each.readings), each.statistic, each.window, each.unit, each.meaning, each.null_when,
         since.get(each.name))
        for each in list_features(spec)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema={**schema, "since": INSTANT}, orient="row")
