"""Bytes → whole lines: parts of raw objects are cut where lines end."""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from handler.definitions.raw import RawContent

_STEP: Final = 4096


class WholeLines(NamedTuple):
    """Lines of an object: its number, whether they are the first of it, and their bytes."""

    object: int
    is_first: bool
    data: bytes | memoryview


def cut_lines(contents: Iterable[RawContent]) -> Iterator[WholeLines]:
    r"""Cut the parts of objects where lines end; a line that two parts share comes between them.

    Parameters
    ----------
    contents
        Objects whole or in parts, the parts of one in order.

    Yields
    ------
    WholeLines
        Bytes that begin and end where lines do.

    Examples
    --------
    >>> parts = [RawContent("a", b"one\ntw", goes_on=True), RawContent("a", b"o\nthree"), RawContent("b", b"four")]
    >>> [(lines.object, lines.is_first, bytes(lines.data)) for lines in cut_lines(parts)]
    [(0, True, b'one\n'), (0, False, b'two\n'), (0, False, b'three'), (1, True, b'four')]
    """
    number, is_first, goes_on = -1, True, False
    rest = bytearray()  # a line whose end has not come yet
    for content in contents:
        if not goes_on:
            number, is_first = number + 1, True
        goes_on = content.goes_on
        data = memoryview(content.data)
        if rest:
            end = _find_line_end(data)
            rest += data[:end]
            data = data[end:]
            if goes_on and not rest.endswith(b"\n"):
                continue
            yield WholeLines(number, is_first, bytes(rest))
            is_first = False
            rest.clear()
        end = _find_last_line_end(data) if goes_on else len(data)
        rest += data[end:]
        if end:
            yield WholeLines(number, is_first, data[:end])
            is_first = False


def _find_line_end(data: memoryview) -> int:
    """Find where the first line ends, its line feed included."""
    for start in range(0, len(data), _STEP):
        found = bytes(data[start : start + _STEP]).find(b"\n")
        if found >= 0:
            return start + found + 1
    return len(data)


def _find_last_line_end(data: memoryview) -> int:
    """Find where the last line that has a line feed ends; 0 where no line has one."""
    for end in range(len(data), 0, -_STEP):
        start = max(end - _STEP, 0)
        found = bytes(data[start:end]).rfind(b"\n")
        if found >= 0:
            return start + found + 1
    return 0
