"""Every line in exactly one class, for the first reason that holds."""

from contextlib import nullcontext
from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.definitions.raw import RawContent
from handler.definitions.schema import REJECTED_SCHEMA
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import parse_timestamps
from handler.ingest.classes import REASONS, ParsedLines
from handler.ingest.json_lines import decode_lines
from tests import reference
from tests.harness import T0, at, line, stamp, without_compiled_code
from tests.parsing import parse_batch
from tests.tools import needs_library

SPEC = FeatureSpec.load()
GOOD = line("M1", at(0.5), temperature=70.5)


def parse(*lines: bytes) -> ParsedLines:
    return parse_batch([RawContent("raw/a.jsonl", b"\n".join(lines) + b"\n")], SPEC, T0)


def test_accepted_line_keeps_machine_time_and_readings() -> None:
    batch = parse(line("M1", at(0.5), temperature=70.5, vibration=None))
    assert batch.readings.fill_nan(None).rows() == [("M1", at(0.5), 70.5, None)]
    assert (batch.lines, batch.failures.height, batch.rejected.height) == (1, 0, 0)


@pytest.mark.parametrize(
    ("reason", "raw"),
    [
        ("not_json", b'{"machine_id":"M1"'),
        ("not_json", b'{"machine_id":"M1","timestamp_utc":"2025-10-15T00:01:00Z","temperature_celsius":NaN}'),
        ("not_json", b'{"machine_id":"M1","timestamp_utc":"2025-10-15T00:01:00Z","temperature_celsius":-Infinity}'),
        ("not_json", b'{"machine_id":"M\xff","timestamp_utc":"2025-10-15T00:01:00Z","temperature_celsius":1}'),
        ("not_json", b' \xef\xbb\xbf{"machine_id":"M1"}'),
        ("not_json", b'{"machine_id":"\\ud800","timestamp_utc":"2025-10-15T00:01:00Z","temperature_celsius":1}'),
        ("not_json", GOOD + b"x"),
        ("not_json", GOOD[:-1] + GOOD),
        ("not_json", b"[" * 100_000),
        ("not_object", b"[]"),
        ("not_object", b"null"),
        ("not_object", b"1e400"),
        ("missing_machine_id", b'{"timestamp_utc":"2025-10-15T00:01:00Z","temperature_celsius":1}'),
        ("missing_machine_id", line("", at(0.5), temperature=1)),
        ("missing_machine_id", line("x" * 257, at(0.5), temperature=1)),
        ("missing_machine_id", b'{"machine_id":7,"timestamp_utc":"2025-10-15T00:01:00Z","temperature_celsius":1}'),
        ("missing_machine_id", b'{"machine_id":null,"timestamp_utc":"no","temperature_celsius":"x"}'),
        ("missing_timestamp", b'{"machine_id":"M1","temperature_celsius":"x"}'),
        ("missing_timestamp", b'{"machine_id":"M1","timestamp_utc":null}'),
        ("bad_timestamp", b'{"machine_id":"M1","timestamp_utc":1760486400,"temperature_celsius":1}'),
        ("bad_timestamp", line("M1", "", temperature=1)),
        ("bad_timestamp", line("M1", "2025-10-15T00:01:00", temperature=1)),
        ("no_reading", line("M1", at(0.5))),
        ("no_reading", line("M1", at(0.5), temperature=None, pressure=3)),
        ("bad_failure_code", line("M1", at(0.5), codigo_evento="")),
        ("bad_failure_code", line("M1", at(0.5), codigo_evento=7.5, temperature=20)),
        ("bad_failure_code", line("M1", at(0.5), codigo_evento=True, temperature=20)),
        ("bad_failure_code", line("M1", at(0.5), codigo_evento=["F"], temperature="x")),
        ("bad_timestamp", line("M1", "2025-10-15T24:00:00Z", codigo_evento=[])),
        ("not_a_number", line("M1", at(0.5), temperature="70")),
        ("not_a_number", line("M1", at(0.5), temperature=True)),
        ("not_a_number", line("M1", at(0.5), temperature=[70])),
        ("not_a_number", line("M1", at(0.5), temperature={}, vibration=9999)),
        ("not_a_number", b'{"machine_id":"M1","timestamp_utc":"2025-10-15T00:01:00Z","temperature_celsius":1e400}'),
        (
            "not_a_number",
            b'{"machine_id":"M1","timestamp_utc":"2025-10-15T00:01:00Z","temperature_celsius":1' + b"0" * 400 + b"}",
        ),
        ("out_of_range", line("M1", at(0.5), temperature=400.0001)),
        ("out_of_range", line("M1", at(0.5), temperature=20, vibration=-0.1)),
        ("out_of_range", line("M1", at(9), temperature=1e30)),
        ("from_the_future", line("M1", at(1, minutes=15, microseconds=1), temperature=20)),
        ("from_the_future", line("M1", at(1, minutes=16), codigo_evento="FALHA")),
    ],
)
def test_line_is_rejected_for_the_first_reason_that_holds(reason: str, raw: bytes) -> None:
    batch = parse(raw, GOOD)
    assert batch.rejected["reason"].to_list() == [reason]
    assert len(batch.readings) == 1
    assert batch.lines == 2


