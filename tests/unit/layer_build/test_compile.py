import ctypes
import io
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from layer_build import compile as stage
from layer_build.check import check_libraries
from layer_build.compile import LIBRARY, ROOT, SOURCES, compile_here, compile_library, read_sources
from layer_build.errors import CompileError
from layer_build.target import TARGETS
from tests.builds import MACHINE_ARCH

pytestmark = pytest.mark.verify

HERE = TARGETS[MACHINE_ARCH]
CODE = read_sources(ROOT)
NO_CODE = dict.fromkeys(SOURCES, b"")


def ignore(_message: str) -> None:
    pass


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of their own for these tests: the compiler's first run for a platform takes seconds."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="session")
def libraries(cache: Path) -> Mapping[str, bytes]:
    """The handler's library, by architecture."""
    return {arch: compile_library(CODE, target.triple, cache, report=ignore) for arch, target in TARGETS.items()}


@pytest.mark.parametrize("arch", sorted(TARGETS))
def test_library_is_for_its_architecture_and_has_their_functions(libraries: Mapping[str, bytes], arch: str) -> None:
    library = libraries[arch]
    assert check_libraries({LIBRARY: library}, TARGETS[arch]) == 1
    elf = ELFFile(io.BytesIO(library))
    symbols = elf.get_section_by_name(".dynsym")
    assert isinstance(symbols, SymbolTableSection)
    functions = [item.name for item in symbols.iter_symbols() if item["st_shndx"] != "SHN_UNDEF"]
    assert sorted(functions) == ["decode_lines", "decoder_layout", "place_machines"]
    assert elf.get_section_by_name(".symtab") is None
    assert len(library) < 50_000


def test_same_source_gives_the_same_bytes_in_another_folder(
    libraries: Mapping[str, bytes], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled anew: what the cache still serves is the C library alone."""
    elsewhere = tmp_path / "another place"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    monkeypatch.setenv("HOME", str(elsewhere))
    messages: list[str] = []
    again = compile_library(CODE, HERE.triple, cache, report=messages.append, fresh=True)
    assert again == libraries[HERE.arch]
    assert messages == [f"compiled {LIBRARY} for {HERE.triple}: {len(again):,} bytes"]
    assert not list(elsewhere.iterdir())


def test_library_is_compiled_once(libraries: Mapping[str, bytes], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_compile", lambda *_: pytest.fail("it is compiled again"))
    messages: list[str] = []
    for arch, target in TARGETS.items():
        assert compile_library(CODE, target.triple, cache, report=messages.append) == libraries[arch]
    assert all("from the cache" in message for message in messages)


@pytest.mark.parametrize("changed", ["source", "platform", "options", "compiler"])
def test_change_of_what_it_is_made_of_compiles_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changed: str
) -> None:
    monkeypatch.setattr(stage, "_compile", lambda *_: b"first")
    assert compile_library(NO_CODE, HERE.triple, tmp_path, report=ignore) == b"first"
    monkeypatch.setattr(stage, "_compile", lambda *_: b"second")
    assert compile_library(NO_CODE, HERE.triple, tmp_path, report=ignore) == b"first"
    if changed == "options":
        monkeypatch.setattr(stage, "_OPTIONS", ("-O0",))
    if changed == "compiler":
        monkeypatch.setattr(stage, "find_compiler", lambda: "another compiler")
    source = NO_CODE | ({SOURCES[1]: b"another"} if changed == "source" else {})
    triple = "x86_64-macos" if changed == "platform" else HERE.triple
    assert compile_library(source, triple, tmp_path, report=ignore) == b"second"


def test_damaged_library_in_the_cache_is_compiled_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(stage, "_compile", lambda *_: b"compiled")
    assert compile_library(CODE, HERE.triple, tmp_path, report=ignore) == b"compiled"
    (kept,) = tmp_path.glob("libraries/*/*")
    kept.write_bytes(b"damaged")
    assert compile_library(CODE, HERE.triple, tmp_path, report=ignore) == b"compiled"
    assert kept.read_bytes() == b"compiled"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (b"int f(void) { return 1 }\n", r"handler/ingest/decoder\.c:1:23: error: expected ';' after return statement"),
        (
            b"char f(int x) { return x; }\n",
            r"handler/ingest/decoder\.c:1:24: error: implicit conversion loses integer precision",
        ),
        (b'#include "pump.h"\n', r"handler/ingest/decoder\.c:1:10: fatal error: 'pump\.h' file not found"),
        (b"int g(void); int f(void); int f(void) { return g(); }\n", r"undefined symbol: g"),
    ],
)
def test_source_with_an_error_is_named_with_its_line(
    libraries: Mapping[str, bytes], cache: Path, code: bytes, message: str
) -> None:
    with pytest.raises(CompileError, match=rf"^{LIBRARY} does not compile for .*: .*{message}") as caught:
        compile_library(NO_CODE | {SOURCES[0]: code}, HERE.triple, cache, report=ignore)
    assert "\n" not in str(caught.value)


def test_missing_compiler_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(stage, "_COMPILER", "no-such-compiler")
    with pytest.raises(CompileError, match=r"no-such-compiler is not installed for .*; run make setup"):
        compile_library(CODE, HERE.triple, tmp_path, report=ignore)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "handler" / "ingest").mkdir(parents=True)
    for name, code in CODE.items():
        (tmp_path / name).write_bytes(code)
    return tmp_path


def test_library_for_this_machine_lies_beside_its_source_and_loads(
    libraries: Mapping[str, bytes], cache: Path, project: Path
) -> None:
    compile_here(project, cache, report=ignore)
    assert ctypes.CDLL(str(project / LIBRARY)).decode_lines
    files = {f"handler/ingest/{path.name}" for path in (project / LIBRARY).parent.iterdir()}
    assert files == {LIBRARY, *SOURCES}


def test_unknown_platform_does_without(cache: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Plan9")
    messages: list[str] = []
    compile_here(project, cache, report=messages.append)
    assert "is not compiled for Plan9" in messages[0]
    assert not (project / LIBRARY).exists()


def test_command_ends_with_one_line_and_a_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(stage, "_COMPILER", "no-such-compiler")
    assert stage.main() == CompileError.exit_status
    assert capsys.readouterr().err.startswith("compile: there is no compiler")
    monkeypatch.undo()
    monkeypatch.setattr(stage, "ROOT", tmp_path)
    assert stage.main() == 1
    assert capsys.readouterr().err == f"compile: No such file or directory: {tmp_path / SOURCES[0]}\n"


@pytest.mark.skipif(shutil.which("cc") is None, reason="this machine has no C compiler of its own")
def test_machines_own_compiler_does_where_the_locked_one_is_not_installed(
    cache: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_COMPILER", "no-such-compiler")
    messages: list[str] = []
    compile_here(project, cache, report=messages.append)
    assert "which this machine has" in messages[0]
    assert ctypes.CDLL(str(project / LIBRARY)).decode_lines
