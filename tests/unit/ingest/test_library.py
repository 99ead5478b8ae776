"""The compiled decoder as it is loaded: its structures are those that the handler fills, or it is not used."""

import logging
from pathlib import Path

import pytest

from handler.ingest.library import LIBRARY, LayoutError, Library
from layer_build.compile import ROOT, compile_library, read_sources
from layer_build.target import TARGETS
from tests.builds import MACHINE_ARCH
from tests.tools import needs_library

HEADER = "handler/ingest/layout.h"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


def build(folder: Path, cache: Path, old: bytes, new: bytes) -> Path:
    """Compile the decoder with other structures."""
    sources = read_sources(ROOT)
    assert old in sources[HEADER]
    changed = {name: text.replace(old, new) for name, text in sources.items()}
    path = folder / "libdecoder.so"
    path.write_bytes(compile_library(changed, TARGETS[MACHINE_ARCH].triple, cache, report=lambda message: None))
    return path


@needs_library
def test_own_library_is_loaded() -> None:
    assert Library.load(LIBRARY) is not None


def test_missing_library_is_done_without() -> None:
    assert Library.load(Path("no-such-library.so")) is None


@pytest.mark.verify
def test_library_whose_member_has_another_name_is_refused(tmp_path: Path, cache: Path) -> None:
    path = build(tmp_path, cache, b"key_low", b"key_one")
    with pytest.raises(LayoutError, match=r"Decoder\.key_low is missing"):
        Library(path)


@pytest.mark.verify
def test_library_with_another_member_is_refused_with_a_warning(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = build(tmp_path, cache, b"#define DECODER(MEMBER) ", b"#define DECODER(MEMBER) MEMBER(int64_t, extra) ")
    with caplog.at_level(logging.WARNING):
        assert Library.load(path) is None
    assert "Decoder.extra is not known. Lines are decoded without it, slower." in caplog.text
