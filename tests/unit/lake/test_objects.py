"""Raw objects in parts: nothing of a line is lost where two parts meet, nor when an object changes meanwhile."""

import gzip
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import LocalStore, MemoryStore, ObjectStore

from handler.definitions.errors import LakeError, OvertakenError
from handler.definitions.raw import RawContent, RawObject
from handler.definitions.spec import FeatureSpec
from handler.ingest.framing import cut_lines
from handler.lake import objects as raw
from handler.lake import unpack
from handler.lake.folder import name_version
from handler.lake.lake import Lake
from handler.lake.objects import read_files, read_objects
from tests.harness import T0, at, line, write_raw
from tests.parsing import parse_batch

Places = list[list[int]]


def split(key: str, data: bytes, places: list[int]) -> Iterator[RawContent]:
    edges = sorted({0, *(place % (len(data) + 1) for place in places), len(data)})
    parts = [data[start:end] for start, end in pairwise(edges)] or [b""]
    for number, part in enumerate(parts, start=1):
        yield RawContent(key, part, goes_on=number < len(parts))


@given(
    texts=st.lists(st.lists(st.sampled_from([b"", b"a", b"bc", b"\n", b"\r", b"def\n"])).map(b"".join), max_size=4),
    places=st.lists(st.lists(st.integers(0, 40), max_size=6), min_size=4, max_size=4),
)
def test_lines_are_whole_wherever_an_object_is_cut(texts: list[bytes], places: Places) -> None:
    contents = [part for number, text in enumerate(texts) for part in split(str(number), text, places[number])]
    found: dict[int, list[bytes]] = {number: [] for number in range(len(texts))}
    for lines in cut_lines(contents):
        data = bytes(lines.data)
        assert data
        assert lines.is_first == (not found[lines.object])
        assert not found[lines.object] or found[lines.object][-1].endswith(b"\n")
        found[lines.object].append(data)
    assert [b"".join(each) for each in found.values()] == texts


def test_line_longer_than_many_parts_is_put_together() -> None:
    long = b"x" * 50_000
    contents = split("a", b"one\n" + long + b"\ntwo", list(range(0, 50_000, 999)))
    assert b"".join(bytes(lines.data) for lines in cut_lines(contents)) == b"one\n" + long + b"\ntwo"


@given(places=st.lists(st.integers(0, 3000), max_size=8))
def test_batch_is_parsed_alike_wherever_its_objects_are_cut(places: list[int]) -> None:
    lines = [line(f"M{k % 5}", at(0, seconds=k), temperature=k, note="x" * (k % 3)) for k in range(20)]
    lines[3:3] = [b"oops", b"", b"[1]"]
    lines[9] = line("M1", at(0.5), codigo_evento="FALHA")
    data = b"\n".join(lines)
    spec = FeatureSpec.load()
    whole = parse_batch([RawContent("a", data), RawContent("b", data)], spec, T0)
    parts = parse_batch([*split("a", data, places), *split("b", data, places[::2])], spec, T0)
    assert parts.readings.equals(whole.readings)
    assert parts.failures.equals(whole.failures)
    assert parts.rejected.equals(whole.rejected)
    assert (parts.objects, parts.lines, parts.unknown_fields) == (2, whole.lines, whole.unknown_fields)


@pytest.fixture
def small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "PART_BYTES", 100)
    monkeypatch.setattr(unpack, "PART_BYTES", 100)


DATA = {
    "a.jsonl": b"0123456789" * 99,
    "b.jsonl": b"",
    "c.jsonl": b"x" * 100,
    "d.jsonl": b"y" * 101,
    "e.jsonl.gz": gzip.compress(b"z" * 10_000),
    "f.jsonl": b"last",
    "odd [name] ñ%.jsonl": b"odd" * 100,
}


def join(contents: Iterator[RawContent]) -> list[tuple[str, bytes]]:
    joined: list[tuple[str, bytes]] = []
    goes_on = False
    for content in contents:
        assert content.problem is None
        before = joined.pop()[1] if goes_on else b""
        joined.append((content.key.rsplit("/", 1)[-1], before + bytes(content.data)))
        goes_on = content.goes_on
    assert not goes_on
    return joined


@pytest.mark.usefixtures("small_portions")
@pytest.mark.parametrize("by_file", [False, True])
def test_large_objects_come_in_parts_and_in_order(tmp_path: Path, *, by_file: bool) -> None:
    for name, data in DATA.items():
        write_raw(tmp_path, at(9), name, data)
    lake = Lake.open(tmp_path.as_uri()) if by_file else Lake(LocalStore(tmp_path))
    listing = lake.list_partitions([at(9)])[0][at(9)]
    (read,) = lake.split_batches(listing)
    contents = list(read())
    assert max(len(content.data) for content in contents if content.key.endswith("a.jsonl")) <= 100
    expected = dict(DATA) | {"e.jsonl.gz": b"z" * 10_000}
    assert [data for _, data in join(iter(contents))] == [expected[name] for name in sorted(expected)]


