"""Stored bytes → content: objects that are gzip are decompressed in parts, whatever their name; others pass through."""

import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Final

from handler.definitions.errors import OvertakenError
from handler.definitions.raw import RawContent

PART_BYTES: Final = 2 * 2**20
"""How much is read or decompressed at a time. It stays in the processor's cache."""

_HELD: Final = 32 * 2**20
"""Up to so much content is kept until its object is known to be whole; a larger object is decompressed twice."""

_GZIP: Final = b"\x1f\x8b"
_GZIP_OR_ZLIB_HEADER: Final = 31

ReadAgain = Callable[[str], Iterable[RawContent]]


def unpack(stored: Iterable[RawContent], read_again: ReadAgain) -> Iterator[RawContent]:
    """Decompress the objects that are gzip, which their first two bytes tell.

    An object that is cut short leaves no line behind: it is only handed on when its end has been seen.

    Parameters
    ----------
    stored
        Objects as they are stored, whole or in parts, the parts of one in order.
    read_again
        Reads the parts of one object once more, by its key.

    Yields
    ------
    RawContent
        Parts of at most 2 MiB where an object was compressed; or one with the problem.
    """
    waiting = iter(stored)
    for first in waiting:
        parts = chain([first], _take_rest(first, waiting))
        if bytes(first.data[:2]) == _GZIP:
            yield from _unpack_gzip(first.key, parts, read_again)
        elif first.key.endswith(".gz") and len(first.data):
            _drain(parts)
            yield RawContent(first.key, problem="it is no gzip, though its name ends in .gz")
        else:
            yield from parts


def _take_rest(first: RawContent, waiting: Iterator[RawContent]) -> Iterator[RawContent]:
    goes_on = first.goes_on
    while goes_on:
        part = next(waiting)
        goes_on = part.goes_on
        yield part


def _drain(parts: Iterable[RawContent]) -> None:
    for _ in parts:
        pass


def _unpack_gzip(key: str, parts: Iterator[RawContent], read_again: ReadAgain) -> Iterator[RawContent]:
    held: list[bytes] = []
    size = 0
    start, problem = b"", None
    try:
        for data in _decompress(parts):
            start = start or data[:2]
            size += len(data)
            if size <= _HELD:
                held.append(data)
            else:
                held.clear()
    except (EOFError, zlib.error) as error:
        problem = str(error)
    if start == _GZIP:
        problem = "it is gzip inside gzip"
    if problem is not None:
        _drain(parts)
        yield RawContent(key, problem=f"not readable as gzip: {problem}")
        return
    for data in held if size <= _HELD else _decompress_again(key, read_again):
        yield RawContent(key, data, goes_on=True)
    yield RawContent(key)


def _decompress_again(key: str, read_again: ReadAgain) -> Iterator[bytes]:
    try:
        yield from _decompress(read_again(key))
    except (EOFError, zlib.error) as error:
        raise OvertakenError(key, "it was overwritten or deleted while it was read") from error


def _decompress(parts: Iterable[RawContent]) -> Iterator[bytes]:
    """Decompress the members of a gzip object, one after the other; zeros between them are passed over."""
    member = zlib.decompressobj(_GZIP_OR_ZLIB_HEADER)
    for part in parts:
        left = bytes(part.data)
        while left:
            if member.eof:
                left = left.lstrip(b"\0")
                if not left:
                    break
                member = zlib.decompressobj(_GZIP_OR_ZLIB_HEADER)
            data = member.decompress(left, PART_BYTES)
            left = member.unused_data if member.eof else member.unconsumed_tail
            if data:
                yield data
    while not member.eof and (data := member.decompress(b"", PART_BYTES)):
        yield data
    if not member.eof:
        raise EOFError("it ends before its last member does")
