"""Lines decoded by columns are lines decoded one by one."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from handler.lake import RawContent
from handler.layouts import decode_by_layout, find_layout
from handler.lines import decode_lines
from handler.parse import ParsedBatch, parse_batch
from handler.shapes import FIRST_LINE, DecodedColumns, blot_undecodable, decode_by_shape, find_shape
from handler.spec import FeatureSpec
from handler.timestamps import parse_timestamps
from tests.harness import T0, at, line, stamp
from tests.property.test_against_reference import BAD_LINES

READINGS = ["temperature_celsius", "vibration_rms"]
GOOD = '{"machine_id":"P1","timestamp_utc":"2025-10-15T00:01:00Z","vibration_rms":1.5,"mqtt_topic":"a/b"}'


def by_shape(*lines: bytes) -> DecodedColumns:
    return decode_by_shape(_join(lines), len(lines), READINGS)


def by_layout(*lines: bytes) -> DecodedColumns:
    data = _join(lines)
    return decode_by_layout(data, np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")), READINGS)


def _join(lines: Sequence[bytes]) -> bytes:
    return blot_undecodable(FIRST_LINE + b"".join(raw + b"\n" for raw in lines))


def decode(*lines: bytes) -> tuple[pl.DataFrame, list[int]]:
    columns = by_shape(*lines)
    return columns.lines.sort("row"), columns.rest


def agree(*lines: bytes, decode_columns: Callable[..., DecodedColumns] = by_shape) -> list[int]:
    """Check that what is decoded by columns is what single lines give; return the rows left over."""
    columns = decode_columns(*lines)
    decoded, rest = columns.lines.sort("row"), columns.rest
    single_rest = decode_lines(((row, lines[row]) for row in rest), READINGS)
    every = decode_lines(enumerate(lines), READINGS)
    assert columns.unknown_fields + single_rest.unknown_fields == every.unknown_fields
    single = every.lines.filter(~pl.col("row").is_in(rest))
    assert single["broken"].null_count() == single.height
    assert_frame_equal(decoded, single.select(decoded.columns), check_exact=True)
    assert sorted([*decoded["row"], *rest]) == list(range(len(lines)))
    return rest


def agree_by_layout(*lines: bytes) -> list[int]:
    """Check the same of lines decoded by their places."""
    return agree(*lines, decode_columns=by_layout)


def test_lines_of_a_few_shapes_are_all_decoded() -> None:
    lines = [line(f"P{k % 12}", at(0, seconds=k), temperature=k / 7, sensor_type="temperature") for k in range(50)]
    lines += [line(f"P{k % 12}", at(0, seconds=k), vibration=k, temperature=-k * 1e-7) for k in range(50)]
    lines += [line("Motor ñ", at(0, seconds=k), codigo_evento="FALHA", ok=True, n=None) for k in range(50)]
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
        GOOD.replace("1.5", "NaN"),
        GOOD.replace("1.5", "Infinity"),
        GOOD.replace("1.5", "1_0"),
        GOOD.replace("1.5", "1.5e"),
        GOOD.replace("1.5", "1 5"),
        GOOD.replace("1.5", '"1.5"'),
        GOOD.replace("1.5", ""),
        GOOD.replace("a/b", "a\tb"),
        GOOD.replace("a/b", "a\\qb"),
        GOOD.replace("a/b", 'a"b'),
        GOOD.replace("a/b", 'a","b":"c'),
        GOOD.replace("P1", ""),
        GOOD.replace("P1", "P\x00"),
        GOOD.replace(":1.5", ": 1.5"),
        GOOD.replace("vibration_rms", "vibration_RMS"),
        GOOD.replace("mqtt_topic", "mqtt\x01topic"),
        GOOD[:-1],
        GOOD[1:],
        "",
        " ",
        "{}",
        '"',
        "null",
    ],
)
def test_line_that_is_not_certain_is_left_and_costs_no_other(raw: str) -> None:
    good = GOOD.encode()
    odd = raw.encode()
    lines = [*[good] * 40, odd, *[good] * 40, odd + b'"', good]
    assert set(agree_by_layout(*lines)) <= {40, 81}
    agree_by_layout(*lines * 40)
    rest = agree(*lines)
    assert set(rest) <= {40, 81}
    assert 81 in rest
    if not _is_whole(raw):
        assert 40 in rest


def _is_whole(raw: str) -> bool:
    """Whether a line could be decoded by columns without harm."""
    try:
        return isinstance(orjson.loads(raw), dict)
    except orjson.JSONDecodeError:
        return False


def test_bytes_that_are_no_text_make_their_line_uncertain_and_no_other() -> None:
    good = GOOD.replace("P1", "Motor ñ").encode()
    lines = [*[good] * 20, good.replace(b"a/b", b"a\xff"), *[good] * 20]
    assert agree(*lines) == [20]
    assert 20 in agree_by_layout(*lines, *[GOOD.encode()] * 40)


def test_number_beyond_a_double_is_bad_and_a_huge_integer_is_not() -> None:
    decoded, _ = decode(*(GOOD.replace("1.5", n).encode() for n in ("1e400", "-1e999", "9" * 30, "1e-400")))
    assert decoded["is_bad_number"].to_list() == [True, True, False, False]
    assert decoded["vibration_rms"].to_list() == [None, None, 1e30, 0.0]


@pytest.mark.parametrize(
    "raw",
    [
        "[]",
        '{"machine_id":"P1"}',
        '{"machine_id":1,"timestamp_utc":"x","vibration_rms":1}',
        '{"machine_id":"P1","timestamp_utc":"x","vibration_rms":"1"}',
        '{"machine_id":"P1","timestamp_utc":"x","vibration_rms":true}',
        '{"machine_id":"P1","timestamp_utc":"x","vibration_rms":1,"vibration_rms":2}',
        '{"machine_id":"P1","timestamp_utc":"x","deep":{"a":1}}',
        '{"machine_id":"P\\u0031","timestamp_utc":"x","vibration_rms":1}',
        '{"machine_id":"P1","timestamp_utc":"x","vibration_rms":1}}',
        '{"machine_id":"P1","timestamp_utc":"x","":1}',
        '{"machine_id":"P1","timestamp_utc":"x"' + "".join(f',"k{k}":"v"' for k in range(20)) + "}",
    ],
)
def test_line_of_another_kind_has_no_shape(raw: str) -> None:
    assert find_shape(raw, READINGS) is None


@given(value=st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**8), max_value=10**8))
def test_number_read_by_its_digits_is_the_nearest_double(value: Decimal) -> None:
    raw = GOOD.replace("1.5", f"{value:f}").encode()
    assert find_layout(raw, READINGS) is not None
    columns = by_layout(*[raw] * 32)
    assert columns.lines["vibration_rms"].to_list() == [float(value)] * 32


@settings(max_examples=60)
@given(
    texts=st.lists(
        st.from_regex(r"[01][0-9]{3}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]", fullmatch=True),
        min_size=32,
        max_size=40,
    ),
    ending=st.sampled_from(["Z", ".5Z", ".123456Z", ".123456789Z", "-03:00", "+0530", ".25+14", "+23:59"]),
    first=st.sampled_from(["2025-10-15T09:00:00", "0001-01-01T00:00:00", "9999-12-31T23:59:59", "2024-02-29T12:00:00"]),
)
def test_timestamps_are_read_by_their_digits_as_one_by_one(texts: list[str], ending: str, first: str) -> None:
    timestamps = [text + ending for text in (first, *texts)]
    rest = agree_by_layout(*(GOOD.replace("2025-10-15T00:01:00Z", text).encode() for text in timestamps))
    assert rest == parse_timestamps(pl.Series(timestamps)).is_null().arg_true().to_list()


fields = st.dictionaries(
    st.sampled_from(["temperature_celsius", "vibration_rms", "rpm", "note", "codigo_evento", "mqtt_topic"]),
    st.one_of(
        st.none(), st.booleans(), st.integers(-10, 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from(["x", "", "ñ", "a b", "tab\t", "back\\slash", 'quo"te', "1.5"]), st.just([1]),
    ),
    max_size=4,
)  # fmt: skip


@st.composite
def writers(draw: st.DrawFn) -> list[bytes]:
    """Lines of a few writers, each with its own spacing, and some damage."""
    lines: list[bytes] = []
    for _ in range(draw(st.integers(1, 3))):
        keys = draw(fields)
        spaced = draw(st.booleans())
        for k in range(draw(st.integers(1, 30))):
            value: dict[str, Any] = {"machine_id": f"P{k % 11}", "timestamp_utc": stamp(at(0, seconds=k)), **keys}
            raw = orjson.dumps(value)
            lines.append(raw.replace(b'":', b'": ').replace(b',"', b', "') if spaced else raw)
    lines += draw(st.lists(st.sampled_from([*BAD_LINES, b"\r"]), max_size=4))
    for _ in range(draw(st.integers(0, 3))):
        index = draw(st.integers(0, len(lines) - 1))
        place = draw(st.integers(0, len(lines[index])))
        damage = draw(st.sampled_from([b"", b'"', b"\\", b" ", b"1", b"\xc3", b"}", b","]))
        lines[index] = lines[index][:place] + damage + lines[index][place + 1 :]
    return draw(st.permutations(lines))


@settings(max_examples=150)
@given(lines=writers())
def test_any_lines_are_parsed_alike_by_columns_and_one_by_one(lines: list[bytes]) -> None:
    agree(*lines)
    agree_by_layout(*lines * 40)


def test_large_batch_takes_the_columns_and_leaves_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [line(f"P{k % 9}", at(0, seconds=k % 3600), temperature=k % 97, note="x" * 50) for k in range(6000)]
    for k in range(0, 6000, 500):
        rows[k] = b"oops"
        rows[k + 1] = line("P1", at(0.5), temperature=9999)
        rows[k + 2] = line("P1", at(0, seconds=k // 2), codigo_evento="FALHA")
        rows[k + 3] = b""
    contents = [RawContent(f"{i}.jsonl", b"\r\n".join(rows[i * 2000 : i * 2000 + 2000])) for i in range(3)]
    spec = FeatureSpec.load()

    def parsed(worth_it: int) -> ParsedBatch:
        monkeypatch.setattr("handler.parse.WORTH_IT_BYTES", worth_it)
        return parse_batch(contents, spec, T0)

    by_columns, one_by_one = parsed(0), parsed(10**12)
    assert by_columns.lines == one_by_one.lines == 6000 - 12
    assert by_columns.unknown_fields == one_by_one.unknown_fields
    assert_frame_equal(by_columns.readings, one_by_one.readings, check_row_order=False)
    assert_frame_equal(by_columns.failures, one_by_one.failures)
    assert_frame_equal(by_columns.rejected, one_by_one.rejected)
    assert by_columns.rejected.height == 24
