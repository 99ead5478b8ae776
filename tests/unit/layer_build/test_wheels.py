from pathlib import Path

import pytest

from layer_build import wheels
from layer_build.errors import DownloadError, HashError, NoWheelError
from layer_build.lock import Requirement
from layer_build.target import TARGETS
from layer_build.wheels import Wheel, WheelCache, fetch_wheels, hash_file
from tests.unit.layer_build.conftest import MakeWheel

X86, ARM = TARGETS["x86_64"], TARGETS["arm64"]


@pytest.fixture(autouse=True)
def _index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip see the folder of tiny wheels and no network."""
    (tmp_path / "index").mkdir()
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path / "index"),
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_NO_CACHE_DIR": "1",
    }.items():
        monkeypatch.setenv(name, value)


def lock(name: str, version: str, *paths: Path) -> Requirement:
    return Requirement(name, version, tuple(sorted(hash_file(path) for path in paths)))


def fetch(cache: Path, requirement: Requirement, arch: str = "x86_64") -> Wheel:
    (wheel,) = fetch_wheels([requirement], TARGETS[arch], WheelCache(cache), report=lambda _message: None)
    return wheel


def test_each_architecture_gets_its_own_wheel_and_never_one_for_a_newer_glibc(
    tmp_path: Path, make_wheel: MakeWheel
) -> None:
    tags = ("manylinux_2_17_x86_64", "manylinux_2_28_x86_64", "manylinux_2_26_aarch64", "win_amd64")
    paths = [make_wheel("pump", "1.0", tag=f"cp311-cp311-{tag}") for tag in tags]
    requirement = lock("pump", "1.0", *paths)
    assert fetch(tmp_path / "cache", requirement).path.name == "pump-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"
    assert fetch(tmp_path / "cache", requirement, "arm64").path.name.endswith("manylinux_2_26_aarch64.whl")


def test_second_fetch_runs_no_pip(tmp_path: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch) -> None:
    requirement = lock("pump-set", "1.0", make_wheel("pump_set", "1.0"))
    first = fetch(tmp_path / "cache", requirement)

    def fail(*arguments: str) -> None:
        raise AssertionError(f"pip ran: {arguments}")

    monkeypatch.setattr(wheels, "_run_pip", fail)
    assert fetch(tmp_path / "cache", requirement) == first


def test_damaged_wheel_in_the_cache_is_fetched_again(tmp_path: Path, make_wheel: MakeWheel) -> None:
    requirement = lock("pump", "1.0", make_wheel("pump", "1.0"))
    first = fetch(tmp_path / "cache", requirement)
    first.path.write_bytes(b"damaged")
    assert hash_file(fetch(tmp_path / "cache", requirement).path) == first.sha256


def test_file_that_is_not_the_locked_one_is_refused(tmp_path: Path, make_wheel: MakeWheel) -> None:
    requirement = lock("pump", "1.0", make_wheel("pump", "1.0"))
    make_wheel("pump", "1.0", {"pump.py": b"import evil\n"})
    with pytest.raises(HashError, match=r"pump.*does not match its hash"):
        fetch(tmp_path / "cache", requirement)
    with pytest.raises(HashError, match=r"pump-1\.0.*which Pipfile\.lock does not name"):
        WheelCache(tmp_path / "cache").add(requirement, X86, tmp_path / "index" / "pump-1.0-py3-none-any.whl")


def test_release_without_a_fitting_wheel_names_the_newest_that_has_one_and_its_tags(
    tmp_path: Path, make_wheel: MakeWheel
) -> None:
    make_wheel("pump", "1.9", tag="cp311-cp311-manylinux2014_x86_64")
    make_wheel("pump", "1.10", tag="cp311-cp311-manylinux2014_x86_64")
    new = [make_wheel("pump", "2.0", tag=f"cp311-cp311-{tag}") for tag in ("manylinux_2_27_x86_64", "win_amd64")]
    with pytest.raises(NoWheelError) as caught:
        fetch(tmp_path / "cache", lock("pump", "2.0", *new))
    assert caught.value.newest == "1.10"
    assert caught.value.tags == ("cp311-cp311-manylinux_2_27_x86_64", "cp311-cp311-win_amd64")
    assert str(caught.value) == (
        "pump==2.0 has no wheel for cp311, x86_64, glibc 2.26; the newest release with one is 1.10: pin pump to it; "
        "its wheels are for cp311-cp311-manylinux_2_27_x86_64, cp311-cp311-win_amd64"
    )


def test_release_that_is_nowhere_is_a_failed_download(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"no files of pump==1\.0"):
        fetch(tmp_path / "cache", Requirement("pump", "1.0", ("a" * 64,)))
