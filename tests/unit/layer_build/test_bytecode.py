import subprocess
import sys
from pathlib import Path

import pytest

from layer_build.bytecode import compile_files
from layer_build.errors import BytecodeError
from layer_build.interpreter import Interpreter, find_interpreter

SOURCE = b"""
KINDS = frozenset({"pump", "valve", "fan", "mixer", "press"})
def common(path, name, value=1.5, *, data=(1, 2, ("a", "b")), big=10**9):
    return [name for item in path if item in {"x", "y", "z"} and (lambda: value + big)()]
class Pump:
    speed: float = 3.25
    async def run(self): return "a text that is no name"
"""
OTHERS = b"import json, decimal, path\npump = common = speed = run = KINDS = name = item = value = 1\n"


@pytest.fixture(scope="module")
def own() -> Interpreter:
    return find_interpreter("3.11")


def test_bytes_depend_on_the_source_alone(own: Interpreter) -> None:
    """Not on the hash seed, which each process draws, and not on the names in modules compiled before it."""
    alone = compile_files({"pump.py": SOURCE}, "/opt/python/", own)
    beside = compile_files({"a.py": OTHERS, "pump.py": SOURCE, "z.py": OTHERS}, "/opt/python/", own)
    assert beside["__pycache__/pump.cpython-311.pyc"] == alone["__pycache__/pump.cpython-311.pyc"]
    for _ in range(3):
        assert compile_files({"pump.py": SOURCE}, "/opt/python/", own) == alone


def test_many_modules_in_many_processes_compile_to_the_same(own: Interpreter) -> None:
    files = {f"pump/m{k:03}.py": SOURCE + b"x = %d\n" % k for k in range(100)} | {"pump/a.txt": b"no python"}
    compiled = compile_files(files, "/opt/python/", own, jobs=2)
    assert compiled == compile_files(files, "/opt/python/", own)
    assert sorted(compiled)[0] == "pump/__pycache__/m000.cpython-311.pyc"
    assert len(compiled) == 100


def test_python_loads_it_without_looking_at_the_source(own: Interpreter, tmp_path: Path) -> None:
    """Unchecked: the source may be as new as it likes, and even another."""
    (tmp_path / "__pycache__").mkdir()
    files = {"pump.py": b"WHERE = 'bytecode'\ndef f(): 1 / 0\n"}
    for place, data in compile_files(files, "/opt/python/", own).items():
        (tmp_path / place).write_bytes(data)
    (tmp_path / "pump.py").write_bytes(b"WHERE = 'source'\n")
    code = "import sys; sys.path.insert(0, sys.argv[1]); import pump; print(pump.WHERE, pump.__cached__)"
    result = subprocess.run(
        [sys.executable, "-I", "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["bytecode", str(tmp_path / "__pycache__" / "pump.cpython-311.pyc")]


def test_path_inside_is_lambdas(own: Interpreter) -> None:
    (data,) = compile_files({"pump.py": b""}, "/opt/python/", own).values()
    assert b"/opt/python/pump.py" in data


@pytest.mark.parametrize("source", [b"def f(:\n", b"x = 1\0\n"])
def test_module_that_does_not_compile_is_named(own: Interpreter, source: bytes) -> None:
    with pytest.raises(BytecodeError, match=r"/opt/python/pump\.py does not compile"):
        compile_files({"pump.py": source}, "/opt/python/", own)


def test_python_that_does_not_run_is_named(tmp_path: Path) -> None:
    program = tmp_path / "python3.99"
    program.write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(BytecodeError, match=r"python3\.99 cannot compile: broken"):
        compile_files({"pump.py": b""}, "/opt/python/", Interpreter(str(program), "cpython-399", "3.99.0"))
