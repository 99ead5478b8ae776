"""Raw objects, read a few megabytes at a time while those before are decoded, and cut where lines end."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

import obstore
from obstore.exceptions import PreconditionError
from obstore.store import ObjectStore

from handler.definitions.errors import LakeError, OvertakenError
from handler.definitions.raw import RawContent, RawObject
from handler.lake.ahead import work_ahead
from handler.lake.folder import is_overwritten
from handler.lake.requests import gather, run, turning_store_errors
from handler.lake.unpack import PART_BYTES, unpack

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
        If the store refuses or does not answer, or an object was overwritten since it was listed.
    """
    by_key = {item.key: item for item in objects}
    jobs = (partial(_read_portion, store, portion) for portion in _plan_portions(objects))
    with closing(work_ahead(jobs, threads=_READERS, ahead=_PORTIONS_AHEAD, name="read")) as portions:
        stored = chain.from_iterable(portions)
        yield from unpack(stored, lambda key: (_read_piece(store, piece) for piece in _split(by_key[key])))


def read_files(folder: Path, objects: Iterable[RawObject]) -> Iterator[RawContent]:
    """Read raw objects as files of a lake in a folder: as :func:`read_objects`, but by whoever takes them.

    A disk answers at once, so nothing is gained by asking ahead, and much by decoding what the same core just copied.

    Parameters
    ----------
    folder
        The lake's folder.
    objects
        What to read, with the sizes of the listing.

    Yields
    ------
    RawContent
        An object, or a part of it; the parts of one follow each other.

    Raises
    ------
    LakeError
        If a file cannot be read, or was overwritten since it was listed; to one that has grown since, nothing happens.
    """
    by_key = {item.key: item for item in objects}
    stored = (part for item in by_key.values() for part in _read_file(folder, item))
    yield from unpack(stored, lambda key: _read_file(folder, by_key[key]))


def _read_file(folder: Path, item: RawObject) -> Iterator[RawContent]:
    try:
        file = (folder / item.key).open("rb", buffering=0)
    except FileNotFoundError:
        yield RawContent(item.key, problem=_GONE, is_gone=True)
        return
    except OSError as error:
        raise LakeError(f"read {item.key}", str(error)) from error
    with file, turning_store_errors(f"read {item.key}"):
        for start in range(0, max(item.size, 1), PART_BYTES):
            wanted = min(PART_BYTES, item.size - start)
            data = file.read(wanted)
            if len(data) < wanted:
                raise OvertakenError(item.key, "it was cut short while it was read")
            if is_overwritten(item.e_tag, os.fstat(file.fileno())):
                raise OvertakenError(item.key, "it was overwritten since it was listed")
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
    for together in split_by_size(objects, PART_BYTES):
        if together[0].size > PART_BYTES:
            yield from ([piece] for piece in _split(together[0]))
        else:
            yield [_Piece(item) for item in together]


def _split(item: RawObject) -> Iterator[_Piece]:
    """Split an object into parts."""
    for start in range(0, max(item.size, 1), PART_BYTES):
        yield _Piece(item, start, min(start + PART_BYTES, item.size))


def _read_portion(store: ObjectStore, portion: Sequence[_Piece]) -> list[RawContent]:
    """Read many objects at a time; one piece without a loop, which would cost more than to read it from a disk."""
    if len(portion) == 1:
        return [_read_piece(store, portion[0])]
    return run(gather(lambda piece: _read_small(store, piece.item), portion))


def _read_piece(store: ObjectStore, piece: _Piece) -> RawContent:
    item = piece.item
    options = _require_listed(item)
    if piece.start is not None and piece.end is not None:
        options["range"] = (piece.start, piece.end)
    with turning_store_errors(f"read {item.key}"):
        try:
            data = obstore.get(store, item.key, options=options).bytes()
        except FileNotFoundError:
            if piece.start:
                raise OvertakenError(item.key, "it was deleted while it was read") from None
            return RawContent(item.key, problem=_GONE, is_gone=True)
        except PreconditionError as error:
            raise OvertakenError(item.key, "it was overwritten while it was read") from error
    return RawContent(item.key, memoryview(data), goes_on=piece.end is not None and piece.end < item.size)


def _require_listed(item: RawObject) -> "obstore.GetOptions":
    """Ask for the version that was listed: another one is other lines."""
    return {} if item.e_tag is None else {"if_match": item.e_tag}


async def _read_small(store: ObjectStore, item: RawObject) -> RawContent:
    with turning_store_errors(f"read {item.key}"):
        try:
            response = await obstore.get_async(store, item.key, options=_require_listed(item))
            data = await response.bytes_async()
        except FileNotFoundError:
            return RawContent(item.key, problem=_GONE, is_gone=True)
        except PreconditionError as error:
            raise OvertakenError(item.key, "it was overwritten while it was read") from error
    return RawContent(item.key, memoryview(data))
