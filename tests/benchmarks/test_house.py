"""How large the handler and its layer are, and whether the house has circles."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.conftest import Collected, Sizes
from tests.benchmarks.figures import Figure, at_most
from tests.builds import run_build
from tests.harness import environment_without_python
from tests.house import ROOT, count_floors, count_lines, find_circles, keep_own_imports, read_modules, read_rooms

LAYER_BYTES = 252_000_000


def test_house(collected: Collected) -> None:
    modules = read_modules()
    circles = find_circles(keep_own_imports(modules))
    floors = max(count_floors(read_rooms(modules)).values())
    measured = (
        ("floors of the handler", at_most(8), floors, "floors", "packages above each other, by their imports"),
        ("circles of imports in the handler", at_most(0), len(circles), "circles", "also of imports inside functions"),
        ("rules of imports that are broken", at_most(0), count_broken_rules(), "rules", "import-linter's count"),
        ("lines of C", at_most(850), count_lines(".c", ".h"), "lines", "one decoder, comments included"),
        ("lines of Python in `handler/`", None, count_lines(".py"), "lines", "docstrings included"),
    )
    collected.figures += [Figure(name, bound, count, unit, 1, how) for name, bound, count, unit, how in measured]


def count_broken_rules() -> int:
    """Let import-linter count."""
    command = str(Path(sys.executable).with_name("lint-imports"))
    environment = {**environment_without_python(), "PYTHONPATH": "constructs"}
    done = subprocess.run([command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    told = re.search(r"Contracts: (\d+) kept, (\d+) broken", done.stdout)
    assert told is not None, done.stdout + done.stderr
    assert int(told[1]) + int(told[2]) > 0
    return int(told[2])


@pytest.mark.only_measured  # tests/runtime/test_build.py builds the layer, and holds it to the same bound
def test_layer(collected: Collected, sizes: Sizes, tmp_path: Path) -> None:
    for architecture in sizes.architectures:
        manifest = run_build(tmp_path / architecture, tmp_path / "cache", "--arch", architecture).manifest
        layer, function = (manifest[part]["unpacked"] for part in ("layer", "function"))
        collected.figures.append(
            Figure(
                f"layer and function for {architecture}, unpacked",
                at_most(LAYER_BYTES),
                layer + function,
                "bytes",
                1,
                f"layer {layer:,}, function {function:,}; the layer holds awscrt",
            )
        )
