"""The front: a lake and its table, opened once, read in every way."""

import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import polars as pl

from handler.definitions.layout import failures_key, training_key
from handler.definitions.schema import FAILURE_KEYS, FAILURE_SCHEMA, Schema, feature_schema
from handler.definitions.spec import PRESENCE, FeatureSpec
from handler.definitions.timestamps import HOUR, INSTANT, MICROSECOND, TILE, floor_to
from handler.lake.lake import Lake
from machine_features.catalogue import list_features, write_catalogue
from machine_features.errors import (
    ArgumentError,
    ConfigurationError,
    LakeError,
    OnlineStoreError,
    UnknownMachineWarning,
    UnknownNameError,
    describe_unknown,
)
from machine_features.history import Missing, PastRows
from machine_features.joins import join_asof
from machine_features.labels import Kind, find_episodes, find_observed_until, label_entities
from machine_features.names import Names, choose_features, read_names
from machine_features.parity import Parity, compare
from machine_features.places import Location, Place
from machine_features.scan import FileScanner, find_end, list_hours
from machine_features.times import (
    Entities,
    Instant,
    Length,
    list_whole_hours,
    read_entities,
    read_frame,
    read_instant,
    read_length,
)
from machine_features.training import KEYS, TrainingFiles, select_rows, unite_schemas

Knowledge = Literal["latest", "as_of"]

_ALLOWED_LATENESS: Final = timedelta(hours=24)
_MOST_NAMES: Final = 500
"""Attributes that DynamoDB is asked for by name: an expression of more than 4 KB is refused."""

