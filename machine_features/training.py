"""The training files as one lazy frame, whatever features each was made by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import polars as pl

from handler.definitions.layout import tiles_key, training_key
from handler.definitions.schema import Schema, feature_schema
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import HOUR, INSTANT, floor_to
from handler.lake.lake import Lake
from handler.lake.parquet import UnsealedFooter
from handler.stores.training import Origin
from machine_features.errors import LakeError
from machine_features.names import Names, choose_features, read_names
from machine_features.scan import find_end, list_hours

KEYS: Final[Schema] = {"machine_id": pl.String(), "event_timestamp": INSTANT, "created_timestamp": INSTANT}
"""The columns before the features."""

_STALENESS: Final = "_staleness_seconds"
_ARRIVALS: Final = ("tiles", "failures")
"""Kinds of files by partition: tiles may have expired, failures mostly not."""


@dataclass(frozen=True, slots=True)
class TrainingFiles:
    """The training files of a lake, and the features that each was made by, which its footer says.

    Attributes
    ----------
    lake
        Where they are.
    """

    lake: Lake
    _known: dict[tuple[str, str], FeatureSpec] = field(init=False, default_factory=dict)
    _parsed: dict[str, FeatureSpec] = field(init=False, default_factory=dict)
    _first_listed: dict[datetime, str] = field(init=False, default_factory=dict)

    def find(self, start: datetime, end: datetime) -> dict[datetime, FeatureSpec]:
        """Find the files of the hours in ``(start, end]``.

        Parameters
        ----------
        start
            UTC; not this hour.
        end
            UTC; this hour is there.

        Returns
        -------
        dict of datetime to FeatureSpec
            By hour, ascending.

        Raises
        ------
        LakeError
            If the store does not answer, or a footer is not as it was written.
        """
        return self._read({hour: version for hour, version in self._list().items() if start < hour <= end})

    def find_newest(self) -> FeatureSpec | None:
        """Find the features of the file that was the newest when files were first listed; None without any file."""
        versions = self._first_listed or self._list()
        newest = max(versions, default=None)
        return None if newest is None else self._read({newest: versions[newest]})[newest]

    def find_at(self, instant: datetime) -> FeatureSpec | None:
        """Find the features of the file of one instant, though nothing had arrived by then; None without a file."""
        key = training_key(instant)
        versions = self.lake.look_up([key]) if instant == floor_to(instant, HOUR) else {}
        return self._read({instant: versions[key]})[instant] if versions else None

    def find_since(self) -> dict[str, datetime]:
        """Find the first hour of each feature that the newest file has, by halving: few footers are read.

        Of a feature that came, went and came again, it is the first hour of one of these times.
        """
        versions = self._list()
        hours = sorted(versions)
        since: dict[str, datetime] = {}

        def list_features(place: int) -> set[str]:
            hour = hours[place]
            return set(feature_schema(self._read({hour: versions[hour]})[hour]))

        def halve(first: int, last: int, names: set[str]) -> None:
            """Look for names that the last of these hours has."""
            if first == last or not names:
                since.update(dict.fromkeys(names, hours[first]))
                return
            middle = (first + last) // 2
            there = names & list_features(middle)
            halve(first, middle, there)
            halve(middle + 1, last, names - there)

        if hours:
            halve(0, len(hours) - 1, list_features(-1))
        return since

    def list_hours(self) -> list[datetime]:
        """List the hours that have a file, ascending, up to the end of the newest arrival."""
        return sorted(self._list())

    def _list(self) -> dict[datetime, str]:
        """List the version of each hour's file; of an hour after the newest arrival nothing can be known."""
        versions = list_hours(self.lake, "processed/training", training_key)
        if versions:
            last = tiles_key(max(versions) - HOUR)
            ends = () if self.lake.look_up([last]) else [find_end(self.lake, f"processed/{kind}") for kind in _ARRIVALS]
            newest = max(filter(None, ends), default=None)
            if newest is not None:
                versions = {hour: version for hour, version in versions.items() if hour <= newest + HOUR}
        if not self._first_listed:
            self._first_listed.update(versions)
        return versions

    def _read(self, versions: Mapping[datetime, str]) -> dict[datetime, FeatureSpec]:
        new = sorted(hour for hour, version in versions.items() if (training_key(hour), version) not in self._known)
        for hour, tail in zip(new, self.lake.read_tails(map(training_key, new)), strict=True):
            self._known[training_key(hour), versions[hour]] = self._read_spec(hour, tail)
        return {hour: self._known[training_key(hour), versions[hour]] for hour in sorted(versions)}

    def _read_spec(self, hour: datetime, tail: bytes) -> FeatureSpec:
        origin = Origin.read(tail)
        if origin is None:
            raise LakeError(f"read {training_key(hour)}", "it is not as it was written; run a backfill over its hour")
        text = origin.features or _write_features(UnsealedFooter.read(tail))
        if text not in self._parsed:
            self._parsed[text] = FeatureSpec.parse(text, source=training_key(hour))
        return self._parsed[text]


def _write_features(footer: UnsealedFooter | None) -> str:
    """Write a features.toml that gives a file's columns: the packaged one, where it does, or one without ranges."""
    packaged = FeatureSpec.load()
    columns = footer.columns if footer else ()
    if set(feature_schema(packaged)) == set(columns) - set(KEYS):
        return packaged.text
    names = [name.removesuffix(_STALENESS) for name in columns if name.endswith(_STALENESS)]
    coverage = f"{names[0]}_coverage_"
    windows = [name.removeprefix(coverage) for name in columns if name.startswith(coverage)]
    pairs = [[a, b] for a in names for b in names if f"{a}_{b}_corr_{windows[0]}" in columns]
    zones = {reading.name: list(reading.zone_boundaries) for reading in packaged.readings}
    lines = [f"windows = {windows}", f"pairs = {pairs}"]
    for name in names:
        lines += ["[[readings]]", f'name = "{name}"', "plausible = [-1e30, 1e30]"]
        if f"{name}_zone" in columns:
            lines.append(f"zones = {zones.get(name) or [1.0, 2.0, 3.0]}")
    return "\n".join(lines)


def unite_schemas(specs: Sequence[FeatureSpec]) -> dict[str, pl.DataType]:
    """Unite the features of several specs.

    Parameters
    ----------
    specs
        The oldest first.

    Returns
    -------
    dict of str to pl.DataType
        Those of the newest spec in its order, then those that only older ones have.
    """
    united: dict[str, pl.DataType] = {}
    for spec in dict.fromkeys(reversed(specs)):
        united = {**united, **{name: dtype for name, dtype in feature_schema(spec).items() if name not in united}}
    return united


def select_rows(
    rows: pl.LazyFrame, names: Sequence[str], features: Names | None, machines: Names | None
) -> pl.LazyFrame:
    """Select some features and machines.

    Parameters
    ----------
    rows
        Keys and features.
    names
        All features that there are.
    features
        Those wanted, by name or by glob; None for all.
    machines
        Those wanted; None for all.

    Returns
    -------
    pl.LazyFrame
        The keys, then the features in the order asked.

    Raises
    ------
    UnknownNameError
        If there is no such feature.
    """
    if machines is not None:
        rows = rows.filter(pl.col("machine_id").is_in(read_names(machines, "machines")))
    return rows if features is None else rows.select(*KEYS, *choose_features(features, names))
