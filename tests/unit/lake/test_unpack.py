"""gzip is known by its first bytes, and leaves nothing behind where it is broken."""

import gzip
import tracemalloc
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.definitions.errors import LakeError
from handler.definitions.raw import RawContent
from handler.lake import unpack as unpacking
from handler.lake.unpack import unpack

TEXT = b"one\ntwo\n" * 50
PACKED = gzip.compress(TEXT, mtime=0)


def cut(key: str, data: bytes, size: int) -> Iterator[RawContent]:
    for start in range(0, max(len(data), 1), size):
        yield RawContent(key, data[start : start + size], goes_on=start + size < len(data))


def unpack_one(data: bytes, *, key: str = "a.jsonl", size: int = 7) -> tuple[bytes, str | None]:
    contents = list(unpack([*cut(key, data, size), RawContent("next", b"x")], lambda key: cut(key, data, size)))
    assert contents[-1] == RawContent("next", b"x")
    assert [content.goes_on for content in contents[:-1]] == [True] * (len(contents) - 2) + [False]
    (problem,) = {content.problem for content in contents[:-1]}
    return b"".join(bytes(content.data) for content in contents[:-1]), problem


@pytest.mark.parametrize("key", ["a.jsonl", "a.jsonl.gz"])
@pytest.mark.parametrize("size", [2, 7, 10_000])
def test_gzip_is_unpacked_whatever_its_name(key: str, size: int) -> None:
    assert unpack_one(PACKED, key=key, size=size) == (TEXT, None)


@pytest.mark.parametrize(
    ("data", "expected"),
    [(PACKED + PACKED, TEXT * 2), (PACKED + b"\0" * 9, TEXT), (PACKED + b"\0\0" + PACKED, TEXT * 2), (b"", b"")],
)
def test_members_follow_each_other_and_zeros_fill_up(data: bytes, expected: bytes) -> None:
    assert unpack_one(data, key="a.gz") == (expected, None)


@pytest.mark.parametrize(
    "data",
    [PACKED[:-1], PACKED[:20], PACKED[:3], PACKED + PACKED[:-5], PACKED + b"junk", gzip.compress(PACKED, mtime=0),
     PACKED[:-6] + b"\0\0\0" + PACKED[-3:]],
)  # fmt: skip
@pytest.mark.parametrize("held", [0, 10**9])
def test_broken_gzip_leaves_nothing_but_its_problem(data: bytes, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "_HELD", held)
    found, problem = unpack_one(data)
    assert found == b""
    assert problem is not None
    assert problem.startswith("not readable as gzip: ")


def test_name_that_says_gzip_where_there_is_none_is_a_problem() -> None:
    assert unpack_one(TEXT, key="a.jsonl.gz") == (b"", "it is no gzip, though its name ends in .gz")
    assert unpack_one(TEXT) == (TEXT, None)


@given(
    parts=st.lists(st.binary(max_size=300), min_size=1, max_size=4), size=st.integers(2, 50), held=st.integers(0, 900)
)
def test_content_is_that_of_gzip(parts: list[bytes], size: int, held: int) -> None:
    data, text = b"".join(map(gzip.compress, parts)), b"".join(parts)
    if text[:2] == b"\x1f\x8b":
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unpacking, "_HELD", held)
        patch.setattr(unpacking, "PART_BYTES", 64)
        assert unpack_one(data, size=size) == (text, None)


def test_object_that_changes_before_it_is_read_again_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "_HELD", 0)
    contents = unpack(cut("a", PACKED, 100), lambda key: cut(key, PACKED[:-9], 100))
    with pytest.raises(LakeError, match="could not read a: it was overwritten or deleted while it was read; run again"):
        list(contents)


def test_a_gibibyte_in_a_megabyte_costs_no_more_memory_than_what_is_held() -> None:
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join([*(packer.compress(b" " * 2**20) for _ in range(1024)), packer.flush()])
    assert len(bomb) < 2**21
    tracemalloc.start()
    size = sum(len(content.data) for content in unpack(cut("a", bomb, 2**20), lambda key: cut(key, bomb, 2**20)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == 2**30
    assert peak < 64 * 2**20
