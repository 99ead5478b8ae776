"""The function's settings, read once from its environment and frozen."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, Self

from handler.definitions.errors import ConfigurationError
from handler.definitions.timestamps import FUTURE_TOLERANCE

MAX_HOURS: Final = 168
_MINUTE: Final = timedelta(minutes=1)
_MOST_MINUTES: Final = 60
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_TABLE: Final = re.compile(r"[a-zA-Z0-9_.-]{3,255}")
_LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@dataclass(frozen=True, slots=True)
class Settings:
    """What one deployment is configured with.

    Attributes
    ----------
    lake
        ``DATA_LAKE_BUCKET``: a bucket's name, or a ``file://`` URL of a folder.
    table
        ``DYNAMODB_TABLE_NAME``.
    time_window
        ``TIME_WINDOW``: the span one run answers for, 1 to 168 hours.
    allowed_lateness
        ``ALLOWED_LATENESS``: how late a reading may arrive and still count in features, 0 to 168 hours.
    future_tolerance
        ``FUTURE_TOLERANCE``: how far after the end of its arrival partition an event time may lie, 0 to 60 minutes.
    raw_retention
        ``RAW_RETENTION_HOURS``: how long raw objects are kept; None where they do not expire.
    max_machines
        ``MAX_MACHINES``: a run that finds more machines stops before it writes items.
    log_level
        ``LOG_LEVEL``.
    endpoint
        ``AWS_ENDPOINT_URL``: where AWS is, when it is not AWS.
    region
        ``AWS_REGION`` or ``AWS_DEFAULT_REGION``.
    features_file
        ``FEATURES_FILE``: a features.toml to use in place of the packaged one; a path.
    features_key
        ``FEATURES_FILE`` where it is an ``s3://`` URL: the object's key in the lake's own bucket.
    """

    lake: str
    table: str
    time_window: timedelta
    allowed_lateness: timedelta = timedelta(hours=24)
    future_tolerance: timedelta = FUTURE_TOLERANCE
    raw_retention: timedelta | None = None
    max_machines: int = 100_000
    log_level: str = "INFO"
    endpoint: str | None = None
    region: str | None = None
    features_file: Path | None = None
    features_key: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read and check every variable.

        Parameters
        ----------
        environment
            Usually ``os.environ``. An empty value is as if absent.

        Returns
        -------
        Settings
            The checked settings.

        Raises
        ------
        ConfigurationError
            Naming the first variable that is missing or wrong.
        """
        lake = _read_lake(environment)
        features_file, features_key = _read_features_file(environment, lake)
        return cls(
            lake=lake,
            table=_read_table(environment),
            time_window=_read_hours(environment, "TIME_WINDOW", lowest=1),
            allowed_lateness=_read_hours(environment, "ALLOWED_LATENESS", lowest=0, default=24),
            future_tolerance=_read_future_tolerance(environment),
            raw_retention=_read_raw_retention(environment),
            max_machines=_read_max_machines(environment),
            log_level=_read_log_level(environment),
            endpoint=_read_endpoint(environment),
            region=environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or None,
            features_file=features_file,
            features_key=features_key,
        )


def _read_required(environment: Mapping[str, str], name: str, meaning: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise ConfigurationError(name, f"is not set; set it to {meaning}")
    return value


def _read_lake(environment: Mapping[str, str]) -> str:
    meaning = "the data lake's bucket name (or file:///folder, with %23 for # and %3F for ?)"
    value = _read_required(environment, "DATA_LAKE_BUCKET", meaning)
    if not (re.fullmatch(r"file:///[^?#]*", value) or _BUCKET.fullmatch(value)):
        raise ConfigurationError("DATA_LAKE_BUCKET", f"{value!r} is no bucket name; set it to {meaning}")
    return value


def _read_table(environment: Mapping[str, str]) -> str:
    meaning = "the name of the DynamoDB table for the newest features"
    value = _read_required(environment, "DYNAMODB_TABLE_NAME", meaning)
    if not _TABLE.fullmatch(value):
        raise ConfigurationError("DYNAMODB_TABLE_NAME", f"{value!r} is no table name; set it to {meaning}")
    return value


def _read_features_file(environment: Mapping[str, str], lake: str) -> tuple[Path | None, str | None]:
    """Read where features.toml is: its path, or its key in the lake's bucket."""
    value = environment.get("FEATURES_FILE")
    if not value:
        return None, None
    if not value.startswith("s3://"):
        return Path(value), None
    bucket, _, key = value.removeprefix("s3://").partition("/")
    if bucket != lake or not key:
        raise ConfigurationError(
            "FEATURES_FILE",
            f"{value!r} is no object of the lake's own bucket; set it to a path, or to s3://{lake}/features.toml",
        )
    return None, key


def _read_hours(environment: Mapping[str, str], name: str, *, lowest: int, default: int | None = None) -> timedelta:
    meaning = f"a whole number of hours from {lowest} to {MAX_HOURS}"
    if default is not None and not environment.get(name):
        return timedelta(hours=default)
    value = _read_required(environment, name, meaning)
    if not re.fullmatch(r"[0-9]{1,4}", value) or not lowest <= int(value) <= MAX_HOURS:
        raise ConfigurationError(name, f"{value!r} will not do; set it to {meaning}")
    return timedelta(hours=int(value))


def _read_future_tolerance(environment: Mapping[str, str]) -> timedelta:
    value = environment.get("FUTURE_TOLERANCE") or str(FUTURE_TOLERANCE // _MINUTE)
    if not re.fullmatch(r"[0-9]{1,2}", value) or int(value) > _MOST_MINUTES:
        raise ConfigurationError(
            "FUTURE_TOLERANCE", f"{value!r} will not do; set it to a whole number of minutes from 0 to {_MOST_MINUTES}"
        )
    return int(value) * _MINUTE


def _read_raw_retention(environment: Mapping[str, str]) -> timedelta | None:
    value = environment.get("RAW_RETENTION_HOURS")
    if not value:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,5}", value):
        raise ConfigurationError(
            "RAW_RETENTION_HOURS", f"{value!r} will not do; set it to a whole number of hours from 1 to 999999"
        )
    return timedelta(hours=int(value))


def _read_max_machines(environment: Mapping[str, str]) -> int:
    value = environment.get("MAX_MACHINES") or "100000"
    if not re.fullmatch(r"[1-9][0-9]{0,7}", value):
        raise ConfigurationError(
            "MAX_MACHINES", f"{value!r} will not do; set it to a whole number of machines from 1 to 99999999"
        )
    return int(value)


def _read_log_level(environment: Mapping[str, str]) -> str:
    value = (environment.get("LOG_LEVEL") or "INFO").upper()
    if value not in _LOG_LEVELS:
        raise ConfigurationError("LOG_LEVEL", f"{value!r} will not do; set it to one of {', '.join(_LOG_LEVELS)}")
    return value


def _read_endpoint(environment: Mapping[str, str]) -> str | None:
    value = environment.get("AWS_ENDPOINT_URL") or None
    if value is not None and not value.startswith(("http://", "https://")):
        raise ConfigurationError("AWS_ENDPOINT_URL", f"{value!r} will not do; set it to a URL with http:// or https://")
    return value
