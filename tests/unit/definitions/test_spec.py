"""features.toml: what can be said in it, and one line for each thing that cannot."""

import json
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest

from handler.definitions.errors import ConfigurationError
from handler.definitions.fields import LineFields
from handler.definitions.schema import feature_schema
from handler.definitions.spec import PACKAGED, FeatureSpec, Reading, Window

READING = '[[readings]]\nname = "rpm"\nplausible = [0, 10]\n'
MISTAKES = [
    ("windows = [", "is not TOML"),
    (f'window = ["1h"]\n{READING}', "window: is no key here; there are windows, readings, pairs, fields,"),
    (READING, "windows: is missing"),
    ('windows = ["1h"]', "readings: is missing"),
    ('windows = ["1h"]\nreadings = []', "must be one"),
    ('windows = ["1h"]\nreadings = [1]', "must be one"),
    (f'windows = ["1h"]\n{READING}units = "rpm"', r"readings\[0\]: units: is no key here"),
    (f'windows = ["1h"]\n{READING}unit = 1', r"readings\[0\]: unit: 1 will not do; give one line of text"),
    (f'windows = ["1h"]\n{READING}description = "a\\nb"', r"description: 'a\\nb' will not do; give one line"),
    (
        f'windows = ["1h"]\n{READING}cadence = "4m"',
        '\'4m\' will not do; write "10m" or "2h", from 5m',
    ),
    (f'windows = ["1h"]\n{READING}cadence = "25h"', "cadence: '25h' will not do"),
    (f'windows = ["1h"]\n{READING}cadence = 10', "cadence: 10 will not do"),
    (f'windows = ["1h"]\n{READING}field = ""', r"readings\[0\]: field: '' is no name of a field"),
    (f'windows = ["1h"]\n{READING}field = "a..b"', "'a..b' is no name of a field; write \"temp\""),
    (f'windows = ["1h"]\n{READING}field = "machine_id"', "fields: 'machine_id' is named 2 times"),
    (f'windows = ["1h"]\nfields = 1\n{READING}', r"fields: 1 will not do; give a table \[fields\]"),
    (
        f'windows = ["1h"]\n[fields]\nmachine = "id"\n{READING}',
        "fields: machine: is no key here; there are",
    ),
    (f'windows = ["1h"]\n[fields]\nmachine_id = 1\n{READING}', "fields: machine_id: 1 is no name of a field"),
    (
        f'windows = ["1h"]\n[fields]\ntimestamp_format = "unix"\n{READING}',
        "'unix' will not do; give one of iso8601",
    ),
    (
        f'windows = ["1h"]\ntimestamp_format = "epoch_s"\n[fields]\ntimestamp_format = "epoch_s"\n{READING}',
        "timestamp_format: is there twice",
    ),
    (f'windows = ["1h"]\n{READING}{READING}', "'rpm' is named 2 times; name it once"),
    (f'windows = ["7m"]\n{READING}', "'7m' is not a whole number of 5-minute tiles"),
    (f'windows = ["169h"]\n{READING}', "'169h' is not a whole number of 5-minute tiles up to 168h"),
    (f'windows = ["1d"]\n{READING}', "'1d' is no window; write"),
    (f"windows = [6]\n{READING}", "6 is no window; write"),
    (f"windows = []\n{READING}", "will not do; give a list"),
    (f'windows = ["1h", "1h"]\n{READING}', "'1h' is named 2 times"),
    (f'windows = ["1h"]\n{READING.replace("rpm", "RPM")}', "'RPM' will not do; use lower-case"),
    (f'windows = ["1h"]\n{READING.replace("rpm", "machine_id")}', "choose another"),
    (f'windows = ["1h"]\n{READING.replace("[0, 10]", "[10, 0]")}', "ascending"),
    (f'windows = ["1h"]\n{READING.replace("[0, 10]", "[0, inf]")}', "within"),
    (f'windows = ["1h"]\n{READING.replace("[0, 10]", "[0]")}', "lowest, highest"),
    (f'windows = ["1h"]\n{READING.replace("[0, 10]", "[false, true]")}', "lowest, highest"),
    (f'windows = ["1h"]\n{READING}zones = [1, 2]', "upper ends of A, B and C"),
    (f'windows = ["1h"]\n{READING}zones = [1, 3, 3]', "upper ends of A, B and C"),
    (f'windows = ["1h"]\npairs = [["rpm", "rpm"]]\n{READING}', "two different readings of rpm"),
    (f'windows = ["1h"]\npairs = [["rpm", "load"]]\n{READING}', "two different readings of rpm"),
    (f'windows = ["1h"]\npairs = ["rpm"]\n{READING}', "two different readings of rpm"),
    (f'windows = ["1h"]\npairs = "all"\n{READING}', "give a list of"),
]


def parse(text: str) -> FeatureSpec:
    return FeatureSpec.parse(text)


