"""Compiled code decodes lines as they are one by one, leaves what is not certain, and reads nothing else."""

import ctypes
import math
import mmap
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from handler.definitions.raw import RawContent
from handler.definitions.spec import FeatureSpec
from handler.definitions.timestamps import parse_timestamps
from handler.ingest import decoder
from handler.ingest.classes import ParsedLines, parse_lines
from handler.ingest.decoder import DecodedReadings, decode_readings
from handler.ingest.framing import FallbackLine
from handler.ingest.library import LIBRARY
from tests.harness import HOUR, T0, at, feature_spec, line, stamp, without_compiled_code
from tests.parsing import parse_batch
from tests.profiles import examples
from tests.property.test_against_reference import BAD_LINES, ODD_LINES
from tests.tools import needs_library

pytestmark = needs_library

SPEC = feature_spec(temperature_celsius=(-1e9, 1e30), vibration_rms=(-1e9, 1e30))
TIME = "2025-10-15T00:01:00Z"
GOOD = '{"machine_id":"P1","timestamp_utc":"' + TIME + '","vibration_rms":1.5,"mqtt_topic":"a/b"}'
ROOT = Path(__file__).parents[3]
BEFORE_ALL = datetime(1, 1, 1, tzinfo=UTC)
ALWAYS = T0 + timedelta(days=365 * 7000)


def decode(*lines: bytes) -> tuple[DecodedReadings, list[FallbackLine]]:
    left: list[FallbackLine] = []
    content = RawContent("raw/a.jsonl", b"\n".join(lines))
    return next(decode_readings([content], SPEC, ALWAYS, left.extend)), left


def test_compiled_decoder_takes_lines_of_another_lake_unless_they_are_nested_or_count_time() -> None:
    text = 'windows = ["1h"]\n{fields}\n[[readings]]\nname = "rpm"\nplausible = [0, 4000]\nfield = "{field}"'
    raw = b'{"id":"P1","at":"2025-10-15T00:01:00Z","sensor_type":1480,"machine_id":7,"rpm":-1}'
    flat = '[fields]\nmachine_id = "id"\ntimestamp_utc = "at"'
    for field, fields, is_taken in (
        ("sensor_type", flat, True),
        ("payload.rpm", flat, False),
        ("sensor_type", flat + '\ntimestamp_format = "epoch_s"', False),
    ):
        spec = FeatureSpec.parse(text.format(field=field, fields=fields))
        left: list[FallbackLine] = []
        (decoded,) = decode_readings([RawContent("raw/a.jsonl", raw)], spec, ALWAYS, left.extend)
        assert (decoded.lines.height, len(left)) == ((1, 0) if is_taken else (0, 1))
        if is_taken:
            assert decoded.lines.get_column("rpm").to_list() == [1480.0]
            assert decoded.unknown_fields == 2
            assert one_by_one([RawContent("raw/a.jsonl", raw)], spec).unknown_fields == 2


def one_by_one(contents: Sequence[RawContent], spec: FeatureSpec = SPEC) -> ParsedLines:
    with without_compiled_code():
        return parse_batch(contents, spec, T0)


def sorted_readings(batch: ParsedLines) -> pl.DataFrame:
    frame = batch.readings.with_columns(pl.col("machine_id").cast(pl.String))
    return frame.sort(frame.columns)


def are_ordered(lines: pl.DataFrame) -> bool:
    """Tell in plain code whether each machine's values of a reading come with ever later event times."""
    last: dict[tuple[str, str], datetime] = {}
    for row in lines.iter_rows(named=True):
        for reading in SPEC.reading_names:
            if not math.isnan(row[reading]):
                series = row["machine_id"], reading
                if row["event_time"] <= last.get(series, BEFORE_ALL):
                    return False
                last[series] = row["event_time"]
    return True


