"""The decoder under AddressSanitizer and UndefinedBehaviorSanitizer, on lines that are damaged at random."""

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from polars.testing import assert_frame_equal

from handler.definitions.raw import RawContent
from handler.definitions.spec import FeatureSpec
from handler.ingest import decoder
from handler.ingest.library import Library
from layer_build.compile import ROOT
from tests.harness import T0, at, environment_without_python, line, without_compiled_code
from tests.parsing import parse_batch
from tests.property.test_against_reference import BAD_LINES

ROUNDS = 400
OPTIONS = ("-std=c11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-shared", "-fPIC")
SPEC = FeatureSpec.load()
WHOLE = (
    line("M1", at(0.1), temperature=71.25, vibration=1.5, sensor_type="temperature"),
    line("Motor ñ", at(0.2), vibration=0.001, firmware=17, tags={"a": [1, None, "x"]}, note="ok"),
    line("M2", "2025-10-15T00:10:00.1234567-03:00", temperature=-1.5e1, mqtt_topic="a/b"),
    *BAD_LINES,
)


def run(*command: str, **more: str) -> "subprocess.CompletedProcess[str]":
    environment = {**environment_without_python(), **more}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)


def test_damaged_lines_upset_no_sanitizer_and_are_parsed_alike(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("this machine has no C compiler")
    runtime = run(compiler, "-print-file-name=libasan.so").stdout.strip()
    if not Path(runtime).is_absolute():
        pytest.skip("this machine's C compiler has no AddressSanitizer")
    library = tmp_path / "libdecoder.so"
    compiled = run(compiler, *OPTIONS, "-o", str(library), "handler/ingest/decoder.c")
    assert compiled.returncode == 0, compiled.stderr
    result = run(
        *(sys.executable, "-m", "tests.unit.ingest.test_sanitizers", str(library)),
        LD_PRELOAD=runtime,
        PYTHONMALLOC="malloc",
        ASAN_OPTIONS="detect_leaks=0",
    )
    assert (result.returncode, result.stdout) == (0, f"{ROUNDS} rounds\n"), result.stderr[-3000:]


def damage(text: bytearray, chance: Random) -> None:
    """Change, drop, repeat or cut some bytes."""
    for _ in range(chance.randrange(4)):
        place = chance.randrange(len(text) + 1)
        kind = chance.randrange(4)
        if kind == 0:
            text[place : place + 1] = bytes([chance.randrange(256)])
        elif kind == 1:
            del text[place : place + chance.randrange(1, 9)]
        elif kind == 2:
            text[place:place] = text[place : place + chance.randrange(1, 40)]
        else:
            del text[place:]


def put_in_memory_of_its_own(text: bytes) -> memoryview:
    """Copy a text to where the sanitizer watches its last byte: no terminating zero follows."""
    return memoryview((ctypes.c_ubyte * len(text)).from_buffer_copy(text)).cast("B")


def main(path: Path) -> None:
    """Parse damaged lines by the library at ``path``, and by plain Python."""
    chance = Random(7)
    library = Library(path)
    for _ in range(ROUNDS):
        text = bytearray(b"\n".join(chance.choice(WHOLE) for _ in range(chance.randrange(1, 12))))
        damage(text, chance)
        content = RawContent("a.jsonl", put_in_memory_of_its_own(bytes(text) or b" "))
        decoder._LIBRARY = library  # type: ignore[misc]
        ours = parse_batch([content], SPEC, T0)
        with without_compiled_code():
            plain = parse_batch([content], SPEC, T0)
        assert (ours.lines, ours.unknown_fields) == (plain.lines, plain.unknown_fields), bytes(text)
        assert_frame_equal(ours.rejected, plain.rejected)
        assert sorted(map(repr, ours.readings.rows())) == sorted(map(repr, plain.readings.rows())), bytes(text)
    print(f"{ROUNDS} rounds")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
