import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from layer_build import bytecode
from layer_build.bytecode import compile_files
from layer_build.errors import BytecodeError

SOURCE = b"""
KINDS = frozenset({"pump", "valve", "fan", "mixer", "press"})
def common(path, name, value=1.5, *, data=(1, 2, ("a", "b")), big=10**9):
    return [name for item in path if item in {"x", "y", "z"} and (lambda: value + big)()]
class Pump:
    speed: float = 3.25
    async def run(self): return "a text that is no name"
"""

COMPILE = """
import sys, hashlib
sys.path.insert(0, sys.argv[1])
{before}
from layer_build.bytecode import compile_files
(data,) = compile_files({{"pump.py": {source!r}}}, "/opt/python/").values()
print(hashlib.sha256(data).hexdigest())
"""


@pytest.mark.parametrize("seed", ["0", "1", "77"])
@pytest.mark.parametrize("before", ["pass", "import json, decimal; pump = common = speed = 1", "import polars, pandas"])
def test_bytes_depend_on_the_source_alone(seed: str, before: str) -> None:
    """Not on the hash seed, and not on which names other modules of the process use."""
    root = str(Path(__file__).parents[3])
    result = subprocess.run(
        [sys.executable, "-c", COMPILE.format(before=before, source=SOURCE), root],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": seed},
    )
    compiled = compile_files({"pump.py": SOURCE}, "/opt/python/")
    assert result.stdout.strip() == hashlib.sha256(compiled["__pycache__/pump.cpython-311.pyc"]).hexdigest()


def test_many_modules_in_many_processes_compile_to_the_same() -> None:
    files = {f"pump/m{k:03}.py": SOURCE + b"x = %d\n" % k for k in range(100)} | {"pump/a.txt": b"no python"}
    compiled = compile_files(files, "/opt/python/", jobs=2)
    assert compiled == compile_files(files, "/opt/python/")
    assert sorted(compiled)[0] == "pump/__pycache__/m000.cpython-311.pyc"
    assert len(compiled) == 100


def test_python_loads_it_without_looking_at_the_source(tmp_path: Path) -> None:
    """Unchecked: the source may be as new as it likes, and even another."""
    (tmp_path / "__pycache__").mkdir()
    for place, data in compile_files({"pump.py": b"WHERE = 'bytecode'\ndef f(): 1 / 0\n"}, "/opt/python/").items():
        (tmp_path / place).write_bytes(data)
    (tmp_path / "pump.py").write_bytes(b"WHERE = 'source'\n")
    code = "import sys; sys.path.insert(0, sys.argv[1]); import pump; print(pump.WHERE, pump.__cached__)"
    result = subprocess.run(
        [sys.executable, "-I", "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["bytecode", str(tmp_path / "__pycache__" / "pump.cpython-311.pyc")]


def test_path_inside_is_lambdas() -> None:
    assert b"/opt/python/pump.py" in compile_files({"pump.py": b""}, "/opt/python/")["__pycache__/pump.cpython-311.pyc"]


@pytest.mark.parametrize("source", [b"def f(:\n", b"x = 1\0\n"])
def test_module_that_does_not_compile_is_named(source: bytes) -> None:
    with pytest.raises(BytecodeError, match=r"/opt/python/pump\.py does not compile"):
        compile_files({"pump.py": source}, "/opt/python/")


def test_another_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bytecode, "PYTHON", (3, 9))
    with pytest.raises(BytecodeError, match=r"run python3\.9"):
        compile_files({}, "/opt/python/")