def agree(*lines: bytes) -> list[int]:
    """Check that compiled and plain code make the same of some lines; return the indexes of those that were left."""
    contents = [RawContent("raw/a.jsonl", b"\n".join(lines))]
    compiled, plain = parse_batch(contents, SPEC, T0), one_by_one(contents)
    assert_frame_equal(sorted_readings(compiled), sorted_readings(plain), check_exact=True)
    assert_frame_equal(compiled.failures, plain.failures)
    assert_frame_equal(compiled.rejected, plain.rejected)
    assert (compiled.lines, compiled.unknown_fields) == (plain.lines, plain.unknown_fields)
    decoded, left = decode(*lines)
    shared = sum(re.search(rb"\}[ \t\r]*\{", raw) is not None for raw in lines)
    assert all(lines[raw.number - 1].endswith(raw.raw) for raw in left)
    assert sum(raw.raw != lines[raw.number - 1] for raw in left) <= shared
    blank = sum(not raw.strip(b" \t\r") for raw in lines)
    surplus = len(decoded.lines) + len(left) + blank - len(lines)
    assert surplus >= 0 if shared else surplus == 0
    assert decoded.is_ordered == are_ordered(decoded.lines)
    return [raw.number - 1 for raw in left]


def test_library_is_there() -> None:
    assert LIBRARY.is_file()
    assert decoder._LIBRARY is not None


def test_usual_lines_are_all_decoded() -> None:
    lines = [line(f"P{k % 12}", at(0, seconds=k), temperature=k / 7, sensor_type="temperature") for k in range(50)]
    lines += [line(f"P{k % 12}", at(0, seconds=k), vibration=k, temperature=-k * 1e-7 / 3) for k in range(50)]
    lines += [line("Motor ñ", at(0, seconds=k), temperature=None, vibration=k, ok=True, n=None) for k in range(50)]
    lines += [line("P1", at(0), vibration=1, codigo_evento=None, meta={"a": [1, "x", {}], "b": []}, rpm=1500)]
    lines += [GOOD.replace("a/b", "a\\/b\\n").encode(), GOOD.replace('":', '" :\t').replace(',"', ' , "').encode()]
    lines += [b" \t" + GOOD.encode() + b" \r", b"", b" \r"]
    lines += [GOOD.replace("1.5", number).encode() for number in ("0", "-0", "-0.0", "0e-9", "1e3", "1E+3", "15e-1")]
    assert agree(*lines) == []


@pytest.mark.parametrize(
    "raw",
    [
        GOOD + '"',
        GOOD + '""',
        GOOD + " x",
        GOOD.replace("1.5", "01.5"),
        GOOD.replace("1.5", "+1.5"),
        GOOD.replace("1.5", "1."),
        GOOD.replace("1.5", ".5"),
        GOOD.replace("1.5", "-"),
        GOOD.replace("1.5", "NaN"),
        GOOD.replace("1.5", "Infinity"),
        GOOD.replace("1.5", "1_0"),
        GOOD.replace("1.5", "1.5e"),
        GOOD.replace("1.5", "1.5e+"),
        GOOD.replace("1.5", "1 5"),
        GOOD.replace("1.5", '"1.5"'),
        GOOD.replace("1.5", ""),
        GOOD.replace("1.5", "nul"),
        GOOD.replace("1.5", "null"),
        GOOD.replace("1.5", "true"),
        GOOD.replace("1.5", "1e999"),
        GOOD.replace("1.5", "1e31"),
        GOOD.replace("1.5", "-2e9"),
        GOOD.replace("1.5", '1.5,"vibration_rms":1.5'),
        GOOD.replace("1.5", '1.5,"vibration_rms":null'),
        GOOD.replace("1.5", '1.5,"machine_id":"P2"'),
        GOOD.replace("1.5", '1.5,"timestamp_utc":"2025-10-15T00:02:00Z"'),
        GOOD.replace("1.5", '1.5,"rpm":1,"note":2,"rpm":"x"'),
        GOOD.replace("1.5", '1.5,"codigo_evento":""'),
        GOOD.replace("1.5", '1.5,"codigo_evento":"FALHA"'),
        GOOD.replace("1.5", '1.5,"codigo_evento":7'),
        GOOD.replace("1.5", '1.5,"deep":' + "[" * 40 + "]" * 40),
        GOOD.replace("1.5", '1.5,"deep":[1,]'),
        GOOD.replace("1.5", '1.5,"deep":{"a" 1}'),
        GOOD.replace("1.5", '1.5,"deep":{"a":1,}'),
        GOOD.replace("1.5", '1.5,"deep":[01]'),
        GOOD.replace("1.5", '1.5,"deep":{1:2}'),
        GOOD.replace("1.5", '1.5,"deep":[1}'),
        GOOD.replace("1.5", '1.5,"flag":True'),
        GOOD.replace("a/b", "a\tb"),
        GOOD.replace("a/b", "a\\qb"),
        GOOD.replace("a/b", "\\ud800"),
        GOOD.replace("a/b", 'a"b'),
        GOOD.replace("a/b", "a\\"),
        GOOD.replace("P1", ""),
        GOOD.replace("P1", "P\x00"),
        GOOD.replace("P1", "P\\u0031"),
        GOOD.replace("P1", "x" * 257),
        GOOD.replace('"P1"', "1"),
        GOOD.replace("vibration_rms", "vibration_RMS"),
        GOOD.replace("vibration_rms", "vibration_rm"),
        GOOD.replace("mqtt_topic", "mqtt\x01topic"),
        GOOD.replace("mqtt_topic", "mqtt\\u0020topic"),
        GOOD.replace(TIME, "2025-10-15T00:01:00"),
        GOOD[:-1],
        GOOD[1:],
        GOOD.replace("{", "{,"),
        GOOD.replace("}", ",}"),
        GOOD.replace("}", "}}"),
        "{}",
        "{ }",
        '"',
        "null",
        "[" + GOOD + "]",
        "\ufeff" + GOOD,
    ],
)
def test_line_that_is_not_certain_is_left_and_costs_no_other(raw: str) -> None:
    good, odd = GOOD.encode(), raw.encode()
    assert agree(good, good, odd, good, odd, good) == [2, 4]


