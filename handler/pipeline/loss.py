"""Rows that training hours would lose, since lines that another features.toml accepted no longer are."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final

import polars as pl

from handler.definitions.errors import ConfigurationError, LossError
from handler.definitions.layout import failures_key, quarantine_key, tiles_key, training_key
from handler.definitions.raw import RawContent
from handler.definitions.spec import PRESENCE, FeatureSpec
from handler.definitions.timestamps import HOUR, INSTANT, format_instant
from handler.ingest.classes import RAW_BYTES_KEPT, WHATEVER_FEATURES, parse_lines
from handler.lake.parquet import is_whole
from handler.plan import group_into_blocks
from handler.stores.training import Origin
from handler.tiles.files import PartitionFiles

_LINES_AT_A_TIME: Final = 10_000


def require_no_loss(files: PartitionFiles, origins: Mapping[datetime, Origin]) -> None:
    """Refuse to write training hours without rows that they have, where features.toml is why.

    Only hours are looked at whose file was made by features that read lines in another way.

    Parameters
    ----------
    files
        The tiles that rows would be made of.
    origins
        The inputs of the stored files, of the hours to write.

    Raises
    ------
    LossError
        Naming the first row found, both features, and why its lines are no longer accepted.
    """
    spec, plan = files.spec, files.plan
    others = {text: _parse(text) for text in {origin.features for origin in origins.values()} - {spec.text}}
    doubtful = {
        hour: other
        for hour, origin in origins.items()
        if (other := others.get(origin.features)) and other.fingerprint != spec.fingerprint
    }
    for block in group_into_blocks(doubtful, machines=0):
        present = _find_machines(files, block)
        for hour in block:
            seen = pl.col("hour_start").is_between(hour - PRESENCE, hour, closed="left")
            (data,) = files.lake.read([training_key(hour)])
            if not is_whole(data):  # nobody can say which rows it has
                continue
            rows = pl.read_parquet(data, columns=["machine_id"])
            lost = rows.join(present.filter(seen), on="machine_id", how="anti").to_series()
            for machine, reason in _find_reasons(files, hour, doubtful[hour], lost):
                now = Origin.describe(spec, plan.allowed_lateness, {}).digest
                raise LossError(format_instant(hour), machine, before=origins[hour].digest, now=now, reason=reason)


def _parse(text: str) -> FeatureSpec | None:
    """Parse another features.toml; None where only another release understands it."""
    try:
        return FeatureSpec.parse(text)
    except ConfigurationError:
        return None


def _read_whole(
    files: PartitionFiles, instants: Iterable[datetime], key: Callable[[datetime], str]
) -> Iterator[tuple[datetime, bytes]]:
    """Read files of the partitions that rows see, one by one; damaged ones are left to whoever builds them again."""
    for partition in sorted(files.plan.list_contributors(instants) & files.manifests.keys()):
        if key is tiles_key or key(partition) in files.manifests[partition].beside:
            (data,) = files.lake.read([key(partition)])
            if is_whole(data):
                yield partition, data


def _find_machines(files: PartitionFiles, hours: list[datetime]) -> pl.DataFrame:
    """Find which machines have readings in which hours of event time: ``machine_id`` and ``hour_start``."""
    hour_start = pl.col("tile_start").dt.truncate(HOUR).alias("hour_start")
    found = (
        pl.scan_parquet(data)
        .filter(
            pl.col("reading").is_in(files.spec.reading_names), hour_start >= partition - files.plan.allowed_lateness
        )
        .select("machine_id", hour_start)
        .unique()
        .collect()
        for partition, data in _read_whole(files, hours, tiles_key)
    )
    return pl.concat([pl.DataFrame(schema={"machine_id": pl.String, "hour_start": INSTANT}), *found])


def _find_reasons(
    files: PartitionFiles, hour: datetime, other: FeatureSpec, lost: pl.Series
) -> Iterator[tuple[str, str]]:
    """Find machines whose lines the other features accept, or may accept if they are long, and why these do not."""
    if lost.is_empty():
        return
    is_lost = pl.col("machine_id").cast(pl.String).is_in(lost)
    is_seen = pl.col("event_time").is_between(hour - PRESENCE, hour, closed="left")
    for partition, data in _read_whole(files, [hour], quarantine_key):
        for reason, lines in _list_by_reason(pl.scan_parquet(data).filter(pl.col("line_number").is_not_null())):
            content = RawContent("", "\n".join(lines.get_column("raw_text")).encode())
            for parsed in parse_lines([content], other, partition, files.plan.future_tolerance):
                for machine in parsed.readings.filter(is_lost, is_seen).get_column("machine_id").cast(pl.String):
                    yield machine, f"lines of {lines.item(0, 'source_key')} are rejected as {reason}"
    if other.fields.codigo_evento != files.spec.fields.codigo_evento:
        for _, data in _read_whole(files, [hour], failures_key):
            for machine, key in pl.read_parquet(data).filter(is_lost).select("machine_id", "source_key").iter_rows():
                yield machine, f"lines of {key} are failure events"
    yield from ((lost[0], reason) for reason in _list_long(files, hour))


def _list_long(files: PartitionFiles, hour: datetime) -> Iterator[str]:
    """List why long lines are rejected, of which quarantine has but a part: nobody can say whose they are."""
    is_cut = (pl.col("raw_text").str.len_bytes() >= RAW_BYTES_KEPT) & ~pl.col("reason").is_in(WHATEVER_FEATURES)
    for _, data in _read_whole(files, [hour], quarantine_key):
        cut = pl.scan_parquet(data).filter(is_cut).select("source_key", "reason").head(1)
        for key, reason in cut.collect().iter_rows():
            yield f"lines of {key} are rejected as {reason}"


def _list_by_reason(rejected: pl.LazyFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """List rejected lines by reason, some at a time."""
    offset = 0
    while not (lines := rejected.slice(offset, _LINES_AT_A_TIME).collect()).is_empty():
        for (reason,), group in lines.group_by("reason", maintain_order=True):
            yield str(reason), group
        offset += _LINES_AT_A_TIME
