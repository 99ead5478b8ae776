"""The front: a lake and its table, opened once, read in every way."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import unquote, urlsplit

import polars as pl

from handler.definitions.errors import ConfigurationError
from handler.definitions.layout import failures_key, training_key
from handler.definitions.schema import FAILURE_KEYS, FAILURE_SCHEMA, feature_schema
from handler.definitions.spec import PRESENCE, FeatureSpec
from handler.definitions.timestamps import HOUR, MICROSECOND
from handler.lake.lake import Lake
from machine_features.catalogue import list_features, write_catalogue
from machine_features.history import PastRows
from machine_features.joins import join_asof
from machine_features.labels import find_episodes, find_observed_until, label_entities
from machine_features.parity import Parity, compare
from machine_features.scan import FileScanner, list_hours
from machine_features.times import Instant, Length, read_entities, read_instant, read_length
from machine_features.training import (
    KEYS,
    TrainingFiles,
    require_features,
    select_rows,
    unite_schemas,
)

Knowledge = Literal["latest", "as_of"]

_ALLOWED_LATENESS: Final = timedelta(hours=24)
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "_files", TrainingFiles(self.lake))

    @classmethod
    def open(
        cls,
        location: str,
        table: str | None = None,
        region: str | None = None,
        *,
        allowed_lateness: Length = _ALLOWED_LATENESS,
    ) -> "FeatureStore":
        """Open a lake, and name its table.

        Parameters
        ----------
        location
            A bucket's name, or a folder as ``file:///lake``.
        table
            The online table's name; None is ``DYNAMODB_TABLE_NAME``, if it is set, or the items that a local run left
            in its folder. Only :meth:`online` and :meth:`parity` need it.
        region
            Of bucket and table; None leaves it to the environment and the profile.
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
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        lake = Lake.open(location, endpoint=endpoint, region=region)
        is_folder = location.startswith("file://")
        where = str(Path(unquote(urlsplit(location).path))) if is_folder else f"s3://{location}"
        table = table or os.environ.get("DYNAMODB_TABLE_NAME")
        return cls(lake, where, table, region, read_length(allowed_lateness))

    def features(self) -> pl.DataFrame:
        """Give the catalogue of the features that there are now.

        Returns
        -------
        pl.DataFrame
            As :func:`machine_features.catalogue.write_catalogue`; ``since`` is the first training hour that has the
            feature.
        """
        since: dict[str, datetime] = {}
        for hour, spec in self._files.find(_BEGINNING, _END).items():
            for name in feature_schema(spec):
                since.setdefault(name, hour)
        return write_catalogue(self.spec, since)

    @cached_property
    def spec(self) -> FeatureSpec:
        """The newest training file's features, as they are when first asked for; without any file the packaged ones."""
        return self._files.find_newest() or FeatureSpec.load()

    def hours(self) -> list[datetime]:
        """List the hours that have training rows, ascending."""
        return self._files.list_hours()

    def training(
        self,
        start: Instant,
        end: Instant,
        *,
        features: Sequence[str] | None = None,
        machines: Sequence[str] | None = None,
        knowledge: Knowledge = "latest",
    ) -> pl.LazyFrame:
        """Read training rows of the whole hours in ``(start, end]``.

        Parameters
        ----------
        start
            A datetime with a zone, or ISO 8601 text.
        end
            Likewise, and later.
        features
            Those wanted; None for all. Only their columns are read.
        machines
            Those wanted; None for all.
        knowledge
            ``latest``: all that is known of each hour by now. ``as_of``: what could be known at that hour, from
            partitions that had begun to arrive before it, as a scheduled run put it online. It is computed anew from
            tiles, by the newest features.

        Returns
        -------
        pl.LazyFrame
            ``machine_id``, ``event_timestamp``, ``created_timestamp`` and the features of every spec in the span, by
            hour and machine. Null where a row's own spec does not have the feature.

        Raises
        ------
        LakeError
            If the store does not answer, or a file's footer is damaged.
        ValueError
            If an instant has no zone, or there is no such feature.
        """
        first, last = read_instant(start), read_instant(end)
        if knowledge == "as_of":
            spec = self.spec
            rows = PastRows(self.lake, spec, self.allowed_lateness).scan(first, last)
            return select_rows(rows, list(feature_schema(spec)), features, machines)
        if knowledge != "latest":
            raise ValueError(f"knowledge is {knowledge!r}; it is 'latest' or 'as_of'")
        if features is not None and set(features) <= set(feature_schema(self.spec)):  # older specs do not matter
            hours = [hour for hour in self.hours() if first < hour <= last]
            schema = feature_schema(self.spec)
        else:
            found = self._files.find(first, last)
            hours, schema = list(found), unite_schemas(list(found.values()) or [self.spec])
        rows = self.scanner.scan([training_key(hour) for hour in hours], {**KEYS, **schema})
        return select_rows(rows, list(schema), features, machines)

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
        entities: pl.DataFrame | pl.LazyFrame,
        *,
        horizon: Length,
        gap: Length = "0s",
        codes: Iterable[str] | None = None,
        merge_within: Length = "1h",
        observed_until: Instant | None = None,
    ) -> pl.DataFrame:
        """Label rows: 1 where the machine fails in ``(event_timestamp + gap, event_timestamp + gap + horizon]``.

        Parameters
        ----------
        entities
            ``machine_id`` and ``event_timestamp``, and any others, such as training rows.
        horizon
            How far a row looks ahead: a timedelta, or text such as ``"24h"``.
        gap
            From where on: failures sooner than this are left out.
        codes
            The failure codes that count; None for all.
        merge_within
            Failures of a machine that follow each other so soon are one episode, which begins with the first. For so
            long after its last failure a row's status is ``after_failure``.
        observed_until
            Until when failures are known. By default, of each row, the end of the last failure partition before the
            first gap after it. The clock is never asked.

        Returns
        -------
        pl.DataFrame
            As :func:`machine_features.labels.label_entities`.

        Raises
        ------
        ValueError
            If a column is missing, an instant has no zone, or a length cannot be read.
        """
        rows = read_entities(entities)
        merge = read_length(merge_within)
        partitions = self._list_failure_partitions()
        failures = self._read_failures(partitions, _BEGINNING, _END)
        if codes is not None:
            failures = failures.filter(pl.col("codigo_evento").is_in(list(codes)))
        if observed_until is None:
            until: pl.Series | datetime = find_observed_until(rows.get_column("event_timestamp"), partitions)
        else:
            until = read_instant(observed_until)
        return label_entities(
            rows,
            find_episodes(failures, merge),
            horizon=read_length(horizon),
            gap=read_length(gap),
            merge_within=merge,
            observed_until=until,
        )

    def asof(
        self,
        entities: pl.DataFrame | pl.LazyFrame,
        *,
        features: Sequence[str] | None = None,
        max_age: Length,
        knowledge: Knowledge = "latest",
    ) -> pl.DataFrame:
        """Put beside each entity its machine's newest training row that is not later, and at most ``max_age`` old.

        Parameters
        ----------
        entities
            ``machine_id`` and ``event_timestamp``, and any others.
        features
            Those wanted; None for all.
        max_age
            A timedelta, or text such as ``"6h"``; this age is still taken.
        knowledge
            As of :meth:`training`.

        Returns
        -------
        pl.DataFrame
            As :func:`machine_features.joins.join_asof`, in the entities' order.

        Raises
        ------
        ValueError
            As of :meth:`labels`.
        """
        rows = read_entities(entities)
        age = read_length(max_age)
        times = rows.get_column("event_timestamp")
        first, last = times.min(), times.max()
        if not (isinstance(first, datetime) and isinstance(last, datetime)):
            first = last = _BEGINNING
        machines = rows.get_column("machine_id").unique().to_list()
        training = self.training(first - age - MICROSECOND, last, features=features, knowledge=knowledge)
        wanted = training.filter(pl.col("machine_id").is_in(machines)).drop("created_timestamp").collect()
        return join_asof(rows, wanted, age)

    def online(
        self,
        machine_ids: Iterable[str],
        *,
        features: Sequence[str] | None = None,
        max_age: Length | None = None,
        now: datetime | None = None,
    ) -> pl.DataFrame:
        """Read the newest features from the table.

        Parameters
        ----------
        machine_ids
            The ids; a row comes back for each, in this order.
        features
            Those wanted; None for all.
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
        from machine_features.online import KEPT_ITEMS, lay_out, read_items, read_kept_items  # noqa: PLC0415 - with boto3

        schema = feature_schema(self.spec)
        if features is not None:
            require_features(features, list(schema))
            schema = {name: schema[name] for name in features}
        ids = list(machine_ids)
        kept = Path(self.location) / KEPT_ITEMS
        if self.table is None and kept.is_file():
            items = read_kept_items(kept)
        else:
            items = read_items(self._dynamodb, self._name_table(), dict.fromkeys(ids), features)
        age = None if max_age is None else read_length(max_age)
        return lay_out(ids, items, schema, age, now or datetime.now(UTC))

    def parity(self, as_of: Instant, *, online: pl.DataFrame | None = None) -> Parity:
        """Compare the online features of an hour with its training rows.

        Parameters
        ----------
        as_of
            A whole hour.
        online
            The features that were online at that hour: ``machine_id`` and features. By default the items of the table
            that speak of it now, of all machines that have a training row within a day of it.

        Returns
        -------
        Parity
            The cells that differ, each with its cause.

        Raises
        ------
        ConfigurationError, OnlineStoreError
            As of :meth:`online`.
        """
        hour = read_instant(as_of)
        training = self.training(hour - MICROSECOND, hour).drop("created_timestamp").collect()
        known = self.training(hour - MICROSECOND, hour, knowledge="as_of").collect()
        if online is None:
            around = (
                self.training(hour - PRESENCE, hour + PRESENCE, features=[]).select("machine_id").unique().collect()
            )
            machines = pl.concat([around.to_series(), known.get_column("machine_id")]).unique()
            found = self.online(machines, now=hour)
            online = found.filter(pl.col("event_timestamp") == hour)
        specs = list(self._files.find(hour - MICROSECOND, hour).values())
        return compare(online, training, known, unite_schemas([*specs, self.spec]))

    def trace(self, machine_id: str, as_of: Instant, feature: str) -> pl.DataFrame:
        """Find the raw lines that one value was computed from.

        Parameters
        ----------
        machine_id
            The machine.
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
        ValueError
            If there is no such feature.
        """
        from machine_features.trace import Tracer  # noqa: PLC0415 - only tracing reads raw lines

        spec = self.spec
        catalogue = {each.name: each for each in list_features(spec)}
        require_features([feature], list(catalogue))
        return Tracer(self.lake, spec, self.allowed_lateness).trace(machine_id, read_instant(as_of), catalogue[feature])

    def export(self, start: Instant, end: Instant, to: str) -> pl.DataFrame:
        """Write the training rows of the hours in ``(start, end]`` as a file a day that is never changed.

        Parameters
        ----------
        start
            A datetime with a zone, or ISO 8601 text.
        end
            Likewise, and later.
        to
            A folder, or ``s3://bucket/prefix``.

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
        found = self._files.find(first, last)
        versions = self.lake.look_up(map(training_key, found))
        schema = {**KEYS, **unite_schemas(list(found.values()))}

        def read(hours: Iterable[datetime]) -> pl.LazyFrame:
            return self.scanner.scan([training_key(hour) for hour in hours], schema)

        place = urlsplit(to)
        if place.scheme == "s3":
            endpoint = os.environ.get("AWS_ENDPOINT_URL")
            there = Lake.open(place.netloc, endpoint=endpoint, region=self.region)
            prefix = f"{place.path.strip('/')}/".lstrip("/")
        else:
            folder = Path(unquote(place.path)).resolve()
            folder.mkdir(parents=True, exist_ok=True)
            there, prefix = Lake.open(folder.as_uri()), ""
        hours = {hour: versions[training_key(hour)] for hour in found}
        return export_days(there, prefix, hours, list(schema), read)

    @cached_property
    def scanner(self) -> FileScanner:
        """Of the lake's processed files."""
        return FileScanner.open(self.location, self.region)

    def _name_table(self) -> str:
        if self.table is None:
            raise ConfigurationError("table", "no table is named; give FeatureStore.open(…, table=…) its name")
        return self.table

    @cached_property
    def _dynamodb(self) -> Any:
        from machine_features.online import make_client  # noqa: PLC0415 - it imports boto3

        return make_client(os.environ.get("AWS_ENDPOINT_URL"), self.region)
