import json
from pathlib import Path
from typing import Any

import pytest

from layer_build.errors import LockError
from layer_build.lock import read_lock
from layer_build.target import TARGETS

X86, ARM = TARGETS["x86_64"], TARGETS["arm64"]
DIGEST = "a" * 64


def write_lock(folder: Path, packages: dict[str, Any]) -> Path:
    path = folder / "Pipfile.lock"
    path.write_text(json.dumps({"_meta": {}, "layer": packages}))
    return path


def locked(**more: Any) -> dict[str, Any]:
    return {"version": "==1.0", "hashes": [f"sha256:{DIGEST}"], **more}


def test_releases_come_sorted_with_canonical_names(tmp_path: Path) -> None:
    path = write_lock(tmp_path, {"Valve_Set": locked(), "pump": locked(version="==2.1")})
    assert [str(item) for item in read_lock(path, X86)] == ["pump==2.1", "valve-set==1.0"]


@pytest.mark.parametrize(
    ("marker", "x86_64", "arm64"),
    [
        ("python_version >= '3.9'", True, True),
        ("python_version < '3.11'", False, False),
        ("sys_platform == 'win32'", False, False),
        ("platform_machine == 'aarch64'", False, True),
    ],
)
def test_markers_are_the_targets_not_this_machines(tmp_path: Path, marker: str, x86_64: bool, arm64: bool) -> None:
    path = write_lock(tmp_path, {"pump": locked(), "valve": locked(markers=marker)})
    assert (len(read_lock(path, X86)) == 2) is x86_64
    assert (len(read_lock(path, ARM)) == 2) is arm64


@pytest.mark.parametrize(
    "package",
    [
        {"hashes": [DIGEST]},
        {"version": "*", "hashes": [DIGEST]},
        {"version": "==1.0"},
        {"version": "==1.0", "hashes": []},
        {"version": "==1.0", "hashes": ["md5:abc"]},
        locked(markers="python_versio"),
    ],
)
def test_release_without_exact_version_or_hash_is_refused(tmp_path: Path, package: dict[str, Any]) -> None:
    with pytest.raises(LockError, match="make lock"):
        read_lock(write_lock(tmp_path, {"pump": package}), X86)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"layer": {}}', "no json"])
def test_file_that_is_no_lock_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "Pipfile.lock"
    path.write_text(text)
    with pytest.raises(LockError):
        read_lock(path, X86)


def test_missing_file_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(LockError, match=r"there is no Pipfile\.lock"):
        read_lock(tmp_path / "Pipfile.lock", X86)
