import os
import zipfile
from pathlib import Path

from layer_build.archive import write_archive
from layer_build.wheels import hash_file

FILES = {"python/b.py": b"b" * 1000, "python/a/c.so": b"\x7fELF", "python/a.py": b""}


def test_bytes_depend_on_the_content_alone(tmp_path: Path) -> None:
    first = write_archive(tmp_path / "x" / "layer.zip", FILES)
    before = os.umask(0o077)
    try:
        second = write_archive(tmp_path / "y.zip", dict(reversed(FILES.items())))
    finally:
        os.umask(before)
    assert first == second == hash_file(tmp_path / "y.zip")


def test_entries_are_sorted_with_one_time_and_mode(tmp_path: Path) -> None:
    write_archive(tmp_path / "layer.zip", FILES)
    with zipfile.ZipFile(tmp_path / "layer.zip") as archive:
        infos = archive.infolist()
        assert archive.testzip() is None
    assert [info.filename for info in infos] == sorted(FILES)
    assert {(info.date_time, info.external_attr >> 16) for info in infos} == {((1980, 1, 1, 0, 0, 0), 0o100644)}


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    write_archive(tmp_path / "layer.zip", FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["layer.zip"]
