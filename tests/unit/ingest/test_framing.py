"""Parts of objects are cut where lines end; a line that is too long leaves its first bytes, and no other line."""

from collections.abc import Sequence

import pytest

from handler.definitions.raw import RawContent
from handler.definitions.spec import FeatureSpec
from handler.ingest.framing import WholeLines, cut_lines
from tests.harness import T0, at, line, without_compiled_code
from tests.parsing import parse_batch

GOOD = line("M1", at(0.5), temperature=70.5)


def cut(*parts: bytes, longest: int = 10) -> list[WholeLines]:
    last = len(parts) - 1
    contents = [RawContent("a", part, goes_on=number < last) for number, part in enumerate(parts)]
    return [lines._replace(data=bytes(lines.data)) for lines in cut_lines(contents, longest=longest)]


@pytest.mark.parametrize(
    ("parts", "is_too_long"),
    [
        ((b"12345", b"67890\n"), False),
        ((b"12345", b"678901\n"), True),
        ((b"12345", b"67890"), False),
        ((b"12345", b"678901"), True),
        ((b"12345", b"67890", b"\n"), False),
        ((b"12345", b"67890", b"1", b"2\n"), True),
    ],
)
def test_line_is_too_long_beyond_its_limit_without_the_line_feed(parts: Sequence[bytes], is_too_long: bool) -> None:
    assert [lines.is_too_long for lines in cut(*parts)] == [is_too_long]


def test_too_long_line_leaves_its_first_bytes_and_those_around_it_are_whole() -> None:
    found = cut(b"a\n" + b"x" * 5000, b"y" * 9000, b"z\nb\n", b"c", longest=8000)
    assert [(lines.is_first, lines.is_too_long, len(lines.data)) for lines in found] == [
        (True, False, 2),
        (False, True, 4096),
        (False, False, 2),
        (False, False, 1),
    ]
    assert found[1].data == b"x" * 4096


@pytest.mark.parametrize("is_compiled", [True, False])
def test_line_of_more_than_64_mib_is_quarantined_and_costs_no_other_line(is_compiled: bool) -> None:
    part = b"x" * 2**21
    parts = [GOOD + b"\n", *[part] * 33, b"\n" + GOOD + b"\n"]
    contents = (RawContent("raw/a", data, goes_on=number < 34) for number, data in enumerate(parts))
    if is_compiled:
        batch = parse_batch(contents, FeatureSpec.load(), T0)
    else:
        with without_compiled_code():
            batch = parse_batch(contents, FeatureSpec.load(), T0)
    assert (batch.lines, batch.readings.height) == (3, 2)
    assert batch.rejected.rows() == [("raw/a", 2, "too_long", "x" * 4096)]
