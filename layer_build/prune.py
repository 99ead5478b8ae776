"""Stage 4, prune: take out what nothing in a Lambda imports or reads, each file by a rule that gives its reason."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final


@dataclass(frozen=True, slots=True)
class Rule:
    """What to take out, and why it is not missed.

    Attributes
    ----------
    patterns
        Paths in the site folder: ``*`` stands for a part of a name, ``**`` for any number of folders.
    reason
        Why, in a few words; savings are shown by it.
    unless
        Paths the rule leaves in.
    """

    patterns: tuple[str, ...]
    reason: str
    unless: tuple[str, ...] = ()

    def takes(self, path: str) -> bool:
        """Tell whether the rule takes a file out."""
        return any(_match(pattern, path) for pattern in self.patterns) and not any(
            _match(pattern, path) for pattern in self.unless
        )


RULES: Final = (
    Rule(
        ("**/tests/**", "numpy/conftest.py", "pandas/conftest.py"),
        "tests and their data",
        # numpy.testing, and so pandas._testing, import _natype
        unless=("numpy/_core/tests/__init__.py", "numpy/_core/tests/_natype.py"),
    ),
    Rule(("**/*.pyi", "**/py.typed"), "types, for checkers"),
    Rule(
        ("**/*.h", "**/*.c", "**/*.a", "**/*.pxd", "**/*.pyx", "**/*.pxi", "**/*.tpl", "**/*.in", "numpy/_core/lib/**"),
        "headers, static libraries, C and Cython sources",
    ),
    Rule(("numpy/f2py/**", "numpy/distutils/**", "numpy/random/_examples/**"), "numpy's tools for building extensions"),
    Rule(("numpy/_core/_simd.*.so",), "numpy's module for testing its SIMD wrappers"),
    Rule(("numpy/_pyinstaller/**", "numpy/typing/mypy_plugin.py"), "plugins of tools that do not run in a Lambda"),
    Rule(("pandas/pyproject.toml", "numpy/ma/README.rst", "numpy/doc/**"), "documents of a source tree"),
    Rule(
        ("aws_lambda_powertools/event_handler/openapi/swagger_ui/*.js",
         "aws_lambda_powertools/event_handler/openapi/swagger_ui/*.css"),
        "a web page for trying HTTP interfaces",
    ),
    Rule(("polars/testing/parametric/**",), "strategies for hypothesis, which is not in the layer"),
    Rule(("*.dist-info/sboms/**",), "bills of materials (the layer's own lies beside it)"),
    Rule(
        ("*.dist-info/RECORD", "*.dist-info/INSTALLER", "*.dist-info/top_level.txt", "*.dist-info/zip-safe"),
        "installers' notes, no longer true of a pruned tree",
    ),
    Rule(("bin/**", "headers/**", "data/**", "scripts/**"), "commands and files outside the site folder"),
    Rule(("**/__pycache__/**", "**/*.pyc"), "bytecode from elsewhere"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pruned:
    """What pruning left, and what it took.

    Attributes
    ----------
    files
        The files left.
    saved
        Bytes taken, by reason.
    """

    files: Mapping[str, bytes]
    saved: Mapping[str, int]


def prune_files(files: Mapping[str, bytes], rules: tuple[Rule, ...] = RULES) -> Pruned:
    """Take out what a rule names.

    Parameters
    ----------
    files
        Bytes by path in the site folder.
    rules
        The first that takes a file counts.

    Returns
    -------
    Pruned
        The files that stay, and the bytes each rule saved.

    Examples
    --------
    >>> prune_files({"a/__init__.py": b"", "a/tests/test_a.py": b"12345"}).saved
    {'tests and their data': 5}
    """
    kept: dict[str, bytes] = {}
    saved: dict[str, int] = {}
    for path, data in files.items():
        rule = next((rule for rule in rules if rule.takes(path)), None)
        if rule is None:
            kept[path] = data
        else:
            saved[rule.reason] = saved.get(rule.reason, 0) + len(data)
    return Pruned(kept, saved)


def _match(pattern: str, path: str) -> bool:
    return _compile(pattern).fullmatch(path) is not None


@cache
def _compile(pattern: str) -> re.Pattern[str]:
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    pieces = re.split(r"(\*\*/|\*\*|\*)", pattern)
    return re.compile("".join(parts.get(piece) or re.escape(piece) for piece in pieces))
