"""What each feature is, from the spec. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from handler.definitions.spec import PRESENCE, ZONE_WINDOW, FeatureSpec, Reading
from handler.definitions.timestamps import HOUR, INSTANT


@dataclass(frozen=True, slots=True)
class Statistic:
    """What a statistic is, for people.

    Attributes
    ----------
    column
        How its columns are named.
    meaning, null_when
        Of n readings v at times t.
    unit
        ``unit`` stands for the reading's.
    """

    column: str
    meaning: str
    null_when: str
    unit: str


_OF_WINDOWS: Final = "{reading}_{stat}_{window}"
STATISTICS: Final[Mapping[str, Statistic]] = {
    name: Statistic(_OF_WINDOWS, *said)
    for name, said in {
        "count": ("number of readings, n", "never; 0", "1"),
        "mean": ("mean", "n = 0", "unit"),
        "min": ("smallest reading", "n = 0", "unit"),
        "max": ("largest reading", "n = 0", "unit"),
        "range": ("largest less smallest reading", "n = 0", "unit"),
        "std": ("sample standard deviation, divisor n - 1", "n < 2", "unit"),
        "first": ("reading at the earliest event time, the largest of several", "n = 0", "unit"),
        "last": ("reading at the latest event time, the largest of several", "n = 0", "unit"),
        "rms": ("square root of the mean of squares", "n = 0", "unit"),
        "crest_factor": ("largest absolute reading by rms", "rms = 0, or n = 0", "1"),
        "skew": ("population skewness", "all readings are equal", "1"),
        "kurtosis": ("population excess kurtosis, 0 for a normal distribution", "all readings are equal", "1"),
        "slope_per_hour": ("least squares slope of readings over time", "fewer than 2 distinct times", "unit/h"),
        "coverage": (
            "share of the window's 5-minute tiles with a reading, or of its cadences where there is a `cadence`",
            "never; 0",
            "1",
        ),
    }.items()
} | {
    "staleness": Statistic(
        "{reading}_staleness_seconds", "`as_of` less the latest event time within 24 hours",
        "no reading within 24 hours", "s",
    ),
    "zone": Statistic(
        "{reading}_zone", "`A` to `D` of the mean of one hour; a boundary belongs to the lower zone",
        "no reading in that hour", "",
    ),
    "corr": Statistic(
        "{a}_{b}_corr_{window}", "Pearson's correlation of the means of the tiles in which both readings exist",
        "fewer than 3 such tiles, or one side is constant", "1",
    ),
}  # fmt: skip
"""Every statistic, in the order of the columns; docs/features.md has the same as a table."""


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
    of_windows = [name for name, each in STATISTICS.items() if each.column == _OF_WINDOWS]
    for reading in spec.readings:
        for window in spec.windows:
            for name in of_windows:
                yield _describe(name, (reading,), window.label, window.length)
        yield _describe("staleness", (reading,), "24h", PRESENCE)
        if reading.zone_boundaries:
            bounds = ", ".join(f"{each:g}" for each in reading.zone_boundaries)
            more = f"; zones end at {bounds} {reading.unit}".rstrip()
            yield _describe("zone", (reading,), "1h", ZONE_WINDOW, more)
    by_name = {reading.name: reading for reading in spec.readings}
    for a, b in spec.pairs:
        for window in spec.windows:
            yield _describe("corr", (by_name[a], by_name[b]), window.label, window.length)


def _describe(name: str, readings: tuple[Reading, ...], label: str, length: timedelta, more: str = "") -> Feature:
    statistic = STATISTICS[name]
    first, last = readings[0], readings[-1]
    column = statistic.column.format(reading=first.name, stat=name, window=label, a=first.name, b=last.name)
    return Feature(
        name=column,
        readings=tuple(reading.name for reading in readings),
        statistic=name,
        window=label,
        hours=length / HOUR,
        unit=statistic.unit.replace("unit", first.unit or "reading's unit"),
        meaning=statistic.meaning.replace("`", "") + more,
        null_when=statistic.null_when,
    )


def write_table() -> str:
    """Write the statistics as the Markdown table of docs/features.md.

    Returns
    -------
    str
        A row a statistic, ending in a newline.
    """
    lines = ["| stat | column | meaning | unit | null where |", "|---|---|---|---|---|"]
    for name, each in STATISTICS.items():
        unit = each.unit.replace("unit", "the reading's").replace("the reading's/h", "the reading's, an hour") or "-"
        column = each.column.replace("{stat}", name)
        lines.append(f"| `{name}` | `{column}` | {each.meaning} | {unit} | {each.null_when} |")
    return "\n".join(lines) + "\n"


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
