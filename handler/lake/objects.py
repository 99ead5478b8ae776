"""Raw objects, read a few megabytes at a time while those before are decoded, and cut where lines end."""

import asyncio
import gzip
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import obstore
from obstore.exceptions import PreconditionError
from obstore.store import ObjectStore

from handler.definitions.errors import LakeError
from handler.definitions.raw import RawContent, RawObject
from handler.lake.ahead import work_ahead
from handler.lake.requests import gather, run, turning_store_errors

PORTION_BYTES: Final = 2 * 2**20
"""How much is read at a time: small objects together, large ones in parts. It stays in the processor's cache."""

_PORTIONS_AHEAD: Final = 2
_READERS: Final = 2
_GONE: Final = "the object was listed, but is gone"


class _Piece(NamedTuple):
    """Bytes ``[start, end)`` of an object; all of it where they are None."""

    item: RawObject
    start: int | None = None
    end: int | None = None


def read_objects(store: ObjectStore, objects: Sequence[RawObject]) -> Iterator[RawContent]:
    """Read raw objects in their order, large ones in parts; a few portions are on their way while one is dealt with.

    An object that is gone or no gzip is no error of the store: its content says what the problem is.

    Parameters
    ----------
    store
        The lake's store.
    objects
        What to read, with the sizes of the listing.

    Yields
    ------
    RawContent
        An object, or a part of it; the parts of one follow each other.

    Raises
    ------
    LakeError
        If the store refuses or does not answer, or an object changes while its parts are read.
    """
    jobs = (partial(_read_portion, store, portion) for portion in _plan_portions(objects))
    with closing(work_ahead(jobs, threads=_READERS, ahead=_PORTIONS_AHEAD, name="read")) as portions:
        for contents in portions:
            yield from contents


def read_files(folder: Path, store: ObjectStore, objects: Iterable[RawObject]) -> Iterator[RawContent]:
    """Read raw objects as files of a lake in a folder: as :func:`read_objects`, but by whoever takes them.

    A disk answers at once, so nothing is gained by asking ahead, and much by decoding what the same core just copied.

    Parameters
    ----------
    folder
        The lake's folder.
    store
        The same lake; it knows how names are written that no key can have.
    objects
        What to read, with the sizes of the listing.

    Yields
    ------
    RawContent
        An object, or a part of it; the parts of one follow each other.

    Raises
    ------
    LakeError
        If a file cannot be read, or became shorter than the listing says.
    """
    for item in objects:
        try:
            file = (folder / item.key).open("rb", buffering=0)
        except FileNotFoundError:
            yield _read_piece(store, _Piece(item))
            continue
        except OSError as error:
            raise LakeError(f"read {item.key}", str(error)) from error
        with file, turning_store_errors(f"read {item.key}"):
            if _is_compressed(item):
                yield _decompress(item.key, file.read())
                continue
            for start in range(0, max(item.size, 1), PORTION_BYTES):
                wanted = min(PORTION_BYTES, item.size - start)
                data = file.read(wanted)
                if len(data) < wanted:
                    raise LakeError(f"read {item.key}", "it was cut short while it was read; run again")
                yield RawContent(item.key, data, goes_on=start + wanted < item.size)


def split_by_size(objects: Iterable[RawObject], most: int) -> Iterator[list[RawObject]]:
    """Put objects together up to a number of stored bytes; a larger object is by itself."""
    batch: list[RawObject] = []
    size = 0
    for item in objects:
        if batch and size + item.size > most:
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item.size
    if batch:
        yield batch


def _plan_portions(objects: Iterable[RawObject]) -> Iterator[list[_Piece]]:
    """Put small objects together; each piece of a large one is a portion of its own."""
    for together in split_by_size(objects, PORTION_BYTES):
        if together[0].size > PORTION_BYTES:
            yield from ([piece] for piece in _split(together[0]))
        else:
            yield [_Piece(item) for item in together]


def _split(item: RawObject) -> Iterator[_Piece]:
    """Split a large object; one that is compressed is of no use in parts."""
    if _is_compressed(item):
        yield _Piece(item)
        return
    for start in range(0, item.size, PORTION_BYTES):
        yield _Piece(item, start, min(start + PORTION_BYTES, item.size))


def _is_compressed(item: RawObject) -> bool:
    return item.key.endswith(".gz")


def _read_portion(store: ObjectStore, portion: Sequence[_Piece]) -> list[RawContent]:
    """Read many objects at a time; one piece without a loop, which would cost more than to read it from a disk."""
    if len(portion) == 1:
        return [_read_piece(store, portion[0])]
    return run(gather(lambda piece: _read_small(store, piece.item), portion))


def _read_piece(store: ObjectStore, piece: _Piece) -> RawContent:
    item = piece.item
    options: obstore.GetOptions = {}
    if piece.start is not None and piece.end is not None:
        options["range"] = (piece.start, piece.end)
        if item.e_tag is not None:
            options["if_match"] = item.e_tag
    with turning_store_errors(f"read {item.key}"):
        try:
            data = obstore.get(store, item.key, options=options).bytes()
        except FileNotFoundError:
            if piece.start:
                raise LakeError(f"read {item.key}", "it was deleted while it was read; run again") from None
            return RawContent(item.key, problem=_GONE)
        except PreconditionError as error:
            raise LakeError(f"read {item.key}", "it was overwritten while it was read; run again") from error
    if _is_compressed(item):
        return _decompress(item.key, data)
    return RawContent(item.key, memoryview(data), goes_on=piece.end is not None and piece.end < item.size)


async def _read_small(store: ObjectStore, item: RawObject) -> RawContent:
    with turning_store_errors(f"read {item.key}"):
        try:
            response = await obstore.get_async(store, item.key)
            data = await response.bytes_async()
        except FileNotFoundError:
            return RawContent(item.key, problem=_GONE)
    return (
        await asyncio.to_thread(_decompress, item.key, data)
        if _is_compressed(item)
        else RawContent(item.key, memoryview(data))
    )


def _decompress(key: str, data: bytes | obstore.Bytes) -> RawContent:
    try:
        return RawContent(key, gzip.decompress(data))
    except (EOFError, OSError, zlib.error) as error:
        return RawContent(key, problem=f"not readable as gzip: {error}")
