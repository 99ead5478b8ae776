import sys
from pathlib import Path

import pytest

from layer_build.errors import InterpreterError
from layer_build.interpreter import find_interpreter

OWN = ".".join(map(str, sys.version_info[:2]))


def put_program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_own_python_needs_no_search() -> None:
    found = find_interpreter(OWN)
    assert (found.path, found.tag, found.version) == (
        sys.executable,
        sys.implementation.cache_tag,
        sys.version.split()[0],
    )


def test_shim_that_points_nowhere_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyenv's, for one, fails for versions that are installed and not chosen; they lie beside this one."""
    put_program(tmp_path / "shims" / "python3.99", "exit 127")
    put_program(tmp_path / "versions" / "3.99.1" / "bin" / "python3.99", """echo '["cpython-399", "3.99.1"]'""")
    monkeypatch.setenv("PATH", str(tmp_path / "shims"))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "versions" / "3.11.7"))
    found = find_interpreter("3.99")
    assert found.path == str(tmp_path / "versions" / "3.99.1" / "bin" / "python3.99")
    assert found.version == "3.99.1"


def test_program_of_another_version_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_program(tmp_path / "bin" / "python3.99", """echo '["cpython-398", "3.98.0"]'""")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "nowhere"))
    with pytest.raises(InterpreterError, match=r"Python 3\.99 wants a python3\.99 .*install it"):
        find_interpreter("3.99")