def test_every_reason_is_one_of_those_listed_in_order() -> None:
    assert (
        REASONS.index("too_long")
        < REASONS.index("not_json")
        < REASONS.index("missing_machine_id")
        < REASONS.index("from_the_future")
    )
    assert len(set(REASONS)) == len(REASONS) == 11


@pytest.mark.parametrize(
    "raw",
    [
        line("x" * 256, at(0.5), temperature=1),
        line("ñ" * 256, at(0.5), temperature=1),
        line("M1", at(0.5), temperature=-60, vibration=0),
        line("M1", at(0.5), temperature=400, vibration=200),
        line("M1", at(1, minutes=15), temperature=1),
        line("M1", "1970-01-01T00:00:00Z", temperature=1),
        line("M1", "1969-12-31 23:00:00,5-03:00", temperature=1),
        GOOD[:-1] + b',"deep":' + b"[" * 900 + b"]" * 900 + b"}",
        GOOD[:-1] + b',"big":1e999}',
        b"  " + GOOD + b"\t\r",
        b'{"machine_id":"",' + GOOD[1:],
    ],
)
def test_line_on_the_edge_is_accepted(raw: bytes) -> None:
    batch = parse(raw)
    assert batch.rejected.rows() == []
    assert len(batch.readings) == 1


def test_failure_line_ignores_readings_beside_it() -> None:
    batch = parse(line("M1", at(0.25), codigo_evento="FALHA_VIBRACAO_ELEVADA", temperature="broken"))
    assert batch.failures.rows() == [("M1", at(0.25), "FALHA_VIBRACAO_ELEVADA", "raw/a.jsonl", 1)]
    assert len(batch.readings) == 0


def test_blank_lines_are_no_lines_but_keep_their_numbers() -> None:
    batch = parse(b"", b" \t\r", b"oops", b"", GOOD, b"[1]")
    assert batch.lines == 3
    assert batch.rejected.rows() == [
        ("raw/a.jsonl", 3, "not_json", "oops"),
        ("raw/a.jsonl", 6, "not_object", "[1]"),
    ]


def test_quarantine_keeps_the_first_4096_bytes_and_shows_what_is_no_text() -> None:
    batch = parse(b"\xffabc" + b"x" * 10_000)
    (text,) = batch.rejected["raw_text"]
    assert text == "\\xffabc" + "x" * 4092


def test_unreadable_object_costs_no_line_of_another() -> None:
    batch = parse_batch([RawContent("raw/a.gz", problem="cut off"), RawContent("raw/b", GOOD)], SPEC, T0)
    assert batch.rejected.rows() == [("raw/a.gz", None, "unreadable_object", "cut off")]
    assert len(batch.readings) == 1
    assert batch.lines == 1


