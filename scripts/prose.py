"""Find sentences that break the project's rules of English: ``make check`` fails on them.

A sentence of a docstring, a comment or a page of the docs has at most 25 words, and avoids the phrases listed here.
Code, examples, tables, headings and the names of parameters are no sentences. A quoted name counts as one word. Records
of decisions (``docs/adr``) list alternatives, each with its reason in parentheses, and are not checked.
"""

import argparse
import ast
import re
import sys
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PLACES: Final = (
    "handler",
    "machine_features",
    "local",
    "layer_build",
    "constructs",
    "scripts",
    "README.md",
    "CONTRIBUTING.md",
    "docs",
)
UNCHECKED: Final = "adr"
MOST_WORDS: Final = 25
PHRASES: Final = {
    "what is": r"\bwhat is\b",
    "what of": r"\bwhat of\b",
    "so many": r"\bso many\b",
    "as are": r"\bas are\b",
    "of them": r"\bof them\b",
    "is left": r"\bis left\b",
    "none as a noun": r"\b(?-i:none)\b|\bnone of\b",
}
_QUOTED: Final = re.compile(r"``[^`]+``|`[^`]+`|:\w+:`[^`]+`")
_END: Final = re.compile(r"[.?!](?=\s+[A-Z0-9`*\"(]|\s*$)")
_RULE: Final = re.compile(r"[-=~]{3,}[-=~ ]*")
_ITEM: Final = re.compile(r"(?:[-*] |\d+\. )")
_SECTIONS_OF_NAMES: Final = ("Parameters", "Attributes", "Returns", "Yields", "Raises")
_FOR_TOOLS: Final = re.compile(
    r"#\s*(?:type: ignore\S*|fmt: \w+|!.*|(?:ruff: )?noqa(?:: [A-Z]+\d+(?:, [A-Z]+\d+)*)?)(?: - )?"
)
_LINK: Final = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_C_COMMENT: Final = re.compile(r"/\*(.*?)\*/|//([^\n]*)", re.DOTALL)

Line = tuple[int, str]


@dataclass(frozen=True, order=True)
class Finding:
    """One sentence that breaks a rule.

    Attributes
    ----------
    path
        The file.
    line
        Where the sentence begins, counted from 1.
    problem
        The rule, for example ``"31 words"``.
    sentence
        Its text on one line.
    """

    path: str
    line: int
    problem: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.problem}: {self.sentence}"


def check_text(lines: Iterable[Line], path: str) -> Iterator[Finding]:
    """Check the sentences of one docstring or comment.

    Parameters
    ----------
    lines
        The text, each line with its number in the file.
    path
        The file to name.

    Yields
    ------
    Finding
        In the order of the text.
    """
    for paragraph in split_paragraphs(lines):
        for line, sentence in split_sentences(paragraph):
            plain = _QUOTED.sub("NAME", sentence)
            words = sum(any(sign.isalnum() for sign in word) for word in plain.split())
            if words > MOST_WORDS:
                yield Finding(path, line, f"{words} words", sentence)
            for name, pattern in PHRASES.items():
                if re.search(pattern, plain, re.IGNORECASE):
                    yield Finding(path, line, f"“{name}”", sentence)