def test_packaged_file_says_what_the_contract_says() -> None:
    spec = FeatureSpec.load()
    assert spec.readings == (
        Reading("temperature_celsius", -60, 400),
        Reading("vibration_rms", 0, 200, (2.3, 4.5, 7.1)),
    )
    assert spec.windows == tuple(Window(f"{hours}h", timedelta(hours=hours)) for hours in (1, 6, 24))
    assert spec.pairs == (("temperature_celsius", "vibration_rms"),)
    assert [window.tiles for window in spec.windows] == [12, 72, 288]
    assert spec.lookback == timedelta(hours=24)


def test_windows_of_minutes_and_long_ones_are_understood() -> None:
    spec = parse(f'windows = ["5m", "90m", "168h"]\n{READING}')
    assert [window.length / timedelta(minutes=5) for window in spec.windows] == [1, 18, 2016]
    assert spec.lookback == timedelta(hours=168)


def test_tiles_depend_on_ranges_but_not_on_windows() -> None:
    base = parse(f'windows = ["1h"]\n{READING}')
    assert parse(f'windows = ["2h"]\n{READING}').fingerprint == base.fingerprint
    assert parse(f'windows = ["1h"]\n{READING.replace("10]", "11]")}').fingerprint != base.fingerprint


def test_lines_of_another_lake_are_mapped() -> None:
    spec = parse(
        'windows = ["1h"]\n[fields]\nmachine_id = "device.id"\ntimestamp_format = "epoch_ms"\n'
        f'{READING}field = "payload.rpm"\nunit = "1/min"\ndescription = "shaft speed"\ncadence = "2h"'
    )
    assert spec.fields == LineFields("device.id", "timestamp_utc", "codigo_evento", "epoch_ms")
    (rpm,) = spec.readings
    assert (rpm.path, rpm.unit, rpm.description, rpm.cadence) == (
        ("payload", "rpm"), "1/min", "shaft speed", timedelta(hours=2)
    )  # fmt: skip
    assert parse(f'windows = ["1h"]\ntimestamp_format = "epoch_s"\n{READING}').fields.timestamp_format == "epoch_s"


def test_tiles_depend_on_where_lines_hold_what_and_rows_on_cadence_but_nothing_on_words() -> None:
    base = parse(f'windows = ["1h"]\n{READING}')
    other_field = parse(f'windows = ["1h"]\n{READING}field = "n"')
    other_format = parse(f'windows = ["1h"]\ntimestamp_format = "epoch_s"\n{READING}')
    assert len({spec.fingerprint for spec in (base, other_field, other_format)}) == 3
    cadence = parse(f'windows = ["1h"]\n{READING}cadence = "10m"')
    assert (cadence.fingerprint == base.fingerprint, cadence.digest == base.digest) == (True, False)
    words = parse(f'windows = ["1h"]\n{READING}unit = "rpm"\ndescription = "speed"')
    assert (words.fingerprint, words.digest) == (base.fingerprint, base.digest)


def test_columns_are_named_in_a_fixed_order() -> None:
    names = list(feature_schema(FeatureSpec.load()))
    assert len(names) == len(set(names)) == 2 * 3 * 14 + 2 + 1 + 3
    assert names[-4:] == [
        "vibration_rms_zone",
        *(f"temperature_celsius_vibration_rms_corr_{window}" for window in ("1h", "6h", "24h")),
    ]


@pytest.mark.parametrize(("text", "says"), MISTAKES)
def test_mistake_is_one_line_that_says_where_and_what_would_be_right(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        parse(text)
    assert str(caught.value).startswith("features.toml")
    assert "\n" not in str(caught.value)


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml: cannot be read"):
        FeatureSpec.load(tmp_path / "nowhere.toml")


UNSEEN = ("is not TOML", "is named 2 times", "ascending", "two different readings of rpm", "is there twice")
"""What JSON Schema does not compare."""


def test_schema_for_editors_knows_what_the_parser_knows() -> None:
    jsonschema = pytest.importorskip("jsonschema")  # moto brings it
    path = Path(__file__).parents[3] / "docs" / "features.schema.json"
    schema = jsonschema.Draft202012Validator(json.loads(path.read_text()))
    assert schema.is_valid(tomllib.loads(PACKAGED.read_text()))
    for text, says in MISTAKES:
        if not any(unseen in says for unseen in UNSEEN) and "1, 3, 3" not in text:
            assert not schema.is_valid(tomllib.loads(text)), text
    for label in ("5m", "30m", "1h", "168h", "10080m", "90m"):
        parse(f'windows = ["{label}"]\n{READING}')
        assert schema.is_valid(tomllib.loads(f'windows = ["{label}"]\n{READING}')), label
    for cadence in ("5m", "7m", "1440m", "24h", "1h", "600m"):
        parse(f'windows = ["1h"]\n{READING}cadence = "{cadence}"')
        assert schema.is_valid(tomllib.loads(f'windows = ["1h"]\n{READING}cadence = "{cadence}"')), cadence