@pytest.mark.usefixtures("small_portions")
def test_many_small_objects_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    objects = []
    for number in range(40):
        store.put(f"{number:02d}.jsonl", b"%02d\n" % number * 10)
        objects.append(RawObject(f"{number:02d}.jsonl", 30))
    assert [len(portion) for portion in raw._plan_portions(objects)] == [3] * 13 + [1]
    assert [bytes(content.data)[:2] for content in read_objects(store, objects)] == [b"%02d" % k for k in range(40)]


def open_store(root: Path, data: bytes) -> tuple[ObjectStore, RawObject]:
    (root / "a.jsonl").write_bytes(data)
    store = LocalStore(root)
    meta = store.head("a.jsonl")
    return store, RawObject("a.jsonl", meta["size"], meta["e_tag"])


def list_file(root: Path) -> RawObject:
    stat = (root / "a.jsonl").stat()
    return RawObject("a.jsonl", stat.st_size, name_version(stat))


@pytest.mark.usefixtures("small_portions")
def test_object_that_is_overwritten_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    store, item = open_store(tmp_path, b"a" * 1000)
    contents = read_objects(store, [item])
    assert bytes(next(contents).data) == b"a" * 100
    (tmp_path / "new").write_bytes(b"b" * 1000)
    (tmp_path / "new").replace(tmp_path / "a.jsonl")
    with pytest.raises(LakeError, match=r"could not read a\.jsonl: it was overwritten while it was read; run again"):
        list(contents)


@pytest.mark.usefixtures("small_portions")
def test_object_that_is_deleted_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    store, item = open_store(tmp_path, b"a" * 1000)
    contents = read_objects(store, [item])
    next(contents)
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(LakeError, match=r"could not read a\.jsonl: it was deleted while it was read; run again"):
        list(contents)


@pytest.mark.usefixtures("small_portions")
def test_file_that_is_cut_short_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    open_store(tmp_path, b"a" * 1000)
    item = list_file(tmp_path)
    contents = read_files(tmp_path, [item])
    next(contents)
    (tmp_path / "a.jsonl").write_bytes(b"b" * 75)
    with pytest.raises(LakeError, match=r"could not read a\.jsonl: it was cut short while it was read; run again"):
        list(contents)


def test_file_is_read_as_far_as_the_listing_says(tmp_path: Path) -> None:
    open_store(tmp_path, b"a" * 1000)
    item = list_file(tmp_path)
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(b"more")
    (content,) = read_files(tmp_path, [item])
    assert content.data == b"a" * 1000
    assert not content.goes_on


@pytest.mark.parametrize("by_file", [False, True])
def test_object_that_is_gone_is_a_problem_of_its_own(tmp_path: Path, *, by_file: bool) -> None:
    store, item = open_store(tmp_path, b"a")
    gone = RawObject("gone.jsonl", 1)
    contents = read_files(tmp_path, [gone, list_file(tmp_path)]) if by_file else read_objects(store, [gone, item])
    assert [(content.key, content.problem) for content in contents] == [
        ("gone.jsonl", "the object was listed, but is gone"),
        ("a.jsonl", None),
    ]


def test_file_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").mkdir()
    with pytest.raises(LakeError, match=r"could not read a\.jsonl"):
        list(read_files(tmp_path, [RawObject("a.jsonl", 1)]))


@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize("kind", [MemoryStore, LocalStore, None])
@pytest.mark.parametrize("is_replaced", [True, False])
def test_object_that_is_overwritten_between_listing_and_reading_is_an_error(
    tmp_path: Path, kind: type[ObjectStore] | None, size: int, *, is_replaced: bool
) -> None:
    """What was listed is what is read: a small object too, and a file that is written in its place or anew."""
    store: ObjectStore = LocalStore(tmp_path) if kind is LocalStore else MemoryStore()
    lake = Lake.open(tmp_path.as_uri()) if kind is None else Lake(store)
    names = [f"raw/year=2025/month=10/day=15/hour=09/{name}.jsonl" for name in "abc"]

    def put(name: str, data: bytes) -> None:
        if kind is MemoryStore:
            store.put(name, data)
            return
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_replaced:
            path = path.with_name("new")
        path.write_bytes(data)
        path.replace(tmp_path / name)

    for name in names:
        put(name, b"12345")
    listing = lake.list_partitions([at(9)])[0][at(9)]
    put(names[1], b"x" * size)
    (read,) = lake.split_batches(listing)
    with pytest.raises(
        OvertakenError, match=r"could not read raw/.*/b\.jsonl: it was (overwritten|cut short) .*; run again"
    ):
        list(read())