@pytest.mark.parametrize(
    "octets", [b"\xff", b"\xc3", b"\xc0\xaf", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf5aaa"]
)
def test_bytes_that_are_no_utf8_are_left_wherever_they_stand(octets: bytes) -> None:
    good = GOOD.replace("P1", "Motor ñ 機 🏭").encode()
    for place in (b"a/b", b"mqtt_topic", b"Motor"):
        assert agree(good, good.replace(place, octets), good, good.replace(place, octets)) == [1, 3]


def test_unknown_fields_beyond_those_that_can_be_told_apart_are_left_to_be_counted() -> None:
    lines = [line("P1", at(0), vibration=1, **{f"tag_{k}": k for k in range(count)}) for count in (127, 128, 129, 3)]
    assert agree(*lines) == [2]


@given(value=st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**8), max_value=10**12))
def test_decimal_is_read_as_the_nearest_double(value: Decimal) -> None:
    decoded, left = decode(GOOD.replace("1.5", f"{value:f}").encode())
    assert left == []
    assert decoded.lines["vibration_rms"].to_list() == [float(f"{value:f}")]


@settings(max_examples=examples(300))
@given(digits=st.integers(0, 10**19), point=st.integers(0, 27), more=st.sampled_from(["", "", "e0", "e-3", "E2"]))
@example(digits=9007199254740993, point=1, more="")
@example(digits=9007199254740993, point=18, more="")
@example(digits=18014398509481989, point=3, more="")
@example(digits=1844674407370955161, point=27, more="")
@example(digits=1, point=27, more="")
def test_number_of_many_digits_is_read_as_the_nearest_double(digits: int, point: int, more: str) -> None:
    text = str(digits).rjust(point + 1, "0")
    text = (f"{text[:-point]}.{text[-point:]}" if point else text) + more
    decoded, left = decode(GOOD.replace("1.5", text).encode())
    assert [float(text)] * (1 - len(left)) == decoded.lines["vibration_rms"].to_list()
    assert left == [] or digits > 2**53 or "e" in more