def test_unknown_numeric_fields_are_counted() -> None:
    batch = parse(
        line("M1", at(0.5), temperature=1, pressure_bar=6.1, rpm=1500, note="x", flag=True, ingestion_timestamp=5)
    )
    assert batch.unknown_fields == 2


def test_no_objects_give_empty_frames() -> None:
    batch = parse_batch([], SPEC, T0)
    assert batch.lines == 0
    assert batch.readings.columns == ["machine_id", "event_time", "temperature_celsius", "vibration_rms"]
    assert list(batch.rejected.schema) == list(REJECTED_SCHEMA)


VALID = [
    "2025-10-15T09:00:00Z",
    "2025-10-15T09:00:00.1Z",
    "2025-10-15T09:00:00.123456789Z",
    "2025-10-15T09:00:00.999999999+00:00",
    "2025-10-15T09:00:00-03:00",
    "2025-10-15T09:00:00+0530",
    "2025-10-15T09:00:00+05",
    "2024-02-29T23:59:59Z",
    "2025-10-15t09:00:00z",
    "2025-10-15 09:00:00Z",
    "2025-10-15 09:00:00,123456+01:30",
    "1970-01-01T00:00:00Z",
    "1969-12-31T23:59:59.999999-00:01",
    "9999-12-31T23:59:59Z",
]
INVALID = [
    "",
    "2025-10-15",
    "2025-10-15T09:00:00",
    "2025-10-15_09:00:00Z",
    "2025-10-15T09:00:00,Z",
    "2025-10-15T09:00:00;5Z",
    "2025-10-15T09:00:00.Z",
    "2025-10-15T09:00:00.1234567890Z",
    "2025-02-29T00:00:00Z",
    "2025-13-01T00:00:00Z",
    "2025-10-15T24:00:00Z",
    "2025-10-15T23:60:00Z",
    "2025-10-15T23:59:60Z",
    "2025-10-15T09:00:00+24:00",
    "2025-10-15T09:00:00+05:",
    "2025-10-15T09:00:00Z ",
    "٢٠٢٥-10-15T09:00:00Z",
    "0000-01-01T00:00:00Z",
    "1969-12-31T23:59:59.999999Z",
    "1970-01-01T00:00:00+01:00",
    "9999-12-31T23:59:59-00:01",
    "2025-10-15T09:00Z",
]


@pytest.mark.parametrize("text", VALID + INVALID)
def test_timestamp_is_read_as_the_reference_reads_it(text: str) -> None:
    (read,) = parse_timestamps(pl.Series([text]))
    assert read == reference.read_time(text)
    assert (read is None) == (text in INVALID)


@given(
    time=st.datetimes(timezones=st.just(T0.tzinfo)),
    digits=st.text("0123456789", max_size=9),
    zone=st.sampled_from(["Z", "+00:00", "-03:30", "+14", "+0245", "", "-23:59"]),
    cut=st.integers(0, 40),
)
def test_any_timestamp_is_read_as_the_reference_reads_it(time, digits: str, zone: str, cut: int) -> None:  # type: ignore[no-untyped-def]
    text = f"{time.year:04d}-{time:%m-%dT%H:%M:%S}" + (f".{digits}" if digits else "") + zone
    texts = [text, text[:cut], text.replace("T", " ")]
    assert parse_timestamps(pl.Series(texts)).to_list() == [reference.read_time(t) for t in texts]


def test_reading_time_is_cut_to_the_microsecond() -> None:
    text = stamp(T0 + timedelta(minutes=1))[:-1] + "999Z"
    assert parse(line("M1", text, temperature=1)).readings["event_time"].to_list() == [T0 + timedelta(minutes=1)]


@pytest.mark.parametrize("power", ["1000", "18446744073709551617", "9" * 40])
def test_exponent_is_not_taken_modulo_anything(power: str) -> None:
    raw = line("M1", at(0.5), temperature=1).replace(b":1}", f":1e{power}}}".encode())
    batch = parse(raw)
    assert batch.readings.is_empty()
    assert batch.rejected["reason"].to_list() == ["not_a_number"]
    small = parse(raw.replace(b"1e", b"1e-"))
    assert small.readings["temperature_celsius"].to_list() == [0.0]


