"""The Python that the layer is for, on this machine: it compiles the bytecode and runs the smoke test."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from layer_build.errors import InterpreterError

_ASK: Final = "import json, sys; print(json.dumps([sys.implementation.cache_tag, sys.version.split()[0]]))"


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A CPython that runs here.

    Attributes
    ----------
    path
        Its program.
    tag
        Its name in the names of bytecode files, for example ``"cpython-311"``.
    version
        Its full version.
    """

    path: str
    tag: str
    version: str


def find_interpreter(python: str) -> Interpreter:
    """Find a Python: this one, one on the PATH, or one that is installed beside this one, as pyenv and uv do.

    Parameters
    ----------
    python
        Its version, for example ``"3.12"``.

    Returns
    -------
    Interpreter
        The first that runs and is of this version.

    Raises
    ------
    InterpreterError
        If no such Python runs here.
    """
    tag = f"cpython-{python.replace('.', '')}"
    for path in _name_candidates(python):
        try:
            result = subprocess.run([path, "-I", "-S", "-c", _ASK], capture_output=True, text=True, check=True)  # noqa: S603
            found = Interpreter(path, *json.loads(result.stdout))
        except (OSError, subprocess.CalledProcessError, ValueError):  # a shim that points nowhere
            continue
        if found.tag == tag:
            return found
    raise InterpreterError(
        f"a layer for Python {python} wants a python{python} that compiles and tries it, and there is none on the "
        f"PATH or beside {sys.base_prefix}; install it, or leave --python out for 3.11"
    )


def _name_candidates(python: str) -> Iterator[str]:
    yield sys.executable
    if found := shutil.which(f"python{python}"):
        yield found
    beside = Path(sys.base_prefix).parent.glob(f"*{python}*/bin/python{python}")
    yield from map(str, sorted(beside, reverse=True))
