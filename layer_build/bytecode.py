"""Stage 6, bytecode: every module compiled beforehand, because a layer is read-only where it runs.

The files are *unchecked*: Python loads them without looking at the source's time, which a layer does not keep.
"""

import marshal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from layer_build.errors import BytecodeError
from layer_build.interpreter import Interpreter

_SCRIPT: Final = Path(__file__).with_name("pyc.py")


def compile_files(
    files: Mapping[str, bytes], prefix: str, interpreter: Interpreter, *, jobs: int = 1
) -> dict[str, bytes]:
    """Compile a tree's modules.

    Parameters
    ----------
    files
        Bytes by path in the site folder; what does not end in ``.py`` is passed over.
    prefix
        Where the folder lies in Lambda, with a slash at the end: the path that tracebacks show.
    interpreter
        The Python that is to load them.
    jobs
        Processes to compile in.

    Returns
    -------
    dict
        Only the bytecode, by path: ``a/__pycache__/b.cpython-311.pyc`` for ``a/b.py``. Equal for equal input, however
        many processes share the work and whatever their hash seed.

    Raises
    ------
    BytecodeError
        If a module does not compile.
    """
    modules = {path: data for path, data in sorted(files.items()) if path.endswith(".py")}
    asked = marshal.dumps([(prefix + path, data) for path, data in modules.items()])
    command = [interpreter.path, "-I", "-S", "-B", str(_SCRIPT), str(jobs)]
    result = subprocess.run(command, input=asked, capture_output=True, check=False)  # noqa: S603 - our own script
    if result.returncode:
        last = (result.stderr.decode(errors="replace").splitlines() or [f"it ended with {result.returncode}"])[-1]
        raise BytecodeError(f"{interpreter.path} cannot compile: {last}")
    compiled: list[bytes] | str = marshal.loads(result.stdout)  # noqa: S302 - from the process just run
    if isinstance(compiled, str):
        raise BytecodeError(f"{compiled}; prune it if nothing imports it")
    return dict(zip((place_bytecode(path, interpreter.tag) for path in modules), compiled, strict=True))


def place_bytecode(path: str, tag: str) -> str:
    """Say where Python looks for a module's bytecode.

    Parameters
    ----------
    path
        A module's path, with slashes.
    tag
        The Python's name in the names of such files.

    Returns
    -------
    str
        The path of its ``.pyc``.

    Examples
    --------
    >>> place_bytecode("polars/io/csv.py", "cpython-311")
    'polars/io/__pycache__/csv.cpython-311.pyc'
    """
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}__pycache__/{name.removesuffix('.py')}.{tag}.pyc"