@needs_library
def test_objects_one_right_after_the_other_are_lines_with_one_number() -> None:
    failure = line("M1", at(0.25), codigo_evento="FALHA}{")
    cut = b'{"machine_id":"M1"'
    batch = parse(GOOD, GOOD + failure + line("M2", at(0.5), vibration=1) + line("M3", at(9), vibration=1) + cut, GOOD)
    assert batch.lines == 7
    assert batch.readings["machine_id"].cast(pl.String).to_list() == ["M1", "M1", "M1", "M2"]
    assert batch.failures.rows() == [("M1", at(0.25), "FALHA}{", "raw/a.jsonl", 2)]
    assert batch.rejected.rows() == [
        ("raw/a.jsonl", 2, "from_the_future", line("M3", at(9), vibration=1).decode()),
        ("raw/a.jsonl", 2, "not_json", cut.decode()),
    ]


def test_900_objects_without_a_line_feed_are_900_lines() -> None:
    batch = parse_batch([RawContent("raw/a.jsonl", GOOD * 900)], SPEC, T0)
    assert (batch.lines, batch.readings.height) == (900, 900)


def test_bad_object_among_others_on_a_line_leaves_those_after_it_in_quarantine_with_it() -> None:
    batch = parse(GOOD + b'{"machine_id":}' + GOOD)
    assert (batch.lines, batch.readings.height) == (2, 1)
    assert batch.rejected.rows() == [("raw/a.jsonl", 1, "not_json", (b'{"machine_id":}' + GOOD).decode())]


def test_byte_order_mark_at_the_start_of_an_object_is_passed_over() -> None:
    mark = b"\xef\xbb\xbf"
    batch = parse_batch([RawContent(f"raw/{name}.jsonl", mark + GOOD + b"\r\n" + GOOD) for name in "ab"], SPEC, T0)
    assert (batch.lines, batch.readings.height) == (4, 4)


@pytest.mark.parametrize(
    ("value", "code"), [(308, "308"), (-7, "-7"), (3.08e2, "308"), (2**63, str(2**63)), ("x", "x")]
)
def test_failure_code_is_a_text_or_a_whole_number(value: object, code: str) -> None:
    batch = parse(line("M1", at(0.5), codigo_evento=value, temperature=20))
    assert batch.failures["codigo_evento"].to_list() == [code]
    assert batch.readings.is_empty()


LONG_DIGITS = [str(10**255), "-1" + "0" * 254, "1e255", "12345678901234567890123", "-18446744073709551617"]
LONG_DIGITS += ["9007199254740993", "9007199254740993.0", "123456789012345678901.5e1", f"10{'0' * 300}e-301"]
NO_CODES = [
    str(10**256),
    "-" + "1" * 256,
    "1" * 300,
    "1" * 301,
    "1e256",
    "1e300",
    "1e400",
    f"1e{10**20}",
    "1" * 5000,
    "9007199254740993.5",
]


@pytest.mark.parametrize("number", [*LONG_DIGITS, *NO_CODES])
@pytest.mark.parametrize("is_nested", [True, False])
def test_whole_number_is_a_failure_code_by_each_of_its_digits(number: str, is_nested: bool) -> None:
    spec = FeatureSpec.parse(SPEC.text + '\n[fields]\ncodigo_evento = "event.code"\n') if is_nested else SPEC
    raw = line("M1", at(0.5), **({"event": {"code": 0}} if is_nested else {"codigo_evento": 0}))
    raw = raw.replace(b":0}", b":" + number.encode() + b"}")
    batch = parse_batch([RawContent("raw/a.jsonl", raw)], spec, T0)
    is_code = number in LONG_DIGITS
    assert batch.failures["codigo_evento"].to_list() == ([f"{Decimal(number):.0f}"] if is_code else [])
    assert batch.rejected["reason"].to_list() == ["bad_failure_code"] * (not is_code)


