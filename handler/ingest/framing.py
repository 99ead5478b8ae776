"""Bytes → whole lines: parts of raw objects are cut where lines end, and lines where JSON objects end."""

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from handler.definitions.raw import RawContent

LONGEST_LINE: Final = 64 * 2**20
"""Bytes without the line feed; a longer line is not read."""

MOST_LINES: Final = 2**19
"""Lines of a batch that are in memory at a time: more than plain objects have in a batch of a usual size."""

_STEP: Final = 4096
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_TEXT_OR_BRACE: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|[{}]', re.DOTALL)
_NEXT_OBJECT: Final = re.compile(rb"[ \t\r]*+(?=\{)")
_SEVERAL_OBJECTS: Final = re.compile(rb"\}[ \t\r]*+\{")


class WholeLines(NamedTuple):
    """Lines of an object: its number, whether they are the first of it, and their bytes.

    Of a line that is too long there are only the first bytes.
    """

    object: int
    is_first: bool
    data: bytes | memoryview
    is_too_long: bool = False


class FallbackLine(NamedTuple):
    """A line that the compiled decoder does not take.

    Attributes
    ----------
    object
        The number of its object in the batch, from 0.
    number
        Its own number in the object, from 1.
    raw
        Its bytes, without the line feed.
    is_too_long
        Whether these are its first bytes only.
    """

    object: int
    number: int
    raw: bytes
    is_too_long: bool = False


def cut_lines(contents: Iterable[RawContent], *, longest: int = LONGEST_LINE) -> Iterator[WholeLines]:
    r"""Cut the parts of objects where lines end; a line that two parts share comes between them.

    A byte order mark at the start of an object is passed over.

    Parameters
    ----------
    contents
        Objects whole or in parts, the parts of one in order.
    longest
        Bytes of a line without its line feed, beyond which it is too long.

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
    dropped = 0  # bytes of it that are not kept, since it is too long
    for content in contents:
        data = memoryview(content.data)
        if not goes_on:
            number, is_first = number + 1, True
            data = data[len(_BYTE_ORDER_MARK) :] if bytes(data[:3]) == _BYTE_ORDER_MARK else data
        goes_on = content.goes_on
        if rest:
            end = _find_line_end(data)
            is_whole = not goes_on or bytes(data[end - 1 : end]) == b"\n"
            rest += data[:end]
            data = data[end:]
            if dropped + len(rest) - rest.endswith(b"\n") > longest:
                dropped += max(len(rest) - _STEP, 1)
                del rest[_STEP:]
            if not is_whole:
                continue
            yield WholeLines(number, is_first, bytes(rest), is_too_long=dropped > 0)
            is_first, dropped = False, 0
            rest.clear()
        end = _find_last_line_end(data) if goes_on else len(data)
        rest += data[end:]
        if end:
            yield WholeLines(number, is_first, data[:end])
            is_first = False


def split_objects(raw: bytes) -> Iterator[slice]:
    """Split a line that holds several JSON objects, where each begins; white space may be between.

    Whether the parts are JSON is not looked at.

    Parameters
    ----------
    raw
        A line.

    Yields
    ------
    slice
        The places of the parts in the line, without the white space between.

    Examples
    --------
    >>> raw = b'{"a": {"b": "} {"}}{"c": 1} {'
    >>> [raw[part] for part in split_objects(raw)]
    [b'{"a": {"b": "} {"}}', b'{"c": 1}', b'{']
    """
    start = depth = 0
    if not _SEVERAL_OBJECTS.search(raw):  # nearly all lines
        yield slice(0, len(raw))
        return
    for token in _TEXT_OR_BRACE.finditer(raw):
        mark = token[0]
        depth += (mark == b"{") - (mark == b"}")
        if mark == b"}" and depth == 0 and (following := _NEXT_OBJECT.match(raw, token.end())):
            yield slice(start, token.end())
            start = following.end()
    yield slice(start, len(raw))


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
