"""Lakes to measure on: a fleet's telemetry from a seed, a million lines in a few seconds."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from handler.definitions.layout import partition_path
from handler.definitions.timestamps import HOUR, ceil_to

LINES_A_FILE: Final = 100_000
_SENSORS: Final = (("temperature", "temperature_celsius"), ("vibration", "vibration_rms"))
_LONGEST_TRANSFER_MS: Final = 900
_BAD_LINES: Final = (
    b'{"machine_id":"PUMP-A0001","timestamp_utc":"2025-10-',
    b'["PUMP-A0001", 70.1]',
    b'{"timestamp_utc":"2025-10-15T00:00:01.000Z","vibration_rms":1.0}',
    b'{"machine_id":"PUMP-A0001","timestamp_utc":"15/10/2025 00:00","vibration_rms":1.0}',
    b'{"machine_id":"PUMP-A0001","timestamp_utc":"2025-10-15T00:00:01.000Z","sensor_type":"vibration"}',
    b'{"machine_id":"PUMP-A0001","timestamp_utc":"2025-10-15T00:00:01.000Z","temperature_celsius":"70,1"}',
    b'{"machine_id":"PUMP-A0001","timestamp_utc":"2025-10-15T00:00:01.000Z","temperature_celsius":9999.0}',
)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Who sends: each machine one temperature and one vibration reading an interval, a line each.

    Attributes
    ----------
    machines
        How many there are.
    interval
        Between two readings of one sensor; an hour is a whole number of them.
    start
        A whole hour, UTC.
    seed
        Equal seeds give equal bytes.
    """

    machines: int
    interval: timedelta = timedelta(seconds=10)
    start: datetime = datetime(2025, 10, 15, tzinfo=UTC)
    seed: int = 7

    @property
    def lines_an_hour(self) -> int:
        """How many lines arrive in an hour."""
        return len(_SENSORS) * self.machines * (HOUR // self.interval)

    def end_of(self, lines: int) -> datetime:
        """The first whole hour after so many lines."""
        ticks = -(-lines // (len(_SENSORS) * self.machines))
        return ceil_to(self.start + ticks * self.interval, HOUR)


@dataclass(frozen=True, slots=True)
class GeneratedLake:
    """A lake on disk.

    Attributes
    ----------
    root
        The folder that holds ``raw/``.
    files
        The raw files, in the order of arrival.
    lines
        How many good lines they hold.
    bad_lines
        How many bad ones.
    end
        The first whole hour after the last line, UTC.
    """

    root: Path
    files: tuple[Path, ...]
    lines: int
    bad_lines: int
    end: datetime

    @property
    def size(self) -> int:
        """The raw files' bytes."""
        return sum(path.stat().st_size for path in self.files)


def generate_lake(
    root: Path,
    fleet: Fleet,
    lines: int,
    *,
    lines_a_file: int = LINES_A_FILE,
    bad_every: int | None = None,
    more_fields: str = "",
) -> GeneratedLake:
    """Write a fleet's first lines into the hourly partitions of a lake, in the order of the ticks.

    Parameters
    ----------
    root
        Where ``raw/`` comes to lie.
    fleet
        Who sends.
    lines
        How many good lines.
    lines_a_file
        At which a file is closed.
    bad_every
        Put a bad line after this number of good ones, of every kind in turn; none by default.
    more_fields
        JSON that ends every line, from a comma on.
    """
    files: list[Path] = []
    bad_lines = 0
    for hour, payloads in _iterate_files(fleet, lines, lines_a_file, more_fields):
        if bad_every is not None:
            payloads, added = _spoil(payloads, bad_every)
            bad_lines += added
        folder = root / "raw" / partition_path(hour)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"readings_{len(files):06d}.jsonl"
        path.write_bytes(payloads)
        files.append(path)
    return GeneratedLake(root, tuple(files), lines, bad_lines, fleet.end_of(lines))


def _iterate_files(fleet: Fleet, lines: int, lines_a_file: int, more_fields: str) -> Iterator[tuple[datetime, bytes]]:
    for hour in range(-(-lines // fleet.lines_an_hour)):
        first, last = hour * fleet.lines_an_hour, min((hour + 1) * fleet.lines_an_hour, lines)
        step = max(LINES_A_FILE // lines_a_file, 1) * lines_a_file
        for start in range(first, last, step):
            made = _make_lines(fleet, start, min(start + step, last), more_fields)
            for offset in range(0, made.len(), lines_a_file):
                text = made.slice(offset, lines_a_file).str.join("\n").item()
                yield fleet.start + hour * HOUR, text.encode() + b"\n"


def _make_lines(fleet: Fleet, first: int, last: int, more_fields: str) -> pl.Series:
    """Make the fleet's lines ``[first, last)``; arrival lies in the same tick as the event, hence in the same hour."""
    chance = np.random.default_rng([fleet.seed, first])
    number = np.arange(first, last)
    tick, place = np.divmod(number, len(_SENSORS) * fleet.machines)
    machine, sensor = np.divmod(place, len(_SENSORS))
    interval_ms = fleet.interval // timedelta(milliseconds=1)
    transfer = chance.integers(40, _LONGEST_TRANSFER_MS, number.size)
    sent = tick * interval_ms + chance.integers(0, interval_ms - _LONGEST_TRANSFER_MS, number.size)
    hours = sent / (HOUR // timedelta(milliseconds=1))
    temperature = 58 + machine % 17 + 4 * np.sin(hours / 24 * 2 * np.pi) + chance.normal(0, 0.4, number.size)
    vibration = np.abs(0.9 + machine % 13 / 10 + chance.normal(0, 0.08, number.size))
    start = pl.lit(fleet.start.replace(tzinfo=None), dtype=pl.Datetime("ms"))
    frame = pl.DataFrame(
        {
            "sent": sent,
            "arrived": sent + transfer,
            "machine": machine + 1,
            "is_vibration": sensor == 1,
            "temperature": temperature.round(2),
            "vibration": vibration.round(3),
        }
    ).select(
        (start + pl.duration(milliseconds=pl.col("sent"))).dt.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").alias("sent"),
        (start + pl.duration(milliseconds=pl.col("arrived"))).dt.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").alias("arrived"),
        pl.concat_str(pl.lit("PUMP-A"), pl.col("machine").cast(pl.String).str.zfill(4)).alias("machine"),
        pl.when("is_vibration").then(pl.lit(_SENSORS[1][0])).otherwise(pl.lit(_SENSORS[0][0])).alias("sensor"),
        pl.when("is_vibration").then(pl.lit(_SENSORS[1][1])).otherwise(pl.lit(_SENSORS[0][1])).alias("field"),
        pl.when("is_vibration").then("vibration").otherwise("temperature").cast(pl.String).alias("value"),
    )
    parts = (
        '{"machine_id":"', "$machine", '","timestamp_utc":"', "$sent", '","', "$field", '":', "$value",
        ',"sensor_type":"', "$sensor", '","mqtt_topic":"industrial/machine/', "$machine", "/telemetry/", "$sensor",
        '","ingestion_timestamp":"', "$arrived", f'"{more_fields}}}',
    )  # fmt: skip
    line = pl.concat_str(pl.col(part[1:]) if part.startswith("$") else pl.lit(part) for part in parts)
    return frame.select(line.alias("line")).to_series()


def _spoil(payloads: bytes, bad_every: int) -> tuple[bytes, int]:
    """Put bad lines between the good ones of a file."""
    lines: list[bytes] = []
    added = 0
    for number, payload in enumerate(payloads.splitlines(), start=1):
        lines.append(payload)
        if number % bad_every == 0:
            lines.append(_BAD_LINES[added % len(_BAD_LINES)])
            added += 1
    return b"\n".join(lines) + b"\n", added
