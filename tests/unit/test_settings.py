"""The environment: checked whole, before anything is read."""

from datetime import timedelta
from pathlib import Path

import pytest

from handler.definitions.errors import ConfigurationError
from handler.settings import Settings

COMPLETE = {"DATA_LAKE_BUCKET": "plant-lake", "DYNAMODB_TABLE_NAME": "plant-RealtimeFeatures", "TIME_WINDOW": "6"}


def test_defaults_are_filled_in() -> None:
    settings = Settings.from_environment(COMPLETE | {"ALLOWED_LATENESS": "", "LOG_LEVEL": ""})
    assert settings == Settings("plant-lake", "plant-RealtimeFeatures", timedelta(hours=6))
    assert settings.allowed_lateness == timedelta(hours=24)


def test_everything_can_be_set() -> None:
    more = {
        "ALLOWED_LATENESS": "0",
        "LOG_LEVEL": "debug",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:5000",
        "AWS_DEFAULT_REGION": "sa-east-1",
        "FEATURES_FILE": "/opt/features.toml",
    }
    settings = Settings.from_environment(COMPLETE | more)
    assert settings.allowed_lateness == timedelta(0)
    assert settings.log_level == "DEBUG"
    assert (settings.endpoint, settings.region) == ("http://127.0.0.1:5000", "sa-east-1")
    assert settings.features_file == Path("/opt/features.toml")


def test_features_file_may_be_an_object_of_the_lakes_own_bucket() -> None:
    inside = Settings.from_environment(COMPLETE | {"FEATURES_FILE": "s3://plant-lake/config/features.toml"})
    assert (inside.features_file, inside.features_key) == (None, "config/features.toml")
    for wrong in ("s3://elsewhere/features.toml", "s3://plant-lake/", "s3://plant-lake"):
        with pytest.raises(
            ConfigurationError, match=rf"^FEATURES_FILE: '{wrong}' is no object of the lake's own bucket"
        ):
            Settings.from_environment(COMPLETE | {"FEATURES_FILE": wrong})


@pytest.mark.parametrize("name", COMPLETE)
def test_missing_variable_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{name}: is not set; set it to "):
        Settings.from_environment({k: v for k, v in COMPLETE.items() if k != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATA_LAKE_BUCKET", "No_Bucket"),
        ("DATA_LAKE_BUCKET", "s3://lake"),
        ("DATA_LAKE_BUCKET", "x"),
        *(("DATA_LAKE_BUCKET", url) for url in ("file:///a#b", "file:///a?b", "file:///?", "file://", "file://host/a")),
        ("DYNAMODB_TABLE_NAME", "a table"),
        *(("TIME_WINDOW", value) for value in ("0", "169", "-6", "6.0", "six", "6h", " 6", "٦", "1e1")),
        ("ALLOWED_LATENESS", "-1"),
        ("ALLOWED_LATENESS", "169"),
        ("FUTURE_TOLERANCE", "61"),
        ("FUTURE_TOLERANCE", "-1"),
        ("FUTURE_TOLERANCE", "1.5"),
        ("RAW_RETENTION_HOURS", "0"),
        ("RAW_RETENTION_HOURS", "a week"),
        *(("MAX_MACHINES", value) for value in ("0", "-1", "1e5", "100.000", "many", "100000000")),
        ("LOG_LEVEL", "LOUD"),
        ("AWS_ENDPOINT_URL", "localhost:5000"),
    ],
)
def test_bad_value_is_named_with_what_would_be_right(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{name}: .* set it to ") as caught:
        Settings.from_environment(COMPLETE | {name: value})
    assert caught.value.name == name
    assert value.strip() in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tolerance_and_retention_are_read() -> None:
    usual = Settings.from_environment(COMPLETE)
    assert (usual.future_tolerance, usual.raw_retention) == (timedelta(minutes=15), None)
    given = Settings.from_environment(COMPLETE | {"FUTURE_TOLERANCE": "0", "RAW_RETENTION_HOURS": "720"})
    assert (given.future_tolerance, given.raw_retention) == (timedelta(0), timedelta(days=30))


def test_machines_are_limited() -> None:
    assert Settings.from_environment(COMPLETE).max_machines == 100_000
    assert Settings.from_environment(COMPLETE | {"MAX_MACHINES": ""}).max_machines == 100_000
    assert Settings.from_environment(COMPLETE | {"MAX_MACHINES": "250000"}).max_machines == 250_000