@pytest.mark.parametrize("between", [b" ", b"\r", b"\t \r", b""])
@pytest.mark.parametrize("is_compiled", [True, False])
def test_objects_with_white_space_between_are_lines_with_one_number(between: bytes, is_compiled: bool) -> None:
    """A file of carriage returns is one line."""
    failure, future, cut = line("M1", at(0.25), codigo_evento="} {"), line("M3", at(9), vibration=1), b'{"a": {"b":1} {'
    objects = [GOOD, failure, future, line("M2", at(0.5), vibration=1), future, cut]
    with nullcontext() if is_compiled else without_compiled_code():
        batch = parse(GOOD, between.join(objects) + between)
    assert batch.lines == 7
    assert batch.readings["machine_id"].cast(pl.String).to_list() == ["M1", "M1", "M2"]
    assert batch.failures.rows() == [("M1", at(0.25), "} {", "raw/a.jsonl", 2)]
    assert batch.rejected.rows() == [
        ("raw/a.jsonl", 2, "from_the_future", future.decode()),
        ("raw/a.jsonl", 2, "from_the_future", future.decode()),
        ("raw/a.jsonl", 2, "not_json", (cut + between).decode()),
    ]


@pytest.mark.parametrize("raw", [GOOD + b" oops", GOOD + b"\r[1]", b"oops " + GOOD + b" " + GOOD])
def test_what_begins_like_no_object_is_no_line_of_its_own(raw: bytes) -> None:
    batch = parse(raw)
    assert (batch.lines, batch.rejected.rows()) == (1, [("raw/a.jsonl", 1, "not_json", raw.decode())])


def test_file_of_carriage_returns_is_read_some_lines_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def note(lines: Any, spec: FeatureSpec) -> Any:
        lines = list(lines)
        sizes.append(len(lines))
        return decode_lines(lines, spec)

    monkeypatch.setattr("handler.ingest.classes.decode_lines", note)
    with without_compiled_code():
        batch = parse_batch([RawContent("raw/a.jsonl", b"\r".join([GOOD] * 70_000))], SPEC, T0)
    assert (batch.lines, batch.readings.height) == (70_000, 70_000)
    assert sizes == [2**15, 2**15, 70_000 - 2**16]


@pytest.mark.parametrize(("length", "is_code"), [(0, False), (1, True), (256, True), (257, False), (10**6, False)])
@pytest.mark.parametrize("letter", ["x", "ñ", "\U0001f600"])
def test_failure_code_has_1_to_256_characters(length: int, letter: str, is_code: bool) -> None:
    raw = line("M1", at(0.5), codigo_evento=letter * length, temperature=20)
    batch = parse(raw)
    assert batch.failures["codigo_evento"].to_list() == [letter * length] * is_code
    assert batch.rejected.rows() == [
        ("raw/a.jsonl", 1, "bad_failure_code", raw[:4096].decode(errors="backslashreplace"))
    ] * (not is_code)
    assert batch.readings.is_empty()


@pytest.mark.parametrize(
    ("field", "reason"),
    [("machine_id", "missing_machine_id"), ("timestamp_utc", "bad_timestamp"), ("codigo_evento", "bad_failure_code"),
     ("temperature_celsius", "not_a_number"), ("note", None)],
)  # fmt: skip
def test_no_text_of_a_line_is_held_beyond_its_first_4_kib(field: str, reason: str | None) -> None:
    fields = {"machine_id": "M1", "timestamp_utc": stamp(at(0.5)), "vibration_rms": 1, field: "x" * 10**6}
    batch = parse(orjson.dumps(fields))
    assert batch.rejected["reason"].to_list() == ([] if reason is None else [reason])
    frames = (batch.readings, batch.failures, batch.rejected)
    assert sum(frame.estimated_size() for frame in frames) < 5_000
