import platform
import zipfile
from pathlib import Path

import pytest

from layer_build.check import check_libraries, check_size, check_smoke
from layer_build.errors import LibraryError, SizeError, SmokeError
from layer_build.interpreter import find_interpreter
from layer_build.target import TARGETS

HERE = TARGETS["arm64" if platform.machine() == "aarch64" else "x86_64"]
THERE = TARGETS["x86_64" if HERE.arch == "arm64" else "arm64"]


def test_size_may_reach_the_limit_less_the_margin() -> None:
    check_size(90, 5, limit=100, margin=5)
    with pytest.raises(SizeError, match="1 bytes more than the 95 allowed"):
        check_size(91, 5, limit=100, margin=5)


def test_libraries_of_the_target_pass(library: bytes) -> None:
    assert check_libraries({"a/pump.so": library, "a/pump.so.1": library, "a/pump.py": b"pump = 1"}, HERE) == 2


def test_library_of_another_machine_is_named(library: bytes) -> None:
    with pytest.raises(LibraryError, match=rf"a/pump\.so is for {HERE.elf_machine}, and {THERE.arch}"):
        check_libraries({"a/pump.so": library}, THERE)


def test_library_that_needs_a_newer_glibc_is_named(library: bytes) -> None:
    versions = [f"GLIBC_2.{minor}".encode() for minor in range(10, 26)]
    version = next(version for version in versions if version + b"\0" in library)
    newer = library.replace(version + b"\0", b"GLIBC_2.34\0")
    with pytest.raises(LibraryError, match=r"a/pump\.so needs GLIBC_2\.34, and Lambda's glibc is 2\.26"):
        check_libraries({"a/pump.so": newer}, HERE)


def test_library_that_cannot_be_read_is_named(library: bytes) -> None:
    with pytest.raises(LibraryError, match=r"pump\.so is no ELF file"):
        check_libraries({"pump.so": library[:10]}, HERE)


def test_layer_that_lacks_something_fails_the_smoke_test_in_one_line(tmp_path: Path) -> None:
    """The interpreter sees nothing of this environment, where all of it is installed."""
    for name in ("layer.zip", "function.zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("python/pump.py", "")
    with pytest.raises(SmokeError, match="No module named 'handler'") as caught:
        check_smoke(tmp_path / "layer.zip", tmp_path / "function.zip", find_interpreter("3.11"))
    assert "\n" not in str(caught.value)
