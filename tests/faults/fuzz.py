"""What is fuzzed, by atheris, in a process of its own: ``python -m tests.faults.fuzz TARGET LIBRARY [OPTION …]``.

``memory`` decodes bytes by the library, which sanitizers watch. ``decoder`` parses them by it and by plain Python.
``objects`` runs the pipeline on an object, and compares with the exact reference. Whatever differs, or breaks the rules
of memory, ends the process.
"""

import ctypes
import gzip
import shutil
import sys
import tempfile
from pathlib import Path

from polars.testing import assert_frame_equal

from handler.definitions.raw import RawContent
from handler.definitions.spec import FeatureSpec
from handler.ingest import decoder
from handler.ingest.decoder import decode_readings
from handler.ingest.framing import FallbackLine
from handler.ingest.library import Library
from tests import reference
from tests.harness import HOUR, T0, Pipeline, at, check_sums, line, without_compiled_code, write_raw
from tests.parsing import parse_batch
from tests.property.test_against_reference import BAD_LINES, ODD_LINES

SPEC = FeatureSpec.load()
SEEDS = (
    line("M1", at(0.1), temperature=71.25, vibration=1.5, sensor_type="temperature"),
    line("Motor ñ", at(0.2), vibration=0.001, firmware=17, tags={"a": [1, None, "x"]}, note="ok"),
    line("M2", "2025-10-15T00:10:00.1234567-03:00", temperature=-1.5e1, mqtt_topic="a/b"),
    line("M2", at(0.5), codigo_evento="FALHA_VIBRACAO_ELEVADA"),
    *BAD_LINES,
    *ODD_LINES,
)


def write_seeds(folder: Path) -> None:
    """Write what is mutated: lines one by one, all of them, and these in gzip."""
    whole = b"\n".join(SEEDS)
    for number, seed in enumerate([*SEEDS, whole, gzip.compress(whole), b"\xef\xbb\xbf" + whole]):
        (folder / f"{number:02d}").write_bytes(seed)


def put_in_memory_of_its_own(text: bytes) -> memoryview:
    """Copy a text to where the sanitizer watches its last byte: no terminating zero follows."""
    return memoryview((ctypes.c_ubyte * len(text)).from_buffer_copy(text)).cast("B")


def fuzz_memory(text: bytes) -> None:
    """Decode lines, and take each that is not certain."""
    taken: list[FallbackLine] = []
    content = RawContent("a.jsonl", put_in_memory_of_its_own(text or b" "))
    rows = sum(decoded.lines.height for decoded in decode_readings([content], SPEC, at(1), taken.extend))
    assert rows + len(taken) <= text.count(b"\n") + text.count(b"}") + 1


def fuzz_decoder(text: bytes) -> None:
    """Parse lines twice."""
    content = RawContent("a.jsonl", put_in_memory_of_its_own(text or b" "))
    ours = parse_batch([content], SPEC, T0)
    with without_compiled_code():
        plain = parse_batch([content], SPEC, T0)
    assert (ours.lines, ours.unknown_fields) == (plain.lines, plain.unknown_fields)
    assert_frame_equal(ours.rejected, plain.rejected)
    assert_frame_equal(ours.failures, plain.failures)
    assert sorted(map(repr, ours.readings.rows())) == sorted(map(repr, plain.readings.rows()))


def fuzz_objects(data: bytes) -> None:
    """Run on an object, and compare each count and feature with the reference."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_raw(root, T0, "a.jsonl.gz" if data[:1] == b"\x1f" else "a.jsonl", data)
        pipeline = Pipeline(root, spec=SPEC, time_window=HOUR, allowed_lateness=HOUR)
        answer = pipeline.run(at(1))
        check_sums(answer)
        expected = reference.read_lake(root, allowed=HOUR)
        lines = answer["lines"]
        assert lines["read"] == expected.lines
        assert lines["accepted"] == expected.accepted
        assert lines["failures"] == expected.failures
        assert lines["duplicates"] == expected.duplicates
        assert lines["unknown_fields"] == expected.unknown_fields
        assert answer["objects"]["unreadable"] == expected.unreadable
        rejected = {reason: count for reason, count in lines["rejected"].items() if reason != "unreadable_object"}
        assert rejected == dict(expected.rejected)
        rows = reference.compute_rows([reading for reading in expected.readings if reading.lateness <= HOUR], at(1))
        assert reference.compare_rows(pipeline.rows_at(at(1)), rows) == []


if __name__ == "__main__":
    import atheris

    target, library, *options = sys.argv[1:]
    decoder._LIBRARY = Library(Path(library))  # type: ignore[misc]
    corpus = Path(tempfile.mkdtemp())
    try:
        write_seeds(corpus)
        targets = {"memory": fuzz_memory, "decoder": fuzz_decoder, "objects": fuzz_objects}
        atheris.Setup([sys.argv[0], str(corpus), *options], targets[target])
        atheris.Fuzz()
    finally:
        shutil.rmtree(corpus)
