"""Compile modules in the Python that runs this file: ``python3.12 -I -S pyc.py JOBS``.

In: marshalled pairs of a path and a source. Out: their bytecode in that order, marshalled, or what would not compile as
one text. It stands alone, as the target's Python need not be the one that builds.
"""

import importlib.util
import marshal
import sys
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from types import CodeType

_HASH_BASED_UNCHECKED = (1).to_bytes(4, "little")
_CHUNK = 40
_COMMON_FORMAT = 4  # of marshal: every Python from 3.4 on reads it


def main() -> None:
    """Compile what stands on standard input."""
    jobs = int(sys.argv[1])
    modules = marshal.load(sys.stdin.buffer)  # noqa: S302 - from the process that started this one
    answer: list[bytes] | str
    try:
        if jobs == 1 or len(modules) < _CHUNK:
            answer = list(map(_compile, modules))
        else:
            with ProcessPoolExecutor(jobs) as pool:
                answer = list(pool.map(_compile, modules, chunksize=_CHUNK))
    except ValueError as error:
        answer = str(error)
    marshal.dump(answer, sys.stdout.buffer, _COMMON_FORMAT)


def _compile(module: tuple[str, bytes]) -> bytes:
    path, source = module
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{path} does not compile: {error}") from None
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
        elif isinstance(value, (tuple, frozenset)):
            yield from _walk_constants(value)


if __name__ == "__main__":
    main()
