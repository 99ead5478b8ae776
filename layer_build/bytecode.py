"""Stage 6, bytecode: every module compiled beforehand, because a layer is read-only where it runs.

The files are *unchecked*: Python loads them without looking at the source's time, which a layer does not keep.
"""

import importlib.util
import marshal
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from types import CodeType
from typing import Final

from layer_build.errors import BytecodeError
from layer_build.target import PYTHON

_TAG: Final = f"cpython-{PYTHON[0]}{PYTHON[1]}"
_HASH_BASED_UNCHECKED: Final = (1).to_bytes(4, "little")
_CHUNK: Final = 40


def compile_files(files: Mapping[str, bytes], prefix: str, *, jobs: int = 1) -> dict[str, bytes]:
    """Compile a tree's modules.

    Parameters
    ----------
    files
        Bytes by path in the site folder; what does not end in ``.py`` is passed over.
    prefix
        Where the folder lies in Lambda, with a slash at the end: the path that tracebacks show.
    jobs
        Processes to compile in.

    Returns
    -------
    dict
        Only the bytecode, by path: ``a/__pycache__/b.cpython-311.pyc`` for ``a/b.py``. Equal for equal input, whatever
        else the process has loaded and whatever its hash seed.

    Raises
    ------
    BytecodeError
        If a module does not compile, or this is not the target's Python.
    """
    if sys.version_info[:2] != PYTHON or sys.implementation.cache_tag != _TAG:
        raise BytecodeError(
            f"this is Python {sys.version.split()[0]}, and bytecode is wanted for {PYTHON[0]}.{PYTHON[1]}; "
            f"run python{PYTHON[0]}.{PYTHON[1]} -m layer_build"
        )
    modules = [(prefix + path, data) for path, data in sorted(files.items()) if path.endswith(".py")]
    paths = (place_bytecode(path) for path in sorted(files) if path.endswith(".py"))
    if jobs == 1 or len(modules) < _CHUNK:
        return dict(zip(paths, map(_compile_one, modules), strict=True))
    with ProcessPoolExecutor(jobs) as pool:
        return dict(zip(paths, pool.map(_compile_one, modules, chunksize=_CHUNK), strict=True))


def place_bytecode(path: str) -> str:
    """Say where Python looks for a module's bytecode.

    Parameters
    ----------
    path
        A module's path, with slashes.

    Returns
    -------
    str
        The path of its ``.pyc``.

    Examples
    --------
    >>> place_bytecode("polars/io/csv.py")
    'polars/io/__pycache__/csv.cpython-311.pyc'
    """
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}__pycache__/{name.removesuffix('.py')}.{_TAG}.pyc"


def _compile_one(module: tuple[str, bytes]) -> bytes:
    path, source = module
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError) as error:
        raise BytecodeError(f"{path} does not compile: {error}; prune it if nothing imports it") from None
    return importlib.util.MAGIC_NUMBER + _HASH_BASED_UNCHECKED + importlib.util.source_hash(source) + _dump(code)


def _dump(code: CodeType) -> bytes:
    """Serialize code so that equal code gives equal bytes.

    marshal marks each object that has more than one reference anywhere in the process. So a name that another module
    also uses is written otherwise than a name used once. With a second reference to everything, all are marked.
    """
    held = list(_walk(code))
    data = marshal.dumps(code)
    del held
    return data


def _walk(code: CodeType) -> Iterator[object]:
    names = (*code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars)
    tables = (code.co_names, code.co_linetable, code.co_exceptiontable)
    yield from (code, code.co_name, code.co_qualname, code.co_filename, *names, *tables)
    yield from _walk_constants((code.co_consts,))


def _walk_constants(values: Iterable[object]) -> Iterator[object]:
    for value in values:
        yield value
        if isinstance(value, CodeType):
            yield from _walk(value)
        elif isinstance(value, tuple | frozenset):
            yield from _walk_constants(value)
