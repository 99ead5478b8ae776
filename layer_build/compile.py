"""The stage of the function's package, compile: the handler's C source as a library, for any platform on any machine.

The compiler is zig's, of the locked wheel ``ziglang``; it brings the C library's headers and symbols of each platform.
``python -m layer_build.compile`` compiles for this machine, to where the handler looks: ``make setup`` does it.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from layer_build.cache import find_cache
from layer_build.errors import CompileError, LayerBuildError
from layer_build.target import TARGETS

ROOT: Final = Path(__file__).resolve().parents[1]
SOURCES: Final = (
    "handler/ingest/decoder.c",
    "handler/ingest/json.h",
    "handler/ingest/layout.h",
    "handler/ingest/text.h",
    "handler/ingest/values.h",
)
LIBRARY: Final = "handler/ingest/libdecoder.so"
_COMPILER: Final = "ziglang"
_OPTIONS: Final = (
    "-std=c11",
    "-O3",
    "-ffp-contract=off",  # no fused multiply-add: the same doubles on both architectures
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Werror",
    "-shared",
    "-fPIC",
    "-g0",
    "-s",
    "-Wl,--build-id=none",
    "-Wl,-z,defs",  # a symbol that nobody has is an error here, not in Lambda
)
_OWN_TRIPLES: Final[Mapping[tuple[str, str], str]] = {
    ("Darwin", "arm64"): "aarch64-macos",
    ("Darwin", "x86_64"): "x86_64-macos",
    **{("Linux", target.linux): target.triple for target in TARGETS.values()},
}


def read_sources(root: Path) -> dict[str, bytes]:
    """Read the C source of a project's handler."""
    return {name: (root / name).read_bytes() for name in SOURCES}


def compile_library(
    sources: Mapping[str, bytes], triple: str, cache: Path, *, report: Callable[[str], object], fresh: bool = False
) -> bytes:
    """Compile the handler's C source, or take the library from the cache if nothing it is made of has changed.

    Parameters
    ----------
    sources
        Each by its path in the project; they include nothing but the C library's headers.
    triple
        The platform, as the compiler calls it, for example ``"x86_64-linux-gnu.2.17"``.
    cache
        The build's cache: finished libraries are kept there, and what the compiler made of the platform's C library.
    report
        Told what was done.
    fresh
        Whether to compile though the library is in the cache.

    Returns
    -------
    bytes
        The shared library; equal for equal input, whatever the machine and its folders.

    Raises
    ------
    CompileError
        If the source does not compile, or there is no compiler.
    """
    digests = {name: hashlib.sha256(source).hexdigest() for name, source in sources.items()}
    recipe = [digests, triple, _OPTIONS, find_compiler()]
    key = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()
    folder = cache / "libraries" / key
    library = None if fresh else _find_finished(folder)
    if library is not None:
        report(f"took {LIBRARY} from the cache: its source has not changed")
        return library
    library = _compile(sources, triple, cache / "compiler")
    _replace(folder / hashlib.sha256(library).hexdigest(), library)
    report(f"compiled {LIBRARY} for {triple}: {len(library):,} bytes")
    return library


def compile_here(root: Path, cache: Path, *, report: Callable[[str], object]) -> None:
    """Compile the library for this machine, and put it beside its source, where the handler finds it.

    The locked compiler does it, or where that is not installed, the machine's own. On a platform it is not compiled
    for, nothing is done: the handler works without it, slower.

    Parameters
    ----------
    root
        The project.
    cache
        The build's cache.
    report
        Told of each step.

    Raises
    ------
    CompileError
        If the source does not compile, or there is no compiler.
    """
    triple = _OWN_TRIPLES.get((platform.system(), platform.machine()))
    if triple is None:
        report(f"{LIBRARY} is not compiled for {platform.system()} on {platform.machine()}; the handler does without")
        return
    sources = read_sources(root)
    own = shutil.which("cc")
    if own is not None and importlib.util.find_spec(_COMPILER) is None:
        library = _run_compiler([own], triple, sources, os.environ)
        report(f"compiled {LIBRARY} with {own}, which this machine has: {len(library):,} bytes")
    else:
        library = compile_library(sources, triple, cache, report=report)
    _replace(root / LIBRARY, library)


def find_compiler() -> str:
    """Tell which compiler there is, with its release.

    Returns
    -------
    str
        Its name and release.

    Raises
    ------
    CompileError
        If there is no compiler.
    """
    try:
        return f"{_COMPILER} {importlib.metadata.version(_COMPILER)}"
    except importlib.metadata.PackageNotFoundError:
        raise CompileError(
            f"there is no compiler: {_COMPILER} is not installed for {sys.executable}; run make setup"
        ) from None


def _find_finished(folder: Path) -> bytes | None:
    """Find a library that was compiled of the same things before; one that was damaged since is as if absent."""
    for path in folder.glob("*"):
        library = path.read_bytes()
        if hashlib.sha256(library).hexdigest() == path.name:
            return library
    return None


def _compile(sources: Mapping[str, bytes], triple: str, cache: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        environment = {"ZIG_GLOBAL_CACHE_DIR": str(cache.resolve()), "ZIG_LOCAL_CACHE_DIR": folder}
        command = [sys.executable, "-P", "-m", _COMPILER, "cc", "-target", triple]
        return _run_compiler(command, triple, sources, environment)


def _run_compiler(
    command: Sequence[str], target: str, sources: Mapping[str, bytes], environment: Mapping[str, str]
) -> bytes:
    """Compile in a folder that is not seen in the result: sources are named from there, and nothing else is known."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, source in sources.items():
            _replace(folder / path, source)
        units = [path for path in sources if path.endswith(".c")]
        result = subprocess.run(  # noqa: S603 - our own compiler
            [*command, *_OPTIONS, "-o", LIBRARY, *units],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            env=environment,
        )
        if result.returncode:
            raise CompileError(f"{LIBRARY} does not compile for {target}: {_explain(result)}")
        return (folder / LIBRARY).read_bytes()


def _explain(result: subprocess.CompletedProcess[str]) -> str:
    """Give the first of the compiler's errors, or else the last it said."""
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "error: " in line]
    return (errors or lines[-1:] or [f"the compiler ended with {result.returncode}"])[0]


def _replace(path: Path, data: bytes) -> None:
    """Write a file under a name of its own first: a process may have the old library loaded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    partial.replace(path)


def main() -> int:
    """Run the command line; return its exit status."""
    try:
        compile_here(ROOT, find_cache(), report=print)
    except LayerBuildError as error:
        print(f"compile: {error}", file=sys.stderr)
        return error.exit_status
    except OSError as error:
        print(f"compile: {error.strerror}: {error.filename}", file=sys.stderr)
        return LayerBuildError.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