@settings(max_examples=examples(60))
@given(
    texts=st.lists(
        st.from_regex(r"[01][0-9]{3}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]", fullmatch=True),
        max_size=20,
    ),
    ending=st.sampled_from(["Z", ".5Z", ".123456Z", ".123456789Z", "-03:00", "+0530", ".25+14", "+23:59", "+24:00",
                            "z", "", ".Z", ".1234567890Z", "+05:", "+5", "-0060", "Z "]),
    first=st.sampled_from(["2025-10-15T09:00:00", "0001-01-01T00:00:00", "8888-12-31T23:59:59", "2024-02-29T12:00:00",
                           "1900-02-29T00:00:00", "2000-02-29T00:00:00", "1969-12-31T23:59:59", "2025-10-15 09:00:00"]),
)  # fmt: skip
def test_timestamps_are_read_as_one_by_one(texts: list[str], ending: str, first: str) -> None:
    timestamps = [text + ending for text in (first, *texts, first)]
    decoded, left = decode(*(GOOD.replace(TIME, text).encode() for text in timestamps))
    expected = parse_timestamps(pl.Series(timestamps))
    assert [each.number - 1 for each in left] == expected.is_null().arg_true().to_list()
    assert decoded.lines["event_time"].to_list() == expected.drop_nulls().to_list()


values = st.one_of(
    st.none(), st.booleans(), st.integers(-10, 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["x", "", "ñ", "a b", "tab\t", "back\\slash", 'quo"te', "1.5", "🏭", "e\u0301"]),
    st.just([1, [], {"a": None}]),
)  # fmt: skip
fields = st.dictionaries(
    st.sampled_from(["temperature_celsius", "vibration_rms", "rpm", "note", "codigo_evento", "mqtt_topic", "ñ", ""]),
    values,
    max_size=5,
)


@st.composite
def writers(draw: st.DrawFn) -> list[bytes]:
    """Lines of a few writers, each with its own spacing, and some damage."""
    lines: list[bytes] = []
    for _ in range(draw(st.integers(1, 3))):
        keys = draw(fields)
        spaced = draw(st.booleans())
        for k in range(draw(st.integers(1, 10))):
            value: dict[str, Any] = {"machine_id": f"P{k % 4}", "timestamp_utc": stamp(at(0, seconds=k)), **keys}
            raw = orjson.dumps(value)
            lines.append(raw.replace(b'":', b'": ').replace(b',"', b', "') if spaced else raw)
    lines += draw(st.lists(st.sampled_from([*BAD_LINES, *ODD_LINES, b"\r"]), max_size=4))
    for _ in range(draw(st.integers(0, 6))):
        index = draw(st.integers(0, len(lines) - 1))
        place = draw(st.integers(0, len(lines[index])))
        damage = draw(
            st.sampled_from([b"", b'"', b"\\", b" ", b"1", b"\xc3", b"}", b",", b":", b"\t", b"null", b"0", b"e"])
        )
        lines[index] = lines[index][:place] + damage + lines[index][place + 1 :]
    lines = draw(st.permutations(lines))
    return [b"".join(lines[:3]), *lines[3:]] if draw(st.booleans()) else lines


@settings(max_examples=examples(300))
@given(lines=writers())
def test_any_lines_are_parsed_alike_by_compiled_and_by_plain_code(lines: list[bytes]) -> None:
    agree(*lines)


