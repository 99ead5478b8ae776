"""The pipeline against the exact reference, on lakes that Hypothesis draws."""

import tempfile
from contextlib import nullcontext
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
from hypothesis import event, given, note, settings
from hypothesis import strategies as st

from handler.definitions.spec import FeatureSpec
from tests import reference
from tests.harness import HOUR, T0, Pipeline, at, check_sums, feature_spec, stamp, without_compiled_code, write_raw
from tests.profiles import examples

SPAN_HOURS = 30
RANGES = {"temperature_celsius": (-1e6, 2e9), "vibration_rms": (0.0, 2e9)}
BAD_LINES = [
    b"{",
    b"\xff\xfe",
    b"[1]",
    b"null",
    b'"text"',
    b'{"machine_id":"M1","timestamp_utc":"2025-10-15T01:00:00Z","vibration_rms":NaN}',
    b'{"timestamp_utc":"2025-10-15T01:00:00Z","vibration_rms":1}',
    b'{"machine_id":"","timestamp_utc":"2025-10-15T01:00:00Z","vibration_rms":1}',
    b'{"machine_id":"M1","vibration_rms":1}',
    b'{"machine_id":"M1","timestamp_utc":"2025/10/15 01:00:00Z","vibration_rms":1}',
    b'{"machine_id":"M1","timestamp_utc":"1969-12-31T01:00:00Z","vibration_rms":1}',
    b'{"machine_id":"M1","timestamp_utc":"2025-10-15T01:00:00Z","codigo_evento":[],"vibration_rms":1}',
    b'{"machine_id":"M1","timestamp_utc":"2025-02-30T01:00:00Z","vibration_rms":1}',
    b'{"machine_id":"M1","timestamp_utc":"2025-10-15T01:00:00Z","other":1}',
    b'{"machine_id":"M1","timestamp_utc":"2025-10-15T01:00:00Z","vibration_rms":"1"}',
    b'{"machine_id":"M1","timestamp_utc":"2025-10-15T01:00:00Z","vibration_rms":1e400}',
    b'{"machine_id":"M1","timestamp_utc":"2025-10-15T01:00:00Z","vibration_rms":-1}',
    b'{"machine_id":"M1","timestamp_utc":"2026-10-15T01:00:00Z","vibration_rms":1}',
    b"   ",
    b"",
]
ODD_LINES = [
    b'{"machine_id":"M1","timestamp_utc":"2025-10-15T00:00:00Z","codigo_evento":308,"vibration_rms":1}',
    b'{"machine_id":"M1","timestamp_utc":"2025-10-15 00:00:00,5z","vibration_rms":1}{"machine_id":"M2","x":{"y":"}{"}}',
    b'{"machine_id":"M1","timestamp_utc":"2025-10-15t00:00:01z","vibration_rms":1}{"machine_id":"M2"',
]
"""Lines in unusual forms, of which all or a part is accepted."""

plain = st.floats(0, 200, width=64)
profiles: dict[str, st.SearchStrategy[float]] = {
    "plain": plain,
    "integers": st.integers(0, 5).map(float),
    "constant": st.just(0.1),
    "huge with tiny variance": st.integers(0, 50).map(lambda k: 1e9 + k * 2.0**-22),
    "tiny": st.floats(0, 1e-300),
    "subnormal": st.sampled_from([0.0, 5e-324, 2.225073858507e-311, 1.0]),
}
offsets = st.one_of(
    st.integers(0, 3600 * 10**6 - 1),
    st.sampled_from([0, 1, 300 * 10**6 - 1, 300 * 10**6, 300 * 10**6 + 1, 3600 * 10**6 - 1]),
    st.integers(0, 3599).map(lambda s: s * 10**6),
)


@st.composite
def raw_lines(draw: st.DrawFn, values: st.SearchStrategy[float]) -> tuple[int, bytes]:
    """An hour of arrival and a line: on time, late, far too late, a little ahead or from the future."""
    arrival = draw(st.integers(0, SPAN_HOURS - 1))
    if draw(st.integers(0, 9)) == 0:
        return arrival, draw(st.sampled_from([*BAD_LINES, *ODD_LINES]))
    lateness = draw(st.sampled_from([0, 0, 0, 0, 0, 1, 3, 24, 25, 30, -1]))
    event_time = T0 + (arrival - lateness) * HOUR + timedelta(microseconds=draw(offsets))
    fields: dict[str, Any] = {
        "machine_id": draw(st.sampled_from(["M1", "M2", "Motor ñ"])),
        "timestamp_utc": stamp(event_time),
    }
    kind = draw(st.sampled_from("tvvbbf"))
    if kind in "tb":
        fields["temperature_celsius"] = draw(values)
    if kind in "vb":
        fields["vibration_rms"] = draw(values)
    if kind == "f":
        fields["codigo_evento"] = draw(st.sampled_from(["FALHA_A", "FALHA_B"]))
    return arrival, orjson.dumps(fields)