_YEARS: Final = range(1971, 9999)
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
_END: Final = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True)
class FeatureStore:
    """Reads what the function writes; opened by :meth:`open`.

    The features are those of the newest training file when they are first needed: open another store to see newer ones.

    Attributes
    ----------
    lake
        The lake.
    location
        The folder, or ``s3://bucket``.
    table, region
        The online table, and where it is; None leaves the region to the environment.
    allowed_lateness
        The function's setting.
    """

    lake: Lake
    location: str
    table: str | None = None
    region: str | None = None
    allowed_lateness: timedelta = _ALLOWED_LATENESS
    _files: TrainingFiles = field(init=False, repr=False)
    _machines: set[str] = field(init=False, repr=False, default_factory=set)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_files", TrainingFiles(self.lake))

    @classmethod
    def open(
        cls,
        location: Location,
        table: str | None = None,
        region: str | None = None,
        *,
        allowed_lateness: Length = _ALLOWED_LATENESS,
    ) -> "FeatureStore":
        """Open a lake, and name its table.

        Parameters
        ----------
        location
            A bucket, ``s3://bucket``, a folder, a ``Path`` or ``file:///lake``. One word is a folder where there is one
            of this name, else a bucket.
        table
            The online table's name; None is ``DYNAMODB_TABLE_NAME``, if it is set, or the items that a local run left
            in its folder. Only :meth:`online` and :meth:`parity` need it.
        region
            Of bucket and table; None is that of ``AWS_REGION``, ``AWS_DEFAULT_REGION`` or the profile.
        allowed_lateness
            The function's ``ALLOWED_LATENESS``.

        Returns
        -------
        FeatureStore
            Nothing has been read yet.

        Raises
        ------
        ConfigurationError
            If the folder does not exist, or there are no region, profile or credentials.
        """
        place = Place.read(location).require_whole()
        region = region or os.environ.get("AWS_REGION")  # botocore knows AWS_DEFAULT_REGION and profiles only
        lake = Lake.open(place.name, endpoint=os.environ.get("AWS_ENDPOINT_URL"), region=region)
        table = table or os.environ.get("DYNAMODB_TABLE_NAME")
        return cls(lake, place.url, table, region, read_length(allowed_lateness))

    def features(self) -> pl.DataFrame:
        """Give the catalogue of the features that there are now.

        Returns
        -------
        pl.DataFrame
            As :func:`machine_features.catalogue.write_catalogue`; ``since`` is the first training hour that has the
            feature.
        """
        return write_catalogue(self.spec, self._files.find_since())

    @cached_property
    def spec(self) -> FeatureSpec:
        """The newest training file's features, as they are when first asked for; without any file the packaged ones."""
        return self._files.find_newest() or FeatureSpec.load()

    def hours(self) -> list[datetime]:
        """List the hours that have training rows, ascending, up to the end of the newest arrival."""
        return self._files.list_hours()

    def training(
        self,
        start: Instant,
        end: Instant,
        *,
        features: Names | None = None,
        machines: Names | None = None,
        knowledge: Knowledge = "latest",
        missing: Missing = "error",
    ) -> pl.LazyFrame:
        """Read training rows of the whole hours in ``(start, end]``, up to the end of the newest arrival.

        Parameters
        ----------
        start
            A datetime with a zone, or ISO 8601 text.
        end
            Likewise, and later.
        features
            Those wanted, by name or by glob such as ``"*_1h"``; None for all. Only their columns are read.
        machines
            Those wanted; None for all. A machine that is nowhere gives a warning.
        knowledge
            ``latest``: all that is known of each hour by now. ``as_of``: what could be known at that hour, from
            partitions that had begun to arrive before it, as a scheduled run put it online. It is computed anew by the
            newest features, from tiles, or from raw objects where tiles are missing, damaged or of other features.
        missing
            Of ``as_of``: partitions whose tiles and raw objects are gone are an ``error``, or leave ``null`` in the
            columns that might have seen them.

        Returns
        -------
        pl.LazyFrame
            ``machine_id``, ``event_timestamp``, ``created_timestamp`` and the features of every spec in the span, by
            hour and machine. Null where a row's own spec does not have the feature.

        Raises
        ------
        LakeError
            If the store does not answer, or a file is damaged; some only when the rows are collected.
        UnknownPastError
            When the rows are collected: names the hours that cannot be computed any more, and why.
        ArgumentError
            If an instant has no zone, or there is no such feature.
        """
        first, last = read_instant(start), read_instant(end)
        chosen = None if machines is None else read_names(machines, "machines")
        rows = self._scan_training(first, last, features, chosen, knowledge, missing)
        self._warn_of_unknown(chosen or (), first, last)
        return rows

    def _scan_training(
        self,
        first: datetime,
        last: datetime,
        features: Names | None,
        machines: Sequence[str] | None,
        knowledge: Knowledge,
        missing: Missing,
    ) -> pl.LazyFrame:
        if knowledge not in ("latest", "as_of"):
            raise ArgumentError(f"knowledge is {knowledge!r}; it is 'latest' or 'as_of'")
        if missing not in ("error", "null"):
            raise ArgumentError(f"missing is {missing!r}; it is 'error' or 'null'")
        if knowledge == "as_of":
            rows = self._make_past(machines, missing=missing).scan(
                lambda: self._list_past_hours(first, last), self._list_machines
            )
            return select_rows(rows, list(feature_schema(self.spec)), features, None)
        newest = feature_schema(self.spec)
        wanted = None if features is None else read_names(features, "features")
        if wanted is not None and set(wanted) <= set(newest):  # older specs do not matter
            hours, schema = [hour for hour in self.hours() if first < hour <= last], newest
        else:
            found = self._files.find(first, last)
            hours, schema = list(found), unite_schemas(list(found.values()) or [self.spec])
        rows = self.scanner.scan([training_key(hour) for hour in hours], {**KEYS, **schema})
        return select_rows(rows, list(schema), wanted, machines)

    def _make_past(
        self, machines: Sequence[str] | None, *, missing: Missing = "error", is_latest: bool = False
    ) -> PastRows:
        return PastRows(self.lake, self.spec, self.allowed_lateness, machines, missing, is_latest)

    def _list_past_hours(self, first: datetime, last: datetime) -> list[datetime]:
        """List the whole hours in ``(first, last]`` from the first arrival, or training file, to the newest arrival."""
        kinds = ("raw", "processed/tiles", "processed/failures")
        begins = [found + HOUR for kind in kinds if (found := find_end(self.lake, kind, is_first=True))]
        ends = [found + HOUR for kind in kinds if (found := find_end(self.lake, kind))]
        begins += filter(None, [find_end(self.lake, "processed/training", is_first=True)])
        ends = ends or list(filter(None, [find_end(self.lake, "processed/training")]))
        if not ends:
            return []
        return list_whole_hours(max(first, min(begins) - HOUR), min(last, max(ends), datetime.now(UTC)))

    def _list_machines(self, hours: Sequence[datetime]) -> pl.DataFrame:
        """List the machines of training files, those after the newest arrival included."""
        stored = self.lake.look_up(map(training_key, hours))
        rows = self.scanner.scan([key for key in map(training_key, hours) if key in stored], KEYS)
        return rows.select("machine_id", "event_timestamp").collect()

    def _warn_of_unknown(self, machines: Iterable[str], first: datetime, last: datetime) -> None:
        """Warn of machines that no training file knows; those of the span are looked at first, the newest before."""
        unknown = dict.fromkeys(machine for machine in machines if machine not in self._machines)
        hours = self.hours() if unknown else []
        inside = [hour for hour in hours if first < hour <= last]
        for some in (inside[-1:], inside[:-1], hours[-1:], hours[:-1]):
            if some and unknown:
                self._machines.update(self._list_machines(some).get_column("machine_id"))
                unknown = {machine: None for machine in unknown if machine not in self._machines}
        for machine in unknown if hours else ():
            warnings.warn(describe_unknown("machine", machine, self._machines), UnknownMachineWarning, stacklevel=3)

    def failures(self, start: Instant, end: Instant) -> pl.DataFrame:
        """Read failure events with event times in ``[start, end)``, each once, however often it arrived.

        Parameters
        ----------
        start
            A datetime with a zone, or ISO 8601 text.
        end
            Likewise, and later.

        Returns
        -------
        pl.DataFrame
            ``machine_id``, ``event_timestamp``, ``codigo_evento``, and ``source_key`` and ``line_number`` of its first
            arrival; by time and machine.
        """
        return self._read_failures(self._list_failure_partitions(), read_instant(start), read_instant(end))

    def _read_failures(self, partitions: Iterable[datetime], first: datetime, last: datetime) -> pl.DataFrame:
        partitions = [each for each in partitions if each + 2 * HOUR > first]
        time = pl.col("event_timestamp")
        return (
            self.scanner.scan([failures_key(each) for each in partitions], FAILURE_SCHEMA)
            .filter(time >= first, time < last)
            .unique(FAILURE_KEYS, keep="first", maintain_order=True)
            .sort("event_timestamp", "machine_id", "codigo_evento")
            .collect()
        )

    def _list_failure_partitions(self) -> list[datetime]:
        return sorted(list_hours(self.lake, "processed/failures", failures_key))

    def labels(
        self,
        entities: Entities,
        *,
        horizon: Length | None = None,
        gap: Length = "0s",
        codes: Names | None = None,
        merge_within: Length = "1h",
        observed_until: Instant | None = None,
        kind: Kind = "fails_within",
        timezone: str | None = None,
    ) -> pl.DataFrame:
        """Label rows: 1 where the machine fails in ``(event_timestamp + gap, event_timestamp + gap + horizon]``.

        Parameters
        ----------
        entities
            ``machine_id`` and ``event_timestamp`` (times or texts), and any others, such as training rows. They are a
            frame of Polars or pandas, columns by name, or a list of rows. A machine that is nowhere gives a warning.
        horizon
            How far a row looks ahead: a timedelta, or text such as ``"24h"``. Only ``time_to_failure`` does without.
        gap
            From where on: failures sooner than this are left out.
        codes
            The failure codes that count; None for all. A row is after a failure whatever its code.
        merge_within
            Failures of a machine that follow each other so soon are one episode, which begins with the first. For so
            long after its last failure a row's status is ``after_failure``.
        observed_until
            Until when failures are known. By default, of each row, the end of the last failure partition before the
            first gap after it. The clock is never asked.
        kind
            ``fails_within`` for 1 and 0, ``time_to_failure`` for the hours to the next episode, null where censored.
        timezone
            The zone of times without one; None refuses them.

        Returns
        -------
        pl.DataFrame
            As :func:`machine_features.labels.label_entities`.

        Raises
        ------
        ArgumentError
            If a column is missing, an instant has no zone, a length cannot be read, or there is no such code.
        """
        if kind not in ("fails_within", "time_to_failure") or (kind == "fails_within" and horizon is None):
            raise ArgumentError(f"kind {kind!r} must be 'fails_within', with a horizon, or 'time_to_failure'")
        rows = read_entities(entities, timezone)
        merge, ahead = read_length(merge_within), None if horizon is None else read_length(horizon)
        length = read_length(gap)
        partitions = self._list_failure_partitions()
        times, machines = rows.get_column("event_timestamp"), rows.get_column("machine_id")
        if observed_until is None:
            until: pl.Series | datetime = find_observed_until(times, partitions)
        else:
            until = read_instant(observed_until)
        failures = self._read_near_failures(times, partitions, merge, None if ahead is None else length + ahead)
        chosen = failures
        if codes is not None:
            wanted = read_names(codes, "codes")
            if not wanted:
                raise ArgumentError("codes is empty, and no failure would count; name one, or give None for all")
            self._require_codes(wanted, failures, partitions)
            chosen = failures.filter(pl.col("codigo_evento").is_in(wanted))
        first, last = _find_span(times)
        self._warn_of_unknown(machines.drop_nulls().unique().sort(), first - PRESENCE, last)
        return label_entities(
            rows,
            find_episodes(chosen, merge),
            horizon=ahead,
            gap=length,
            merge_within=merge,
            observed_until=until,
            all_episodes=find_episodes(failures, merge),
            kind=kind,
        )

    def _read_near_failures(
        self, times: pl.Series, partitions: Sequence[datetime], before: timedelta, after: timedelta | None
    ) -> pl.DataFrame:
        """Read the failures that the labels of some instants depend on."""
        first, last = _find_span(times)
        end = _END if after is None or after >= _END - last else last + after + MICROSECOND
        return self._read_failures(partitions, first - min(before, first - _BEGINNING), end)

    def _require_codes(self, wanted: Sequence[str], near: pl.DataFrame, partitions: Sequence[datetime]) -> None:
        """Refuse a failure code that is nowhere; all failures are read only where one is not near."""
        codes = set(near.get_column("codigo_evento"))
        if not codes.issuperset(wanted):
            keys = [failures_key(each) for each in partitions]
            rows = self.scanner.scan(keys, FAILURE_SCHEMA).select(pl.col("codigo_evento").unique()).collect()
            codes.update(rows.to_series())
        for code in wanted:
            if code not in codes:
                raise UnknownNameError("failure code", code, codes)

    def asof(
        self,
        entities: Entities,
        *,
        features: Names | None = None,
        max_age: Length,
        knowledge: Knowledge = "latest",
        missing: Missing = "error",
        timezone: str | None = None,
    ) -> pl.DataFrame:
        """Put beside each entity its machine's newest training row that is not later, and at most ``max_age`` old.

        Parameters
        ----------
        entities
            As of :meth:`labels`.
        features
            Those wanted, by name or by glob; None for all.
        max_age
            A timedelta, or text such as ``"6h"``; this age is still taken.
        knowledge
            As of :meth:`training`.
        missing
            As of :meth:`training`.
        timezone
            As of :meth:`labels`.

        Returns
        -------
        pl.DataFrame
            As :func:`machine_features.joins.join_asof`, in the entities' order.

        Raises
        ------
        ArgumentError
            As of :meth:`labels`.
        """
        rows = read_entities(entities, timezone)
        age = read_length(max_age)
        times = rows.get_column("event_timestamp")
        first, last = _find_span(times)
        machines = rows.get_column("machine_id").drop_nulls().unique().to_list()
        start = first - min(age + MICROSECOND, first - _BEGINNING)
        training = self._scan_training(start, last, features, machines, knowledge, missing)
        return join_asof(rows, training.drop("created_timestamp").collect(), age)

    def online(
        self,
        machine_ids: Names,
        *,
        features: Names | None = None,
        max_age: Length | None = None,
        now: datetime | None = None,
    ) -> pl.DataFrame:
        """Read the newest features from the table.

        Parameters
        ----------
        machine_ids
            One or more; a row comes back for each, in this order: of a machine without an item, too.
        features
            Those wanted, by name or by glob; None for all.
        max_age
            Beyond which an item is ``stale``; None for no bound.
        now
            The time that ages are counted to; None for the clock's.

        Returns
        -------
        pl.DataFrame
            As :func:`machine_features.online.lay_out`.

        Raises
        ------
        ConfigurationError
            If no table was named.
        OnlineStoreError
            If the table does not answer.
        """
        from machine_features.online import KEPT_ITEMS, lay_out, read_items, read_kept_items  # noqa: PLC0415 - with botocore

        ids = read_names(machine_ids, "machine_ids")
        schema = feature_schema(self.spec)
        if features is not None:
            schema = {name: schema[name] for name in choose_features(features, list(schema))}
        age = None if max_age is None else read_length(max_age)
        instant = datetime.now(UTC) if now is None else read_instant(now)
        kept = Path(self.location) / KEPT_ITEMS
        if self.table is None and kept.is_file():
            items = read_kept_items(kept)
        else:
            names = None if features is None or len(schema) > _MOST_NAMES else list(schema)
            items = read_items(self._dynamodb, self._name_table(), dict.fromkeys(ids), names)
        try:
            return lay_out(ids, items, schema, age, instant)
        except (KeyError, TypeError, ValueError) as error:
            strange = f"an item is not as the function writes it: {error!r} is wrong or missing"
            raise OnlineStoreError(self.table or str(kept), strange) from error

    def parity(self, as_of: Instant, *, online: Entities | None = None) -> Parity:
        """Compare the online features of an instant with its training rows.

        Parameters
        ----------
        as_of
            The instant that items carry. Off the hour, and where there is no training file, they are compared with rows
            computed from all that is stored.
        online
            The features that were online at that instant: ``machine_id``, features, and perhaps ``event_timestamp``. By
            default the items of the table now, of all machines that have a row within a day of it.

        Returns
        -------
        Parity
            The cells that differ, each with its cause, and the machines whose items have moved on.

        Raises
        ------
        ArgumentError
            If ``online`` has no ``machine_id``, has a machine twice, or lists for values.
        ConfigurationError, OnlineStoreError
            As of :meth:`online`.
        UnknownPastError
            As of :meth:`training`, for what could be known.
        """
        instant = _read_row_instant(as_of)
        spec = self._files.find_at(instant)
        features = unite_schemas([self.spec] if spec is None else [spec, self.spec])
        if spec is None:
            training = self._make_past(None, is_latest=True).scan(lambda: [instant], self._list_machines)
        else:
            training = self.scanner.scan([training_key(instant)], {**KEYS, **feature_schema(spec)})
        rows = training.drop("created_timestamp").collect()
        known = self._make_past(None, missing="null").scan(lambda: [instant], self._list_machines).collect()
        if online is None:
            around = self._list_machines(list_whole_hours(instant - PRESENCE, instant + PRESENCE))
            machines = pl.concat(each.get_column("machine_id") for each in (around, rows, known)).unique().sort()
            items = self.online(machines, now=instant).filter(pl.col("event_timestamp").is_not_null())
        else:
            given = read_frame(online)
            if "event_timestamp" not in given.columns:
                given = given.with_columns(event_timestamp=pl.lit(instant, INSTANT))
            items = read_entities(given)
            _require_items(items, features)
        return compare(items, rows, known, features, instant)

    def trace(self, machine_id: str, as_of: Instant, feature: str) -> pl.DataFrame:
        """Find the raw lines that one value was computed from.

        Parameters
        ----------
        machine_id
            The machine; one that is nowhere gives a warning.
        as_of
            The row's instant.
        feature
            The column's name.

        Returns
        -------
        pl.DataFrame
            As :meth:`machine_features.trace.Tracer.trace`.

        Raises
        ------
        LakeError
            If the store does not answer, or raw objects are gone.
        UnknownNameError
            If there is no such feature.
        """
        from machine_features.trace import Tracer  # noqa: PLC0415 - only tracing reads raw lines

        instant, spec = _read_row_instant(as_of), self.spec
        machines = read_names(machine_id, "machine_id")
        if len(machines) != 1:
            raise ArgumentError(f"machine_id {machine_id!r} must be one machine")
        catalogue = {each.name: each for each in list_features(spec)}
        if not isinstance(feature, str):
            raise ArgumentError(f"feature {feature!r} must be one feature's name")
        if feature not in catalogue:
            raise UnknownNameError("feature", feature, catalogue)
        found = Tracer(self.lake, spec, self.allowed_lateness).trace(machines[0], instant, catalogue[feature])
        if found.is_empty():
            self._warn_of_unknown(machines, instant - PRESENCE, instant)
        return found

    def export(self, start: Instant, end: Instant, to: Location) -> pl.DataFrame:
        """Write the training rows of the hours in ``(start, end]`` as a file a day that is never changed.

        Parameters
        ----------
        start
            A datetime with a zone, or ISO 8601 text.
        end
            Likewise, and later.
        to
            A folder, which is made, or ``s3://bucket/prefix``.

        Returns
        -------
        pl.DataFrame
            As :func:`machine_features.export.export_days`: the files that hold the rows now. A day whose rows changed
            has a new file, and its old one stands.

        Raises
        ------
        LakeError
            If a store does not answer.
        """
        from machine_features.export import export_days  # noqa: PLC0415 - few need it

        first, last = read_instant(start), read_instant(end)
        place = Place.read(to)
        found = self._files.find(first, last)
        versions = self.lake.look_up(map(training_key, found))
        schema = {**KEYS, **unite_schemas(list(found.values()))}

        def read(hours: Iterable[datetime]) -> pl.LazyFrame:
            return self.scanner.scan([training_key(hour) for hour in hours], schema)

        try:
            if place.folder is not None:
                place.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LakeError(f"make the folder {place.folder}", str(error)) from error
        there = Lake.open(place.name, endpoint=os.environ.get("AWS_ENDPOINT_URL"), region=self.region)
        hours = {hour: versions[training_key(hour)] for hour in found}
        return export_days(there, place.prefix, hours, list(schema), read)

    @cached_property
    def scanner(self) -> FileScanner:
        """Of the lake's processed files."""
        return FileScanner.open(self.lake, self.location, self.region)

    def _name_table(self) -> str:
        if self.table is None:
            raise ConfigurationError("table", "no table is named; give FeatureStore.open(…, table=…) its name")
        return self.table

    @cached_property
    def _dynamodb(self) -> Any:
        from machine_features.online import make_client  # noqa: PLC0415 - it imports botocore

        return make_client(os.environ.get("AWS_ENDPOINT_URL"), self.region)


def _find_span(times: pl.Series) -> tuple[datetime, datetime]:
    """Find the first and the last of some times; without any there is nothing to read."""
    first, last = times.min(), times.max()
    return (first, last) if isinstance(first, datetime) and isinstance(last, datetime) else (_END, _END)


def _require_items(items: pl.DataFrame, features: Schema) -> None:
    """Refuse what no table holds: a machine twice, and values that are not single."""
    repeated = items.filter(pl.col("machine_id").is_duplicated()).get_column("machine_id")
    if not repeated.is_empty():
        raise ArgumentError(f"online has machine {repeated[0]} more than once; give the one item of each machine")
    for name, dtype in items.schema.items():
        if name in features and (dtype.is_nested() or dtype in (pl.Object, pl.Binary)):
            raise ArgumentError(f"online column {name} is {dtype}, and should be {features[name]}")


def _read_row_instant(as_of: Instant) -> datetime:
    """Read the instant of a row: whole tiles, of years that windows can look back from."""
    instant = read_instant(as_of)
    if instant != floor_to(instant, TILE) or instant.year not in _YEARS:
        raise ArgumentError(f"as_of {as_of} is no instant of a row: these are whole five minutes, such as 09:35:00")
    return instant