def test_batch_of_many_objects_keeps_its_lines_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [line(f"P{k % 9}", at(0, seconds=k % 3600), temperature=k % 97, note="x" * 50) for k in range(600)]
    for k in range(0, 600, 50):
        rows[k] = b"oops"
        rows[k + 1] = line("P1", at(0.5), temperature=9999)
        rows[k + 2] = line("P1", at(0, seconds=k // 2), codigo_evento="FALHA")
        rows[k + 3] = b""
        rows[k + 4] = line("Motor ñ \\", at(0, seconds=k), temperature=1)
    contents = [RawContent(f"{i}.jsonl", b"\r\n".join(rows[i * 200 : i * 200 + 200])) for i in range(3)]
    contents[1:1] = [
        RawContent("0_empty.jsonl"),
        RawContent("0_gone.jsonl", problem="gone"),
        RawContent("1.jsonl", rows[6]),
    ]
    spec = FeatureSpec.load()
    expected = one_by_one(contents, spec)
    for room in (2**15, 7, 1):
        monkeypatch.setattr(decoder, "_MAX_FALLBACK_LINES", room)
        parsed = parse_batch(contents, spec, T0)
        assert parsed.lines == expected.lines == 601 - 12
        assert parsed.unknown_fields == expected.unknown_fields
        assert_frame_equal(sorted_readings(parsed), sorted_readings(expected))
        assert_frame_equal(parsed.failures, expected.failures)
        assert_frame_equal(parsed.rejected, expected.rejected)
        assert parsed.rejected.height == 25


@pytest.mark.parametrize(
    ("lines", "is_ordered"),
    [
        ([], True),
        ([line("P1", at(1), temperature=1.0), line("P1", at(2), temperature=1.0)], True),
        ([line("P1", at(2), temperature=1.0), line("P2", at(1), temperature=1.0)], True),
        ([line("P1", at(2), temperature=1.0), line("P1", at(1), vibration=1.0)], True),
        ([line("P1", at(1), temperature=1.0), line("P1", at(1), temperature=1.0)], False),
        ([line("P1", at(1), temperature=1.0), line("P1", at(1), temperature=2.0)], False),
        ([line("P1", at(2), temperature=1.0), line("P1", at(1), temperature=1.0)], False),
        ([line("P1", at(1), temperature=1.0, vibration=1.0), line("P1", at(1), vibration=1.0)], False),
        (
            [line("P1", at(1), temperature=1.0), line("P1", at(2), temperature="x"), line("P1", at(2), vibration=1)],
            True,
        ),
    ],
)
def test_lines_are_ordered_where_each_reading_of_a_machine_comes_later_than_its_last(
    lines: list[bytes], is_ordered: bool
) -> None:
    assert decode(*lines)[0].is_ordered is is_ordered
    apart = [RawContent(f"raw/{number}.jsonl", raw) for number, raw in enumerate(lines)]
    assert parse_batch(apart, SPEC, T0 + timedelta(days=1)).is_ordered is is_ordered


def test_lines_of_which_one_is_decoded_apart_are_not_taken_for_ordered() -> None:
    escaped = line("P1", at(1), temperature=1.0).replace(b"P1", b"\\u0050" + b"1")
    batch = parse_batch([RawContent("raw/a.jsonl", escaped + b"\n" + line("P1", at(1), temperature=1.0))], SPEC, T0)
    assert batch.readings.height == 2
    assert not batch.is_ordered


def test_machines_are_told_apart_however_many_there_are() -> None:
    ids = [f"{k:x}" * (k % 5 + 1) for k in range(3000)]
    decoded, left = decode(*(line(name, at(0), vibration=k) for k, name in enumerate([*ids, *ids[::-1]])))
    assert left == []
    assert decoded.lines["machine_id"].to_list() == [*ids, *ids[::-1]]
    assert decoded.lines["machine_id"].dtype == pl.Enum(list(dict.fromkeys(ids)))


def test_arrays_grow_as_they_fill_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "_FIRST_ROWS", 1)
    monkeypatch.setattr(decoder, "_FIRST_MACHINES", 1)
    lines = [line(f"P{k * k % 101}", at(0, seconds=k), vibration=k) for k in range(500)]
    decoded, left = decode(*lines[:400], b"oops", *lines[400:])
    assert [each.number for each in left] == [401]
    frame = decoded.lines
    assert frame["machine_id"].to_list() == [f"P{k * k % 101}" for k in range(500)]
    assert frame["vibration_rms"].to_list() == list(range(500))
    assert frame["event_time"].to_list() == [at(0, seconds=k) for k in range(500)]


def test_left_lines_of_many_parts_are_handed_on_together_unless_they_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[int] = []
    parts = [RawContent("a", b"oops %d\n" % k, goes_on=k < 9) for k in range(10)]
    list(decode_readings(parts, SPEC, ALWAYS, lambda left: handed.append(len(left))))
    assert handed == [10]
    monkeypatch.setattr(decoder, "_MAX_FALLBACK_BYTES", 30)
    handed.clear()
    list(decode_readings(parts, SPEC, ALWAYS, lambda left: handed.append(len(left))))
    assert handed == [6, 4]


def test_many_lines_are_given_in_pieces_that_make_up_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [b"oops %d" % k if k % 7 == 3 else line(f"P{k % 5}", at(0, seconds=k), vibration=k) for k in range(300)]
    parts = [b"\n".join(lines[start : start + 10]) + b"\n" for start in range(0, 300, 10)]
    contents = [RawContent("a" if k < 12 else "b", part, goes_on=k not in {11, 29}) for k, part in enumerate(parts)]
    whole = parse_batch(contents, SPEC, T0)
    monkeypatch.setattr(decoder, "_MAX_FALLBACK_LINES", 20)
    for is_compiled in (True, False):
        with nullcontext() if is_compiled else without_compiled_code():
            pieces = list(parse_lines(contents, SPEC, T0, most_lines=60))
        assert 4 <= len(pieces) <= 20
        assert sum(piece.objects for piece in pieces) == whole.objects == 2
        assert sum(piece.lines for piece in pieces) == whole.lines == 300
        assert_frame_equal(pl.concat(piece.rejected for piece in pieces), whole.rejected)
        readings = pl.concat(sorted_readings(piece) for piece in pieces)
        assert_frame_equal(readings.sort(readings.columns), sorted_readings(whole))


shapes = st.lists(
    st.sampled_from(
        [
            ("temperature_celsius", 70.25), ("temperature_celsius", -7), ("vibration_rms", 1.5),
            ("vibration_rms", None), ("rpm", 1500), ("rpm", -2.5e-7), ("rpm", "fast"), ("rpm", None), ("rpm", [1]),
            ("note", "a b"), ("note", 'quo"te'), ("note", "ñ🏭"), ("mqtt_topic", "a/b"), ("mqtt_topic", "a\\b"),
            ("sensor_type", 7), ("ingestion_timestamp", 1760486400), ("codigo_evento", None),
            ("codigo_evento", "FALHA"),
        ]
    ),
    max_size=5,
    unique_by=lambda field: field[0],
)  # fmt: skip


@settings(max_examples=examples(300))
@given(kinds=st.lists(shapes, min_size=1, max_size=12), order=st.lists(st.integers(0, 11), min_size=1, max_size=60))
def test_lines_that_repeat_the_shape_of_earlier_ones_are_parsed_alike(
    kinds: list[list[tuple[str, Any]]], order: list[int]
) -> None:
    """Whatever the shapes are, and in whatever turn they come: also more of them than are remembered."""
    raws = []
    for place, number in enumerate(order):
        kind = kinds[number % len(kinds)]
        value = {"machine_id": f"P{place % 3}", "timestamp_utc": stamp(at(0, seconds=place)), **dict(kind)}
        raws.append(orjson.dumps({name: value[name] for name in sorted(value, key=hash_name(number))}))
    agree(*raws)


def hash_name(number: int) -> Callable[[str], int]:
    """Put the fields of a kind of line in an order of its own."""
    return lambda name: sum(map(ord, name)) * (number + 7) % 31


def test_latest_instant_is_accepted_and_the_next_is_not() -> None:
    latest = at(1, minutes=5)
    lines = b"\n".join(line("P1", latest + timedelta(microseconds=k), vibration=1) for k in (-1, 0, 1))
    left: list[FallbackLine] = []
    (decoded,) = decode_readings([RawContent("a", lines)], SPEC, latest, left.extend)
    assert decoded.lines["event_time"].max() == latest
    assert [each.number for each in left] == [3]
    assert latest == T0 + HOUR + timedelta(minutes=5)


def test_nothing_beyond_the_end_of_an_object_is_read() -> None:
    """Objects end where the next page may not be read: a byte too far would end the process."""
    command = [sys.executable, "-m", "tests.unit.ingest.test_decoder"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (result.returncode, result.stdout) == (0, "read to the end\n"), result.stderr


def _read_to_the_edge() -> None:
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 2 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    assert protect(start + page, page, 0) == 0
    odd = [
        b'{"a":"\\',
        b'{"a":tru',
        b'{"a":nul',
        b'{"temperature_celsius":1.',
        b'{"a":{"b":[1,',
        b"\xf0\x9f",
        b'{"',
        b"-1e",
    ]
    lines = [GOOD.encode(), GOOD.replace("P1", "ñ🏭").encode(), *odd, *BAD_LINES]
    for raw in lines:
        for length in range(1, len(raw) + 1):
            place = page - length
            memory[place:page] = raw[:length]
            content = RawContent("a", memoryview(memory)[place:page])
            list(decode_readings([content], SPEC, ALWAYS, lambda left: None))
    print("read to the end")


if __name__ == "__main__":
    _read_to_the_edge()
