"""Stage 5b, docstrings: empty them, in the source itself, so that source and bytecode still say the same.

Nobody reads them in a Lambda. Every line keeps its number, so tracebacks stay true.
"""

import ast
import io
import tokenize
from collections.abc import Iterator, Mapping
from typing import Final

_EMPTY: Final = b'""'
_DOCUMENTED: Final = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def empty_docstrings(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Empty the docstrings of a tree's modules; a module that cannot be parsed stays as it is."""
    return {path: empty_source(data) if path.endswith(".py") else data for path, data in files.items()}


def empty_source(source: bytes) -> bytes:
    r"""Put ``""`` and as many line ends in the place of each docstring.

    A docstring becomes empty, not absent, for the sake of code that takes it for a string. One that shares its last
    line with other code stays.

    Parameters
    ----------
    source
        A module in UTF-8.

    Returns
    -------
    bytes
        The same statements on the same lines.

    Examples
    --------
    >>> empty_source(b'def f():\n    \'\'\'Do\n    it.\'\'\'\n    return 1\n')
    b'def f():\n    ""\n\n    return 1\n'
    """
    try:
        if source.startswith(b"\xef\xbb\xbf") or tokenize.detect_encoding(io.BytesIO(source).readline)[0] != "utf-8":
            return source
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return source
    lines = source.splitlines(keepends=True)
    for node in sorted(_find_docstrings(tree), key=lambda node: -node.lineno):
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        before, after = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
        if not after.strip() and not before.strip():
            lines[first : last + 1] = [before + _EMPTY + b"\n" * (last - first) + after]
            lines[first + 1 : first + 1] = [b""] * (last - first)
    return b"".join(lines)


def _find_docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and node.body and isinstance(node.body[0], ast.Expr):
            value = node.body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value
