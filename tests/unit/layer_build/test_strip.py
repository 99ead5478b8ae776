import ctypes
import io
from pathlib import Path

import numpy as np
import obstore
import pytest
from elftools.elf.elffile import ELFFile

from layer_build.errors import StripError
from layer_build.strip import strip_files, strip_library

HEADER = 64


@pytest.fixture(scope="module")
def with_symbols() -> bytes:
    """A large library that is shipped with its symbol table."""
    data = Path(str(obstore._obstore.__file__)).read_bytes()
    assert ELFFile(io.BytesIO(data)).get_section_by_name(".symtab") is not None
    return data


def test_symbols_go_and_what_is_loaded_stays_byte_for_byte(with_symbols: bytes) -> None:
    stripped = strip_library(with_symbols)
    before, after = ELFFile(io.BytesIO(with_symbols)), ELFFile(io.BytesIO(stripped))
    assert len(stripped) < len(with_symbols) * 0.9
    assert after.get_section_by_name(".symtab") is None
    assert after.get_section_by_name(".strtab") is None
    segments = list(before.iter_segments())
    assert [segment.header for segment in segments] == [segment.header for segment in after.iter_segments()]
    for segment in segments:
        start, stop = max(segment["p_offset"], HEADER), segment["p_offset"] + segment["p_filesz"]
        assert stripped[start:stop] == with_symbols[start:stop]


def test_sections_that_stay_keep_number_name_and_place(with_symbols: bytes) -> None:
    before, after = (ELFFile(io.BytesIO(data)) for data in (with_symbols, strip_library(with_symbols)))
    kept = [(k, s) for k, s in enumerate(before.iter_sections()) if s["sh_flags"] & 2]
    assert len(kept) > 15
    for k, section in kept:
        twin = after.get_section(k)
        assert twin.name == section.name
        fields = ("sh_type", "sh_flags", "sh_addr", "sh_offset", "sh_size", "sh_link", "sh_info", "sh_entsize")
        assert [twin[name] for name in fields] == [section[name] for name in fields]
    assert after.get_section(after.num_sections() - 1).name == ".shstrtab"


def test_stripped_library_is_loaded_and_called(tmp_path: Path) -> None:
    """A BLAS patched by auditwheel, whose loaded segments lie on both sides of its symbols."""
    (blas,) = (Path(np.__file__).parents[1] / "numpy.libs").glob("libscipy_openblas*")
    stripped = tmp_path / blas.name
    stripped.write_bytes(strip_library(blas.read_bytes()))
    for path in blas.parent.glob("*.so*"):
        if path != blas:
            (tmp_path / path.name).write_bytes(strip_library(path.read_bytes()))
    config = ctypes.CDLL(str(stripped)).scipy_openblas_get_config64_
    config.restype = ctypes.c_char_p
    assert config().startswith(b"OpenBLAS")


def test_stripping_again_changes_nothing(with_symbols: bytes) -> None:
    once = strip_library(with_symbols)
    assert strip_library(once) == once


def test_other_files_pass_through(library: bytes) -> None:
    files = {"a.py": b"import a\n", "b.so": library}
    stripped = strip_files(files)
    assert stripped["a.py"] == files["a.py"]
    assert len(stripped["b.so"]) <= len(library)


@pytest.mark.parametrize("cut", [20, 70, 5000])
def test_library_that_is_cut_off_is_refused(library: bytes, cut: int) -> None:
    with pytest.raises(StripError, match=r"pump\.so cannot be stripped.*--no-strip"):
        strip_files({"pump.so": library[:cut]})


def test_library_of_another_kind_is_refused(library: bytes) -> None:
    with pytest.raises(ValueError, match="64-bit little-endian"):
        strip_library(library[:4] + b"\x01" + library[5:])
