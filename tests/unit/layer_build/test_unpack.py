import zipfile
from pathlib import Path

import pytest

from layer_build.errors import HashError, WheelError
from layer_build.unpack import unpack_wheel
from tests.unit.layer_build.conftest import MakeWheel


def test_files_lie_as_installed(make_wheel: MakeWheel) -> None:
    data = "pump-1.0.data"
    wheel = make_wheel(
        "pump",
        "1.0",
        {"pump/a.py": b"1", f"{data}/purelib/b.py": b"2", f"{data}/platlib/c.so": b"3", f"{data}/scripts/d": b"4"},
    )
    files = unpack_wheel(wheel).files
    assert {path: data for path, data in files.items() if ".dist-info/" not in path} == {
        "pump/a.py": b"1",
        "b.py": b"2",
        "c.so": b"3",
        "bin/d": b"4",
    }


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License-Expression: MIT\nLicense: other\n", "MIT"),
        ("Classifier: License :: OSI Approved :: BSD License\n", "BSD License"),
        ("License: Apache 2\n        and more\n", "Apache 2"),
        ("", "unknown"),
    ],
)
def test_licence_is_read_from_the_metadata(make_wheel: MakeWheel, metadata: str, licence: str) -> None:
    assert unpack_wheel(make_wheel("pump", "1.0", metadata=metadata)).licence == licence


@pytest.mark.parametrize(
    "path", ["../evil.py", "/etc/evil", "a/../../evil.py", "a\\..\\evil.py", "c:evil.py", "a//b.py"]
)
def test_path_out_of_the_folder_is_refused(make_wheel: MakeWheel, path: str) -> None:
    with pytest.raises(WheelError, match="leads out"):
        unpack_wheel(make_wheel("pump", "1.0", {path: b""}))


def test_path_out_of_its_scheme_is_refused(make_wheel: MakeWheel) -> None:
    with pytest.raises(WheelError, match="leads out"):
        unpack_wheel(make_wheel("pump", "1.0", {"pump-1.0.data/purelib/../../evil.py": b""}))


def test_two_files_for_one_place_are_refused(make_wheel: MakeWheel) -> None:
    with pytest.raises(WheelError, match="two files for one place"):
        unpack_wheel(make_wheel("pump", "1.0", {"a.py": b"1", "pump-1.0.data/purelib/a.py": b"2"}))


def test_symbolic_link_is_refused(make_wheel: MakeWheel) -> None:
    wheel = make_wheel("pump", "1.0")
    with zipfile.ZipFile(wheel, "a") as archive:
        info = zipfile.ZipInfo("link.py")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(WheelError, match="symbolic link"):
        unpack_wheel(wheel)


def test_changed_file_is_refused(make_wheel: MakeWheel) -> None:
    with pytest.raises(HashError, match=r"pump\.py is not the file"):
        unpack_wheel(make_wheel("pump", "1.0", {"pump.py": b"evil"}, record={"pump.py": b"good"}))


def test_unlisted_file_is_refused(make_wheel: MakeWheel) -> None:
    wheel = make_wheel("pump", "1.0")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("evil.py", "")
    with pytest.raises(WheelError, match=r"no SHA-2 hash of evil\.py"):
        unpack_wheel(wheel)


def test_listed_file_that_is_missing_is_refused(make_wheel: MakeWheel) -> None:
    with pytest.raises(WheelError, match=r"lists gone\.py"):
        unpack_wheel(make_wheel("pump", "1.0", {}, record={"gone.py": b""}))


def test_file_that_is_no_wheel_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pump-1.0-py3-none-any.whl"
    path.write_bytes(b"no zip")
    with pytest.raises(WheelError, match="no wheel that can be read"):
        unpack_wheel(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pump.py", "")
    with pytest.raises(WheelError, match="0 RECORD files"):
        unpack_wheel(path)
