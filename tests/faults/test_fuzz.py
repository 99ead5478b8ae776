"""The decoder and whole objects are fuzzed under AddressSanitizer and UndefinedBehaviorSanitizer."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from layer_build.compile import ROOT, read_sources
from tests.faults.amounts import FUZZ_SECONDS
from tests.harness import environment_without_python

COMPILER = (sys.executable, "-m", "ziglang", "cc")
OPTIONS = (
    "-std=c11", "-O1", "-g", "-shared", "-fPIC", "-fsanitize=address,undefined", "-fsanitize-trap=undefined",
    "-fsanitize-coverage=inline-8bit-counters,pc-table,trace-cmp",
)  # fmt: skip
PACKAGES = ROOT / ".tools/atheris/lib/python3.11/site-packages"
SANITIZER = PACKAGES / "asan_with_fuzzer.so"
SHARES = {"memory": 0.25, "decoder": 0.25, "objects": 0.5}
"""Of the time."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The decoder, watched by sanitizers and counting the branches that are taken."""
    return compile_watched(tmp_path_factory.mktemp("watched"), read_sources(ROOT))


def compile_watched(folder: Path, sources: Mapping[str, bytes]) -> Path:
    if not SANITIZER.exists():
        pytest.skip("atheris has no wheel for this machine: it comes for Linux on x86_64")
    for name, source in sources.items():
        folder.joinpath(Path(name).name).write_bytes(source)
    subprocess.run([*COMPILER, *OPTIONS, "-o", "libdecoder.so", "decoder.c"], cwd=folder, check=True)
    return folder / "libdecoder.so"


def fuzz(target: str, library: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    environment = environment_without_python() | {
        "LD_PRELOAD": str(SANITIZER),
        "PYTHONPATH": str(PACKAGES),
        "PYTHONMALLOC": "malloc",  # so that the sanitizer knows each object of Python
        "ASAN_OPTIONS": "detect_leaks=0",
    }
    command = [sys.executable, "-m", "tests.faults.fuzz", target, str(library), "-print_final_stats=1", *options]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("target", SHARES)
def test_nothing_breaks_and_nothing_differs(
    target: str, library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = round(2 * FUZZ_SECONDS * SHARES[target])
    done = fuzz(target, library, f"-max_total_time={seconds}", "-max_len=4000", f"-artifact_prefix={tmp_path}/")
    assert done.returncode == 0, done.stderr[-3000:]
    executions = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    assert executions is not None, done.stderr[-3000:]
    assert int(executions[1]) > 3 * seconds
    assert "1 PC tables" in done.stderr  # the library counts its branches
    with capsys.disabled():
        print(f"\n{target}: {executions[1]} executions in {seconds} s")


@pytest.mark.parametrize(
    ("target", "code", "broken"),
    [
        ("memory", b"first + d->text_length;", b"first + d->text_length + 1;"),
        ("decoder", b"d->unknown_count += line.unknown_numbers;", b""),
        ("objects", b"take(&c, '\\n');\n            continue;", b"c.at = end;"),
    ],
)
def test_broken_decoder_is_found(target: str, code: bytes, broken: bytes, tmp_path: Path) -> None:
    sources = read_sources(ROOT)
    name = "handler/ingest/decoder.c"
    assert code in sources[name]
    library = compile_watched(tmp_path, {**sources, name: sources[name].replace(code, broken)})
    done = fuzz(target, library, "-max_total_time=60", f"-artifact_prefix={tmp_path}/")
    assert done.returncode != 0
    assert "ERROR: " in done.stderr