@st.composite
def lakes(draw: st.DrawFn) -> dict[int, list[list[bytes]]]:
    """Objects of lines by hour of arrival; some lines are delivered again."""
    profile = draw(st.sampled_from(sorted(profiles)))
    event(profile)
    lines = draw(st.lists(raw_lines(profiles[profile]), min_size=1, max_size=60))
    lines += draw(st.lists(st.sampled_from(lines), max_size=5))
    hours: dict[int, list[list[bytes]]] = {}
    for arrival, raw in lines:
        objects = hours.setdefault(arrival, [[], []])
        objects[draw(st.integers(0, 1))].append(raw)
    return hours


def write_lake(root: Path, hours: dict[int, list[list[bytes]]]) -> None:
    for hour, objects in hours.items():
        for index, lines in enumerate(objects):
            write_raw(root, at(hour), f"object_{index}.jsonl", lines)


@given(lake=lakes(), minutes=st.integers(0, 11).map(lambda k: 5 * k), is_compiled=st.booleans())
def test_every_line_and_feature_agrees_with_the_reference(
    lake: dict[int, list[list[bytes]]], minutes: int, is_compiled: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder, nullcontext() if is_compiled else without_compiled_code():
        root = Path(folder)
        write_lake(root, lake)
        pipeline = Pipeline(root, spec=feature_spec(**RANGES))
        as_of = at(SPAN_HOURS, minutes=minutes)
        answer = pipeline.backfill(T0, as_of)
        check_sums(answer)
        expected = reference.read_lake(root, RANGES)
        lines = answer["lines"]
        assert lines["read"] == expected.lines
        assert lines["accepted"] == expected.accepted
        assert lines["failures"] == expected.failures
        assert lines["duplicates"] == expected.duplicates
        assert lines["rejected"] == dict(expected.rejected)
        assert lines["late"] == expected.late
        assert lines["too_late"] == expected.too_late
        assert lines["unknown_fields"] == expected.unknown_fields
        for hour in (1, 7, 24, SPAN_HOURS):
            problems = reference.compare_rows(
                pipeline.rows_at(at(hour)), reference.compute_rows(expected.readings, at(hour))
            )
            note(f"hour {hour}")
            assert problems == []
        online = pipeline.online_rows()
        assert reference.compare_rows(online, reference.compute_rows(expected.readings, as_of)) == []


FIELDS = {
    "machine_id": "device.id",
    "timestamp_utc": "time",
    "codigo_evento": "payload.fault.code",
    "temperature_celsius": "payload.temp",
    "vibration_rms": "vibration_rms",
}
UNITS = {"epoch_s": 10**6, "epoch_ms": 10**3, "epoch_us": 1}
MAPPED = """
windows = ["1h", "6h", "24h"]
[fields]
machine_id = "device.id"
timestamp_utc = "time"
codigo_evento = "payload.fault.code"
timestamp_format = "{form}"
[[readings]]
name = "temperature_celsius"
field = "payload.temp"
plausible = [-1e6, 2e9]
cadence = "20m"
[[readings]]
name = "vibration_rms"
plausible = [0, 2e9]
"""


def map_line(raw: bytes, form: str) -> bytes:
    """Write a line of the contract's form, if it is one, as another lake has it."""
    try:
        line = orjson.loads(raw)
    except ValueError:
        return raw
    if not isinstance(line, dict):
        return raw
    mapped: dict[str, Any] = {}
    for name, value in line.items():
        *outer, last = str(FIELDS.get(name, name)).split(".")
        inner = mapped
        for each in outer:
            inner = inner.setdefault(each, {})
        inner[last] = value
    time = reference.read_time(line.get("timestamp_utc"))
    if form in UNITS and time is not None:
        micros = (time - reference.EPOCH) // timedelta(microseconds=1)
        mapped["time"] = micros if form == "epoch_us" else float(Decimal(micros) / UNITS[form])
    return orjson.dumps(mapped)


@settings(max_examples=examples(50))
@given(lake=lakes(), form=st.sampled_from(["iso8601", *UNITS]))
def test_lake_of_another_form_agrees_with_the_reference(lake: dict[int, list[list[bytes]]], form: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_lake(root, {h: [[map_line(raw, form) for raw in lines] for lines in each] for h, each in lake.items()})
        pipeline = Pipeline(root, spec=FeatureSpec.parse(MAPPED.replace("{form}", form)))
        answer = pipeline.backfill(T0, at(SPAN_HOURS))
        check_sums(answer)
        expected = reference.read_lake(root, RANGES, fields=FIELDS, microseconds=UNITS.get(form))
        lines = answer["lines"]
        assert (lines["read"], lines["accepted"], lines["failures"], lines["duplicates"], lines["unknown_fields"]) == (
            expected.lines, expected.accepted, expected.failures, expected.duplicates, expected.unknown_fields
        )  # fmt: skip
        assert lines["rejected"] == dict(expected.rejected)
        rows = reference.compute_rows(
            expected.readings, at(SPAN_HOURS), pairs=(), zones={},
            cadences={"temperature_celsius": timedelta(minutes=20)},
        )  # fmt: skip
        assert reference.compare_rows(pipeline.rows_at(at(SPAN_HOURS)), rows) == []