def split_paragraphs(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Split a text where a sentence cannot go on: at empty lines, headings, items, names, and other indents.

    Parameters
    ----------
    lines
        The text, each line with its number in the file.

    Yields
    ------
    list of tuple of int and str
        A paragraph of prose, its lines stripped. Examples, literal blocks and tables are left out.
    """
    paragraph: list[Line] = []
    section = ""
    previous, indent = "", 0
    literal: int | None = None
    for number, line in [*lines, (0, "")]:
        text, inner = line.strip(), len(line) - len(line.lstrip())
        if literal is not None and (not text or inner > literal):
            continue
        literal = None
        is_heading_rule = bool(_RULE.fullmatch(text))
        if is_heading_rule and paragraph:
            section = paragraph.pop()[1]
        breaks = not text or is_heading_rule or inner != indent or bool(_ITEM.match(text))
        if breaks and paragraph:
            yield paragraph
            paragraph = []
        if text.startswith((">>>", "|", "===")) or (previous.startswith(">>>") and text):
            previous, indent = ">>>", inner
            continue
        is_name = section in _SECTIONS_OF_NAMES and inner == 0
        if text.strip(":") and not is_heading_rule and not is_name:
            paragraph.append((number, text))
        if text.endswith("::"):
            literal = inner
        previous, indent = text, inner
    if paragraph:
        yield paragraph


def split_sentences(paragraph: Sequence[Line]) -> Iterator[Line]:
    """Split a paragraph into its sentences.

    Parameters
    ----------
    paragraph
        Lines with their numbers.

    Yields
    ------
    tuple of int and str
        A sentence, with the number of the line on which it begins.

    Examples
    --------
    >>> list(split_sentences([(1, "Read the lock. Install"), (2, "the packages.")]))
    [(1, 'Read the lock.'), (1, 'Install the packages.')]
    """
    text, starts = "", []
    for number, line in paragraph:
        starts.append((len(text), number))
        text += f"{line} "
    begin = 0
    for end in [*(match.end() for match in _END.finditer(text)), len(text)]:
        sentence = text[begin:end].strip()
        if sentence:
            first = begin + len(text[begin:end]) - len(text[begin:end].lstrip())
            yield next(number for offset, number in reversed(starts) if offset <= first), sentence
        begin = end


def read_python(path: Path) -> Iterator[list[Line]]:
    """Read a module's docstrings, then its comments.

    Parameters
    ----------
    path
        The module.

    Yields
    ------
    list of tuple of int and str
        The lines of one text, with their numbers. Comments on lines of their own below each other are one text.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring is not None:
                first = node.body[0].lineno
                yield list(enumerate(docstring.splitlines(), first))
    comments: list[Line] = []
    with path.open("rb") as stream:
        for token in tokenize.tokenize(stream.readline):
            if token.type != tokenize.COMMENT:
                continue
            number, column = token.start
            text = _FOR_TOOLS.sub("", token.string).lstrip("# ")
            stands_alone = not token.line[:column].strip()
            if comments and not (stands_alone and comments[-1][0] == number - 1):
                yield comments
                comments = []
            comments.append((number, text))
            if not stands_alone:
                yield comments
                comments = []
    yield comments


def read_c(path: Path) -> Iterator[list[Line]]:
    """Read the comments of a C file.

    Parameters
    ----------
    path
        The source or header.

    Yields
    ------
    list of tuple of int and str
        The lines of one comment, with their numbers.
    """
    source = path.read_text(encoding="utf-8")
    for match in _C_COMMENT.finditer(source):
        first = source.count("\n", 0, match.start()) + 1
        text = match[1] if match[1] is not None else match[2]
        yield [(first + i, line.strip().removeprefix("*").strip()) for i, line in enumerate(text.splitlines())]


def read_markdown(path: Path) -> Iterator[list[Line]]:
    """Read a page without its code, headings and tables; of a link its text is kept.

    Parameters
    ----------
    path
        The page.

    Yields
    ------
    list of tuple of int and str
        All lines with their numbers; those that are no prose are empty.
    """
    lines, is_code = [], False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        is_fence = line.lstrip().startswith("```")
        is_code ^= is_fence
        is_prose = not is_code and not is_fence and not line.startswith(("#", "|", "<!--"))
        lines.append((number, _LINK.sub(r"\1", line) if is_prose else ""))
    yield lines


def check_files(paths: Iterable[Path], root: Path = ROOT) -> list[Finding]:
    """Check every Python and C file, and every page in Markdown.

    Parameters
    ----------
    paths
        Files, and folders that are searched.
    root
        The folder that findings are named from.

    Returns
    -------
    list of Finding
        Sorted by file and line.
    """
    findings = []
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            read = _READERS.get(file.suffix)
            name = file.relative_to(root).as_posix()
            if read is not None and UNCHECKED not in file.parts:
                findings += [finding for lines in read(file) for finding in check_text(lines, name)]
    return sorted(findings)


_READERS: Final[Mapping[str, Callable[[Path], Iterator[list[Line]]]]] = {
    ".py": read_python,
    ".c": read_c,
    ".h": read_c,
    ".md": read_markdown,
}


def main() -> int:
    """Run the command line; return 1 where a sentence breaks a rule."""
    parser = argparse.ArgumentParser(prog="prose", description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, default=[ROOT / name for name in PLACES])
    findings = check_files(path.resolve() for path in parser.parse_args().paths)
    sys.stdout.writelines(f"{finding}\n" for finding in findings)
    sys.stdout.write(f"{len(findings)} sentences break a rule of English\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
